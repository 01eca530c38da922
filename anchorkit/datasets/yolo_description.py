"""What tells the splits and class names of a YOLO data set: data.yaml, darknet's obj.data, or its folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from anchorkit.coco_json import whole_number
from anchorkit.datasets.base import SPLIT_WORDS
from anchorkit.datasets.images import is_image, named_folders, subfolders
from anchorkit.datasets.yolo_labels import looks_like_labels
from anchorkit.errors import InputError
from anchorkit.files import read_text

SUFFIXES = (".yaml", ".yml", ".data")
"""Endings of the files that describe a YOLO data set."""

_PREFERRED = ("data.yaml", "data.yml", "dataset.yaml", "obj.data")
_IMAGE_FOLDERS = ("images", "jpegimages")
_NAME_FILES = ("classes.txt", "obj.names", "predefined_classes.txt", "names.txt", "_darknet.labels")
_NOTHING = (None, "", "null", "~", "None")


@dataclass(frozen=True)
class Description:
    """What a data set's own file says.

    Attributes:
        source: the file, or the folder where there is none.
        bases: folders that paths may be relative to, the likeliest first.
        splits: what each split is made of, as written: folders, .txt lists, patterns and images.
        names: the classes by number, or None if nothing names them.
        classes: how many classes there are, or None.
        keypoints: how many numbers follow a box as key points.
    """

    source: Path
    bases: tuple[Path, ...]
    splits: dict[str, list[str]]
    names: dict[int, str] | None
    classes: int | None = None
    keypoints: int = 0


def description_of(source: Path, names_only: bool = False) -> Description | None:
    """What a data.yaml or obj.data says; None if it describes no YOLO data set.

    Args:
        source: the file.
        names_only: whether a data.yaml that names classes and no images will do.

    Raises:
        InputError: the file cannot be read, or an entry cannot be understood.
    """
    return _darknet(source) if source.suffix.lower() == ".data" else _ultralytics(source, names_only)


def description_in(root: Path) -> Description | None:
    """What the one file in a folder says that describes a data set, or else what its folders say; None without labels.

    Raises:
        InputError: several files describe data sets and none has the usual name, or that one is broken.
    """
    files = sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    described = [found for path in files if (found := _described(path)) is not None]
    if len(described) > 1:
        names = [found.source.name for found in described]
        best = next((name for name in _PREFERRED if name in names), None)
        if best is None:
            raise InputError(f"{root}: {', '.join(names)} each describe a data set; give one of these files")
        described = [found for found in described if found.source.name == best]
    if described:
        return described[0]
    splits = _split_folders(root)
    return Description(root, (root,), splits, _listed_names(root)) if splits else None


def _described(path: Path) -> Description | None:
    """A description, or None for settings of something else that happen to have the same ending."""
    try:
        return description_of(path)
    except InputError:
        if path.name in _PREFERRED:
            raise
        return None


def _ultralytics(source: Path, names_only: bool = False) -> Description | None:
    text, _ = read_text(source, fallback="cp1252")
    try:
        # As text throughout: YAML would read the class names `no` and `1e3` as False and a number. Makes no objects.
        data = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"{source}: not valid YAML ({where}{getattr(error, 'problem', None) or 'broken'})") from None
    if not isinstance(data, Mapping) or not ({"names", "nc"} & set(data)):
        return None
    splits = {
        split: entries for split, words in SPLIT_WORDS.items() if (entries := _entries(data, words, source)) is not None
    }
    if not splits and not names_only:
        return None
    names = _names(data.get("names"), source)
    classes = None
    if data.get("nc") not in _NOTHING:
        classes = whole_number(data["nc"])
        if classes is None or classes < 1:
            raise InputError(f"{source}: nc is {data['nc']!r}; a whole number of classes is needed")
    shape = data.get("kpt_shape")
    sizes = [whole_number(side) or 0 for side in shape] if isinstance(shape, list) else []
    keypoints = sizes[0] * sizes[1] if len(sizes) == 2 else 0
    return Description(source, _bases(source.parent, data.get("path")), splits, names, classes, keypoints)


def _entries(data: Mapping[str, Any], words: Sequence[str], source: Path) -> list[str] | None:
    for word in words:
        value = data.get(word)
        if value not in _NOTHING:
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(entry, str) and entry for entry in values):
                raise InputError(f"{source}: {word} is {value!r}; a folder, a .txt list, or a list of these is needed")
            return values or None
    return None


def _bases(home: Path, path: Any) -> tuple[Path, ...]:
    if not isinstance(path, str) or path in _NOTHING:
        return (home,)
    plain = Path(os.path.expanduser(path.replace("\\", "/")))
    bases = [home / plain, home.parent / "datasets" / plain, home / "datasets" / plain]
    if not any(base.is_dir() for base in bases):  # `path: .` does not mean the working folder
        bases.append(Path.cwd() / plain)
    bases += [home / tail for tail in tails(str(plain))]  # /kaggle/input/parts/data
    return tuple(dict.fromkeys([*(base for base in bases if base.is_dir()), home]))


def _names(value: Any, source: Path) -> dict[int, str] | None:
    if value in _NOTHING:
        return None
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return dict(enumerate(value))
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value.values()):
        numbers = [whole_number(key) for key in value]
        if all(number is not None and number >= 0 for number in numbers):
            return {int(number or 0): name for number, name in zip(numbers, value.values(), strict=True)}
    if isinstance(value, str):  # a file of names, as darknet has it
        for path in (source.parent / value, source.parent / Path(value).name):
            if path.is_file():
                return _read_names(path)
    raise InputError(f"{source}: names is {str(value)[:60]!r}; a list of names, or names by number from 0, is needed")


def _darknet(source: Path) -> Description | None:
    text, _ = read_text(source, fallback="cp1252")
    pairs = [line.partition("=") for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#")]
    data = {key.strip().lower(): value.strip() for key, _, value in pairs}
    splits = {
        split: [data[word]]
        for split, words in SPLIT_WORDS.items()
        for word in words
        if data.get(word) and word in ("train", "valid", "val", "test")
    }
    if not splits or not ({"names", "classes"} & set(data)):
        return None
    names = None
    if data.get("names"):
        path, _ = existing(data["names"], (source.parent,))
        if path is None:
            raise InputError(f"{source}: names={data['names']}: no such file in {source.parent}; put it there")
        names = _read_names(path)
    return Description(source, (source.parent,), splits, names, whole_number(data.get("classes")))


def _read_names(path: Path) -> dict[int, str]:
    text, _ = read_text(path, fallback="cp1252")
    return dict(enumerate(line.strip() for line in text.rstrip().splitlines()))


def _split_folders(root: Path) -> dict[str, list[str]]:
    """Splits of a folder that nothing describes; empty if it has no labels."""
    pictures = named_folders(root, _IMAGE_FOLDERS)
    lists = [(split, root / f"{word}.txt") for split, words in SPLIT_WORDS.items() for word in words]
    listed = {split: [str(path)] for split, path in lists if _lists_images(path)}
    if set(listed) - {"test"}:
        return listed
    splits: dict[str, list[str]] = {}
    for split, words in SPLIT_WORDS.items():
        places = [folder for parent in (*pictures, root) for folder in subfolders(parent)]
        named = [folder for word in words for folder in places if folder.name.lower() in (word, f"obj_{word}_data")]
        for folder in named:
            if _has_labels(folder):
                splits.setdefault(split, [str(folder)])
    if set(splits) - {"test"}:
        return splits
    for folder in pictures:
        if _has_labels(folder):
            return {"train": [str(folder)]}
    # As labelImg leaves them. Folders below are not asked: they may hold data sets of their own.
    flat = [image for image in sorted(root.iterdir()) if is_image(image.name) and image.is_file()]
    labelled = any(looks_like_labels(image.with_suffix(".txt")) for image in flat[:200])
    return {"train": [str(image) for image in flat]} if labelled else {}


def _lists_images(path: Path) -> bool:
    """Whether a file is a list of images, by its first line."""
    if not path.is_file():
        return False
    lines = read_text(path, fallback="cp1252")[0].split("\n", 1)
    return is_image(PurePosixPath(lines[0].strip().replace("\\", "/")).name)


def _has_labels(folder: Path) -> bool:
    """Whether an image of a folder has a label file; the first 200 images are asked."""
    labels = map(label_of, islice(images_in(folder), 201))
    return any(label is not None and looks_like_labels(label) for label in labels)


def _listed_names(root: Path) -> dict[int, str] | None:
    """The names in classes.txt or one like it, in the folder or up to two levels below."""
    level = [root]
    for _ in range(3):
        for folder in level:
            for name in _NAME_FILES:
                if (folder / name).is_file():
                    return _read_names(folder / name)
        level = [place for folder in level for place in subfolders(folder)]
    return None


def existing(name: str, bases: Iterable[Path]) -> tuple[Path | None, bool]:
    """The file of a path that may have been written elsewhere, and whether the whole path led to it.

    The path is tried whole, then without its first folders, one by one, in each of the folders `bases`.
    """
    plain = name.replace("\\", "/")
    bases = tuple(bases)
    for tail in dict.fromkeys((plain, *tails(plain))):
        for base in bases:
            path = os.path.normpath(os.path.join(base, tail))
            if os.path.isfile(path):
                return Path(path), tail == plain
    return None, False


def tails(name: str) -> list[str]:
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]
    return ["/".join(parts[start:]) for start in range(len(parts))]


def images_in(folder: Path) -> Iterable[Path]:
    """The images of a folder and of those below it, in the order of names; links are followed."""
    for place, below, names in os.walk(folder, followlinks=True):
        if len(Path(place).relative_to(folder).parts) > 8:  # a link to a folder above
            below.clear()
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if is_image(name):
                yield Path(place) / name


def label_places(image: Path) -> list[Path]:
    """Where the label file of an image may be: in labels/ in the place of images/, or beside the image."""
    parts = list(image.with_suffix(".txt").parts)
    places = []
    for position in reversed(range(len(parts) - 1)):
        if parts[position].lower() in _IMAGE_FOLDERS:
            word = "Labels" if parts[position][0].isupper() else "labels"
            places += [
                Path(*parts[:position], name, *parts[position + 1 :]) for name in dict.fromkeys(("labels", word))
            ]
            break
    return [*places, image.with_suffix(".txt"), image.parent / "labels" / image.with_suffix(".txt").name]


def label_of(image: Path) -> Path | None:
    return next((path for path in label_places(image) if os.path.isfile(path)), None)
