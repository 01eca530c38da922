"""The annotated boxes that a prediction table is compared with, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from anchorkit.anchors import AnchorLayout
from anchorkit.postprocess import PostProcess

if TYPE_CHECKING:
    from anchorkit.evaluation.ground_truth import GroundTruth

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
    def empty_images(self) -> Array: ...

    @property
    def layout(self) -> AnchorLayout: ...

    @property
    def postprocess(self) -> PostProcess: ...

    @property
    def source(self) -> str: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Whole:
    """What is counted over all rows of a table, some of which may lie elsewhere."""

    rows: int
    image_ids: Array  # of the rows, in any order and any number of times

    @classmethod
    def of(cls, table: Table) -> Whole:
        return cls(len(table), table.image_id)


@dataclass(frozen=True)
class Objects:
    """The annotated boxes of a split: what the checks need of an `anchorkit.evaluation.ground_truth.GroundTruth`."""

    image_ids: Array  # (I,), rising
    category_ids: Array  # (K,), rising
    image: Array  # (G,), index into `image_ids`
    category: Array  # (G,), index into `category_ids`
    boxes: Array  # (G, 4) x y width height in pixels
    crowd: Array  # (G,)
    sizes: Array  # (I, 2) width and height, NaN where unknown


Truth: TypeAlias = "Objects | GroundTruth"
"""The ground truth as arrays: of a split, or as an evaluator has it."""


def objects_of(ground_truth: Mapping[str, Any]) -> Objects:
    """The annotated boxes of a split, from its complete COCO dict."""
    images = sorted(ground_truth["images"], key=lambda entry: entry["id"])
    annotations = ground_truth["annotations"]
    image_ids = np.array([entry["id"] for entry in images], np.int64)
    category_ids = np.array(sorted(entry["id"] for entry in ground_truth["categories"]), np.int64)
    image = np.searchsorted(image_ids, np.array([a["image_id"] for a in annotations], np.int64))
    category = np.searchsorted(category_ids, np.array([a["category_id"] for a in annotations], np.int64))
    order = np.lexsort((category, image))
    return Objects(
        image_ids,
        category_ids,
        image[order],
        category[order],
        np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)[order],
        np.array([bool(a.get("iscrowd", 0)) for a in annotations], np.bool_)[order],
        np.array([(entry.get("width", np.nan), entry.get("height", np.nan)) for entry in images], np.float64),
    )
