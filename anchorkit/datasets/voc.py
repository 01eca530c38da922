"""Pascal VOC xml data sets, in the layouts of the official site and of annotation tools.

VOC boxes count pixels from 1 and include their last pixel: ``xmin=1 xmax=10`` is ten pixels wide. The kit's boxes (as
COCO's) are edges counted from 0, so they become x = xmin - 1, y = ymin - 1, width = xmax - x, height = ymax - y.

An object marked ``difficult`` keeps ``"difficult": 1`` and becomes a crowd (``"iscrowd": 1``): COCO's evaluation then
counts it neither as found nor as missed, as VOC's own evaluation does.

Known layouts, under one folder:

- ``Annotations/*.xml`` with images in ``JPEGImages/``, ``images/`` or ``data/`` and, if present, the lists
  ``ImageSets/Main/{train,val,trainval,test}.txt``; a single list of another name (CVAT: ``default.txt``) names all
  images. Folders below ``Annotations/`` and in the lists (``cam0/x``) are also those of the images;
- ``{train,valid,test}/`` with xml files beside the images (Roboflow);
- xml files in one of these places without lists: divided into training and validation, 80 to 20, the same way
  every time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from anchorkit.datasets.base import SPLIT_WORDS, Dataset, Split, assemble, coco_annotation
from anchorkit.datasets.images import FOLDERS, FolderImages, is_image, named_folders, plain_name, read_image_size
from anchorkit.errors import InputError
from anchorkit.files import read_text
from anchorkit.formats import finite

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
OFFICIAL_SOURCE = "the {} downloads at host.robots.ox.ac.uk/pascal/VOC"

# The splits of each name. "voc" is 07+12 in papers; its test set is the validation set too.
_OFFICIAL: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {
    "voc": {
        "train": (("VOC2007", "trainval"), ("VOC2012", "trainval")),
        "val": (("VOC2007", "test"),),
        "test": (("VOC2007", "test"),),
    },
    "voc2007": {"train": (("VOC2007", "train"),), "val": (("VOC2007", "val"),), "test": (("VOC2007", "test"),)},
    "voc2012": {"train": (("VOC2012", "train"),), "val": (("VOC2012", "val"),)},
}
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".JPG", ".JPEG", ".PNG", ".webp", ".tif", ".tiff")
_XML_FOLDERS = ("annotations", "annotation", "labels", "xmls", "xml")  # compared in lower case


@dataclass(frozen=True)
class _Sheet:
    """One annotation file, and the folders where its image may be."""

    xml: Path
    folders: tuple[Path, ...]


def load_voc(name: str, root: Path) -> Dataset:
    """VOC 2007 and 2012 in the layout of their site, under ``root`` or ``root/VOCdevkit``.

    ``"voc2007"`` has train, val and test; ``"voc2012"`` has train and val (its test annotations are not public);
    ``"voc"`` trains on both years' trainval and uses the 2007 test set for val and test, as is usual.

    Raises:
        InputError: a file is missing; the message names it and its source.
    """
    base = root / "VOCdevkit" if (root / "VOCdevkit").is_dir() else root
    parts = {split: _official_sheets(base, root, lists) for split, lists in _OFFICIAL[name].items()}
    splits = _splits(base, parts, VOC_CLASSES)
    return Dataset(name, splits["train"], splits["val"], splits.get("test"))


def load_voc_folder(root: Path) -> Dataset | None:
    """A data set from a folder of VOC xml files, or None if the folder has none.

    Raises:
        InputError: an xml is broken or inconsistent, or a list names an image without annotations.
    """
    parts = _listed_sheets(root) or _foldered_sheets(root)
    if not parts:
        for folder in (*named_folders(root, _XML_FOLDERS), root):
            sheets = _sheets_in(folder, _image_folders(root))
            # Other tools write xml too: a folder without any annotation is not VOC.
            if any(_is_annotation(sheet.xml) for sheet in sheets):
                parts = {"train": sheets}
                break
    return assemble(root, _splits(root, parts, None)) if parts else None


def read_voc_xml(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read one annotation file.

    Returns:
        image: ``file_name`` as written there (or None), ``width`` and ``height`` (or None where missing or 0).
        objects: per object its ``name``, ``bbox`` (COCO: x, y, width, height from 0) and ``difficult`` (0 or 1).

    Raises:
        InputError: the file is not xml or not an annotation, or an object lacks its name or box.
    """
    try:
        tree = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; add it, or remove the image from the list") from None
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise InputError(f"{path}: not valid xml, or cut off ({error}); export this annotation again") from None
    if tree.tag != "annotation":
        raise InputError(f"{path}: not a VOC annotation (the outermost tag is <{tree.tag}>); move the file elsewhere")
    image: dict[str, Any] = {"file_name": _text(tree.find("filename"))}
    for side in ("width", "height"):
        value = _number(tree.find(f"size/{side}"), f"{path}: the image's {side}") or 0
        image[side] = round(value) if value >= 1 else None
    objects = []
    for position, item in enumerate(tree.findall("object"), start=1):
        where = f"{path}: object {position}"
        name = _text(item.find("name"))
        if name is None:
            raise InputError(f"{where} has no <name>; give it one")
        edges = [_number(item.find(f"bndbox/{tag}"), f"{where}: {tag}") for tag in ("xmin", "ymin", "xmax", "ymax")]
        if any(edge is None for edge in edges):
            raise InputError(f"{where} has no complete <bndbox>; xmin, ymin, xmax and ymax are needed")
        x1, y1, x2, y2 = (edge for edge in edges if edge is not None)
        if x2 < x1 - 1 or y2 < y1 - 1:
            raise InputError(f"{where} has xmax < xmin or ymax < ymin ({x1:g} {y1:g} {x2:g} {y2:g}); correct its box")
        difficult = _number(item.find("difficult"), f"{where}: difficult") or 0
        objects.append(
            {"name": name, "bbox": [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1], "difficult": int(difficult != 0)}
        )
    return image, objects


