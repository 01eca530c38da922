"""What is implausible in the picture files of a data set: one picture in two places, and pictures to be turned."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from PIL import Image

from anchorkit.datasets.base import Split
from anchorkit.datasets.copies import first_of_same
from anchorkit.findings import Finding

__all__ = ["PICTURES_LOOKED_AT", "check_pictures", "exif_turn"]

PICTURES_LOOKED_AT = 20_000
"""In how many image files at most the check looks for an EXIF turn."""

_ORIENTATION = 0x0112  # EXIF's number for it
_HEAD = 4096  # bytes at the beginning of a file, where the EXIF data of JPEG and PNG files begin
_COPIES_SHARE = 0.01  # of a split's pictures: a single copy in more of them is passed over

FileId = tuple[int, int]


@dataclass(frozen=True)
class _Files:
    """The picture files of a split, by image id: their paths, and device and number, which links share."""

    paths: Mapping[int, Path]
    numbers: Mapping[int, FileId]

    @classmethod
    def of(cls, split: Split) -> _Files:
        paths, numbers = {}, {}
        for image_id in split.image_ids:
            path = split.path(image_id)
            if path is not None:
                with contextlib.suppress(OSError):
                    about = os.stat(path)
                    paths[image_id], numbers[image_id] = path, (about.st_dev, about.st_ino)
        return cls(paths, numbers)


def check_pictures(name: str, splits: Mapping[str, Split], official: bool = False) -> Iterator[Finding]:
    """What is implausible in the picture files of a data set.

    Args:
        name: what the data set is called in messages.
        splits: its splits, by name.
        official: it is COCO or VOC as published: VOC validates and tests on the same images.
    """
    files = {split: _Files.of(splits[split]) for split in splits}
    yield from _listed_twice(name, splits, files)
    yield from _in_two_splits(name, files, {"val", "test"} if official else set())
    if not official:
        yield from _copies(name, files)
    yield from _exif_turns(name, splits)


def _listed_twice(name: str, splits: Mapping[str, Split], files: Mapping[str, _Files]) -> Iterator[Finding]:
    """Files that several entries of a split resolve to: under one name, or under several.

    Where only the last part of a name leads to a file, and other names end so too, no entry gets the picture.
    """
    one_name: list[tuple[str, int, str, int]] = []  # name and id of an entry, and of the first one of its file
    several_names: list[tuple[str, int, str, int]] = []
    for split, own in files.items():
        names = {entry["id"]: str(entry.get("file_name")) for entry in splits[split].ground_truth["images"]}
        doubtful = [image_id for image_id in names if names[image_id] in splits[split].ambiguous_names]
        if doubtful:
            file, first = names[doubtful[0]], doubtful[0]
            other = splits[split].ambiguous_names[file]
            several_names += [(names[image_id], image_id, other, first) for image_id in doubtful]
        groups: dict[FileId, list[int]] = defaultdict(list)
        for image_id, identity in own.numbers.items():
            groups[identity].append(image_id)
        for first, *others in groups.values():
            differing = [other for other in others if names[other] != names[first]]
            several_names += [(names[other], other, names[first], first) for other in differing]
            if others and not differing:
                one_name.append((names[first], others[0], names[first], first))
    if one_name:
        file, second, _, first = one_name[0]
        what = f"{name}: {len(one_name):,} pictures are listed more than once under different ids"
        mend = "keep one entry for each picture, with all its boxes"
        example = {"file": file, "id": second, "value": f"the same as id {first}"}
        yield Finding("listed_twice", "warning", len(one_name), what, mend, example)
    if several_names:
        file, second, other, _ = several_names[0]
        what = f"{name}: {len(several_names):,} images have the file of another entry with another name"
        mend = "put every image where its file_name says: one picture cannot have the boxes of both"
        example = {"file": file, "id": second, "value": f"the same file as {other}"}
        yield Finding("one_file_for_two_images", "warning", len(several_names), what, mend, example)


def _in_two_splits(name: str, files: Mapping[str, _Files], on_purpose: set[str]) -> Iterator[Finding]:
    for first, second in combinations(files, 2):
        seen = set(files[first].numbers.values())
        shared = [image_id for image_id, identity in files[second].numbers.items() if identity in seen]
        if shared and not {first, second} <= on_purpose:
            what = f"{name}: {len(shared)} pictures of {second} are also in {first}, so {second} flatters"
            mend = "leave each picture in one split"
            example = {"file": str(files[second].paths[shared[0]]), "id": shared[0]}
            yield Finding("same_file_in_two_splits", "warning", len(shared), what, mend, example)


def _copies(name: str, files: Mapping[str, _Files]) -> Iterator[Finding]:
    """Pictures that lie in several files: copies under other names, in one split and across splits."""
    firsts = {
        number: path
        for own in files.values()
        for number, path in zip(own.numbers.values(), own.paths.values(), strict=True)
    }
    same = first_of_same(dict.fromkeys(firsts.values()))
    number_of = {path: number for number, path in firsts.items()}
    # The picture of each file: the number of the first file with its content.
    picture = {number: number_of[same.get(path, path)] for number, path in firsts.items()}
    for split, own in files.items():
        seen: dict[FileId, int] = {}
        twice = [
            (image_id, seen[picture[number]])
            for image_id, number in own.numbers.items()
            if own.numbers[seen.setdefault(picture[number], image_id)] != number
        ]
        if _many(twice, own):
            what = f"{name}: {len(twice):,} pictures of {split} are copies of others under another name"
            mend = "keep one file for each picture, with all its boxes"
            example = _example_of_copy(own, own, *twice[0])
            yield Finding("same_picture_in_two_files", "warning", len(twice), what, mend, example)
    for first, second in combinations(files, 2):
        there = {picture[number]: image_id for image_id, number in reversed([*files[first].numbers.items()])}
        links = set(files[first].numbers.values())
        own = files[second]
        shared = [
            (image_id, there[picture[number]])
            for image_id, number in own.numbers.items()
            if picture[number] in there and number not in links
        ]
        if _many(shared, own):
            what = f"{name}: {len(shared):,} pictures of {second} are copies of some in {first}, so {second} flatters"
            mend = "leave each picture in one split"
            example = _example_of_copy(own, files[first], *shared[0])
            yield Finding("same_picture_in_two_splits", "warning", len(shared), what, mend, example)


def _many(copies: Sequence[Any], files: _Files) -> bool:
    """More than one, or one in a small split: a single pair changes no figure, and published data have such."""
    return len(copies) > 1 or len(copies) >= max(1, _COPIES_SHARE * len(files.paths))


def _example_of_copy(files: _Files, others: _Files, image_id: int, other: int) -> dict[str, Any]:
    return {"file": str(files.paths[image_id]), "id": image_id, "value": f"the same picture as {others.paths[other]}"}


def _exif_turns(name: str, splits: Mapping[str, Split]) -> Iterator[Finding]:
    """Pictures whose file says that they are to be shown turned, and which reading `Split.image` takes."""
    everything = [(split, image_id) for split in splits.values() for image_id in split.image_ids]
    looked_at = everything[:: -(-len(everything) // PICTURES_LOOKED_AT)] if everything else []
    found: list[tuple[bool, Path, int, int]] = []
    for split, image_id in looked_at:
        path = split.path(image_id)
        if path is not None and (turn := exif_turn(path)) is not None:
            orientation, stored = turn
            annotated = split.image_size(image_id)
            fits = stored != annotated == stored[::-1] and orientation >= 5
            found.append((split.upright or fits, path, image_id, orientation))
    if not found:
        return
    turned = sum(shown for shown, *_ in found)
    reason = "as YOLO labels are meant" if looked_at[0][0].upright else "as their annotated size says"
    _, path, image_id, orientation = max(found, key=lambda one: one[0])
    of = f" (of {len(looked_at):,} looked at)" if len(looked_at) < len(everything) else ""
    what = (
        f"{name}: {len(found):,} pictures{of} carry an EXIF turn: {turned:,} are read turned, {reason}, and "
        f"{len(found) - turned:,} as stored"
    )
    mend = "look at some of them with their boxes; saving the pictures without the turn ends the doubt"
    example = {"file": str(path), "id": image_id, "value": f"orientation {orientation}"}
    yield Finding("exif_turn", "warning", len(found), what, mend, example)


def exif_turn(path: Path) -> tuple[int, tuple[int, int]] | None:
    """The EXIF orientation of a picture (2 to 8; from 5 on the sides are exchanged) and its stored (height, width).

    None for a picture that is to be shown as it is stored, and for a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if b"Exif\0\0" not in head and b"eXIf" not in head:
            return None
        with Image.open(path) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            return (orientation, (image.height, image.width)) if orientation in range(2, 9) else None
    except Exception:  # broken EXIF data raises almost anything
        return None
