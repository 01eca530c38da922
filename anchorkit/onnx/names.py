"""The object classes of a file, as users give them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anchorkit.coco_json import read_coco
from anchorkit.datasets import Category
from anchorkit.datasets.yolo_description import SUFFIXES, description_of
from anchorkit.errors import InputError
from anchorkit.files import read_text

Categories = int | str | Path | Sequence[str] | Sequence[Category] | None


def categories_of(given: Categories) -> list[Category] | None:
    """The classes that a user names; None for None.

    Raises:
        InputError: a file names none, or the value is none of these.
    """
    if given is None:
        return None
    if isinstance(given, bool) or (isinstance(given, int) and given < 1):
        raise InputError(f"categories is {given!r}; how many classes there are, their names, or a file is needed")
    if isinstance(given, int):
        return numbered(given)
    if isinstance(given, str | Path):
        return _in_file(Path(given))
    values = list(given)
    if not values or not all(isinstance(value, str | Category) for value in values):
        raise InputError(f"categories is {given!r}; a list of names is needed")
    return [
        value if isinstance(value, Category) else Category(number + 1, str(value))
        for number, value in enumerate(values)
    ]


def numbered(count: int) -> list[Category]:
    """Classes without names, with the ids from 1: ``class 0``, ``class 1`` and so on."""
    return [Category(number + 1, f"class {number}") for number in range(count)]


def _in_file(path: Path) -> list[Category]:
    if not path.is_file():
        raise InputError(f"categories: no such file: {path}")
    if path.suffix.lower() in SUFFIXES:
        described = description_of(path, names_only=True)
        if described is None or not (described.names or described.classes):
            raise InputError(f"categories: {path} has no `names`; add the names of the classes")
        names = described.names or {}
        return [Category(number + 1, names[number]) for number in sorted(names)] or numbered(described.classes or 0)
    if path.suffix.lower() == ".json":
        data, _, _ = read_coco(path)
        entries = sorted(data.get("categories", []), key=lambda entry: entry["id"])
        if not entries:
            raise InputError(f"categories: {path} lists no categories")
        return [Category(int(entry["id"]), str(entry["name"])) for entry in entries]
    lines = [line.strip() for line in read_text(path)[0].splitlines()]
    names_in_lines = [line for line in lines if line]
    if not names_in_lines:
        raise InputError(f"categories: {path} is empty; write one name per line")
    return [Category(number + 1, line) for number, line in enumerate(names_in_lines)]
