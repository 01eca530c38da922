"""Asking for the accuracy of configurations, wherever the images lie."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anchorkit.anchors import AnchorLayout, Configuration, Move
from anchorkit.errors import InputError
from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.evaluation.loops.tables import MOST_THRESHOLDS, UNLIMITED, Array
from anchorkit.evaluation.metrics import (
    COCO_THRESHOLDS,
    FScore,
    Metric,
    OfDetections,
    VocAP,
    figure_names,
    read_metric,
)

if TYPE_CHECKING:
    from anchorkit.evaluation.building import MatchingRules
    from anchorkit.evaluation.engine import Engine
    from anchorkit.evaluation.figures import Reading


class Accuracies(ABC):
    """The questions that one can ask of configurations, and the answers remembered.

    A configuration is given as a `Configuration` of the same layout or as anchor ids or indices to keep. Figures are
    0..1, or -1 where the ground truth has nothing to measure, as in pycocotools. May be used by several threads; they
    take turns.

    Attributes:
        layout: the anchors of the detector.
        ground_truth: the annotated boxes.
    """

    layout: AnchorLayout
    ground_truth: GroundTruth

    def __init__(
        self,
        metric: str | Metric | Callable[..., float],
        iou_thresholds: Sequence[float] | None,
        max_dets: Sequence[int],
    ) -> None:
        self._thresholds = COCO_THRESHOLDS if iou_thresholds is None else _checked_thresholds(iou_thresholds)
        self._max_dets = _checked_limits(max_dets)
        self._metric = read_metric(metric, self._max_dets)
        self._lock = threading.RLock()
        self._engines: dict[tuple[MatchingRules, bool], Engine] = {}

    @property
    def metric(self) -> str:
        """The name of what `accuracy` tells."""
        return self._metric.name

    @property
    def full(self) -> Configuration:
        """The configuration that keeps every anchor."""
        return self.layout.full

    def accuracy(self, c: Configuration | Iterable[int | str]) -> float:
        """The metric: by default AP at IoU 0.50:0.95 over all areas."""
        configuration = self._configuration(c)
        with self._lock:
            found = self._accuracies.get(configuration.mask)
            if found is None:
                if self._read is None:
                    found = self._of_detections(configuration)
                else:
                    found = self._main.figure(configuration.mask, self._read)
                self._accuracies[configuration.mask] = found
        return found

    def children(self, c: Configuration | Iterable[int | str], moves: Sequence[Move]) -> npt.NDArray[np.float64]:
        """The accuracy of each configuration that a move leads to: float64 (len(moves),).

        All are found in one pass over the images, which is several times as fast as one after the other.
        """
        configuration = self._configuration(c)
        masks = [configuration.without(move.anchors).mask for move in moves]
        with self._lock:
            if self._read is None:
                return np.array([self.accuracy(configuration.without(move.anchors)) for move in moves], np.float64)
            unknown = list(dict.fromkeys(mask for mask in masks if mask not in self._accuracies))
            if unknown:
                found = self._main.figures(configuration.mask, unknown, self._read)
                self._accuracies.update(zip(unknown, found, strict=True))
            return np.array([self._accuracies[mask] for mask in masks], np.float64)

    def stats(self, c: Configuration | Iterable[int | str]) -> dict[str, float]:
        """The 12 figures of COCO: AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl.

        With other `max_dets`, one AR for each of them. AP50 and AP75 are -1 if their IoU is not among the thresholds.
        """
        configuration = self._configuration(c)
        with self._lock:
            return self._engine(self._coco_rules, every_area=True).figure(configuration.mask, self._figures)

    def children_stats(self, c: Configuration | Iterable[int | str], moves: Sequence[Move]) -> list[dict[str, float]]:
        """The 12 figures of COCO (see `stats`) of each configuration that a move leads to."""
        configuration = self._configuration(c)
        masks = [configuration.without(move.anchors).mask for move in moves]
        with self._lock:
            engine = self._engine(self._coco_rules, every_area=True)
            return engine.figures(configuration.mask, masks, self._figures)

    def per_class(self, c: Configuration | Iterable[int | str]) -> dict[int, float]:
        """The AP of each category of the ground truth, by its id: Pascal VOC's if that is the metric, else COCO's."""
        configuration = self._configuration(c)
        metric = self._metric
        with self._lock:
            if isinstance(metric, VocAP):
                values = self._main.figure(
                    configuration.mask, lambda reading: reading.per_class(reading.voc(metric.points))
                )
            else:
                engine = self._engine(self._coco_rules, every_area=False)
                values = engine.figure(configuration.mask, lambda reading: reading.per_class(reading.precision()))
        return dict(zip(self.ground_truth.category_ids.tolist(), values, strict=True))

    @abstractmethod
    def _new_engine(self, rules: MatchingRules, every_area: bool) -> Engine: ...

    @abstractmethod
    def _ends(self, rules: MatchingRules, score_threshold: float) -> Array:
        """int64 (K,): the place in each class before which the scores are above a threshold."""

    @abstractmethod
    def _of_detections(self, configuration: Configuration) -> float:
        """The metric, which is a function of the detections."""

    def _begin(self) -> None:
        """Build what the metric needs, with nothing remembered."""
        self._accuracies: dict[int, float] = {}
        self._read: Callable[[Reading], float] | None = None
        if isinstance(self._metric, OfDetections):
            self._engine(self._coco_rules, every_area=False)
        else:
            from anchorkit.evaluation.figures import reader_of

            rules = self._rules
            self._read, every_area = reader_of(
                self._metric,
                self._thresholds,
                self.ground_truth.category_ids,
                figure_names(self._max_dets),
                lambda score: self._ends(rules, score),
            )
            self._main = self._engine(rules, every_area)

    def _engine(self, rules: MatchingRules, every_area: bool) -> Engine:
        if (rules, every_area) not in self._engines:
            self._engines[rules, every_area] = self._new_engine(rules, every_area)
        return self._engines[rules, every_area]

    @property
    def _coco_rules(self) -> MatchingRules:
        from anchorkit.evaluation.building import MatchingRules

        return MatchingRules(self._thresholds, self._max_dets)

    @property
    def _rules(self) -> MatchingRules:
        """How the metric matches."""
        from anchorkit.evaluation.building import MatchingRules

        if isinstance(self._metric, VocAP):
            return MatchingRules((self._metric.iou,), (UNLIMITED,), voc=True)
        if isinstance(self._metric, FScore):
            return MatchingRules((self._metric.iou,), self._max_dets[-1:], every_class=True)
        return self._coco_rules

    def _figures(self, reading: Reading) -> dict[str, float]:
        from anchorkit.evaluation.figures import coco_figures

        return coco_figures(reading, self._thresholds, figure_names(self._max_dets))

    def _configuration(self, c: Configuration | Iterable[int | str]) -> Configuration:
        if not isinstance(c, Configuration):
            return self.layout.configuration(keep=c)
        if c.layout is not self.layout and c.layout != self.layout:
            raise InputError(
                f"the configuration is one of {c.layout.detector} ({len(c.layout)} anchors), the predictions are of "
                f"{self.layout.detector} ({len(self.layout)} anchors): their layouts differ"
            )
        return c


def _checked_thresholds(values: Sequence[float]) -> tuple[float, ...]:
    try:
        thresholds = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise InputError(f"iou_thresholds is {values!r}; numbers above 0 and up to 1 are needed") from None
    rising = all(low < high for low, high in itertools.pairwise(thresholds))
    if not thresholds or not rising or not 0 < thresholds[0] <= thresholds[-1] <= 1:
        raise InputError(f"iou_thresholds is {list(thresholds)}; rising numbers above 0 and up to 1 are needed")
    if len(thresholds) > MOST_THRESHOLDS:
        raise InputError(f"iou_thresholds has {len(thresholds)} numbers; {MOST_THRESHOLDS} are the most")
    return thresholds


def _checked_limits(values: Sequence[int]) -> tuple[int, ...]:
    limits = tuple(values) if isinstance(values, Sequence | np.ndarray) else ()
    whole = all(isinstance(value, int | np.integer) and not isinstance(value, bool) and value > 0 for value in limits)
    if not 1 <= len(limits) <= 3 or not whole or any(low >= high for low, high in itertools.pairwise(limits)):
        raise InputError(f"max_dets is {values!r}; one to three rising whole numbers of 1 or more are needed")
    return tuple(int(value) for value in limits)
