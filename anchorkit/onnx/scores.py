"""Which columns of a file's outputs are scores, and what was done to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anchorkit.errors import InputError
from anchorkit.onnx.provenance import Labels, filters_in
from anchorkit.onnx.rows import Group, Table
from anchorkit.onnx.zero_head import Boxes, activation_of, kinds_of_columns

Column = tuple[int, int]
"""A table of a group, and a column of it."""

_LANDMARKS = re.compile(r"(xyc){2,}")
"""Columns of landmarks that each have a visibility, by `kinds_of_columns`."""

ACTIVATIONS = ("sigmoid", "softmax", "none")


@dataclass(frozen=True)
class Scores:
    """Where and how a group's outputs say scores.

    Attributes:
        classes: the columns of the object classes.
        objectness: the column that the class scores have still to be multiplied by.
        applied: a column with an objectness that the class scores contain already.
        background: the column of the background.
        activation: what was done to the class scores: ``"sigmoid"``, ``"softmax"`` or ``"none"``.
        notes: what was assumed, in sentences.
    """

    classes: tuple[Column, ...]
    objectness: Column | None = None
    applied: Column | None = None
    background: Column | None = None
    activation: str = "none"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Said:
    """What the user says of a file, beside it.

    Attributes:
        classes: how many there are; None if unknown.
        objectness: whether there is a column of it.
        background: ``"first"``, ``"last"`` or ``"none"``.
        activation: of the scores.
    """

    classes: int | None = None
    objectness: bool | None = None
    background: str | None = None
    activation: str | None = None


def find_scores(
    labels: Labels,
    group: Group,
    boxes: Boxes,
    zero: dict[str, np.ndarray],
    three: dict[str, np.ndarray],
    real: dict[str, np.ndarray],
    said: Said,
) -> Scores:
    """Where a group's outputs say scores.

    Args:
        labels: of the outputs.
        group: the outputs.
        boxes: where their boxes are.
        zero: the outputs where all heads say 0.
        three: the outputs where all heads say 3.
        real: the outputs for some image.
        said: what the user said.

    Raises:
        InputError: there are no scores, or not as many classes as the user said.
    """
    columns, joint = _candidates(group, boxes, zero, three, said)
    source, names = labels.graph.source, " and ".join(table.name for table in group.tables)
    if not columns:
        raise InputError(f"{source}: the outputs {names} have boxes but no scores; a detector's classes are needed")
    notes: list[str] = []
    done = _activation(group, columns[-1:], zero, three)
    activation = said.activation or "none" if done == "none" else done
    if activation == "none":
        notes.append(
            "the scores are not activated in the file; activation='sigmoid' or 'softmax' says what the decoding "
            "program does"
        )
    first = columns[0]
    background: Column | None = None
    objectness = applied = None
    if done == "softmax" and _dropped_background(group, columns, zero, said):
        pass
    elif activation == "softmax" and _activation(group, [first], zero, three) == done:
        columns, background, note = _without_background(group, columns, real, said)
        notes += [note] if note else []
    elif len(columns) > 1 and _contains(labels, group, columns):
        applied, columns = first, columns[1:]
    else:
        has, note = _has_objectness(labels, group, columns, joint, zero, three, said)
        if has:
            objectness, columns = first, columns[1:]
            notes += [note] if note else []
        elif note:
            notes.append(note)
    if not joint and objectness is None:
        objectness = _single(group, boxes, columns, zero, three)
    one_more = said.classes is not None and len(columns) == said.classes + 1
    if one_more and background is None and objectness is None and said.objectness is None and activation != "softmax":
        background = columns[0] if said.background != "last" else columns[-1]
        columns = columns[1:] if said.background != "last" else columns[:-1]
        notes.append("one column more than there are classes is taken for the background; background= says which")
    if said.classes is not None and len(columns) != said.classes and joint and boxes.box_format is None:
        width = group.sets[boxes.table].shape[1]
        raise InputError(
            f"{source}: the output {names} has {width} columns, and 4 of a box with {said.classes} classes were "
            "expected (categories); if distances are given as distributions (NanoDet) or landmarks are among them, "
            "only a file that decodes its boxes can be read: export it so, or name tensors with outputs="
        )
    if said.classes is not None and len(columns) != said.classes:
        extra = " beside an objectness" if objectness or applied else " beside a background" if background else ""
        raise InputError(
            f"{source}: categories: {said.classes} classes were given, and the file has scores of {len(columns)}"
            f"{extra} (outputs {names}); give as many names, or say objectness= or background="
        )
    return Scores(tuple(columns), objectness, applied, background, done, tuple(notes))


def _candidates(
    group: Group, boxes: Boxes, zero: dict[str, np.ndarray], three: dict[str, np.ndarray], said: Said
) -> tuple[list[Column], bool]:
    """The columns that can be scores, and whether they stand in one table with the boxes."""
    table = group.tables[boxes.table]
    values = table.rows(zero[table.name])
    letters, _, _ = kinds_of_columns(values, group.anchors)
    made = group.sets[boxes.table][0] >= 0
    inside = range(boxes.column, boxes.column + 4)
    landmarks = {c for run in _LANDMARKS.finditer(letters, boxes.column + 4) for c in range(*run.span())}
    free = [
        (boxes.table, c)
        for c in range(values.shape[1])
        if c not in inside and c not in landmarks and letters[c] in "c?" and made[c]
    ]
    activated = [column for column in free if _activation(group, [column], zero, three) != "none"]
    if activated and boxes.box_format is not None:
        return activated, True  # the others are coefficients of masks, say
    if free and (boxes.box_format is not None or len(group.tables) == 1):
        return free, True
    others = [number for number in range(len(group.tables)) if number != boxes.table]
    widths = {number: group.sets[number].shape[1] for number in others}
    if not others:
        return [], False

    def likely(number: int) -> tuple[bool, bool, bool, int]:
        every = [(number, column) for column in range(widths[number])]
        activated = _activation(group, every[-1:], zero, three) != "none"
        named = said.classes is not None and widths[number] in (said.classes, said.classes + 1)
        return activated, named, widths[number] not in (4, 10), widths[number]

    best = max(others, key=likely)
    return [(best, column) for column in range(widths[best])], False


def _activation(
    group: Group, columns: Sequence[Column], zero: dict[str, np.ndarray], three: dict[str, np.ndarray]
) -> str:
    table = group.tables[columns[0][0]]
    return activation_of(table, [column for _, column in columns], zero, three)


def _read(group: Group, columns: Sequence[Column], values: dict[str, np.ndarray]) -> np.ndarray:
    """(rows, columns) of some columns."""
    table: Table = group.tables[columns[0][0]]
    return table.rows(values[table.name])[:, [column for _, column in columns]]


def _dropped_background(group: Group, columns: Sequence[Column], zero: dict[str, np.ndarray], said: Said) -> bool:
    """Whether a softmax was taken over one class more than there are columns."""
    if said.background in ("first", "last"):
        return False
    total = float(_read(group, columns, zero)[0].sum())
    return said.background == "none" or total < 1 - 0.5 / (len(columns) + 1)


def _without_background(
    group: Group, columns: list[Column], real: dict[str, np.ndarray], said: Said
) -> tuple[list[Column], Column, str | None]:
    where, note = said.background, None
    if where not in ("first", "last"):
        means = _read(group, columns, real).mean(0)
        where = "last" if means[-1] > max(0.5, means[0]) else "first"
        if max(means[0], means[-1]) < 0.5:
            note = f"the background is taken for the {where} column; background= says otherwise"
    return (columns[1:], columns[0], note) if where == "first" else (columns[:-1], columns[-1], note)


def _contains(labels: Labels, group: Group, columns: Sequence[Column]) -> bool:
    """Whether all other columns are made of the first one's filters and more."""
    numbers = [int(group.sets[table][0, column]) for table, column in columns]
    first, *others = [labels.sets[number] if number >= 0 else 0 for number in numbers]
    return all(first & ~other == 0 and other != first for other in others)