# ------------------------------------------------------------------------------------------------ which file is which


def _official_sheets(base: Path, root: Path, lists: tuple[tuple[str, str], ...]) -> list[_Sheet]:
    sheets: list[_Sheet] = []
    for year, part in lists:
        download = "annotated test data" if part == "test" else "training/validation data"
        source = OFFICIAL_SOURCE.format(f"{year} '{download}'")
        listing = base / year / "ImageSets" / "Main" / f"{part}.txt"
        if not listing.is_file():
            raise InputError(f"{listing}: no such file; unpack {source} into {root}")
        for xml in _listed(listing, [base / year / "Annotations"]):
            if not xml.is_file():
                raise InputError(f"{xml}: no such file, though {listing} names it; unpack {source} into {root}")
            sheets.append(_Sheet(xml, (base / year / "JPEGImages",)))
    return sheets


def _listed_sheets(root: Path) -> dict[str, list[_Sheet]]:
    """Splits by the lists in ImageSets/Main; trainval counts as train unless train and val are both there.

    Without these, the lists of single classes (``cat_train.txt``) are put together. A single list of another name names
    all images; several such lists are ignored.
    """
    found = sorted((root / "ImageSets" / "Main").glob("*.txt")) or sorted((root / "ImageSets").glob("*.txt"))
    lists = {path.stem.lower(): path for path in found if path.stat().st_size}
    folders, places = named_folders(root, _XML_FOLDERS) or [root / "Annotations"], _image_folders(root)
    words = {word: split for split, known in SPLIT_WORDS.items() for word in known} | {"trainval": "trainval"}
    splits = {words[word]: [lists[word]] for word in reversed(words) if word in lists}
    if not splits:  # each list of a class names all images of its split
        for stem, path in lists.items():
            word = stem.rpartition("_")[2]
            if word != stem and word in words:
                splits.setdefault(words[word], []).append(path)
    whole = splits.pop("trainval", None)
    if whole and not ("train" in splits and "val" in splits):
        splits.pop("val", None)
        splits["train"] = whole
    if not splits and len(lists) == 1:
        splits = {"train": [*lists.values()]}
    sheets = {}
    for split, listings in sorted(splits.items(), key=lambda item: tuple(SPLIT_WORDS).index(item[0])):
        files = dict.fromkeys(xml for listing in listings for xml in _listed(listing, folders))
        sheets[split] = [_sheet(xml, folders, places) for xml in files]
    return sheets


def _listed(listing: Path, folders: list[Path]) -> list[Path]:
    """The annotation files that a list names: one name per line, or a name and -1, 0 or 1 (the list of a class)."""
    text, _ = read_text(listing, fallback="cp1252")
    return [_listed_file(line.strip().replace("\\", "/"), folders) for line in text.splitlines() if line.strip()]


def _listed_file(name: str, folders: list[Path]) -> Path:
    words = name.rsplit(maxsplit=1)
    spellings = [name]  # the name itself may end in a number
    if len(words) == 2 and words[1] in ("-1", "0", "1"):
        spellings.append(words[0])
    spellings += [str(PurePosixPath(spelling).with_suffix("")) for spelling in spellings if is_image(spelling)]
    for spelling in spellings:
        for folder in folders:
            if (folder / f"{spelling}.xml").is_file():
                return folder / f"{spelling}.xml"
    return folders[0] / f"{spellings[-1]}.xml"


def _foldered_sheets(root: Path) -> dict[str, list[_Sheet]]:
    """Splits by folders named after them."""
    parts: dict[str, list[_Sheet]] = {}
    for split, words in SPLIT_WORDS.items():
        own = named_folders(root, words)
        inside = [place for folder in own for place in (folder, *named_folders(folder, FOLDERS))]
        inside += [place for folder in named_folders(root, FOLDERS) for place in named_folders(folder, words)]
        places = (*inside, *_image_folders(root))
        sources = [place for folder in own for place in (folder, *named_folders(folder, _XML_FOLDERS))]
        sources += [place for folder in named_folders(root, _XML_FOLDERS) for place in named_folders(folder, words)]
        for folder in sources:
            sheets = _sheets_in(folder, places)
            if split not in parts and any(_is_annotation(sheet.xml) for sheet in sheets):
                parts[split] = sheets
    return parts


