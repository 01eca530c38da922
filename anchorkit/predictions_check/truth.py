"""The annotated boxes that a prediction table is compared with, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from anchorkit.anchors import AnchorLayout
from anchorkit.postprocess import PostProcess

Array = npt.NDArray[Any]


class Table(Protocol):
    """Raw predictions as arrays, as `anchorkit.PredictionTable` has them."""

    @property
    def image_id(self) -> Array: ...

    @property
    def category_id(self) -> Array: ...

    @property
    def score(self) -> Array: ...

    @property
    def boxes(self) -> Array: ...

    @property
    def layout(self) -> AnchorLayout: ...

    @property
    def postprocess(self) -> PostProcess: ...

    @property
    def source(self) -> str: ...

    def __len__(self) -> int: ...


class Truth(Protocol):
    """The ground truth as arrays, as `anchorkit.evaluation.ground_truth.GroundTruth` has it.

    Shapes: ``image_ids`` (I,) and ``category_ids`` (K,), rising; ``image`` and ``category`` (G,), indices into them;
    ``boxes`` (G, 4) x y width height in pixels; ``crowd`` (G,); ``sizes`` (I, 2) width and height, NaN where unknown.
    """

    @property
    def image_ids(self) -> Array: ...

    @property
    def category_ids(self) -> Array: ...

    @property
    def image(self) -> Array: ...

    @property
    def category(self) -> Array: ...

    @property
    def boxes(self) -> Array: ...

    @property
    def crowd(self) -> Array: ...

    @property
    def sizes(self) -> Array: ...


@dataclass(frozen=True)
class _Objects:
    """A `Truth` of a split."""

    image_ids: Array
    category_ids: Array
    image: Array
    category: Array
    boxes: Array
    crowd: Array
    sizes: Array


def objects_of(ground_truth: Mapping[str, Any]) -> Truth:
    """The annotated boxes of a split, from its complete COCO dict."""
    images = sorted(ground_truth["images"], key=lambda entry: entry["id"])
    annotations = ground_truth["annotations"]
    image_ids = np.array([entry["id"] for entry in images], np.int64)
    category_ids = np.array(sorted(entry["id"] for entry in ground_truth["categories"]), np.int64)
    image = np.searchsorted(image_ids, np.array([a["image_id"] for a in annotations], np.int64))
    category = np.searchsorted(category_ids, np.array([a["category_id"] for a in annotations], np.int64))
    order = np.lexsort((category, image))
    return _Objects(
        image_ids,
        category_ids,
        image[order],
        category[order],
        np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)[order],
        np.array([bool(a.get("iscrowd", 0)) for a in annotations], np.bool_)[order],
        np.array([(entry.get("width", np.nan), entry.get("height", np.nan)) for entry in images], np.float64),
    )
