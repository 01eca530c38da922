"""COCO json data sets, in the layouts of the official site and of annotation tools.

Known layouts, under one folder, in any letter case:

- ``annotations/instances_{train,val,test}*.json`` (or the json files beside the image folders), with the images in
  ``{split}/``, ``{split}2017/``, ``images/{split}/``, ``images/``, ``data/`` or the folder itself; ``{split}`` is also
  the word after ``instances_`` (CVAT: ``instances_Validation.json`` with ``images/Validation/``);
- ``{train,valid,test}/`` with a json beside the images (Roboflow), or with an ``annotations/`` folder (one export per
  split);
- one json for all images, which are then divided into training and validation, 80 to 20, the same way every time.

`anchorkit.datasets.images.FolderImages` describes how a ``file_name`` leads to a file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from anchorkit.coco_json import read_coco
from anchorkit.datasets.base import SPLIT_WORDS, Dataset, Split, assemble, check_same_categories
from anchorkit.datasets.images import (
    FOLDERS,
    FolderImages,
    find_images,
    named_folders,
    plain_name,
    read_image_size,
    subfolders,
)
from anchorkit.errors import InputError

OFFICIAL_SOURCE = "the COCO 2017 'Train images', 'Val images' and 'Train/Val annotations' downloads at cocodataset.org"


def load_coco(root: Path) -> Dataset:
    """COCO 2017 as on its site: ``annotations/instances_{train,val}2017.json``, ``train2017/``, ``val2017/``.

    The site's test split has no annotations, so ``test`` is None.

    Raises:
        InputError: a file or folder is missing; the message names it and its source.
    """
    sources, notes = {}, list[str]()
    for name in ("train", "val"):
        source = root / "annotations" / f"instances_{name}2017.json"
        images = root / f"{name}2017"
        if not source.is_file():
            raise InputError(f"{source}: no such file; unpack {OFFICIAL_SOURCE} into {root}")
        if not images.is_dir():
            raise InputError(f"{images}: no such folder; unpack {OFFICIAL_SOURCE} into {root}")
        sources[name] = (source, [images])
    splits = _read(sources, notes)
    check_same_categories(root, splits)
    return Dataset("coco", splits["train"], splits["val"], notes=tuple(notes))


def load_coco_folder(root: Path) -> Dataset | None:
    """A data set from a folder of COCO json files, or None if the folder has none.

    Raises:
        InputError: a json is broken or inconsistent, two files could be the same split, or there is no training split.
    """
    found = {name: source for name in SPLIT_WORDS if (source := _source_of(root, name)) is not None}
    if not found:
        lone = [path for folder in (root, *_annotation_folders(root)) for path in _coco_files(folder)]
        if not lone:
            return None
        if len(lone) > 1:
            raise InputError(
                f"{root}: several json files ({_names(lone)}) and none named after a split; "
                f"name them instances_train.json, instances_val.json and instances_test.json"
            )
        found = {"train": lone[0]}
    notes: list[str] = []
    splits = _read({name: (source, _image_folders(root, name, source)) for name, source in found.items()}, notes)
    check_same_categories(root, splits)
    return assemble(root, splits, notes)


def load_coco_file(path: Path) -> Dataset:
    """The annotations of one COCO json as a data set that has them all in ``train``; images are not searched.

    Raises:
        InputError: the json is broken or inconsistent.
    """
    data, _, notes = read_coco(path)
    whole = Split("annotations", normalise(data, path, [path.parent]), _no_image)
    return Dataset(str(path), whole, whole.only(set(), "val"), notes=notes)


def _no_image(entry: Mapping[str, Any]) -> Any:
    raise InputError(f"{entry['file_name']}: only the annotations were loaded")


def normalise(data: Any, source: str | Path, folders: Iterable[Path] = ()) -> dict[str, Any]:
    """A checked copy of a COCO dict that pycocotools can read, with all entries.

    Only missing values are added: an annotation's ``id``, ``iscrowd`` (0), ``area`` (width times height) and ``bbox``
    (around the polygons), and an image's ``width`` and ``height`` (from its file). One value is replaced: an annotation
    id of 0, which pycocotools treats as "no match", becomes a new id.

    Args:
        data: the parsed json.
        source: the file's name, for errors.
        folders: where image files may be, to read missing sizes.

    Raises:
        InputError: a part is missing, an id is used twice or is not a whole number, an annotation refers to an unknown
            image or category, or a box is not four finite numbers with width and height of 0 or more.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{source}: not a COCO file (an object with images, annotations and categories is needed)")
    for part in ("images", "annotations", "categories"):
        if not isinstance(data.get(part), list) or not all(isinstance(entry, Mapping) for entry in data[part]):
            kind = "is not a list of objects" if part in data else "is missing"
            raise InputError(f"{source}: not a complete COCO file: {part!r} {kind}; export the annotations again")
    for part, what in (("categories", "object classes"), ("images", "images")):
        if not data[part]:
            raise InputError(f"{source}: {part!r} is empty; list the {what} there")
    folders = list(folders)
    categories = [dict(entry) for entry in data["categories"]]
    for position, entry in enumerate(categories):
        name = entry.get("name")
        if isinstance(name, int) and not isinstance(name, bool):  # digits and other numbers as classes
            name = str(name)
        if not isinstance(name, str):
            raise InputError(f"{source}: category {position} has no name; give it one")
        entry["name"] = name.lstrip("\ufeff")  # a byte order mark, from the list that the names were copied from
    images = [_image(dict(entry), position, source, folders) for position, entry in enumerate(data["images"])]
    category_ids = _unique_ids(categories, "category", source)
    image_ids = _unique_ids(images, "image", source)
    annotations = [dict(entry) for entry in data["annotations"]]
    taken = _unique_ids([entry for entry in annotations if entry.get("id") is not None], "annotation", source)
    fresh = max(taken, default=0) + 1
    for position, entry in enumerate(annotations):
        if not entry.get("id"):
            entry["id"] = fresh
            fresh += 1
        where = f"{source}: annotation {entry['id']} (number {position})"
        for key, known in (("image_id", image_ids), ("category_id", category_ids)):
            value = entry.get(key)
            if not _is_whole(value) or value not in known:
                raise InputError(
                    f"{where} has {key} {value!r}, and there is no such {key[:-3]}; add it, or remove the annotation"
                )
        _complete(entry, where)
    return {**data, "images": images, "annotations": annotations, "categories": categories}


