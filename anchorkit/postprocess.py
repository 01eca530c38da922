"""Raw predictions, and how they become detections: threshold, top-k, NMS, cap.

Facts only: `evaluation` carries them out. Detectors state them, prediction tables carry them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anchorkit.errors import InputError

if TYPE_CHECKING:
    import numpy as np

TOPK_SCOPES = ("class", "level", "image")


@dataclass(frozen=True, slots=True)
class PostProcess:
    """The steps between raw predictions and detections, in the order in which they are taken.

    Attributes:
        score_threshold: rows with a score at or below it (0..1) do not take part.
        topk: how many rows of an image are kept before NMS in each scope, or None for all.
        topk_scope: what `topk` counts over: ``"class"`` (each class of an image), ``"level"`` (each level of an
            image) or ``"image"``.
        nms_iou: greedy NMS, per class, suppresses a box whose IoU with a better kept box is above this (0..1).
        max_detections: how many detections of an image are kept over all classes, or None for all.

    Raises:
        InputError: a value is out of its range; the message names it.

    Example:
        >>> import anchorkit as ak
        >>> ak.PostProcess(score_threshold=0.05, topk=400, nms_iou=0.5)
        PostProcess(score_threshold=0.05, topk=400, topk_scope='class', nms_iou=0.5, max_detections=100)
        >>> ak.PostProcess(nms_iou=50)
        Traceback (most recent call last):
        anchorkit.errors.InputError: postprocess: nms_iou is 50; it must lie between 0 and 1
    """

    score_threshold: float = 0.01
    topk: int | None = None
    topk_scope: str = "class"
    nms_iou: float = 0.45
    max_detections: int | None = 100

    def __post_init__(self) -> None:
        for name in ("score_threshold", "nms_iou"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InputError(f"postprocess: {name} is {value!r}; a number from 0 to 1 is needed")
            if not 0 <= value <= 1:
                raise InputError(f"postprocess: {name} is {value}; it must lie between 0 and 1")
        for name in ("topk", "max_detections"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"postprocess: {name} is {value!r}; a whole number of 1 or more, or null, is needed")
        if self.topk_scope not in TOPK_SCOPES:
            raise InputError(f"postprocess: topk_scope is {self.topk_scope!r}; use one of {', '.join(TOPK_SCOPES)}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that prediction tables carry."""
        return {
            "score_threshold": self.score_threshold,
            "topk": self.topk,
            "topk_scope": self.topk_scope,
            "nms_iou": self.nms_iou,
            "max_detections": self.max_detections,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "postprocess") -> PostProcess:
        """Read the JSON object of a prediction table; `source` is named in errors.

        Raises:
            InputError: a key is missing or unknown, or a value is out of range.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"{source}: the post-processing is not a JSON object")
        names = ("score_threshold", "topk", "topk_scope", "nms_iou", "max_detections")
        missing = [name for name in names if name not in data]
        if missing:
            raise InputError(f"{source}: the post-processing lacks {', '.join(missing)}")
        try:
            return cls(**{name: data[name] for name in names})
        except InputError as error:
            raise InputError(f"{source}: {error}") from None


@dataclass(frozen=True)
class RawPredictions:
    """Everything a detector predicts for one image, before top-k and NMS.

    Attributes:
        boxes: float32 (B, 4), x1 y1 x2 y2 in pixels of the original image, clipped to it, in the detector's own order.
        scores: float32 (B, K), 0..1, for each object class in the order of the detector's categories.
        anchor: int32 (B,), the index of the anchor that made the box.

    Example:
        >>> import anchorkit as ak
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> import numpy as np
        >>> [raw] = detector.raw_predictions([np.zeros((120, 90, 3), np.uint8)])
        >>> raw.boxes.shape, raw.scores.shape, raw.anchor.shape
        ((2424, 4), (2424, 7), (2424,))
    """

    boxes: np.ndarray
    scores: np.ndarray
    anchor: np.ndarray
