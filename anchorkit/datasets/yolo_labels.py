"""The lines of YOLO label files: a class and a box, a polygon or key points, as shares of the image's sides."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anchorkit.errors import InputError
from anchorkit.files import read_text
from anchorkit.formats import finite

_BOX = 5  # numbers of a line: class, centre x, centre y, width, height
_ROUNDING = 0.01  # by how much a share may leave 0..1; Ultralytics allows as much


@dataclass(frozen=True)
class LabelBox:
    """One object.

    Attributes:
        index: the class, counted from 0.
        box: centre x, centre y, width, height as shares of the image's width and height.
    """

    index: int
    box: tuple[float, float, float, float]


@dataclass
class LineNotes:
    """What was met in label files beside plain boxes: for each, how many lines, and the first file and line."""

    found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, what: str, where: str) -> None:
        """Count one more line."""
        count, first = self.found.get(what, (0, where))
        self.found[what] = (count + 1, first)

    def sentences(self) -> list[str]:
        """One sentence for each kind of line."""
        return [f"{count} {what} (first: {where})" for what, (count, where) in self.found.items()]


POLYGON = "label lines are polygons or rotated boxes; the box around the corners is taken"
SIXTH = "label lines have a sixth number (a score or a track id), which is left out"
KEYPOINTS = "label lines have key points, which are left out"
TWICE = "label lines repeat an earlier one of the file and are left out"
BEYOND = "label lines have values slightly beyond 0 to 1, kept as they are"
EMPTY = "label lines have a width or height of 0; these boxes are ignored in training"
MARK = "label files begin with a byte order mark, which is left out"


def read_labels(path: Path, classes: int | None, keypoints: int, notes: LineNotes) -> list[LabelBox]:
    """The objects of one label file.

    Args:
        path: the file; empty files and empty lines are in order.
        classes: how many classes there are, or None if nothing says so.
        keypoints: how many numbers follow the box as key points (``kpt_shape`` of data.yaml); 0 for none.
        notes: takes note of unusual lines.

    Raises:
        InputError: the file cannot be read, or a line has too few numbers, a word, an unknown class, or values that
            are no shares; the message names file and line.
    """
    text, mark = read_text(path, fallback="cp1252")
    if mark:
        notes.add(MARK, str(path))
    found: list[LabelBox] = []
    seen: set[tuple[float, ...]] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        where = f"{path}, line {number}"
        values = _numbers(words, where)
        index = _class(values[0], classes, words[0], where)
        if tuple(values) in seen:
            notes.add(TWICE, where)
            continue
        seen.add(tuple(values))
        box = _box(values, keypoints, where, notes)
        used = values[1:] if len(values) > _BOX + 1 and not keypoints else values[1:_BOX]
        if min(used) < -_ROUNDING or max(used) > 1 + _ROUNDING:
            raise InputError(
                f"{where}: {line.strip()[:80]!r}: YOLO labels are shares of the image, 0 to 1; divide x and width by "
                "the image's width, y and height by its height"
            )
        if box[2] < 0 or box[3] < 0:
            raise InputError(f"{where}: the box has a negative side ({box[2]:g} {box[3]:g}); mend or remove the line")
        if min(used) < 0 or max(used) > 1:
            notes.add(BEYOND, where)
        if not (box[2] and box[3]):
            notes.add(EMPTY, where)
        found.append(LabelBox(index, box))
    return found


def looks_like_labels(path: Path) -> bool:
    """Whether the first line of a file is one of a label file: a class and at least four numbers, mostly shares."""
    try:
        with path.open("rb") as file:
            head = file.read(2048)
    except OSError:
        return False
    for line in head.removeprefix(codecs.BOM_UTF8).decode("latin-1").splitlines():
        words = line.split()
        if words:
            try:
                values = [float(word) for word in words]
            except ValueError:
                return False
            return len(values) >= _BOX and values[0] >= 0 and values[0].is_integer()
    return False


def _numbers(words: Sequence[str], where: str) -> list[float]:
    values = []
    for word in words:
        value = finite(word)
        if value is None:
            raise InputError(f"{where}: {word!r} is not a number; a line is: class x y width height")
        values.append(value)
    if len(values) < _BOX:
        raise InputError(f"{where}: {len(values)} numbers; a line is: class x y width height")
    return values


def _class(value: float, classes: int | None, word: str, where: str) -> int:
    if not value.is_integer() or value < 0:
        raise InputError(f"{where}: the class is {word}; classes are whole numbers from 0")
    if classes is not None and value >= classes:
        raise InputError(
            f"{where}: the class is {word}, and there are {classes} names (0 to {classes - 1}); add the missing names, "
            "or mend the line"
        )
    return int(value)


def _box(values: list[float], keypoints: int, where: str, notes: LineNotes) -> tuple[float, float, float, float]:
    """Centre and size of the box of a line, or of the one around its polygon."""
    if keypoints and len(values) == _BOX + keypoints:
        notes.add(KEYPOINTS, where)
    elif len(values) == _BOX + 1:
        notes.add(SIXTH, where)
    elif len(values) > _BOX:
        if len(values) % 2 == 0:
            raise InputError(
                f"{where}: {len(values)} numbers; a box has 5, a polygon has the class and pairs, and key points need "
                "kpt_shape in data.yaml"
            )
        notes.add(POLYGON, where)
        left, right, top, bottom = min(values[1::2]), max(values[1::2]), min(values[2::2]), max(values[2::2])
        return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    return values[1], values[2], values[3], values[4]
