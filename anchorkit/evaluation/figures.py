"""Figures off a board of detections."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from anchorkit.evaluation.loops import curves
from anchorkit.evaluation.loops.tables import N_RECALLS, Array, Bitmap, Classes, CurveScratch
from anchorkit.evaluation.metrics import CocoFigure, FScore, Metric, VocAP, WeightedAP, voc_average

_NOWHERE, _NOTHING = np.empty(0, np.int64), np.empty(0, np.uint64)


class Reading:
    """A board, and the memory to read figures off it.

    Attributes:
        bits: its bits. board: the detections of one configuration.
        classes: what the curves need of each class.
        n_thresholds: IoU thresholds; n_areas: area ranges on the board; n_ranks: smaller limits on the detections of a
            group, for which recall can be asked.
    """

    def __init__(self, bits: Array, classes: Classes, n_thresholds: int, n_ranks: int) -> None:
        self.bits, self.classes = bits, classes
        self.n_thresholds, self.n_areas, self.n_ranks = n_thresholds, len(bits), n_ranks
        self.show(_NOWHERE, _NOTHING)
        longest = classes.most_pairs + 1
        self._scratch = CurveScratch(
            place=np.empty(longest, np.int64),
            before=np.empty(longest, np.int64),
            hit=np.empty(longest, np.int64),
            off=np.empty(longest, np.int64),
            rank=np.empty(longest, np.int64),
            curve=np.empty(longest),
            line=np.empty(N_RECALLS),
        )
        self._columns = (classes.column >= 0).sum(axis=1)
        # Every entry is written anew at each reading.
        n_columns = int(self._columns.max(initial=0))
        self._precision = np.zeros(n_thresholds * N_RECALLS * n_columns)
        self._found = np.zeros(n_thresholds * n_columns, np.int64)
        self._early = np.zeros(n_ranks * n_thresholds * n_columns, np.int64)

    def show(self, at: Array, outcome: Array, new_at: Array = _NOWHERE, new_outcome: Array = _NOTHING) -> None:
        """Show other matches (see `Bitmap`); who changes the bits is the owner of the board."""
        self.bitmap = Bitmap(self.bits, at, outcome, new_at, new_outcome)

    def precision(self) -> Array:
        """COCO's precision, float64 (thresholds, 101, classes with boxes to be found); valid until the next reading."""
        return self.precision_and_recall()[0]

    def precision_and_recall(self, area: int = 0, n_ranks: int = 0) -> tuple[Array, Array, Array]:
        """Precision (see `precision`) in an area range, and recall.

        Returns:
            Precision; recall, float64 (thresholds, classes with boxes to be found); and recall by the first few
            detections of each group, float64 (n_ranks, thresholds, classes).
        """
        columns = int(self._columns[area])
        precision = _shaped(self._precision, (self.n_thresholds, N_RECALLS, columns))
        found = _shaped(self._found, (self.n_thresholds, columns))
        early = _shaped(self._early, (n_ranks, self.n_thresholds, columns))
        curves.coco_precision(
            area, self.n_thresholds, self.bitmap, self.classes, self._scratch, precision, found, early
        )
        n_real = self.classes.n_real[area]
        n_real = n_real[n_real > 0]
        return precision, found / n_real, early / n_real

    def voc(self, points: int | None) -> Array:
        """Pascal VOC's average precision of each class, float64 (classes with boxes to be found,)."""
        n_real = self.classes.n_real[0]
        start = np.append(0, np.cumsum(n_real))
        precision, found = np.empty(start[-1]), np.zeros(len(n_real), np.int64)
        curves.voc_precision(start, self.bitmap, self.classes, self._scratch, precision, found)
        measured = np.flatnonzero(n_real)
        return np.array([voc_average(points, n_real[k], precision[start[k] : start[k] + found[k]]) for k in measured])

    def right_and_wrong(self, ends: Array) -> tuple[int, int]:
        """True and false positives at the first IoU threshold among the detections at places before ``ends[class]``."""
        right, wrong = curves.outcomes_before(ends, 0, self.bitmap, self.classes, self._scratch)
        return int(right), int(wrong)

    def per_class(self, values: Array) -> list[float]:
        """The mean over all but the last axis for each class; -1 for a class without boxes to be found."""
        return [mean(values[..., column]) if column >= 0 else -1.0 for column in self.classes.column[0].tolist()]


def coco_figures(reading: Reading, thresholds: tuple[float, ...], names: tuple[str, ...]) -> dict[str, float]:
    """COCO's figures by name, from a board with all area ranges."""
    precision, recall, early = reading.precision_and_recall(0, reading.n_ranks)
    values = [mean(precision)]
    values += [mean(precision[np.equal(thresholds, iou)]) for iou in (0.5, 0.75)]
    recalls = [*map(mean, early), mean(recall)]
    for area in (1, 2, 3):
        precision, recall, _ = reading.precision_and_recall(area)
        values.append(mean(precision))
        recalls.append(mean(recall))
    return dict(zip(names, [*values, *recalls], strict=True))


def reader_of(
    metric: Metric,
    thresholds: tuple[float, ...],
    category_ids: Array,
    names: tuple[str, ...],
    ends: Callable[[float], Array],
) -> tuple[Callable[[Reading], float], bool]:
    """How to read a metric off a board, and whether that takes a board with all area ranges and limits.

    Args:
        metric: any but a function of detections.
        thresholds: IoU thresholds of the board.
        category_ids: of the ground truth, rising.
        names: COCO's figures, see `metrics.figure_names`.
        ends: the place in each class before which scores are above a threshold.
    """
    if isinstance(metric, VocAP):
        points = metric.points
        return (lambda reading: mean(reading.voc(points))), False
    if isinstance(metric, FScore):
        return _f_score_reader(metric, ends(metric.score_threshold)), False
    if isinstance(metric, WeightedAP):
        weights = np.array([metric.weights.get(category_id, 0.0) for category_id in category_ids.tolist()])
        return (lambda reading: _weighted(reading, weights)), False
    assert isinstance(metric, CocoFigure)
    figure = metric.figure
    if figure in ("AP", "AP50", "AP75"):
        which = slice(None) if figure == "AP" else np.equal(thresholds, {"AP50": 0.5, "AP75": 0.75}[figure])
        return (lambda reading: mean(reading.precision()[which])), False
    return (lambda reading: coco_figures(reading, thresholds, names)[figure]), True


def _shaped(memory: Array, shape: tuple[int, ...]) -> Array:
    return memory[: int(np.prod(shape))].reshape(shape)


def mean(values: Array) -> float:
    """The mean as pycocotools takes it: over one contiguous row of numbers (the order of summing decides the bits)."""
    return float(np.mean(values.ravel())) if values.size else -1.0


def _weighted(reading: Reading, weights: Array) -> float:
    average = np.array(reading.per_class(reading.precision()))
    measured = np.where(average >= 0, weights, 0.0)
    total = measured.sum()
    return float((measured * average).sum() / total) if total > 0 else -1.0


def _f_score_reader(metric: FScore, ends: Array) -> Callable[[Reading], float]:
    def read(reading: Reading) -> float:
        to_find = int(reading.classes.n_real[0].sum())
        if to_find == 0:
            return -1.0
        right, wrong = reading.right_and_wrong(ends)
        weight = metric.beta * metric.beta
        total = (1 + weight) * right + weight * (to_find - right) + wrong
        return (1 + weight) * right / total if right else 0.0

    return read