def _has_objectness(
    labels: Labels,
    group: Group,
    columns: Sequence[Column],
    joint: bool,
    zero: dict[str, np.ndarray],
    three: dict[str, np.ndarray],
    said: Said,
) -> tuple[bool, str | None]:
    """Whether the first column is an objectness, and what was assumed."""
    if said.objectness is not None:
        return said.objectness, None
    several = len({(anchor.height, anchor.width) for anchor in group.anchors}) < len(group.anchors)
    if said.classes is not None and joint:
        every = len(columns) == said.classes and several and said.classes > 1
        note = (
            "all scores are taken for classes, as many as categories= says, though files with several anchors per cell "
            "usually have an objectness; if the first score is one, there is one class fewer"
        )
        return len(columns) == said.classes + 1, note if every else None
    if not joint or len(columns) < 2:
        return False, None
    if _activation(group, columns[:1], zero, three) != _activation(group, columns[1:], zero, three):
        return True, None
    numbers = [int(group.sets[table][0, column]) for table, column in columns]
    filters = [filters_in(labels.sets[number])[0] for number in numbers if number >= 0]
    heads = [max(head.first for head in labels.heads if head.first <= one) for one in filters]
    if len(set(heads[1:])) == 1 and heads[0] != heads[1]:
        return True, None
    word = "the first score is taken for an objectness" if several else "no score is taken for an objectness"
    return several, f"{word}; objectness={not several}, or the number of classes in categories=, says otherwise"


def _single(
    group: Group,
    boxes: Boxes,
    classes: Sequence[Column],
    zero: dict[str, np.ndarray],
    three: dict[str, np.ndarray],
) -> Column | None:
    """An objectness in an output of its own: one more activated column."""
    for number in range(len(group.tables)):
        column = (number, 0)
        if number in (boxes.table, classes[0][0]) or group.sets[number].shape[1] != 1:
            continue
        if _activation(group, [column], zero, three) != "none" or _activation(group, classes, zero, three) == "none":
            return column
    return None
