# mypy: allow-untyped-calls
"""Accuracy of every configuration, of images that lie on the workers of a Dask cluster."""

from __future__ import annotations

import math
import uuid
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from anchorkit.anchors import AnchorLayout
from anchorkit.cluster import shards
from anchorkit.cluster.scheduler import can_be_reached, plain_errors
from anchorkit.cluster.shards import Differences, Shard, Survey
from anchorkit.errors import InputError
from anchorkit.evaluation.accuracies import Accuracies
from anchorkit.evaluation.building import boxes_to_find, recalls
from anchorkit.evaluation.engine import Engine
from anchorkit.evaluation.fingerprints import fingerprint_of
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.evaluation.images import numbers_of
from anchorkit.evaluation.loops.tables import PLACE, Array, Classes, Events
from anchorkit.evaluation.metrics import COCO_MAX_DETS, MatchingRules, Metric
from anchorkit.evaluation.sorting import falling_key, starts_of
from anchorkit.evaluation.threads import Sharing, threads_for
from anchorkit.findings import Finding, report
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable
from anchorkit.predictions_check import Whole, check_pair, images_to_compare

if TYPE_CHECKING:
    from distributed import Client, Future

_NO_IMAGES = (1.0, 0.0)

PATIENCE = 5.0
"""Seconds after which to check whether the workers are still there."""


