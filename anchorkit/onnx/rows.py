"""From labelled outputs to anchors: which rows an output has, and which anchor makes each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from anchorkit.errors import InputError
from anchorkit.onnx.provenance import Head, Labels, distinct_rows, filters_in


@dataclass(frozen=True)
class Table:
    """How an output is read as rows (boxes) and columns (attributes).

    Attributes:
        name: of the output.
        shape: of the output.
        axis: which axis has the columns; None if there is one column.
        parts: for bare heads, the positions along `axis` that each anchor of a cell reads; empty otherwise.
    """

    name: str
    shape: tuple[int, ...]
    axis: int | None
    parts: tuple[tuple[int, ...], ...] = ()

    def rows(self, values: np.ndarray) -> np.ndarray:
        """(rows, columns) of values of the output for one image."""
        if self.axis is None:
            return values.reshape(-1, 1)
        if self.parts:
            values = np.stack([values.take(part, self.axis) for part in self.parts], axis=self.axis)
            return np.moveaxis(values, self.axis + 1, -1).reshape(-1, len(self.parts[0]))
        return np.moveaxis(values, self.axis, -1).reshape(-1, values.shape[self.axis])


@dataclass(frozen=True)
class FoundAnchor:
    """An anchor that a file has.

    Attributes:
        filters: the filters that make it, as a bit mask over all heads' filters.
        height: rows of its feature map.
        width: columns of its feature map.
        rows: its row in the tables of its group, cell by cell.
    """

    filters: int
    height: int
    width: int
    rows: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class Group:
    """Outputs with the same boxes in the same order.

    Attributes:
        tables: of the outputs.
        anchors: in the order of their first rows.
        sets: for each table, the sets of filters of the columns of each anchor's first row; -1 for a constant.
    """

    tables: tuple[Table, ...]
    anchors: tuple[FoundAnchor, ...]
    sets: tuple[np.ndarray, ...] = field(repr=False, compare=False)

    @property
    def rows(self) -> int:
        """How many rows the tables have."""
        return sum(anchor.height * anchor.width for anchor in self.anchors)


def read_groups(
    labels: Labels, outputs: Sequence[str], per_cell: int | Sequence[int] | None, classes: int | None
) -> tuple[Group, ...]:
    """Find rows and anchors of the outputs.

    Args:
        labels: of the outputs.
        outputs: their names.
        per_cell: for bare heads, how many anchors a cell has; one number for each level, finest first, or one for all.
        classes: how many classes there are, if that is known.

    Raises:
        InputError: an output is not made of cells, or its cells differ in the filters that make them.
    """
    grids = sorted({(head.height * head.width, head.first_cell) for head in labels.heads}, reverse=True)
    level_of_grid = {first: number for number, (_, first) in enumerate(grids)}
    found: dict[bytes, list[tuple[Table, np.ndarray]]] = {}
    cells_of: dict[bytes, np.ndarray] = {}
    for name in outputs:
        table, numbers, cells = _read_table(labels, name, per_cell, classes, level_of_grid)
        key = cells.tobytes()
        found.setdefault(key, []).append((table, numbers))
        cells_of[key] = cells
    return tuple(_group(labels, tables, cells_of[key]) for key, tables in found.items())


def _read_table(
    labels: Labels,
    name: str,
    per_cell: int | Sequence[int] | None,
    classes: int | None,
    level_of_grid: dict[int, int],
) -> tuple[Table, np.ndarray, np.ndarray]:
    """An output's table, the sets of its elements (rows, columns), and the cells of its rows."""
    source, values = labels.graph.source, labels.of[name]
    cells = np.where(values >= 0, values % labels.cells, -1)
    axes = [
        axis
        for axis in range(values.ndim)
        if values.shape[axis] > 1 and _constant_along(cells, axis)
    ]  # fmt: skip
    axis = axes[-1] if axes else None
    table = Table(name, values.shape, axis)
    rows = table.rows(cells).max(1)
    if per_cell is not None and axis is not None and len(axes) == 1 and len(np.unique(rows)) == len(rows):
        table = _bare(labels, name, axis, per_cell, classes, level_of_grid)
        rows = table.rows(cells).max(1)
    if (rows < 0).any():
        raise InputError(f"{source}: {int((rows < 0).sum())} rows of the output {name} do not depend on the image")
    numbers = table.rows(values)
    return table, np.where(numbers >= 0, numbers // labels.cells, -1), rows


def _constant_along(cells: np.ndarray, axis: int) -> bool:
    highest = cells.max(axis, keepdims=True)
    return bool(((cells == highest) | (cells < 0)).all())


def _bare(
    labels: Labels,
    name: str,
    axis: int,
    per_cell: int | Sequence[int],
    classes: int | None,
    level_of_grid: dict[int, int],
) -> Table:
    """The table of an output whose channels are those of all anchors of a cell, one anchor behind the other."""
    values = labels.of[name]
    column = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)[:, 0]
    heads = [next(head for head in reversed(labels.heads) if head.first <= low) for low in _lowest(labels, column)]
    first_cell = heads[0].first_cell
    if isinstance(per_cell, int):
        anchors = per_cell
    else:
        level = level_of_grid[first_cell]
        if level >= len(per_cell):
            raise InputError(
                f"{labels.graph.source}: anchors_per_cell has {len(per_cell)} numbers; give one for each of the "
                f"{len(level_of_grid)} levels, finest first"
            )
        anchors = per_cell[level]
    parts: list[list[int]] = [[] for _ in range(anchors)]
    for first in dict.fromkeys(head.first for head in heads):
        places = [place for place, head in enumerate(heads) if head.first == first]
        shared = len(places) % anchors != 0 or (
            classes is not None and len(heads) != len(places) and len(places) in (classes, classes + 1)
        )
        alone = len(places) == len(heads) and (classes is None or len(places) not in (classes, classes + 1))
        if shared and alone:
            raise InputError(
                f"{labels.graph.source}: the {len(places)} channels of the output {name} cannot be divided among "
                f"anchors_per_cell={anchors}"
            )
        each = len(places) // anchors
        for anchor, part in enumerate(parts):
            part += places if shared else places[anchor * each : (anchor + 1) * each]
    return Table(name, values.shape, axis, tuple(map(tuple, parts)))


