"""Figures of the detections of one configuration."""

from __future__ import annotations

import math

import numpy as np

from anchorkit.evaluation.loops import curves
from anchorkit.evaluation.loops.tables import N_RECALLS, Array, Bitmap, Classes, CurveScratch, Rules

NO_MATCHES = np.empty(0, np.int64), np.empty(0, np.uint64)
"""Places and outcomes, as in `Bitmap`."""


class Reading:
    """The detections of one configuration as a bitmap, and the memory to compute figures from it.

    A metric that needs a compiled loop of its own may call it with `bitmap`, `classes` and `scratch`, as `voc` does.

    Attributes:
        bits: uint64 (areas, words), the bits of the bitmap.
        bitmap: the detections.
        classes: what the curves need of each class.
        scratch: memory for one class.
        n_thresholds: number of IoU thresholds.
        n_areas: number of area ranges in the bitmap.
        n_ranks: number of smaller limits on the detections of a group, for which recall can be asked.
    """

    def __init__(self, rules: Rules, classes: Classes) -> None:
        self.bits, self.classes = np.zeros((rules.n_areas, classes.place_word[-1]), np.uint64), classes
        self.n_thresholds, self.n_areas, self.n_ranks = rules.n_thresholds, rules.n_areas, len(rules.ranks)
        self.show(*NO_MATCHES)
        longest = classes.most_pairs + 1
        place, before, wrong = (np.empty(longest, kind) for kind in (np.int64, np.int32, np.int32))
        hit, off, rank = np.empty((3, longest), np.uint32)
        lines = np.empty((curves.CLASSES_AT_ONCE, self.n_thresholds * N_RECALLS))
        self.scratch = CurveScratch(place, before, hit, off, rank, wrong, np.empty(longest), lines)
        self._columns = (classes.column >= 0).sum(axis=1)
        # Every reading writes all entries.
        n_columns = int(self._columns.max(initial=0))
        self._precision = np.zeros(self.n_thresholds * N_RECALLS * n_columns)
        self._found = np.zeros(self.n_thresholds * n_columns, np.int64)
        self._early = np.zeros(self.n_ranks * self.n_thresholds * n_columns, np.int64)

    def show(self, at: Array, outcome: Array, changes: tuple[Array, Array] = NO_MATCHES) -> None:
        """Take other matches (see `Bitmap`). The engine changes the bits."""
        self.bitmap = Bitmap(self.bits, at, outcome, *changes)

    @staticmethod
    def mean(values: Array) -> float:
        """The mean, or -1 of nothing, as pycocotools takes it: over one contiguous row (the order decides the bits)."""
        return float(np.mean(values.ravel())) if values.size else -1.0

    def per_class(self, values: Array) -> list[float]:
        """The mean over all but the last axis for each class; -1 for a class without boxes to be found."""
        return [self.mean(values[..., column]) if column >= 0 else -1.0 for column in self.classes.column[0].tolist()]

    def precision(self, area: int = 0) -> Array:
        """COCO's precision, float64 (thresholds, 101, classes with boxes to be found); valid until the next reading."""
        return self.precision_and_recall(area)[0]

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
        curves.coco_precision(area, self.n_thresholds, self.bitmap, self.classes, self.scratch, precision, found, early)
        n_real = self.classes.n_real[area]
        n_real = n_real[n_real > 0]
        return precision, found / n_real, early / n_real

    def coco(self, thresholds: tuple[float, ...]) -> list[float]:
        """COCO's figures in their order (see `metrics.figure_names`), of a bitmap with all area ranges."""
        precision, recall, early = self.precision_and_recall(0, self.n_ranks)
        values = [self.mean(precision)]
        values += [self.mean(precision[np.equal(thresholds, iou)]) for iou in (0.5, 0.75)]
        recalls = [*map(self.mean, early), self.mean(recall)]
        for area in (1, 2, 3):
            precision, recall, _ = self.precision_and_recall(area)
            values.append(self.mean(precision))
            recalls.append(self.mean(recall))
        return [*values, *recalls]

    def voc(self, points: int | None) -> Array:
        """Pascal VOC's average precision of each class, float64 (classes with boxes to be found,)."""
        n_real = self.classes.n_real[0]
        start = np.append(0, np.cumsum(n_real))
        precision, found = np.empty(start[-1]), np.zeros(len(n_real), np.int64)
        curves.voc_precision(start, self.bitmap, self.classes, self.scratch, precision, found)
        measured = np.flatnonzero(n_real)
        return np.array([voc_average(points, n_real[k], precision[start[k] : start[k] + found[k]]) for k in measured])

    def right_and_wrong(self, ends: Array) -> tuple[int, int]:
        """True and false positives at the first IoU threshold among the detections at places before ``ends[class]``."""
        right, wrong = curves.outcomes_before(ends, 0, self.bitmap, self.classes, self.scratch)
        return int(right), int(wrong)


def _shaped(memory: Array, shape: tuple[int, ...]) -> Array:
    return memory[: math.prod(shape)].reshape(shape)


def voc_average(points: int | None, n_real: int, precision: Array) -> float:
    """Pascal VOC's average precision of one class.

    Args:
        points: 11, or None for the area.
        n_real: boxes to be found.
        precision: float64 (n,), the best precision at each true positive or beyond.
    """
    recall = np.arange(1, len(precision) + 1) / n_real
    if points is None:
        # As VOCdevkit: between recall 0 and 1, with precision 0 beyond the last true positive.
        ends = np.concatenate(([0.0], recall, [1.0]))
        beyond = np.append(precision, 0.0)
        changes = np.flatnonzero(ends[1:] != ends[:-1])
        return float(np.sum((ends[changes + 1] - ends[changes]) * beyond[changes]))
    total = 0.0
    for point in np.arange(0.0, 1.1, 0.1):
        at = int(np.searchsorted(recall, point))
        total += (precision[at] if at < len(precision) else 0.0) / 11.0
    return float(total)