def _read(sources: Mapping[str, tuple[Path, list[Path]]], notes: list[str]) -> dict[str, Split]:
    """The splits of json files and of the folders that may hold their images."""
    truths = {}
    for name, (source, folders) in sources.items():
        data, _, said = read_coco(source)
        notes += said
        truths[name] = normalise(data, source, folders)
    names = {name: [entry["file_name"] for entry in truth["images"]] for name, truth in truths.items()}
    images = find_images({name: (names[name], folders) for name, (_, folders) in sources.items()})
    return {name: Split(name, truth, images[name]) for name, truth in truths.items()}


def _source_of(root: Path, split: str) -> Path | None:
    """The json of a split: by an exact name if there is one, else the only one whose name or folder names the split."""
    names = SPLIT_WORDS[split]
    for word in names:
        for path in (
            root / "annotations" / f"instances_{word}.json",
            root / word / "_annotations.coco.json",
            root / "annotations" / f"{word}.json",
            root / f"instances_{word}.json",
            root / f"{word}.json",
        ):
            if path.is_file():
                return path
    named = re.compile(rf"(^|[^a-z])({'|'.join(names)})(?![a-z])", re.IGNORECASE)
    for folder in (*_annotation_folders(root), root):
        # "instances" first: COCO's own folder also has captions and key points.
        for pattern in ("instances*.json", "*.json"):
            found = _only([path for path in _json_files(folder, pattern) if named.search(path.stem)], folder, split)
            if found and (pattern == "instances*.json" or looks_like_coco(found)):
                return found
    own = [folder for parent in (root, *_annotation_folders(root)) for folder in subfolders(parent)]
    for folder in own:
        if named.match(folder.name):
            files = [path for place in (folder, *_annotation_folders(folder)) for path in _coco_files(place)]
            if files:
                return _only(files, folder, split)
    return None


def _only(files: list[Path], folder: Path, split: str) -> Path | None:
    if len(files) > 1:
        raise InputError(f"{folder}: {_names(files)} could each be the {split} split; leave one of them there")
    return files[0] if files else None


def _annotation_folders(root: Path) -> list[Path]:
    return named_folders(root, ("annotations", "annotation", "labels"))


def _json_files(folder: Path, pattern: str = "*.json") -> list[Path]:
    return [path for path in sorted(folder.glob(pattern)) if not path.name.startswith(".")]


def _coco_files(folder: Path) -> list[Path]:
    return [path for path in _json_files(folder) if looks_like_coco(path)]


