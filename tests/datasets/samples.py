"""Small COCO and VOC annotations, as tools and sites write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image


def coco_dict(count: int = 3, first: int = 1) -> dict[str, Any]:
    """`count` images of 60x40 with one box each."""
    return {
        "images": [
            {"id": n, "file_name": f"{n:03d}.png", "width": 60, "height": 40} for n in range(first, first + count)
        ],
        "annotations": [
            {
                "id": n,
                "image_id": n,
                "category_id": 3,
                "bbox": [5.0, 6.0, 20.0, 10.0],
                "area": 200.0,
                "iscrowd": 0,
            }
            for n in range(first, first + count)
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
    }


def coco_folder(folder: Path, count: int = 3) -> Path:
    """A data set with `count` images in train (ids from 1) and in val (ids from 11), and the pictures."""
    for split, first in (("train", 1), ("val", 11)):
        put_json(folder / "annotations" / f"instances_{split}.json", coco_dict(count, first))
        (folder / split).mkdir()
        for number in range(first, first + count):
            Image.new("RGB", (60, 40)).save(folder / split / f"{number:03d}.png")
    return folder


def put_json(path: Path, data: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def voc_xml(objects: str = "", name: str = "a.jpg", size: tuple[int, int] | None = (60, 40)) -> str:
    """An annotation of an image of (width, height)."""
    told = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>" if size else ""
    return f"<annotation><filename>{name}</filename>{told}{objects}</annotation>"


def voc_object(name: str = "dog", box: tuple[Any, ...] = (6, 7, 25, 16), extra: str = "") -> str:
    x1, y1, x2, y2 = box
    edges = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    return f"<object><name>{name}</name>{extra}<bndbox>{edges}</bndbox></object>"


def put_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
