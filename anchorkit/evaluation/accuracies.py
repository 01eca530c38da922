"""The questions about configurations that every evaluator answers, on one machine or on a cluster."""

from __future__ import annotations

import itertools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anchorkit.anchors import AnchorLayout, Configuration, Move
from anchorkit.errors import InputError
from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.evaluation.loops.tables import MOST_THRESHOLDS, Array
from anchorkit.evaluation.metrics import COCO_THRESHOLDS, MatchingRules, Metric, Read, figure_names, read_metric

if TYPE_CHECKING:
    from anchorkit.evaluation.engine import Engine
    from anchorkit.evaluation.figures import Reading


class Accuracies(ABC):
    """The questions about configurations, and the memory of the answers.

    Give a configuration as a `Configuration` of the same layout or as anchor ids or indices to keep. Figures are 0..1,
    or -1 where the ground truth has nothing to measure, as in pycocotools. Several threads may ask; they take turns. A
    subclass calls `_prepare` at the end of its constructor.

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
        thresholds = COCO_THRESHOLDS if iou_thresholds is None else _checked_thresholds(iou_thresholds)
        self._coco = MatchingRules(thresholds, _checked_limits(max_dets))
        self._metric = read_metric(metric, self._coco.max_dets)
        self._lock = threading.RLock()
        self._engines: dict[tuple[MatchingRules, bool], Engine] = {}
        self._accuracies: dict[int, float] = {}
        self._reader: tuple[Engine, Read] | None = None

    @property
    def metric(self) -> str:
        """The name of what `accuracy` returns."""
        return self._metric.name

    @property
    def full(self) -> Configuration:
        """The configuration that keeps every anchor."""
        return self.layout.full

    def accuracy(self, c: Configuration | Iterable[int | str]) -> float:
        """The metric: by default AP at IoU 0.50:0.95 over all areas.

        Example:
            >>> from anchorkit.evaluation.toy import toy_evaluator
            >>> evaluator = toy_evaluator()
            >>> round(evaluator.accuracy(["L0/32x16"]), 3)
            0.404
        """
        configuration = self._configuration(c)
        with self._lock:
            found = self._accuracies.get(configuration.mask)
            if found is None:
                if self._metric.needs_detections:
                    found = self._of_detections(configuration)
                else:
                    engine, read = self._main()
                    found = engine.figure(configuration.mask, read)
                self._accuracies[configuration.mask] = found
        return found

    def children(self, c: Configuration | Iterable[int | str], moves: Sequence[Move]) -> npt.NDArray[np.float64]:
        """The accuracy of each configuration that a move leads to: float64 (len(moves),).

        One pass over the images evaluates all of them, which is several times as fast as one after the other.

        Example:
            >>> import anchorkit as ak
            >>> from anchorkit.evaluation.toy import toy_evaluator
            >>> evaluator = toy_evaluator()
            >>> steps = ak.moves(evaluator.full)
            >>> dict(zip([step.label for step in steps], evaluator.children(evaluator.full, steps).round(3).tolist()))
            {'L0/16x16': 0.404, 'L0/32x16': 0.505}
        """
        configuration = self._configuration(c)
        children = [configuration.without(move.anchors) for move in moves]
        with self._lock:
            if self._metric.needs_detections:
                return np.array([self.accuracy(child) for child in children], np.float64)
            unknown = list(dict.fromkeys(child.mask for child in children if child.mask not in self._accuracies))
            if unknown:
                engine, read = self._main()
                found = engine.figures(configuration.mask, unknown, read)
                self._accuracies.update(zip(unknown, found, strict=True))
            return np.array([self._accuracies[child.mask] for child in children], np.float64)

    def stats(self, c: Configuration | Iterable[int | str]) -> dict[str, float]:
        """The 12 figures of COCO: AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl.

        With other `max_dets`, one AR for each of them. AP50 and AP75 are -1 if their IoU is not among the thresholds.

        Example:
            >>> from anchorkit.evaluation.toy import toy_evaluator
            >>> evaluator = toy_evaluator()
            >>> stats = evaluator.stats([0])
            >>> {name: round(stats[name], 3) for name in ("AP", "APs", "APl", "AR1")}
            {'AP': 0.505, 'APs': 0.505, 'APl': -1.0, 'AR1': 0.5}
        """
        configuration = self._configuration(c)
        with self._lock:
            return self._engine(self._coco, every_area=True).figure(configuration.mask, self._figures)

    def children_stats(self, c: Configuration | Iterable[int | str], moves: Sequence[Move]) -> list[dict[str, float]]:
        """The 12 figures of COCO (see `stats`) of each configuration that a move leads to."""
        configuration = self._configuration(c)
        masks = [configuration.without(move.anchors).mask for move in moves]
        with self._lock:
            engine = self._engine(self._coco, every_area=True)
            return engine.figures(configuration.mask, masks, self._figures)

    def per_class(self, c: Configuration | Iterable[int | str]) -> dict[int, float]:
        """The AP of each category of the ground truth, by its id: Pascal VOC's if that is the metric, else COCO's.

        Example:
            >>> from anchorkit.evaluation.toy import toy_evaluator
            >>> evaluator = toy_evaluator()
            >>> {category: round(value, 3) for category, value in evaluator.per_class(evaluator.full).items()}
            {7: 0.901}
        """
        configuration = self._configuration(c)
        rules, read = self._metric.class_reader(self._coco)
        with self._lock:
            values = self._engine(rules, every_area=False).figure(configuration.mask, read)
        return dict(zip(self.ground_truth.category_ids.tolist(), values, strict=True))

    @abstractmethod
    def _new_engine(self, rules: MatchingRules, every_area: bool) -> Engine: ...

    @abstractmethod
    def _ends(self, rules: MatchingRules, score_threshold: float) -> Array:
        """int64 (K,): the place in each class before which the scores are above a threshold."""

    def _of_detections(self, configuration: Configuration) -> float:
        """The metric, where it `needs_detections`."""
        raise NotImplementedError

    def _prepare(self) -> None:
        """Build what the metric needs now: if it does not fit in memory, that is better known at once."""
        with self._lock:
            if self._metric.needs_detections:
                self._engine(self._coco, every_area=False)
            else:
                self._main()

    def _main(self) -> tuple[Engine, Read]:
        """The engine for the metric, and how to read it."""
        if self._reader is None:
            rules = self._metric.rules(self._coco)
            read = self._metric.reader(self._coco, self.ground_truth.category_ids, partial(self._ends, rules))
            self._reader = self._engine(rules, self._metric.every_area), read
        return self._reader

    def _engine(self, rules: MatchingRules, every_area: bool) -> Engine:
        if (rules, every_area) not in self._engines:
            self._engines[rules, every_area] = self._new_engine(rules, every_area)
        return self._engines[rules, every_area]

    def _figures(self, reading: Reading) -> dict[str, float]:
        names = figure_names(self._coco.max_dets)
        return dict(zip(names, reading.coco(self._coco.thresholds), strict=True))

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