class ShardedEvaluator(Accuracies):
    """An `anchorkit.Evaluator` of a table whose images are spread over the workers of a Dask cluster.

    Each shard has a range of image ids. Its worker reads only their rows, holds their tables and computes, for any
    configuration, which detections and matches differ. Together they make one bitmap (a bit for each prediction) here,
    from which accuracies are computed with the same bits as on one machine. When a worker dies nothing is lost: Dask
    repeats its work elsewhere, from the files. Use ``with``, or call `close`, to free the workers' memory.

    Memory here: 8 bytes per prediction at the start, then 1 bit, and the annotated boxes. On all workers together: as
    `anchorkit.Evaluator`, and 4 bytes per prediction.

    Attributes:
        postprocess: how detections are made of the raw predictions.
        n_shards: into how many shares the images are divided.
        findings: what is implausible in the predictions (judged by the rows of up to 200 images) and, if it came from
            a file, in the ground truth.
    """

    def __init__(
        self,
        client: Client,
        predictions: str | Path | Sequence[str | Path],
        ground_truth: Any,
        metric: str | Metric = "AP",
        *,
        n_shards: int | None = None,
        score_threshold: float | None = None,
        iou_thresholds: Sequence[float] | None = None,
        max_dets: Sequence[int] = COCO_MAX_DETS,
    ) -> None:
        """Spread the images.

        Args:
            client: see `connect`.
            predictions: the file of the table, or several of one detector, as every worker can reach them. The fewer
                images a Parquet row group has, the less is read twice.
            ground_truth: path of a COCO json file (read here), a COCO dict, or a pycocotools ``COCO``.
            metric: see `anchorkit.Evaluator`; not a function of the detections.
            n_shards: into how many shares to divide the images; None for as many as the workers have threads.
            score_threshold: rows at or below it do not take part; None for that of the table.
            iou_thresholds: see `anchorkit.Evaluator`.
            max_dets: see `anchorkit.Evaluator`.

        Raises:
            InputError: as `anchorkit.Evaluator`; or the cluster has no workers or is lost, the files are of
                different detectors, or there are more predictions than a bitmap holds.
        """
        super().__init__(metric, iou_thresholds, max_dets)
        if self._metric.needs_detections:
            raise InputError("a function of the detections needs all of them in one place: use anchorkit.Evaluator")
        self._client = client
        self._address = str(client.scheduler_info()["address"])
        self._paths = _checked_paths(predictions)
        self.layout, self.postprocess = _facts(self._paths)
        if score_threshold is not None:
            self.postprocess = replace(self.postprocess, score_threshold=score_threshold)
        self.ground_truth = read_ground_truth(ground_truth)
        threads = sum(client.nthreads().values())
        if not threads:
            raise InputError(f"the cluster at {self._address} has no workers: start some with `dask worker ADDRESS`")
        self.n_shards = min(n_shards or threads, max(1, len(self.ground_truth.image_ids)))
        self._evaluation = uuid.uuid4().hex
        self._homes: list[str] = []
        # Else all that is sent would go through the scheduler, once more over the network and through its memory.
        self._direct = can_be_reached(next(iter(client.nthreads())))
        # Any worker may compute what the questions depend on, so that Dask can repeat it on those that are left.
        self._shards = [client.submit(_itself, shard, pure=False) for shard in self._divided()]
        counts = self._survey(ground_truth)
        scores = [client.submit(shards.falling_scores, shard, pure=False) for shard in self._shards]
        numbered = client.submit(shards.number, counts, *scores, pure=False)
        self._places = [client.submit(itemgetter(n), numbered, pure=False) for n in range(self.n_shards)]
        self._prepare()

    @property
    def fingerprint(self) -> str:
        """The same as that of an `anchorkit.Evaluator` of the whole table."""
        return fingerprint_of(self._digests, self.ground_truth, self._coco)

    def close(self) -> None:
        """Free the workers' memory. The accuracies that were asked for are still known."""
        self._shards, self._places = [], []
        self._client.run(shards.forget, self._evaluation, on_error="ignore")

    def __enter__(self) -> ShardedEvaluator:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _divided(self) -> Iterable[Shard]:
        truth = self.ground_truth
        cuts = np.linspace(0, len(truth.image_ids), self.n_shards + 1).astype(int).tolist()
        for number, (first, last) in enumerate(pairwise(cuts)):
            # Without gaps: a row of an unknown image must reach a shard, which then refuses it.
            begin = -math.inf if number == 0 else int(truth.image_ids[first - 1]) + 1
            end = math.inf if last == len(truth.image_ids) else int(truth.image_ids[last - 1])
            part = truth.subset(truth.image_ids[first:last])
            yield Shard(self._evaluation, number, self._paths, (begin, end), part, self.postprocess)

    def _ask(self, task: Callable[..., Any], *arguments: Any, places: bool = False) -> list[Any]:
        """Ask every shard, each on the worker that answered for it last."""

        def submit(number: int, at_home: bool) -> Future[Any]:
            about = [self._shards[number], *([self._places[number]] if places else [])]
            home = {"workers": [self._homes[number]], "allow_other_workers": True} if at_home else {}
            return self._client.submit(task, *about, *arguments, pure=False, **home)

        with plain_errors(self._address):
            asked = [submit(number, at_home=bool(self._homes)) for number in range(self.n_shards)]
            while not _all_done(self._client, asked):
                # Dask lets a task wait for a worker that is gone, although others may do it.
                alive = self._client.scheduler_info(n_workers=-1)["workers"] if self._homes else {}
                for number, future in enumerate(asked):
                    if self._homes and not future.done() and self._homes[number] not in alive:
                        asked[number] = submit(number, at_home=False)
            answers: list[shards.Answer] = self._client.gather(asked, direct=self._direct)
        self._homes = [answer.worker for answer in answers]
        return [answer.found for answer in answers]

    def _survey(self, given: Any) -> Array:
        """Check the shards. Returns candidates by shard and class, int64 (shards, K)."""
        found: list[Survey] = self._ask(shards.survey, images_to_compare(self.ground_truth))
        for warning in dict.fromkeys(warning for survey in found for warning in survey.warnings):
            warnings.warn(warning, UserWarning, stacklevel=3)
        self.findings = self._implausible(found, given)
        report(self.findings, stacklevel=3)
        self._digests = b"".join(survey.digests for survey in found)
        self._sizes = np.sum([survey.sizes for survey in found], axis=0)
        counts = np.array([survey.counts for survey in found])
        self._place_word = starts_of((counts.sum(axis=0) + 63) // 64)
        if 64 * int(self._place_word[-1]) >= PLACE:
            raise InputError(
                f"{self._paths[0]}: {int(counts.sum()):,} predictions are above the score threshold of "
                f"{self.postprocess.score_threshold:g}, and a bitmap holds {PLACE:,}: take fewer images, chosen at "
                "random, or a higher score_threshold (docs/cluster.md says what either means)"
            )
        return counts

    def _implausible(self, found: Sequence[Survey], given: Any) -> tuple[Finding, ...]:
        """What the check finds in the compared rows of all shards, and in what is counted over all rows."""
        rows = sum(survey.whole.rows for survey in found)
        whole = Whole(rows, np.concatenate([survey.whole.image_ids for survey in found]))
        source = self._paths[0] if len(self._paths) == 1 else f"{self._paths[0]} and others"
        some = sum(len(survey.some) for survey in found)
        part = f" ({some:,} of its {rows:,} rows were looked at)" if some < rows else ""
        table = shards.joined([survey.some for survey in found], source + part)
        return check_pair(table, self.ground_truth, given, self._coco.max_dets[-1], whole)

    def _new_engine(self, rules: MatchingRules, every_area: bool) -> Engine:
        # Every class has places: its boxes may lie in any shard.
        rules = replace(rules, every_class=True)
        most_pairs = int(np.sum(self._ask(shards.pairs, rules), axis=0).max(initial=0))
        _, real = boxes_to_find(self.ground_truth, rules)
        classes = Classes(self._place_word, most_pairs, *recalls(self.ground_truth, real))
        numbers = numbers_of(rules, every_area, self.postprocess, n_scopes=0)
        images = _RemoteImages(self._sizes, partial(self._differences, rules, every_area))
        return Engine(images, numbers, classes, Sharing(threads_for(64 * int(self._place_word[-1]))))

    def _differences(
        self, rules: MatchingRules, every_area: bool, here: int, there: Sequence[int], commit: bool
    ) -> list[Events]:
        found = self._ask(shards.differences, rules, every_area, here, list(there), commit, places=True)
        return [_events(part) for part in found]

    def _ends(self, rules: MatchingRules, score_threshold: float) -> Array:
        limit = int(falling_key(np.array([score_threshold], np.float32))[0])
        ends: Array = 64 * self._place_word[:-1] + np.sum(self._ask(shards.above, limit), axis=0)
        return ends


class _RemoteImages(NamedTuple):
    """The images on the workers, see `engine.ImageState`."""

    sizes: Array
    advance: Callable[[int, Sequence[int], bool], list[Events]]

    def restart(self) -> None:
        """Nothing to do: each question names the configuration that the bitmap is at."""


def _events(found: Differences) -> Events:
    """One row per child, of different lengths, in lists in place of arrays: only the engine reads these events."""

    def rows(values: Array, counts: Array) -> Any:
        return np.split(values, np.cumsum(counts)[:-1])

    at, to = rows(found.change_at, found.n_changes), rows(found.change_to, found.n_changes)
    return Events(rows(found.flips, found.n_flips), found.n_flips, at, to, found.n_changes)


def _checked_paths(predictions: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    given = [predictions] if isinstance(predictions, str | Path) else list(predictions)
    paths = [
        part for path in map(Path, given) for part in (sorted(path.glob("*.parquet")) if path.is_dir() else [path])
    ]
    if not paths:
        raise InputError(f"{predictions}: no prediction table (.parquet) there")
    return tuple(str(path.resolve()) for path in paths)


def _facts(paths: tuple[str, ...]) -> tuple[AnchorLayout, PostProcess]:
    """The layout and the post-processing of the table, which all its files must have."""
    first, *others = [PredictionTable.load(path, images=_NO_IMAGES) for path in paths]
    for path, other in zip(paths[1:], others, strict=True):
        if other.layout != first.layout or other.postprocess != first.postprocess:
            raise InputError(f"{path}: its layout or post-processing is not that of {paths[0]}: two detectors?")
    return first.layout, first.postprocess


def _itself(shard: Shard) -> Shard:
    return shard


def _all_done(client: Client, futures: list[Future[Any]]) -> bool:
    """Wait for all, for some seconds."""
    from distributed import wait

    try:
        with client.as_current():
            wait(futures, timeout=PATIENCE)
    except TimeoutError:
        return False
    return True
