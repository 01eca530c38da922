"""YOLO txt data sets: data.yaml (Ultralytics, Roboflow), darknet's obj.data, or images beside labels.

Each image has a text file of its own, with one object per line: the class, counted from 0, and centre and size of
the box as shares of the image. It lies where ``images/`` in the image's path is replaced by ``labels/``, or beside the
image. Without one, or with an empty one, an image is background.

What tells splits and names, the first that is there:

- a yaml with ``names`` or ``nc`` and ``train``/``val`` (or ``valid``)/``test``: folders, .txt lists, or lists of these.
  ``path`` may be absolute, relative to the yaml, or relative to a ``datasets`` folder beside the yaml's; a path that
  exists nowhere (``/content/...``, ``../train/images``) is tried without its first folders. ``download`` is never run;
- a ``.data`` file with ``train=``, ``valid=`` and ``names=`` (darknet, CVAT);
- folders named after splits, or else one folder, which is parted into training and validation, 80 to 20.

Images get ids from 1 in the order of their names; class `i` gets the category id `i + 1`.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anchorkit.datasets.base import SPLIT_WORDS, Dataset, Split, assemble, coco_annotation
from anchorkit.datasets.images import FolderImages, is_image, plain_name, read_image_size
from anchorkit.datasets.yolo_description import (
    Description,
    description_in,
    description_of,
    existing,
    images_in,
    label_of,
    label_places,
    tails,
)
from anchorkit.datasets.yolo_labels import LabelBox, LineNotes, read_labels
from anchorkit.errors import InputError
from anchorkit.files import read_text


@dataclass
class _Found:
    """Images of a split by path, and what was decided on the way to them."""

    images: list[Path] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def load_yolo_file(source: Path) -> Dataset:
    """A data set from its data.yaml or obj.data.

    Raises:
        InputError: the file describes no YOLO data set, or it or a label file is broken or inconsistent.
    """
    description = description_of(source)
    if description is None:
        raise InputError(f"{source}: not a YOLO data set (a yaml with names, train and val; or darknet's .data)")
    return _load(source.parent, description)


def load_yolo_folder(root: Path) -> Dataset | None:
    """A data set from a folder of YOLO labels, or None if the folder holds none.

    Raises:
        InputError: several files describe data sets, or one or a label file is broken or inconsistent.
    """
    description = description_in(root)
    return None if description is None else _load(root, description)


def _load(root: Path, description: Description) -> Dataset:
    source = description.source
    notes, lines = list[str](), LineNotes()
    if description.names and description.classes not in (None, len(description.names)):
        notes.append(f"{source}: {description.classes} classes and {len(description.names)} names; the names are taken")
    objects: dict[str, list[tuple[Path, list[LabelBox]]]] = {}
    for split, entries in description.splits.items():
        found = _find(entries, description, split)
        if not found.images and split == "test" and not found.missing:
            notes.append(f"{source}: test: {', '.join(entries)} is nowhere, so there is no test split")
            continue
        if found.missing or not found.images:
            raise InputError(_lost(source, split, entries, found))
        notes += found.notes
        objects[split] = _labelled(split, found.images, description, lines, notes)
    used = {label.index for images in objects.values() for _, labels in images for label in labels}
    names = description.names or {}
    if not names:
        count = description.classes or max(used, default=0) + 1
        names = {index: f"class {index}" for index in range(count)}
        notes.append(
            f"{source}: nothing names the classes; they are called {names[0]} and so on (put a classes.txt there)"
        )
    unnamed = sorted(used - set(names))
    if unnamed:
        raise InputError(
            f"{source}: there are labels of class {unnamed[0]}, and names has no such number; add its name"
        )
    notes += [f"{source}: {sentence}" for sentence in lines.sentences()]
    splits = {split: _split(root, split, images, names) for split, images in objects.items()}
    return assemble(root, splits, notes)


def _labelled(
    split: str, images: Sequence[Path], description: Description, lines: LineNotes, notes: list[str]
) -> list[tuple[Path, list[LabelBox]]]:
    """Each image with its objects, in the order of names."""
    names = description.names
    classes = max(names) + 1 if names else description.classes
    found, without = [], 0
    for image in sorted(images, key=str):
        label = label_of(image)
        without += label is None
        found.append((image, [] if label is None else read_labels(label, classes, description.keypoints, lines)))
    example = found[0][0]
    if without == len(found):
        places = " and ".join(str(path) for path in label_places(example))
        raise InputError(
            f"{description.source}: {split}: none of its {len(found)} images has a label file; looked for {places}"
        )
    if without > len(found) / 2:
        notes.append(f"{description.source}: {split}: {without} of {len(found)} images have no label file: background")
    return found


def _split(root: Path, name: str, objects: list[tuple[Path, list[LabelBox]]], names: Mapping[int, str]) -> Split:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    broken: list[str] = []
    for number, (path, labels) in enumerate(objects, start=1):
        try:
            height, width = read_image_size(path, upright=True)
        except InputError as error:
            broken.append(str(error))
            continue
        inside = path.is_relative_to(root)
        file_name = plain_name(path.relative_to(root).as_posix() if inside else str(path), path.parent)
        images.append({"id": number, "file_name": file_name, "width": width, "height": height})
        for label in labels:
            x, y, w, h = label.box
            box = ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
            annotations.append(coco_annotation(len(annotations) + 1, number, label.index + 1, box))
    if broken:
        raise InputError(f"{root}: {name}: {len(broken)} of {len(objects)} images are broken; {broken[0]}")
    categories = [{"id": index + 1, "name": names[index]} for index in sorted(names)]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    return Split(name, truth, FolderImages((root,), tuple(image["file_name"] for image in images), upright=True))


def _find(entries: Sequence[str], description: Description, split: str) -> _Found:
    """The images that the entries of a split stand for."""
    found = _Found()
    for entry in entries:
        if entry.lower().endswith(".txt"):
            _follow(entry, description.bases, found)
        elif is_image(os.path.basename(entry)) and os.path.isfile(entry):
            found.images.append(Path(entry))
        else:
            _look(entry, description, split, found)
    found.images = list(dict.fromkeys(found.images))
    return found


def _look(entry: str, description: Description, split: str, found: _Found) -> None:
    """Find the images of the folder or pattern that an entry is, as written or else as near as there is one."""
    source, plain = description.source, entry.replace("\\", "/")
    for base in description.bases:
        path = Path(os.path.normpath(base / plain))
        found.looked.append(str(path))
        images = list(images_in(path)) if path.is_dir() else []
        if not images and glob.has_magic(plain):
            matched = [base / match for match in sorted(glob.glob(plain, root_dir=base))]
            images = [image for match in matched if match.is_dir() for image in images_in(match)]
            images += [match for match in matched if is_image(match.name) and match.is_file()]
        if images:
            found.images += images
            inside = base / plain.lstrip("./")
            if plain.startswith("../") and inside.is_dir() and inside != path:
                found.notes.append(f"{source}: {split}: {path} is taken, as written, though there is {inside} too")
            return
    # A path that names the split must go on naming it: `images` alone may be all of them.
    parts = [set(tail.lower().split("/")) for tail in tails(plain)]
    telling = set(SPLIT_WORDS[split]) & parts[0] if parts else set()
    near = [tail for tail, words in zip(tails(plain), parts, strict=True) if not telling or telling & words]
    tries = [base / tail for base in description.bases for tail in near]
    for base in description.bases:
        for word in SPLIT_WORDS[split]:
            tries += [base / word / "images", base / "images" / word, base / word]
    for path in dict.fromkeys(tries):
        found.looked.append(str(path))
        images = list(images_in(path)) if path.is_dir() else []
        if images:
            found.images += images
            found.notes.append(f"{source}: {split}: {entry} is not there; {path} is taken")
            return


def _follow(entry: str, bases: Sequence[Path], found: _Found) -> None:
    """The images that a list names, one a line: absolute, or relative to the list, a base or the working folder.

    Raises:
        InputError: two lines mean the same file, and only because the first folders of a path are left out.
    """
    listing, _ = existing(entry, bases)
    if listing is None:
        found.missing.append(entry)
        return
    text, _ = read_text(listing, fallback="cp1252")
    places = tuple(dict.fromkeys((listing.parent, *bases, Path.cwd())))
    found.looked += [str(place) for place in places]
    owners: dict[Path, str] = {}
    shared: list[tuple[str, str, Path]] = []
    for line in text.splitlines():
        name = line.strip()
        if not name:
            continue
        path, whole = existing(name, places)
        if path is None:
            found.missing.append(name)
            continue
        other = owners.setdefault(path, name)
        if other != name and not whole:
            shared.append((name, other, path))
        found.images.append(path)
    if shared:
        name, other, path = shared[0]
        raise InputError(
            f"{listing}: {len(shared)} lines share a file with another line, as {other} and {name}, of which only "
            f"{path} is there; restore the folders that the lines name"
        )


def _lost(source: Path, split: str, entries: Sequence[str], found: _Found) -> str:
    """The message on images or lists that are not there."""
    looked = list(dict.fromkeys(found.looked))[:6]
    where = f"; looked in {', '.join(looked)}" if looked else ""
    if found.missing:
        total = len(found.missing) + len(found.images)
        return (
            f"{source}: {split}: {len(found.missing)} of {total} images or lists are not found, such as "
            f"{found.missing[0]}{where}, with and without the first folders; put them there, or mend the list"
        )
    return f"{source}: {split}: {', '.join(entries)}: no such folder, or no images in it{where}; mend the path"
