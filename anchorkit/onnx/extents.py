"""Which part of each tensor belongs to which anchors, axis by axis.

What remains of a tensor when anchors go is a block: some indices of each axis. For each tensor and axis this keeps, by
index, whose elements are found there. Cutting then needs no labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anchorkit.errors import InputError
from anchorkit.onnx.provenance import Labels

Block = tuple["np.ndarray | None", ...]
"""For each axis of a tensor, the indices that remain; None for all."""


def divided(block: Block, axis: int, lengths: Sequence[int]) -> list[Block | None]:
    """What remains of each of the tensors that were joined along an axis, by their lengths; None for nothing."""
    keep = block[axis]
    found: list[Block | None] = []
    start = 0
    for length in lengths:
        part = list(block)
        if keep is not None:
            mine = keep[(keep >= start) & (keep < start + length)] - start
            part[axis] = None if len(mine) == length else mine
        found.append(tuple(part) if keep is None or len(mine) else None)
        start += length
    return found


@dataclass(frozen=True)
class Extent:
    """Whose elements a tensor has.

    Attributes:
        shape: of the tensor.
        present: for each axis, bool (indices, owners): whether a slice has elements of an owner; None for an axis of
            length 1.
        counts: how many elements each owner has.
        constants: how many elements no filter makes.
    """

    shape: tuple[int, ...]
    present: tuple[np.ndarray | None, ...]
    counts: np.ndarray
    constants: int


class Extents:
    """The extents of all tensors between the heads and the outputs.

    Attributes:
        owners: bit masks over the anchors: who may own an element.
        of: the extent of a tensor, by name.
        of_filter: for each filter, whose it is, as such a bit mask.
    """

    def __init__(self, labels: Labels, anchors: Sequence[int]) -> None:
        """Find the extents.

        Args:
            labels: of all tensors.
            anchors: the filters of each anchor, as bit masks.
        """
        self._source = labels.graph.source
        self._everyone = (1 << len(anchors)) - 1
        makes: dict[int, int] = {}
        for number, mask in enumerate(labels.sets):
            makes[number] = sum(1 << anchor for anchor, filters in enumerate(anchors) if not mask & ~filters)
        self._adopt(labels, makes)
        self.of_filter = [makes[number] for number in range(labels.heads[-1].first + labels.heads[-1].filters)]
        self.owners = sorted(set(makes.values()))
        code = {mask: number for number, mask in enumerate(self.owners)}
        of_set = np.array([code[makes[number]] for number in range(len(labels.sets))] + [len(self.owners)], np.int16)
        self.of: dict[str, Extent] = {}
        seen: dict[int, Extent] = {}
        for name, values in labels.of.items():
            if id(values) not in seen:
                seen[id(values)] = self._extent(values, labels.cells, of_set)
            self.of[name] = seen[id(values)]

    def _extent(self, values: np.ndarray, cells: int, of_set: np.ndarray) -> Extent:
        owners = len(self.owners)
        codes = of_set[np.where(values >= 0, values // cells, -1)]
        counts = np.bincount(codes.ravel(), minlength=owners + 1)
        present: list[np.ndarray | None] = []
        for axis, length in enumerate(codes.shape):
            if length == 1:
                present.append(None)
                continue
            found = np.zeros((length, owners + 1), np.bool_)
            lines = np.moveaxis(codes, axis, 0).reshape(length, -1)
            first = lines[:, :1]
            found[np.arange(length), first[:, 0]] = True
            mixed = np.flatnonzero((lines != first).any(1))
            for owner in np.flatnonzero(counts):
                found[mixed, owner] = (lines[mixed] == owner).any(1)
            present.append(found[:, :owners])
        return Extent(codes.shape, tuple(present), counts[:owners], int(counts[owners]))

    def block(self, name: str, kept: int) -> Block | None:
        """What remains of a tensor when the anchors of the bit mask `kept` stay; None for nothing.

        Raises:
            InputError: it is no block.
        """
        extent = self.of[name]
        stays = np.array([not owner or bool(owner & kept) for owner in self.owners])
        remaining = int(extent.counts[stays].sum())
        if not remaining:
            return None
        indices: list[np.ndarray | None] = []
        size = 1
        for length, present in zip(extent.shape, extent.present, strict=True):
            keep = None
            if present is not None:
                wanted = present[:, stays].any(1) | ~present.any(1)
                keep = None if wanted.all() else np.flatnonzero(wanted)
            indices.append(keep)
            size *= length if keep is None else len(keep)
        if not remaining <= size <= remaining + extent.constants:
            raise InputError(
                f"{self._source}: without these anchors, {remaining:,} elements of the tensor {name} "
                f"({'x'.join(map(str, extent.shape))}) remain, and they are not a block of it; keep all anchors of a "
                "cell, or drop whole levels"
            )
        return tuple(indices)

    def _adopt(self, labels: Labels, makes: dict[int, int]) -> None:
        """Give filters that make no row to the anchor among whose elements they stand, where there is one."""
        lost = {number for number, owners in makes.items() if not owners}
        for values in labels.of.values():
            if not lost:
                break
            sets = np.where(values >= 0, values // labels.cells, -1)
            here = lost.intersection(np.unique(sets).tolist())
            for number in sorted(here):
                for axis in range(sets.ndim):
                    slices = np.flatnonzero((sets == number).any(tuple(set(range(sets.ndim)) - {axis})))
                    if sets.shape[axis] == 1:
                        continue
                    around = {makes[int(other)] for other in np.unique(sets.take(slices, axis)) if other >= 0} - {0}
                    if len(around) == 1:
                        makes[number] = around.pop()
                        lost.discard(number)
                        break
