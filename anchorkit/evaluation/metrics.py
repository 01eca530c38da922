"""What "accurate" means: the metrics that a search can go by.

A metric is an object that is asked: which detections match which boxes, how to read it off the detections of a
configuration, and what the slow referee says. A new one is a subclass of `Metric`, here or in the user's own code;
nothing else in the kit knows which metrics there are. To give it a name, add it to `named_metrics`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from anchorkit.errors import InputError
from anchorkit.evaluation.loops.tables import UNLIMITED
from anchorkit.suggest import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from anchorkit.evaluation.figures import Reading
    from anchorkit.evaluation.ground_truth import GroundTruth
    from anchorkit.evaluation.referees.coco import ReferenceResult

__all__ = ["COCO_FIGURES", "CocoFigure", "FScore", "OfDetections", "VocAP", "WeightedAP"]

COCO_FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""COCO's twelve figures, in pycocotools' order."""
COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
COCO_MAX_DETS = (1, 10, 100)

Read = Callable[["Reading"], float]
ReadClasses = Callable[["Reading"], list[float]]
OnDetections = Callable[["pd.DataFrame", "GroundTruth"], float]


@dataclass(frozen=True)
class MatchingRules:
    """What decides which detections match which annotated boxes.

    Attributes:
        thresholds: IoU thresholds, rising.
        max_dets: how many detections of a class in an image count, rising; the last one is the limit.
        voc: Pascal VOC's rule (a detection looks at the box of greatest IoU only) in place of COCO's.
        every_class: count detections of classes without a box to be found, too. No curve needs them.
    """

    thresholds: tuple[float, ...]
    max_dets: tuple[int, ...]
    voc: bool = False
    every_class: bool = False


class MeanPrecision(NamedTuple):
    """A figure that is a mean of COCO's precision.

    Attributes:
        area: the area range, see `tables.AREA_RANGES`.
        iou: the only IoU threshold that counts; None for all.
    """

    area: int
    iou: float | None


AP_FIGURES = {
    "AP": MeanPrecision(0, None),
    "AP50": MeanPrecision(0, 0.5),
    "AP75": MeanPrecision(0, 0.75),
    "APs": MeanPrecision(1, None),
    "APm": MeanPrecision(2, None),
    "APl": MeanPrecision(3, None),
}
"""COCO's figures that can be bootstrapped."""


class Metric(ABC):
    """What `Evaluator.accuracy` measures: 0..1, or -1 where the ground truth has nothing to measure.

    Methods get `coco`, the IoU thresholds and limits that the evaluator was made with. A metric has to give its `name`,
    what the `referee` says, and either a `reader` or, with `needs_detections`, `of_detections`.

    Attributes:
        needs_detections: whether the metric is computed from the detections themselves. That is slower.
    """

    needs_detections: ClassVar[bool] = False

    @property
    @abstractmethod
    def name(self) -> str:
        """What ledgers and files call it; another one for every value of its options."""

    @property
    def every_area(self) -> bool:
        """Whether the reader needs more than the first area range (all sizes) and the last limit."""
        return False

    @property
    def mean_precision(self) -> MeanPrecision | None:
        """The figure to bootstrap; None if this metric cannot be bootstrapped."""
        return None

    def rules(self, coco: MatchingRules) -> MatchingRules:
        """How detections match."""
        return coco

    def reader(
        self, coco: MatchingRules, category_ids: npt.NDArray[np.int64], ends: Callable[[float], npt.NDArray[np.int64]]
    ) -> Read:
        """A function that computes the metric from the detections of one configuration.

        Args:
            coco: the evaluator's IoU thresholds and limits.
            category_ids: int64 (K,), of the ground truth, rising.
            ends: gives, for a score, int64 (K,): the place in each class before which the scores are above it.
        """
        raise NotImplementedError

    def class_reader(self, coco: MatchingRules) -> tuple[MatchingRules, ReadClasses]:
        """The AP of each category: how detections match for it, and how to read it."""
        return coco, lambda reading: reading.per_class(reading.precision())

    def of_detections(self, detections: pd.DataFrame, truth: GroundTruth) -> float:
        """The metric of the detections of one configuration (see `Evaluator.detections`)."""
        raise NotImplementedError

    @abstractmethod
    def referee(self, found: ReferenceResult) -> tuple[float, dict[int, float]]:
        """The same by the slow referees: the metric, and the AP of each category (as a rule ``found.per_class``)."""