def _sheets_in(folder: Path, places: tuple[Path, ...]) -> list[_Sheet]:
    """The xml files of a folder, and those below it if it is named as a folder of annotations."""
    below = folder.rglob("*.xml") if folder.name.lower() in _XML_FOLDERS else folder.glob("*.xml")
    return [_sheet(xml, [folder], (*places, folder)) for xml in sorted(below) if not xml.name.startswith(".")]


def _sheet(xml: Path, folders: list[Path], places: tuple[Path, ...]) -> _Sheet:
    """An annotation file. If it is in a subfolder of `folders`, its image may be in that subfolder of `places`."""
    for folder in folders:
        if xml.is_relative_to(folder) and xml.parent != folder:
            below = xml.parent.relative_to(folder)
            return _Sheet(xml, (*(place / below for place in places), *places))
    return _Sheet(xml, places)


def _image_folders(root: Path) -> tuple[Path, ...]:
    return (*named_folders(root, FOLDERS), root)


def _is_annotation(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(1024).replace(b"\0", b"")  # as UTF-16 has them
    return re.search(rb"<annotation[\s>]", head) is not None


# -------------------------------------------------------------------------------------------------------- ground truth


def _splits(base: Path, parts: dict[str, list[_Sheet]], classes: Sequence[str] | None) -> dict[str, Split]:
    """COCO ground truth of each split; without `classes`, they are the names that occur, in alphabetical order."""
    read: dict[Path, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
    for sheets in parts.values():
        for sheet in sheets:
            if sheet.xml not in read:
                read[sheet.xml] = read_voc_xml(sheet.xml)
    names = classes or sorted({item["name"] for _, objects in read.values() for item in objects})
    if not names:
        raise InputError(f"{base}: no annotation has an object, so there is nothing to learn; add annotated images")
    numbers = {name: number for number, name in enumerate(names, start=1)}
    splits = {}
    owners: dict[Path, Path] = {}
    for split, sheets in parts.items():
        if not sheets:
            raise InputError(f"{base}: the list of {split} images is empty; name at least one image there")
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for sheet in sheets:
            image, objects = read[sheet.xml]
            path = _image_path(sheet, image["file_name"])
            width, height = image["width"], image["height"]
            if width is None or height is None:
                height, width = read_image_size(path)
            if owners.setdefault(path, sheet.xml) != sheet.xml and path.is_file():
                raise InputError(
                    f"{sheet.xml}: its image is {path}, and so is that of {owners[path]}; put each image into the "
                    "folder below the images that its xml file has below the annotations"
                )
            name = path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)
            plain_name(name, sheet.xml)
            images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
            for item in objects:
                if item["name"] not in numbers:
                    raise InputError(f"{sheet.xml}: {item['name']!r} is none of the 20 VOC classes; correct the name")
                entry = coco_annotation(len(annotations) + 1, len(images), numbers[item["name"]], item["bbox"])
                annotations.append({**entry, "iscrowd": item["difficult"], "difficult": item["difficult"]})
        categories = [{"id": number, "name": name} for name, number in numbers.items()]
        truth = {"images": images, "annotations": annotations, "categories": categories}
        names = [entry["file_name"] for entry in images]
        places = dict.fromkeys(place for sheet in sheets for place in sheet.folders if place.is_dir())
        splits[split] = Split(split, truth, FolderImages((base, *places), tuple(names)))
    return splits


def _image_path(sheet: _Sheet, file_name: str | None) -> Path:
    """The image of an annotation file: the one of the same name, else the one it names; else the expected path."""
    stem = sheet.xml.stem
    named = PurePosixPath((file_name or f"{stem}.jpg").replace("\\", "/"))
    spellings = dict.fromkeys([str(named), named.name])
    folders = tuple(dict.fromkeys((*sheet.folders, sheet.xml.parent)))
    for folder in folders:
        for name in (*spellings, *(stem + suffix for suffix in _IMAGE_SUFFIXES)):
            if PurePosixPath(name).stem == stem and os.path.isfile(folder / name):
                return folder / name
    for folder in folders:
        for name in spellings:
            if os.path.isfile(folder / name):
                return folder / name
    return FolderImages(folders).find(str(named)) or folders[0] / named.name


def _text(element: ElementTree.Element | None) -> str | None:
    return element.text.strip() if element is not None and element.text and element.text.strip() else None


def _number(element: ElementTree.Element | None, where: str) -> float | None:
    """The number in a tag, or None without one."""
    text = _text(element)
    if text is None:
        return None
    value = finite(text)
    if value is None:
        raise InputError(f"{where} is {text!r}; a number is needed")
    return value
