"""CVAT's own xml, 'CVAT for images 1.1': one ``annotations.xml`` and the images in ``images/``.

Boxes are edges in pixels from 0. A turned box, a polygon, a polyline, an ellipse and points count as the box around
them; masks and tags are left out, and a note says how many. Subsets (``subset="Validation"``) are the splits.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from anchorkit.datasets.base import SPLIT_WORDS, Dataset, Split, assemble, coco_annotation
from anchorkit.datasets.images import FOLDERS, find_images, named_folders, plain_name, subfolders
from anchorkit.errors import InputError
from anchorkit.formats import finite

_LEFT_OUT = ("mask", "tag", "cuboid", "skeleton")


def load_cvat_folder(root: Path) -> Dataset | None:
    """A data set from a folder with CVAT's annotations.xml (or one xml like it), or None if there is none.

    Raises:
        InputError: the file is broken, lacks sizes or boxes, or is of a video.
    """
    found = [path for path in sorted(root.glob("*.xml"))[:20] if _is_cvat(path)]
    if len(found) != 1:
        return None
    source = found[0]
    try:
        tree = ElementTree.parse(source).getroot()
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise InputError(f"{source}: not valid xml, or cut off ({error}); export the task again") from None
    if tree.tag != "annotations":
        return None
    if tree.find("track") is not None:
        raise InputError(
            f"{source}: CVAT's 'for video' xml, whose frames are no image files; export the task again as 'COCO 1.0' "
            "or 'CVAT for images 1.1', with images"
        )
    labels = {item.get("label", "") for image in tree.findall("image") for item in image if item.tag not in _LEFT_OUT}
    listed = [(name.text or "").strip() for label in tree.iter("label") for name in label.findall("name")]
    names = list(dict.fromkeys(filter(None, listed))) or sorted(labels)
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    if not categories:
        raise InputError(f"{source}: no labels, so there is nothing to learn; add annotated images")
    groups: dict[str, list[ElementTree.Element]] = {}
    for image in tree.findall("image"):
        groups.setdefault(_split_of(image.get("subset")), []).append(image)
    if not groups:
        raise InputError(f"{source}: no images in it; export the task again")
    left_out = sum(item.tag in _LEFT_OUT for image in tree.findall("image") for item in image)
    notes = [f"{source}: {left_out} masks, tags, cuboids and skeletons are left out"] if left_out else []
    splits = {split: _split(root, source, split, images, categories) for split, images in groups.items()}
    return assemble(root, splits, notes)


def _is_cvat(path: Path) -> bool:
    with path.open("rb") as file:
        return not path.name.startswith(".") and b"<annotations" in file.read(1024)


def _split_of(subset: str | None) -> str:
    """The split that a subset's name means; images of no or of another subset are trained on."""
    word = (subset or "").lower()
    return next((split for split, words in SPLIT_WORDS.items() if word in words), "train")


def _split(
    root: Path, source: Path, name: str, images: list[ElementTree.Element], categories: list[dict[str, Any]]
) -> Split:
    numbers = {category["name"]: category["id"] for category in categories}
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(sorted(images, key=lambda one: one.get("name", "")), start=1):
        file_name = image.get("name")
        if not file_name:
            raise InputError(f"{source}: image {image.get('id')} has no name; export the task again")
        where = f"{source}: image {file_name}"
        width, height = (_number(image, side, where) for side in ("width", "height"))
        size = {"width": round(width), "height": round(height)}
        entries.append({"id": number, "file_name": plain_name(file_name, source), **size})
        for item in image:
            if item.tag in _LEFT_OUT:
                continue
            label = (item.get("label") or "").strip()
            if label not in numbers:
                raise InputError(f"{where}: {item.tag} has the label {label!r}, which the file does not list; mend it")
            x1, y1, x2, y2 = _edges(item, where)
            box = (x1, y1, x2 - x1, y2 - y1)
            annotations.append(coco_annotation(len(annotations) + 1, number, numbers[label], box))
    truth = {"images": entries, "annotations": annotations, "categories": [dict(entry) for entry in categories]}
    pictures = named_folders(root, FOLDERS)
    subsets = [place for folder in pictures for place in subfolders(folder) if _split_of(place.name) == name]
    found = find_images({name: ((entry["file_name"] for entry in entries), (*subsets, *pictures, root))})
    return Split(name, truth, found[name])


def _edges(item: ElementTree.Element, where: str) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a shape, or of the box around it."""
    if item.tag == "box":
        x1, y1, x2, y2 = (_number(item, side, where) for side in ("xtl", "ytl", "xbr", "ybr"))
        turn = math.radians(_number(item, "rotation", where) if item.get("rotation") else 0.0)
        if not turn:
            return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
        x, y, width, height = (x1 + x2) / 2, (y1 + y2) / 2, abs(x2 - x1), abs(y2 - y1)
        across = abs(width * math.cos(turn)) + abs(height * math.sin(turn))
        down = abs(width * math.sin(turn)) + abs(height * math.cos(turn))
        return x - across / 2, y - down / 2, x + across / 2, y + down / 2
    if item.tag == "ellipse":
        x, y, rx, ry = (_number(item, side, where) for side in ("cx", "cy", "rx", "ry"))
        return x - rx, y - ry, x + rx, y + ry
    pairs = [pair.split(",") for pair in (item.get("points") or "").split(";")]
    try:
        corners = [(float(x), float(y)) for x, y in pairs]
    except ValueError:
        raise InputError(f"{where}: a {item.tag} has no points; export the task again") from None
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _number(item: ElementTree.Element, key: str, where: str) -> float:
    value = finite(item.get(key, ""))
    if value is None:
        raise InputError(f"{where}: {item.tag} has {key} {item.get(key)!r}; a number is needed")
    return value