@dataclass(frozen=True)
class CocoFigure(Metric):
    """One of COCO's figures by its name: ``AP`` (IoU 0.50:0.95), ``AP50``, ``AP75``, ``APs``, ..., ``ARl``.

    Example:
        >>> CocoFigure("AP75").mean_precision
        MeanPrecision(area=0, iou=0.75)
    """

    figure: str = "AP"

    @property
    def name(self) -> str:
        return self.figure

    @property
    def every_area(self) -> bool:
        return self.mean_precision is None or self.mean_precision.area > 0

    @property
    def mean_precision(self) -> MeanPrecision | None:
        return AP_FIGURES.get(self.figure)

    def reader(self, coco: MatchingRules, category_ids: Any, ends: Any) -> Read:
        part = self.mean_precision
        if part is None:
            at = figure_names(coco.max_dets).index(self.figure)
            return lambda reading: reading.coco(coco.thresholds)[at]
        which = slice(None) if part.iou is None else np.equal(coco.thresholds, part.iou)
        return lambda reading: reading.mean(reading.precision(part.area)[which])

    def referee(self, found: ReferenceResult) -> tuple[float, dict[int, float]]:
        return found.stats[self.figure], found.per_class


@dataclass(frozen=True)
class WeightedAP(Metric):
    """Mean of the AP (IoU 0.50:0.95) of classes, some counting more than others.

    Attributes:
        weights: by category id, 0 or more; a category that is not named counts 0. Only categories with boxes to be
            found take part: ``sum(w * AP) / sum(w)`` over them.

    Raises:
        InputError: a weight is negative or no number, or none is above 0.

    Example:
        >>> WeightedAP({1: 2, 3: 0.5}).name  # category 1 counts four times as much as 3, and no other counts
        'WeightedAP({1: 2, 3: 0.5})'
    """

    weights: Mapping[int, float]

    def __post_init__(self) -> None:
        for category_id, weight in self.weights.items():
            if not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
                raise InputError(f"WeightedAP: the weight of category {category_id} is {weight!r}; 0 or more is needed")
        if not any(self.weights.values()):
            raise InputError("WeightedAP: no category has a weight above 0")

    @property
    def name(self) -> str:
        listed = ", ".join(f"{category_id}: {_exact(weight)}" for category_id, weight in sorted(self.weights.items()))
        return f"WeightedAP({{{listed}}})"

    def __hash__(self) -> int:
        return hash(self.name)

    def reader(self, coco: MatchingRules, category_ids: npt.NDArray[np.int64], ends: Any) -> Read:
        weights = np.array([self.weights.get(category_id, 0.0) for category_id in category_ids.tolist()])

        def read(reading: Reading) -> float:
            average = np.array(reading.per_class(reading.precision()))
            measured = np.where(average >= 0, weights, 0.0)
            total = measured.sum()
            return float((measured * average).sum() / total) if total > 0 else -1.0

        return read

    def referee(self, found: ReferenceResult) -> tuple[float, dict[int, float]]:
        weights = {key: self.weights.get(key, 0.0) for key, average in found.per_class.items() if average >= 0}
        total = sum(weights.values())
        value = sum(weight * found.per_class[key] for key, weight in weights.items()) / total if total else -1.0
        return value, found.per_class


@dataclass(frozen=True)
class VocAP(Metric):
    """Pascal VOC's mean average precision, as VOCdevkit computes it. Difficult boxes and crowds are skipped.

    Each detection looks only at the box of its class that it overlaps most. All detections of the detector count.

    Attributes:
        points: 11 for the mean over 11 recalls (VOC2007), None for the area under the curve (VOC2010 and later).
        iou: least IoU of a hit, above 0 and up to 1.

    Raises:
        InputError: `points` or `iou` is out of range.

    Example:
        >>> VocAP(points=11).name, VocAP(iou=0.7).name
        ('voc07', 'voc@0.7')
    """

    points: int | None = None
    iou: float = 0.5

    def __post_init__(self) -> None:
        if self.points not in (None, 11):
            raise InputError(f"VocAP: points is {self.points!r}; use 11 (VOC2007) or None (area, VOC2010)")
        _check_share("VocAP: iou", self.iou, above_zero=True)

    @property
    def name(self) -> str:
        short = "voc07" if self.points else "voc"
        return short if self.iou == 0.5 else f"{short}@{_exact(self.iou)}"

    def rules(self, coco: MatchingRules) -> MatchingRules:
        return MatchingRules((self.iou,), (UNLIMITED,), voc=True)

    def reader(self, coco: MatchingRules, category_ids: Any, ends: Any) -> Read:
        return lambda reading: reading.mean(reading.voc(self.points))

    def class_reader(self, coco: MatchingRules) -> tuple[MatchingRules, ReadClasses]:
        return self.rules(coco), lambda reading: reading.per_class(reading.voc(self.points))

    def referee(self, found: ReferenceResult) -> tuple[float, dict[int, float]]:
        return found.voc(self.points, self.iou)


