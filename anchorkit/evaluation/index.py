"""All tables of a set of predictions and its ground truth, each built when it is first needed."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import psutil

from anchorkit.anchors import AnchorLayout
from anchorkit.errors import InputError
from anchorkit.evaluation.building import build_groups, build_matching, build_suppressions, megabytes
from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.evaluation.loops.tables import Array, Classes, Groups, Matching, Suppressions
from anchorkit.evaluation.metrics import MatchingRules
from anchorkit.evaluation.sorting import SortedRows
from anchorkit.evaluation.threads import Sharing
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable


class Index:
    """All tables of a set of predictions and its ground truth, each built when it is first needed.

    Memory in bytes, with A anchors: about 40 + A / 4 per candidate (row above the score threshold; more in small
    groups, since a group is rounded up to 64), 10 per entry of the suppressions (one for every 64 members of a group
    among which a member suppresses any), 13 per candidate that overlaps an annotated box and 5 for each such overlap.
    Building needs up to 80 more per candidate.

    Args:
        rows: the candidates.
        truth: the annotated boxes.
        post: post-processing, which may have a higher score threshold than that of `rows`.
        work: threads.
        memory_limit: bytes that may be used.

    Raises:
        InputError: the tables do not fit in memory; from any method that builds one.
    """

    def __init__(
        self, rows: SortedRows, truth: GroundTruth, post: PostProcess, work: Sharing, memory_limit: float
    ) -> None:
        self.rows, self.truth, self.post, self.work, self._memory_limit = rows, truth, post, work, memory_limit
        self._matchings: dict[MatchingRules, tuple[Matching, Classes]] = {}

    @property
    def n_scopes(self) -> int:
        """The largest number of scopes that a top-k divides candidates into."""
        return max(1, self.rows.n_all_classes, len(self.layout.levels))

    def memory(self) -> dict[str, int]:
        """Bytes that the tables built so far take."""
        return {
            "rows": _nbytes(self.rows.row),
            "groups": _nbytes(self.groups),
            "suppressions": _nbytes(self.suppressions),
            "matching": _nbytes(tuple(self._matchings.values())),
        }

    @property
    def layout(self) -> AnchorLayout:
        """The anchors."""
        return self.rows.predictions.layout

    @cached_property
    def groups(self) -> Groups:
        """The candidates that take part."""
        return build_groups(self.rows, self.layout, self.post)

    @cached_property
    def suppressions(self) -> Suppressions:
        """Which members suppress which."""
        return build_suppressions(self.rows, self.groups, self.post.nms_iou, self.work, self._memory_limit)

    def matching(self, rules: MatchingRules) -> tuple[Matching, Classes]:
        """Which candidates can match which annotated boxes."""
        if rules not in self._matchings:
            self._matchings[rules] = build_matching(self.rows, self.truth, rules, self.work)
        return self._matchings[rules]

    def with_postprocess(self, post: PostProcess) -> Index:
        """The index for another post-processing whose score threshold is not below that of the rows."""
        other = Index(self.rows, self.truth, post, self.work, self._memory_limit)
        other._matchings = self._matchings
        if post.nms_iou == self.post.nms_iou and "suppressions" in self.__dict__:
            other.suppressions = self.suppressions
        same_groups = replace(post, nms_iou=self.post.nms_iou, max_detections=self.post.max_detections) == self.post
        if same_groups and "groups" in self.__dict__:
            other.groups = self.groups
        return other

    def ends(self, rules: MatchingRules, score_threshold: float) -> Array:
        """int64 (K,): the place in each class before which the scores are above a threshold."""
        above = self.rows.predictions.score[self.rows.row] > np.float32(score_threshold)
        return 64 * self.matching(rules)[1].place_word[:-1] + self.rows.of_classes(above)


def check_memory(predictions: PredictionTable, score_threshold: float, memory_limit: float | None) -> float:
    """Bytes that may be used: the given limit, or the machine's free memory.

    Raises:
        InputError: building needs more: at least 120 + A / 4 bytes per row that takes part (see `Index`).
    """
    limit = float(psutil.virtual_memory().available) if memory_limit is None else float(memory_limit)
    n = int((predictions.score > np.float32(score_threshold)).sum())
    needed = n * (120 + len(predictions.layout) / 4)
    if needed > limit:
        raise InputError(
            f"{predictions.source}: evaluating {n:,} predictions needs at least {megabytes(needed)} of memory and "
            f"{megabytes(limit)} may be used: raise the score_threshold, evaluate fewer images, or allow more "
            "(memory_limit)"
        )
    return limit


def _nbytes(table: Any) -> int:
    if isinstance(table, tuple):
        return sum(_nbytes(part) for part in table)
    return int(table.nbytes) if isinstance(table, np.ndarray) else 0
