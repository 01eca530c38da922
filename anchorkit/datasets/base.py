"""The interface of all data sets: splits of images with COCO ground truth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anchorkit.datasets.copies import first_of_same
from anchorkit.datasets.images import FolderImages, ImageArray, ImageReader
from anchorkit.errors import InputError
from anchorkit.findings import Finding

# Names of splits in the names of files and folders, in any letter case.
SPLIT_WORDS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


@dataclass(frozen=True)
class Category:
    """One object class.

    Attributes:
        id: the class's number in the ground truth (COCO ``category_id``; need not be consecutive).
        name: the class's name.

    Example:
        >>> from anchorkit.datasets import Category
        >>> Category(3, "cat")
        Category(id=3, name='cat')
    """

    id: int
    name: str


@dataclass(frozen=True)
class Annotations:
    """The annotated objects of one image.

    Attributes:
        boxes: float32 (N, 4), x1 y1 x2 y2 in pixels of the image as annotated; may extend beyond the image.
        category_ids: int64 (N,), the ids of the objects' categories.
        ignore: bool (N,), True for objects to ignore in training: crowds, objects marked difficult, and boxes with no
            part inside the image (no width, no height, or wholly outside).
    """

    boxes: npt.NDArray[np.float32]
    category_ids: npt.NDArray[np.int64]
    ignore: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes)


def coco_annotation(number: int, image_id: int, category_id: int, box: Sequence[float]) -> dict[str, Any]:
    """The entry of an object in a COCO dict, from its number from 1 and its box (x, y, width, height in pixels)."""
    ids = {"id": number, "image_id": image_id, "category_id": category_id}
    return {**ids, "bbox": list(box), "area": box[2] * box[3], "iscrowd": 0}


class Split:
    """Images with their ground truth: the training, validation or test part of a data set.

    Attributes:
        name: ``"train"``, ``"val"`` or ``"test"``.
        ground_truth: COCO dict (``images``, ``annotations``, ``categories``) that pycocotools reads unchanged.
        categories: the object classes by rising id.
        image_ids: ids of the images in the order of ``ground_truth["images"]``.

    Example:
        >>> import anchorkit as ak
        >>> data = ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        >>> first = data.val.image_ids[0]
        >>> data.val.image(first).shape, data.val.image_size(first)
        ((160, 160, 3), (160, 160))
        >>> data.val.subset(2)
        Split(val: 2 images, ... annotations)
    """

    def __init__(self, name: str, ground_truth: dict[str, Any], read: ImageReader) -> None:
        """Make a split.

        Args:
            name: the split's name.
            ground_truth: complete COCO dict; every image has ``id``, ``width`` and ``height``.
            read: returns the uint8 (H, W, 3) RGB array of an image, from its entry in ``ground_truth["images"]``;
                threads call it.
        """
        self.name = name
        self.ground_truth = ground_truth
        self.categories = tuple(
            Category(entry["id"], entry["name"]) for entry in sorted(ground_truth["categories"], key=lambda c: c["id"])
        )
        self.image_ids: tuple[int, ...] = tuple(entry["id"] for entry in ground_truth["images"])
        self._read = read
        self._entries: dict[int, dict[str, Any]] = {entry["id"]: entry for entry in ground_truth["images"]}

    @cached_property
    def _annotations(self) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in self.image_ids}
        for annotation in self.ground_truth["annotations"]:
            found[annotation["image_id"]].append(annotation)
        return found

    def __len__(self) -> int:
        return len(self.image_ids)

    def __repr__(self) -> str:
        return f"Split({self.name}: {len(self)} images, {len(self.ground_truth['annotations'])} annotations)"

    def image(self, image_id: int) -> ImageArray:
        """The pixels of an image: uint8 (H, W, 3) RGB, 0..255.

        COCO and VOC annotations refer to the pixels as stored, so an EXIF orientation is applied only if just the
        turned image has the annotated size. YOLO labels refer to the turned image.

        Raises:
            InputError: the id is unknown, the file is missing or cannot be decoded, or its size is not as annotated.
        """
        entry = self._entry(image_id)
        pixels = self._read(entry)
        if pixels.shape[:2] != (entry["height"], entry["width"]):
            raise InputError(
                f"{entry.get('file_name', image_id)}: the image is {pixels.shape[1]}x{pixels.shape[0]} but the "
                f"annotations say {entry['width']}x{entry['height']}; put the annotated image there, or fix the size"
            )
        return pixels

    def path(self, image_id: int) -> Path | None:
        """The file of an image; None if it is not found, and for images without files (the built-in shapes).

        Raises:
            InputError: the id is unknown.
        """
        find = getattr(self._read, "find", None)
        return None if find is None else find(self._entry(image_id)["file_name"])

    @property
    def ambiguous_names(self) -> Mapping[str, str]:
        """Names of image files that are not given a file because another name leads to the same one; that name."""
        found: Mapping[str, str] = getattr(self._read, "ambiguous", {})
        return found

    def image_size(self, image_id: int) -> tuple[int, int]:
        """(height, width) of an image in pixels.

        Raises:
            InputError: the id is unknown.
        """
        entry = self._entry(image_id)
        return int(entry["height"]), int(entry["width"])

    @property
    def upright(self) -> bool:
        """Whether every image is turned as its EXIF orientation says, as YOLO labels need it."""
        return isinstance(self._read, FolderImages) and self._read.upright

    def image_faults(self) -> str | None:
        """One sentence on the images that are missing, cannot be decoded or have another size, with their numbers.

        None if all are readable, or if they do not come from files. Takes about a second for 5,000 images.
        """
        return self._read.faults(self.ground_truth["images"]) if isinstance(self._read, FolderImages) else None

    def check_images(self) -> None:
        """Raise an error for missing or broken images, before anything is computed on the others.

        Raises:
            InputError: see `image_faults`.
        """
        faults = self.image_faults()
        if faults:
            raise InputError(f"{self.name}: {faults}; replace these files, or remove them from the annotations")

    def missing_images(self) -> str | None:
        """One sentence on the images that are not found, with one name and the folders searched; or None."""
        return self._read.missing() if isinstance(self._read, FolderImages) else None

    def annotations(self, image_id: int) -> Annotations:
        """The annotated objects of an image, in the order of the ground truth; empty if it has none.

        Raises:
            InputError: the id is unknown.
        """
        height, width = self.image_size(image_id)
        found = self._annotations[image_id]
        sides = np.array([annotation["bbox"] for annotation in found], dtype=np.float64).reshape(-1, 4)
        boxes = np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], axis=1)  # (N, 4) x1 y1 x2 y2
        low = np.maximum(boxes[:, :2], 0)
        high = np.minimum(boxes[:, 2:], [width, height])
        marked = np.array([bool(a.get("iscrowd", 0) or a.get("difficult", 0)) for a in found], dtype=np.bool_)
        return Annotations(
            boxes=boxes.astype(np.float32),
            category_ids=np.array([annotation["category_id"] for annotation in found], dtype=np.int64),
            ignore=marked | (high <= low).any(axis=1),
        )

    def subset(self, n: int, seed: int = 0) -> Split:
        """A split of `n` images drawn at random, in the order they have here; all if there are no more than `n`.

        Raises:
            InputError: `n` is not at least 1.
        """
        if n < 1:
            raise InputError(f"a subset of {n} images was asked for; ask for at least 1")
        if n >= len(self):
            return self
        chosen = np.random.default_rng(seed).permutation(len(self))[:n]
        return self.only({self.image_ids[position] for position in chosen})

    def only(self, image_ids: set[int], name: str | None = None) -> Split:
        """The split of just these images, in the order they have here."""
        parts = {
            "images": [entry for entry in self.ground_truth["images"] if entry["id"] in image_ids],
            "annotations": [a for a in self.ground_truth["annotations"] if a["image_id"] in image_ids],
        }
        return Split(name or self.name, {**self.ground_truth, **parts}, self._read)

    def _entry(self, image_id: int) -> dict[str, Any]:
        try:
            return self._entries[image_id]
        except KeyError:
            raise InputError(f"image {image_id!r} is not in the {self.name} split") from None


@dataclass(eq=False, repr=False)
class Dataset:
    """A data set: training and validation splits, and a test split where there is one.

    Attributes:
        name: the built-in name or the folder's name.
        train: images to train detectors on.
        val: images to select configurations on.
        test: images to report results on, or None.
        categories: the object classes by rising id, the same in every split.
        notes: sentences on decisions while loading (such as a split that was drawn).
        findings: what `load_dataset` found implausible.

    Example:
        >>> import anchorkit as ak
        >>> data = ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        >>> sorted(data.splits())
        ['test', 'train', 'val']
    """

    name: str
    train: Split
    val: Split
    test: Split | None = None
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        self.categories = self.train.categories

    def splits(self) -> dict[str, Split]:
        """The splits that exist, by name: ``train``, ``val`` and, where there is one, ``test``."""
        found = {"train": self.train, "val": self.val}
        if self.test is not None:
            found["test"] = self.test
        return found

    def limited(self, train: int = 0, val: int = 0, test: int = 0, seed: int = 0) -> Dataset:
        """The data set with at most these numbers of images per split, drawn with `seed`; 0 keeps the whole split."""

        def cut(split: Split, count: int) -> Split:
            return split.subset(min(count, len(split)), seed) if count else split

        held_out = None if self.test is None else cut(self.test, test)
        return Dataset(self.name, cut(self.train, train), cut(self.val, val), held_out, self.notes, self.findings)

    def fingerprint(self) -> str:
        """A hash (16 hexadecimal digits) of the ground truth of all splits: equal for equal annotations."""
        digest = hashlib.sha256()
        for name, split in self.splits().items():
            parts = {key: split.ground_truth[key] for key in ("images", "annotations", "categories")}
            digest.update(name.encode())
            digest.update(json.dumps(parts, sort_keys=True, default=str).encode())
        return digest.hexdigest()[:16]

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(split)}" for name, split in self.splits().items())
        return f"Dataset({self.name}: {sizes} images; {len(self.categories)} classes)"


def seeded_split(split: Split, share: float = 0.8, seed: int = 0) -> tuple[Split, Split]:
    """Divide a split in two, the same way every time: `share` of the images to train on, the rest to validate on.

    Entries with the same file, or with files of the same content, go to the same part.

    Raises:
        InputError: there are fewer than two images.
    """
    paths = {image_id: split.path(image_id) for image_id in split.image_ids}
    same = first_of_same(path for path in paths.values() if path is not None)
    pictures: dict[Any, list[int]] = {}
    for entry in split.ground_truth["images"]:
        path = paths[entry["id"]]
        key = entry.get("file_name", entry["id"]) if path is None else same.get(path, path)
        pictures.setdefault(key, []).append(entry["id"])
    groups = list(pictures.values())
    if len(groups) < 2:
        raise InputError(f"{len(groups)} image(s) cannot be divided into training and validation; give at least 2")
    order = np.random.default_rng(seed).permutation(len(groups))
    count = min(max(round(share * len(groups)), 1), len(groups) - 1)
    first = {image_id for position in order[:count] for image_id in groups[position]}
    return split.only(first, "train"), split.only(set(split.image_ids) - first, "val")


def check_same_categories(root: Path, splits: Mapping[str, Split]) -> None:
    """Give every split the same categories: all that any of them lists.

    A split may lack a class (a small test set may have no rare one); an id with two meanings is an error.

    Raises:
        InputError: an id has different names in different splits.
    """
    known: dict[int, tuple[dict[str, Any], str]] = {}
    for name, split in splits.items():
        for entry in split.ground_truth["categories"]:
            first, where = known.setdefault(entry["id"], (entry, name))
            if first["name"] != entry["name"]:
                raise InputError(
                    f"{root}: category {entry['id']} is {first['name']!r} in {where} and {entry['name']!r} in {name}; "
                    f"export the splits with the same categories"
                )
    everything = [entry for _, (entry, _) in sorted(known.items())]
    categories = tuple(Category(entry["id"], entry["name"]) for entry in everything)
    for split in splits.values():
        split.ground_truth["categories"] = [dict(entry) for entry in everything]
        split.categories = categories


def assemble(root: Path, splits: dict[str, Split], notes: Sequence[str] = ()) -> Dataset:
    """A data set from the splits found in a folder; without a validation split, the training images are divided.

    A single split is the training split, under any name.

    Args:
        root: the folder.
        splits: those found there, by ``train``, ``val`` and ``test``.
        notes: decisions while reading.

    Raises:
        InputError: there are several splits and none to train on.
    """
    if "train" not in splits:
        if len(splits) > 1:
            raise InputError(f"{root}: there are {' and '.join(splits)} annotations but none for train; add them")
        splits = {"train": next(iter(splits.values()))}
    train, val = splits["train"], splits.get("val")
    said = list(notes)
    for split in splits.values():
        lost = split.missing_images()
        if lost:
            said.append(f"{root}: {split.name}: {lost}")
    if val is None:
        whole = train
        train, val = seeded_split(whole)
        said.append(
            f"{root}: no validation split, so its {len(whole)} images were divided into {len(train)} to train on and "
            f"{len(val)} to validate on (the same ones every time)"
        )
    return Dataset(root.resolve().name, train, val, splits.get("test"), tuple(said))