@dataclass(frozen=True)
class FScore(Metric):
    """F-score of the detections above a score threshold, over all classes together, matched by COCO's rules.

    Attributes:
        score_threshold: detections with a score at or below it (0..1) do not count.
        iou: least IoU of a hit, above 0 and up to 1.
        beta: how many times as much recall weighs as precision, above 0.

    Raises:
        InputError: a value is out of range.

    Example:
        >>> FScore(score_threshold=0.3, beta=2).name
        'F2 at score 0.3, IoU 0.5'
    """

    score_threshold: float = 0.5
    iou: float = 0.5
    beta: float = 1.0

    def __post_init__(self) -> None:
        _check_share("FScore: score_threshold", self.score_threshold)
        _check_share("FScore: iou", self.iou, above_zero=True)
        if not isinstance(self.beta, int | float) or not 0 < self.beta < math.inf:
            raise InputError(f"FScore: beta is {self.beta!r}; a number above 0 is needed")

    @property
    def name(self) -> str:
        return f"F{_exact(self.beta)} at score {_exact(self.score_threshold)}, IoU {_exact(self.iou)}"

    def rules(self, coco: MatchingRules) -> MatchingRules:
        return MatchingRules((self.iou,), coco.max_dets[-1:], every_class=True)

    def reader(self, coco: MatchingRules, category_ids: Any, ends: Callable[[float], npt.NDArray[np.int64]]) -> Read:
        above = ends(self.score_threshold)

        def read(reading: Reading) -> float:
            to_find = int(reading.classes.n_real[0].sum())
            if to_find == 0:
                return -1.0
            right, wrong = reading.right_and_wrong(above)
            weight = self.beta * self.beta
            total = (1 + weight) * right + weight * (to_find - right) + wrong
            return (1 + weight) * right / total if right else 0.0

        return read

    def referee(self, found: ReferenceResult) -> tuple[float, dict[int, float]]:
        return found.f_score(self.score_threshold, self.iou, self.beta), found.per_class


@dataclass(frozen=True)
class OfDetections(Metric):
    """A figure of the user's own, computed from the detections: exact, and slower by the time that this takes.

    Attributes:
        function: gets the detections (see `Evaluator.detections`) and the ground truth.

    Example:
        >>> def detections_per_image(detections, truth):
        ...     return len(detections) / len(truth.image_ids)
        >>> OfDetections(detections_per_image).name
        'detections_per_image'
    """

    needs_detections: ClassVar[bool] = True
    function: OnDetections

    @property
    def name(self) -> str:
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def of_detections(self, detections: pd.DataFrame, truth: GroundTruth) -> float:
        return float(self.function(detections, truth))

    def referee(self, found: ReferenceResult) -> tuple[float, dict[int, float]]:
        return float(self.function(found.detections, found.ground_truth)), found.per_class


def named_metrics(max_dets: tuple[int, ...] = COCO_MAX_DETS) -> dict[str, Metric]:
    """The metrics that have a name, for some limits on the detections that count."""
    figures = {name: CocoFigure(name) for name in figure_names(max_dets)}
    return {**figures, "voc07": VocAP(points=11), "voc": VocAP()}


def read_metric(metric: Any, max_dets: tuple[int, ...] = COCO_MAX_DETS) -> Metric:
    """A metric from what a user may give: a name, a metric, or a function of detections and ground truth.

    Raises:
        InputError: there is no such metric.

    Example:
        >>> read_metric("AP50"), read_metric("voc07")
        (CocoFigure(figure='AP50'), VocAP(points=11, iou=0.5))
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        names = named_metrics(max_dets)
        if metric not in names:
            raise InputError(f"unknown metric {metric!r}; {did_you_mean(metric, names)}")
        return names[metric]
    if callable(metric):
        return OfDetections(metric)
    raise InputError(f"metric is {metric!r}; a name, a metric of anchorkit.evaluation.metrics or a function is needed")


def figure_names(max_dets: tuple[int, ...]) -> tuple[str, ...]:
    """The names of COCO's figures for some numbers of detections: `COCO_FIGURES` for 1, 10 and 100."""
    return (*COCO_FIGURES[:6], *(f"AR{limit}" for limit in max_dets), *COCO_FIGURES[9:])


def _exact(number: float) -> str:
    """The shortest text from which the number can be read back: the names of two metrics must differ."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(float(number))


def _check_share(what: str, value: Any, above_zero: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1 or (above_zero and value == 0):
        raise InputError(
            f"{what} is {value!r}; a number {'above 0 and up to 1' if above_zero else 'from 0 to 1'} is needed"
        )
