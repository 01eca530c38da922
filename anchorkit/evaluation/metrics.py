"""What "accurate" means: the figures that a search can go by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anchorkit.errors import InputError
from anchorkit.suggest import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from anchorkit.evaluation.ground_truth import GroundTruth

__all__ = [
    "COCO_FIGURES",
    "CocoFigure",
    "FScore",
    "OfDetections",
    "VocAP",
    "WeightedAP",
]

COCO_FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
COCO_MAX_DETS = (1, 10, 100)

OnDetections = Callable[["pd.DataFrame", "GroundTruth"], float]


@dataclass(frozen=True)
class CocoFigure:
    """One of COCO's figures by its name: ``AP`` (IoU 0.50:0.95), ``AP50``, ``AP75``, ``APs``, ..., ``ARl``."""

    figure: str = "AP"

    @property
    def name(self) -> str:
        """What ledgers and files call it."""
        return self.figure


@dataclass(frozen=True)
class WeightedAP:
    """Mean of the AP (IoU 0.50:0.95) of classes, some counting more than others.

    Attributes:
        weights: by category id, 0 or more; a category that is not named counts 0. Only categories with boxes to be
            found take part: ``sum(w * AP) / sum(w)`` over them.

    Raises:
        InputError: a weight is negative or no number, or none is above 0.
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
        """What ledgers and files call it."""
        listed = ", ".join(f"{category_id}: {_exact(weight)}" for category_id, weight in sorted(self.weights.items()))
        return f"WeightedAP({{{listed}}})"

    def __hash__(self) -> int:
        return hash(self.name)


@dataclass(frozen=True)
class VocAP:
    """Pascal VOC's mean average precision, as VOCdevkit computes it; difficult boxes and crowds are passed over.

    Each detection looks only at the box of its class that it overlaps most. All detections of the detector count.

    Attributes:
        points: 11 for the mean over 11 recalls (VOC2007), None for the area under the curve (VOC2010 and later).
        iou: least IoU of a hit, above 0 and up to 1.

    Raises:
        InputError: `points` or `iou` is out of range.
    """

    points: int | None = None
    iou: float = 0.5

    def __post_init__(self) -> None:
        if self.points not in (None, 11):
            raise InputError(f"VocAP: points is {self.points!r}; use 11 (VOC2007) or None (area, VOC2010)")
        _check_share("VocAP: iou", self.iou, above_zero=True)

    @property
    def name(self) -> str:
        """What ledgers and files call it."""
        short = "voc07" if self.points else "voc"
        return short if self.iou == 0.5 else f"{short}@{_exact(self.iou)}"


@dataclass(frozen=True)
class FScore:
    """F-score of the detections above a score threshold, over all classes together, matched by COCO's rules.

    Attributes:
        score_threshold: detections with a score at or below it (0..1) do not count.
        iou: least IoU of a hit, above 0 and up to 1.
        beta: how many times as much recall weighs as precision, above 0.

    Raises:
        InputError: a value is out of range.
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
        """What ledgers and files call it."""
        return f"F{_exact(self.beta)} at score {_exact(self.score_threshold)}, IoU {_exact(self.iou)}"


@dataclass(frozen=True)
class OfDetections:
    """A figure of the user's own, computed from the detections: exact, and slower by the time that takes."""

    function: OnDetections

    @property
    def name(self) -> str:
        """What ledgers and files call it."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))


Metric = CocoFigure | WeightedAP | VocAP | FScore | OfDetections


def read_metric(metric: Any, max_dets: tuple[int, ...] = COCO_MAX_DETS) -> Metric:
    """A metric from what a user may give: a name, a metric, or a function of detections and ground truth.

    Raises:
        InputError: there is no such metric.
    """
    if isinstance(metric, CocoFigure | WeightedAP | VocAP | FScore | OfDetections):
        return metric
    if isinstance(metric, str):
        if metric == "voc07":
            return VocAP(points=11)
        if metric == "voc":
            return VocAP()
        names = figure_names(max_dets)
        if metric in names:
            return CocoFigure(metric)
        raise InputError(f"unknown metric {metric!r}; {did_you_mean(metric, [*names, 'voc07', 'voc'])}")
    if callable(metric):
        return OfDetections(metric)
    raise InputError(f"metric is {metric!r}; a name, a metric of anchorkit.evaluation.metrics or a function is needed")


def figure_names(max_dets: tuple[int, ...]) -> tuple[str, ...]:
    """The names of COCO's figures for some numbers of detections: `COCO_FIGURES` for 1, 10 and 100."""
    return (*COCO_FIGURES[:6], *(f"AR{limit}" for limit in max_dets), *COCO_FIGURES[9:])


def voc_average(points: int | None, n_real: int, precision: npt.NDArray[np.float64]) -> float:
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


def _exact(number: float) -> str:
    """A number as short as it can be told apart from all others: accuracies by different metrics must not mix."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(float(number))


def _check_share(what: str, value: Any, above_zero: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1 or (above_zero and value == 0):
        raise InputError(
            f"{what} is {value!r}; a number {'above 0 and up to 1' if above_zero else 'from 0 to 1'} is needed"
        )
