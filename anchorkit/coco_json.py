"""COCO dicts as tools write them: read from wherever they are, with ids as whole numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from anchorkit.errors import InputError
from anchorkit.files import read_json
from anchorkit.formats import recognise

_PARTS = ("images", "annotations", "categories")
_WHOLE = re.compile(r"\s*[+-]?\d+(\.0*)?\s*")


def read_coco(ground_truth: Any) -> tuple[Mapping[str, Any], str, tuple[str, ...]]:
    """The COCO dict behind a path, a dict or a pycocotools ``COCO``.

    Returns:
        The dict, in which ids that are written as text or with a decimal point (``"1"``, ``1.0``) are whole numbers;
        what to call it in messages; and a sentence on the ids that were so written, if there are any.

    Raises:
        InputError: the file is missing or not JSON, or it is no object; the message says what was given instead.
    """
    name = "ground truth"
    if isinstance(ground_truth, str | Path):
        name = str(ground_truth)
        try:
            data = read_json(ground_truth)
        except InputError:
            _refuse_other(Path(ground_truth))
            raise
        if not isinstance(data, Mapping) or "images" not in data:
            _refuse_other(Path(ground_truth))
    else:
        data = getattr(ground_truth, "dataset", ground_truth)
    if not isinstance(data, Mapping):
        raise InputError(f"{name}: not a COCO ground truth (a JSON object with images, annotations and categories)")
    data, notes = whole_ids(data, name)
    return data, name, notes


def whole_ids(data: Mapping[str, Any], source: str | Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """A COCO dict whose ids, widths and heights are whole numbers wherever what is written stands for one.

    Args:
        data: the dict; it is not changed, and returned itself if there is nothing to do.
        source: the file's name, for the sentence.

    Returns:
        The dict, and a sentence on what was not a whole number, if anything was.
    """
    changed: dict[str, Any] = {}
    count, example = 0, ""
    for part in _PARTS:
        entries = data.get(part)
        if not isinstance(entries, list):
            continue
        keys = ("id", "image_id", "category_id") if part == "annotations" else ("id", "width", "height")
        if all(type(entry.get(key, 0)) is int for entry in _mappings(entries) for key in keys):
            continue
        fresh = []
        for entry in entries:
            numbers = {key: whole_number(entry.get(key)) for key in keys} if isinstance(entry, Mapping) else {}
            read = {
                key: number for key, number in numbers.items() if number is not None and type(entry[key]) is not int
            }
            if read:
                count += len(read)
                key = next(iter(read))
                example = example or f"{key} {entry[key]!r} in {part}"
            fresh.append({**entry, **read} if read else entry)
        changed[part] = fresh
    if not count:
        return data, ()
    return {**data, **changed}, (
        f"{source}: {count} ids or sizes are written as text or with a decimal point ({example}) and read as whole "
        "numbers",
    )


def whole_number(value: Any) -> int | None:
    """The whole number that a value stands for without doubt (``7``, ``7.0``, ``"7"``, ``"7.0"``), or None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str) and len(value) < 24 and _WHOLE.fullmatch(value):
        return int(value.strip().partition(".")[0])
    return None


def _refuse_other(path: Path) -> None:
    found = recognise(path)
    if found is not None and not found.is_ground_truth:
        raise InputError(f"{path}: this is {found.name}, and a COCO ground truth is needed here; {found.mend}")


def _mappings(entries: Iterable[Any]) -> Iterable[Mapping[str, Any]]:
    return (entry for entry in entries if isinstance(entry, Mapping))