def _image_folders(root: Path, split: str, source: Path) -> list[Path]:
    """Folders that may hold a split's images, the likeliest first; an error about a missing image names the first."""
    year = re.search(r"(\d{4})$", source.stem)
    suffixes = dict.fromkeys([year[1] if year else "", "", "2017"])
    words = [word + suffix for word in SPLIT_WORDS[split] for suffix in suffixes]
    own = source.stem.removeprefix("instances_").lower()
    beside_json = source.parent in _annotation_folders(source.parent.parent)
    home = source.parent.parent if beside_json else source.parent
    pictures = named_folders(root, FOLDERS) or [root / "images"]
    named = [
        (folder, {path.name.lower(): path for path in reversed(subfolders(folder))}) for folder in (root, *pictures)
    ]
    places = [inside[own] for _, inside in named if own in inside]
    places += [inside.get(word, folder / word) for folder, inside in named for word in words]
    for folder in dict.fromkeys((home, *[place for place in places if place.is_dir()])):
        if folder != root:
            inside = named_folders(folder, FOLDERS)
            places += [place for one in inside for place in named_folders(one, [own])] + [*inside, folder]
    places += [*pictures, source.parent, root]
    return list(dict.fromkeys(places))


def looks_like_coco(path: Path) -> bool:
    """Whether the first characters of a json could start a COCO file; settings and captions do not."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.replace(b"\0", b"")
    words = rb"images|annotations" if len(head) < 4096 else rb"images|annotations|categories|info|licenses"
    return (
        head.lstrip(b"\xef\xbb\xbf \t\r\n\xff\xfe").startswith(b"{")
        and re.search(rb'"(' + words + rb')"', head) is not None
    )


def _image(entry: dict[str, Any], position: int, source: str | Path, folders: list[Path]) -> dict[str, Any]:
    if not isinstance(entry.get("file_name"), str):
        raise InputError(f"{source}: image {entry.get('id', position)} has no file_name; give it one")
    plain_name(entry["file_name"], source)
    if entry.get("width") is None or entry.get("height") is None:
        images = FolderImages(tuple(folders) or (Path(source).parent,))
        place = images.find(entry["file_name"]) or images.folders[0] / entry["file_name"]
        entry["height"], entry["width"] = read_image_size(place)
    for side in ("width", "height"):
        if not _is_whole(entry[side]) or entry[side] < 1:
            raise InputError(
                f"{source}: {entry['file_name']} has {side} {entry[side]!r}; a whole number of pixels is needed"
            )
    return entry


def _complete(entry: dict[str, Any], where: str) -> None:
    """Check an annotation and add the missing values that pycocotools needs."""
    box = entry.get("bbox")
    if not box:
        box = entry["bbox"] = _around(entry.get("segmentation"), where)
    if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(value) for value in box):
        quotes = ", as numbers without quotes" if isinstance(box, list) and any(isinstance(v, str) for v in box) else ""
        raise InputError(f"{where} has bbox {box!r}; [x, y, width, height] in pixels is needed{quotes}")
    if box[2] < 0 or box[3] < 0:
        raise InputError(f"{where} has bbox {box!r} with a negative side; [x, y, width, height] is needed")
    if entry.get("area") is None:
        entry["area"] = float(box[2] * box[3])
    if entry.get("iscrowd") is None:
        entry["iscrowd"] = 0
    if not _is_finite(entry["area"]) or entry["iscrowd"] not in (0, 1):
        raise InputError(
            f"{where} has area {entry['area']!r} and iscrowd {entry['iscrowd']!r}; a number and 0 or 1 are needed"
        )


def _around(segmentation: Any, where: str) -> list[float]:
    """The box around polygons."""
    flat: list[Any] = []
    if isinstance(segmentation, list):
        for polygon in segmentation:
            flat += polygon if isinstance(polygon, list) else [polygon]
    if len(flat) < 4 or len(flat) % 2 or not all(_is_finite(value) for value in flat):
        raise InputError(f"{where} has neither a bbox nor polygons to compute one from; add its bbox")
    left, top = float(min(flat[0::2])), float(min(flat[1::2]))
    return [left, top, float(max(flat[0::2])) - left, float(max(flat[1::2])) - top]


def _unique_ids(entries: list[dict[str, Any]], kind: str, source: str | Path) -> set[int]:
    seen: set[int] = set()
    for entry in entries:
        number = entry.get("id")
        if number is None or not _is_whole(number):
            raise InputError(f"{source}: {kind} id {number!r} is not a whole number; number the {kind} entries")
        if number in seen:
            raise InputError(f"{source}: {kind} id {number} is used twice; give each {kind} its own id")
        seen.add(int(number))
    return seen


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _names(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths)
