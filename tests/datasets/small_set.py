"""One small COCO set, from which the tests make what other tools export, and how a data set is held against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anchorkit.datasets import Dataset

NAMES = ("bolt", "no", "nut")  # YAML 1.1 would read the second one as False


@dataclass(frozen=True)
class Picture:
    """An image whose pixels all have one value, which tells it from the others.

    Attributes:
        split: what it is for.
        stem: its file's name without the ending.
        size: (height, width) in pixels.
        value: of each pixel.
        objects: class name and COCO box of each object.
    """

    split: str
    stem: str
    size: tuple[int, int]
    value: int
    objects: tuple[tuple[str, tuple[float, float, float, float]], ...]


def _pictures() -> tuple[Picture, ...]:
    rng = np.random.default_rng(3)
    found = []
    for number, split in enumerate(["train"] * 5 + ["val"] * 3 + ["test"] * 2):
        height, width = (64, 96) if number % 2 else (123, 77)
        objects = []
        for _ in range(number % 4):  # some have none
            x, y = rng.uniform(0, width - 30), rng.uniform(0, height - 30)
            w, h = rng.uniform(3, 29, 2)
            objects.append((NAMES[rng.integers(3)], (float(x), float(y), float(w), float(h))))
        # Bright enough that JPEG keeps them apart; names that sort as they are numbered.
        found.append(Picture(split, f"p {number:02d}", (height, width), 20 * number + 20, tuple(objects)))
    return tuple(found)


PICTURES = _pictures()


def pictures(*splits: str) -> tuple[Picture, ...]:
    return tuple(picture for picture in PICTURES if picture.split in splits)


def put_picture(path: Path, picture: Picture) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*picture.size, 3), picture.value, np.uint8)).save(path)
    return path


def coco_of(some: Iterable[Picture], name: str = "{}.png") -> dict[str, Any]:
    """A COCO dict; `name` makes the file name of a stem."""
    images, annotations = [], []
    for number, picture in enumerate(some, start=1):
        height, width = picture.size
        images.append({"id": number, "file_name": name.format(picture.stem), "width": width, "height": height})
        for label, box in picture.objects:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": NAMES.index(label) + 1,
                    "bbox": list(box),
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": label} for number, label in enumerate(NAMES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def assert_same(data: Dataset, expected: Mapping[str, tuple[Picture, ...]]) -> None:
    """Hold each split's images, sizes, pixels, class names and boxes (to 1e-3 pixels) against the small set."""
    assert set(data.splits()) == set(expected)
    assert tuple(category.name for category in data.categories) == NAMES
    for name, split in data.splits().items():
        names = {category.id: category.name for category in split.categories}
        by_value = {picture.value: picture for picture in expected[name]}
        assert len(split) == len(by_value)
        for image_id in split.image_ids:
            pixels = split.image(image_id)
            picture = by_value.pop(round(float(pixels.mean())))
            assert pixels.shape[:2] == split.image_size(image_id) == picture.size
            found = [a for a in split.ground_truth["annotations"] if a["image_id"] == image_id]
            assert [names[a["category_id"]] for a in found] == [label for label, _ in picture.objects]
            for annotation, (_, box) in zip(found, picture.objects, strict=True):
                assert annotation["bbox"] == pytest.approx(box, abs=1e-3)
                assert annotation["area"] == pytest.approx(box[2] * box[3], rel=1e-3)
        assert split.image_faults() is None


def assert_parted(data: Dataset, expected: tuple[Picture, ...]) -> None:
    """As `assert_same`, for a data set that the kit has parted itself."""
    values = {picture.value: picture for picture in expected}
    parts = {
        name: tuple(values[round(float(split.image(image_id).mean()))] for image_id in split.image_ids)
        for name, split in data.splits().items()
    }
    assert sorted(picture.value for part in parts.values() for picture in part) == sorted(values)
    assert_same(data, parts)
