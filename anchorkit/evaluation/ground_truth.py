"""A COCO ground truth as flat arrays, checked."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from anchorkit.coco_json import read_coco
from anchorkit.errors import InputError


@dataclass(frozen=True)
class GroundTruth:
    """The annotated boxes of a set of images, grouped by image and, within an image, by category.

    Boxes of one (image, category) are in the order of the file: pycocotools breaks ties by it.

    Attributes:
        image_ids: int64 (I,), rising.
        category_ids: int64 (K,), rising.
        image: int32 (G,), index into `image_ids` of each box; never falls.
        category: int32 (G,), index into `category_ids`; never falls within an image.
        boxes: float64 (G, 4), x y width height in pixels.
        area: float64 (G,), the file's `area` field (pixels): it decides whether a box is small, medium or large.
        crowd: bool (G,): a region in which detections do not count as false positives.
        difficult: bool (G,): an object that Pascal VOC's metrics ignore, like a crowd. COCO's make no difference.
        sizes: float64 (I, 2), width and height of the images in pixels; NaN where the file does not say. No accuracy
            depends on it.
    """

    image_ids: npt.NDArray[np.int64]
    category_ids: npt.NDArray[np.int64]
    image: npt.NDArray[np.int32]
    category: npt.NDArray[np.int32]
    boxes: npt.NDArray[np.float64]
    area: npt.NDArray[np.float64]
    crowd: npt.NDArray[np.bool_]
    difficult: npt.NDArray[np.bool_]
    sizes: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)), compare=False)

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.image_ids):
            object.__setattr__(self, "sizes", np.full((len(self.image_ids), 2), np.nan))

    def __len__(self) -> int:
        return len(self.image)

    def subset(self, image_ids: Iterable[int]) -> GroundTruth:
        """The annotated boxes of some images; all categories stay.

        Raises:
            InputError: there is no such image, or an id occurs twice.
        """
        wanted = np.array(sorted(int(image_id) for image_id in image_ids), np.int64)
        unknown = wanted[~np.isin(wanted, self.image_ids)]
        if len(unknown):
            raise InputError(f"subset: there is no image {unknown[0]} in the ground truth")
        twice = wanted[1:][wanted[1:] == wanted[:-1]]
        if len(twice):
            raise InputError(f"subset: image {twice[0]} is named twice; name each image once")
        stays = np.isin(self.image_ids, wanted)
        number = np.cumsum(stays, dtype=np.int32) - 1
        part = self._boxes_at(stays[self.image])
        return replace(part, image_ids=wanted, image=number[part.image], sizes=self.sizes[stays])

    def _boxes_at(self, rows: npt.NDArray[Any]) -> GroundTruth:
        """Some of the boxes, or all of them in another order."""
        columns = ("image", "category", "boxes", "area", "crowd", "difficult")
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})

    def to_coco(self) -> dict[str, Any]:
        """A new COCO dict with annotation ids from 1: for pycocotools, id 0 means "no match"."""
        columns = {
            "id": np.arange(1, len(self) + 1),
            "image_id": self.image_ids[self.image],
            "category_id": self.category_ids[self.category],
            "bbox": self.boxes,
            "area": self.area,
            "iscrowd": self.crowd.astype(int),
            "difficult": self.difficult.astype(int),
        }
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return {
            "images": [{"id": image_id} for image_id in self.image_ids.tolist()],
            "categories": [{"id": category_id} for category_id in self.category_ids.tolist()],
            "annotations": [dict(zip(columns, row, strict=True)) for row in rows],
        }


def read_ground_truth(ground_truth: Any) -> GroundTruth:
    """Read a ground truth.

    Args:
        ground_truth: path of a COCO json file, a COCO dict, or a pycocotools ``COCO``. `iscrowd` and `difficult`
            may be missing (0). Ids may be written as text or as 1.0 if they stand for whole numbers.

    Raises:
        InputError: the file is missing, cut off or not JSON; `images`, `annotations` or `categories` is missing; ids
            are missing or occur twice; an annotation belongs to an unknown image or category; `bbox` or `area` is
            missing or not a number. The message names the annotation.
    """
    if isinstance(ground_truth, GroundTruth):
        return ground_truth
    data, name, notes = read_coco(ground_truth)
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=3)
    for key in ("images", "annotations", "categories"):
        if not isinstance(data.get(key), list | tuple):
            raise InputError(f"{name}: no list of {key}: not a COCO ground truth for detection")
    image_ids = _unique_ids(data["images"], "image", name)
    category_ids = _unique_ids(data["categories"], "category", name)
    annotations = data["annotations"]
    ids = _unique_ids(annotations, "annotation", name)
    if len(ids) and ids[0] == 0:
        warnings.warn(
            f"{name}: an annotation has the id 0, which means 'no match' to pycocotools; here they get ids from 1",
            UserWarning,
            stacklevel=3,
        )
    image_index = {image_id: index for index, image_id in enumerate(image_ids.tolist())}
    category_index = {category_id: index for index, category_id in enumerate(category_ids.tolist())}
    count = len(annotations)
    image, category = np.empty(count, np.int32), np.empty(count, np.int32)
    boxes, area = np.empty((count, 4), np.float64), np.empty(count, np.float64)
    crowd, difficult = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for row, annotation in enumerate(annotations):
        try:
            image[row] = image_index[annotation["image_id"]]
            category[row] = category_index[annotation["category_id"]]
            boxes[row] = annotation["bbox"]
            area[row] = annotation["area"]
            crowd[row] = bool(annotation.get("iscrowd", 0))
            difficult[row] = bool(annotation.get("difficult", 0))
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{name}: {_complaint(annotation, image_index, category_index)}") from None
        if not (math.isfinite(area[row]) and np.isfinite(boxes[row]).all()):
            raise InputError(f"{name}: {_complaint(annotation, image_index, category_index)}")
    truth = GroundTruth(image_ids, category_ids, image, category, boxes, area, crowd, difficult, _sizes(data["images"]))
    return truth._boxes_at(np.lexsort((category, image)))


def _sizes(images: Any) -> npt.NDArray[np.float64]:
    """Width and height of the images by rising id; NaN for what is missing or no number."""
    found = np.full((len(images), 2), np.nan)
    for row, entry in enumerate(sorted(images, key=lambda entry: int(entry["id"]))):
        for column, side in enumerate(("width", "height")):
            if isinstance(entry.get(side), int | float):
                found[row, column] = entry[side]
    return found


def _unique_ids(entries: Any, what: str, name: str) -> npt.NDArray[np.int64]:
    """The ids of a list of COCO entries, rising."""
    ids = []
    for position, entry in enumerate(entries):
        value = entry.get("id") if isinstance(entry, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InputError(f"{name}: {what} number {position} (counted from 0) has no whole-number id")
        if abs(int(value)) >= 2**63:
            raise InputError(f"{name}: {what} number {position} (counted from 0) has the id {value}: more than 64 bits")
        ids.append(int(value))
    found = np.sort(np.array(ids, np.int64))
    twice = found[1:][found[1:] == found[:-1]]
    if len(twice):
        raise InputError(f"{name}: {what} id {twice[0]} occurs twice")
    return found


def _complaint(annotation: Mapping[str, Any], images: Mapping[int, int], categories: Mapping[int, int]) -> str:
    """The reason why an annotation cannot be read."""
    where = f"annotation {annotation.get('id')}"
    for key, known in (("image_id", images), ("category_id", categories)):
        value = annotation.get(key)
        if not isinstance(value, int | np.integer) or value not in known:
            return f"{where}: {key} is {value!r}, which is not among the {key.removesuffix('_id')} ids"
    if "area" not in annotation:
        return f"{where} has no area: pycocotools sorts boxes into small, medium and large by it; give width * height"
    for key in ("bbox", "area"):
        value = annotation.get(key)
        numbers = value if isinstance(value, list | tuple | np.ndarray) else [value]
        if len(numbers) != (4 if key == "bbox" else 1) or not all(
            isinstance(number, int | float | np.number) and math.isfinite(number) for number in numbers
        ):
            needed = "four numbers (x, y, width, height)" if key == "bbox" else "a number"
            return f"{where}: {key} is {value!r}; {needed} needed"
    return f"{where} cannot be read"