def _lowest(labels: Labels, column: np.ndarray) -> list[int]:
    """The lowest filter of each label."""
    return [filters_in(labels.sets[int(label) // labels.cells])[0] for label in column]


def _group(labels: Labels, tables: list[tuple[Table, np.ndarray]], cells: np.ndarray) -> Group:
    """The anchors of outputs with the same cells."""
    names = " and ".join(table.name for table, _ in tables)
    kinds, first = distinct_rows(np.concatenate([numbers for _, numbers in tables], axis=1))
    grids = {(head.first_cell, head.height, head.width) for head in labels.heads}
    order = np.argsort(kinds, kind="stable")
    counts = np.bincount(kinds)
    anchors = []
    for kind, members in enumerate(np.split(order, np.cumsum(counts)[:-1])):
        mask = 0
        for _, numbers in tables:
            for number in {int(number) for number in numbers[first[kind]] if number >= 0}:
                mask |= labels.sets[number]
        members = members[np.argsort(cells[members], kind="stable")]
        mine = cells[members]
        grid = next((grid for grid in grids if grid[0] == mine[0] and grid[1] * grid[2] == len(mine)), None)
        if grid is None or not np.array_equal(mine, np.arange(mine[0], mine[0] + len(mine))):
            raise InputError(
                f"{labels.graph.source}: cells of the output {names} differ in the filters that make their boxes "
                f"({len(counts)} kinds of rows), so no anchor can be removed; export the detector without a "
                "selection of boxes (top-k, NMS), or name the tensors before it with outputs="
            )
        anchors.append(FoundAnchor(mask, grid[1], grid[2], members))
    return Group(tuple(table for table, _ in tables), tuple(anchors), tuple(numbers[first] for _, numbers in tables))


def by_level(heads: Sequence[Head], anchors: Sequence[FoundAnchor]) -> tuple[list[int], list[int]]:
    """Positions of the anchors level by level, finest first; and the level of each position.

    Heads that make one anchor together are on one level.
    """
    parent = list(range(len(heads)))

    def root(number: int) -> int:
        while parent[number] != number:
            number = parent[number]
        return number

    used: list[int] = []
    for anchor in anchors:
        of = [
            number
            for number, head in enumerate(heads)
            if anchor.filters >> head.first & ((1 << head.filters) - 1)
        ]  # fmt: skip
        used.append(of[0])
        for number in of[1:]:
            parent[root(number)] = root(of[0])
    first: dict[int, int] = {}
    for position in range(len(anchors)):
        first.setdefault(root(used[position]), position)
    finest = sorted(
        first, key=lambda level: (-anchors[first[level]].height * anchors[first[level]].width, first[level])
    )
    rank = {level: number for number, level in enumerate(finest)}
    level_of = [rank[root(used[position])] for position in range(len(anchors))]
    return sorted(range(len(anchors)), key=lambda position: (level_of[position], position)), level_of
