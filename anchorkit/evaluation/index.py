"""All tables of a set of predictions and its ground truth, each built when it is first needed."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import psutil

from anchorkit.anchors import AnchorLayout
from anchorkit.errors import InputError
from anchorkit.evaluation.building import (
    binding_topk,
    build_candidates,
    build_matching,
    build_suppressions,
    megabytes,
)
from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.evaluation.loops.tables import Array, Candidates, Classes, Matching, Suppressions
from anchorkit.evaluation.metrics import MatchingRules
from anchorkit.evaluation.sorting import SortedRows
from anchorkit.evaluation.threads import Sharing
from anchorkit.lighter import give_memory_back
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable


class Index:
    """All tables of a set of predictions and its ground truth, each built when it is first needed.

    Memory in bytes, with A anchors: 4 per row above the score threshold. Per candidate, which is a row that is kept
    under some configuration, about 30 + A / 8 (more in images with few, since an image is rounded up to 64); 10 per
    entry of the suppressions (one for every 64 candidates of an image among which a candidate suppresses any); 13 per
    candidate that overlaps an annotated box and 5 for each such overlap. Building needs up to 40 more per row.

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
        self._all_rows, self.truth, self.post, self.work, self._memory_limit = rows, truth, post, work, memory_limit
        self._matchings: dict[MatchingRules, tuple[Matching, Classes]] = {}

    @property
    def n_scopes(self) -> int:
        """The largest number of scopes that a top-k divides candidates into."""
        return max(1, self._all_rows.n_all_classes, len(self.layout.levels))

    def memory(self) -> dict[str, int]:
        """Bytes that the tables built so far take."""
        return {
            "rows": sum(rows.row.nbytes for rows in {self._all_rows, self.rows}),
            "candidates": _nbytes(self.candidates),
            "suppressions": _nbytes(self.suppressions),
            "matching": _nbytes(tuple(self._matchings.values())),
        }

    @property
    def layout(self) -> AnchorLayout:
        """The anchors."""
        return self._all_rows.predictions.layout

    @property
    def score_threshold(self) -> float:
        """Rows at or below it are in no table."""
        return self._all_rows.score_threshold

    @cached_property
    def _binds(self) -> Array:
        return binding_topk(self._all_rows, self.layout, self.post)[1]

    @cached_property
    def _kept(self) -> tuple[SortedRows, Suppressions]:
        return build_suppressions(self._all_rows, self.post.nms_iou, self._binds, self.work, self._memory_limit)

    @property
    def rows(self) -> SortedRows:
        """The candidates: of all rows those that NMS keeps under some configuration."""
        return self._kept[0]

    @property
    def suppressions(self) -> Suppressions:
        """Which members suppress which."""
        return self._kept[1]

    @cached_property
    def candidates(self) -> Candidates:
        """The candidates that take part."""
        return build_candidates(self.rows, self.layout, self.post)

    def matching(self, rules: MatchingRules) -> tuple[Matching, Classes]:
        """Which candidates can match which annotated boxes."""
        if rules not in self._matchings:
            self._matchings[rules] = build_matching(self.rows, self.truth, rules, self.work)
        return self._matchings[rules]

    def with_postprocess(self, post: PostProcess) -> Index:
        """The index for another post-processing whose score threshold is not below that of the rows."""
        other = Index(self._all_rows, self.truth, post, self.work, self._memory_limit)
        if post.nms_iou == self.post.nms_iou and np.array_equal(other._binds, self._binds) and "_kept" in self.__dict__:
            other._kept, other._matchings = self._kept, self._matchings
            same_candidates = replace(post, max_detections=self.post.max_detections) == self.post
            if same_candidates and "candidates" in self.__dict__:
                other.candidates = self.candidates
        return other

    def forget(self) -> None:
        """Free what can be computed again."""
        for rows in {self._all_rows, self.rows}:
            rows.forget()
        give_memory_back()

    def ends(self, rules: MatchingRules, score_threshold: float) -> Array:
        """int64 (K,): the place in each class before which the scores are above a threshold."""
        above = self.rows.predictions.score[self.rows.row] > np.float32(score_threshold)
        return 64 * self.matching(rules)[1].place_word[:-1] + self.rows.of_classes(above)


def check_memory(predictions: PredictionTable, score_threshold: float, memory_limit: float | None) -> float:
    """Bytes that may be used: the given limit, or the machine's free memory.

    Raises:
        InputError: building needs more: at least 50 bytes per row above the score threshold, see `Index`.
    """
    limit = float(psutil.virtual_memory().available) if memory_limit is None else float(memory_limit)
    n = int((predictions.score > np.float32(score_threshold)).sum())
    needed = 50 * n
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
