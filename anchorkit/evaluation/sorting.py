"""The rows of a table in the order of the evaluation."""

from __future__ import annotations

import copy
import itertools
from functools import cached_property
from typing import Any

import numpy as np

from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.evaluation.loops import overlaps
from anchorkit.evaluation.loops.tables import Array
from anchorkit.evaluation.threads import Sharing, balanced
from anchorkit.predictions import PredictionTable

ROWS_AT_ONCE = 2**16
"""Rows of which building copies boxes and scores at once."""


class SortedRows:
    """The rows that take part, image by image in the order of the ground truth's ids, best score first.

    Columns that only building needs (boxes, scores, ...) are computed on first use; `forget` frees their memory.

    Attributes:
        predictions: the table.
        row: int32 (C,), row of the table of each candidate.
        image_start: int64 (I + 1,), first candidate of each image.
        n_classes: number of categories in the ground truth; n_all_classes: with those that only the table has.
        group_start: int64 (groups + 1,), first member of each group; group_image: int64 (groups,); group_class: int32
            (groups,), index of the category in the ground truth; categories it lacks are numbered after those.
    """

    def __init__(self, predictions: PredictionTable, truth: GroundTruth, score_threshold: float, work: Sharing) -> None:
        self.predictions = predictions
        self.score_threshold = score_threshold
        self._work = work
        self._category_ids = truth.category_ids
        score = predictions.score
        takes_part = score > np.float32(score_threshold)
        every = bool(takes_part.all())
        rows = np.arange(len(score), dtype=np.int32) if every else np.flatnonzero(takes_part).astype(np.int32)
        image = _image_index(predictions.image_id if every else predictions.image_id[rows], truth.image_ids)
        if (image[1:] < image[:-1]).any():
            order = np.argsort(image.astype(np.uint16) if len(truth.image_ids) < 65536 else image, kind="stable")
            rows, image = rows[order], image[order]
        self.image_start = np.searchsorted(image, np.arange(len(truth.image_ids) + 1)).astype(np.int64)
        del takes_part, image
        parts = balanced(self.image_start, max(work.n_parts, len(rows) // ROWS_AT_ONCE))
        work.each(np.unique(parts), self._sort, rows)
        self.row = rows
        self.n_classes = len(truth.category_ids)
        self.n_all_classes = self._classes[1]
        self.members, self.group_start = self._grouped()
        self.group_image = np.searchsorted(self.image_start, self.group_start[:-1], side="right") - 1
        self.group_class = self.klass[self.members[self.group_start[:-1]]]

    def _sort(self, first: int, last: int, rows: Array) -> None:
        """Sort the rows of some images by score, in place."""
        begin, end = self.image_start[first], self.image_start[last]
        # Score and position in one number: sorting numbers is several times as fast as sorting positions by score.
        key = falling_key(self.predictions.score[rows[begin:end]]).astype(np.uint64)
        key <<= np.uint64(32)
        key |= np.arange(end - begin, dtype=np.uint64)
        for a, b in itertools.pairwise((self.image_start[first : last + 1] - begin).tolist()):
            key[a:b].sort()
        key &= np.uint64(0xFFFFFFFF)
        rows[begin:end] = rows[begin:end][key.astype(np.int64)]

    def without(self, gone: Array) -> SortedRows:
        """These rows without some members, of which no group loses all.

        Args:
            gone: bool (C,), by member (see `members`).
        """
        if not gone.any():
            return self
        stays = np.ones(len(self), np.bool_)
        stays[self.members[gone]] = False
        number = np.zeros(len(self) + 1, np.int32)
        other = copy.copy(self)
        other.forget("boxes", "anchor", "falling", "_classes")
        np.cumsum(~gone, out=number[1:])
        other.group_start = number[self.group_start].astype(np.int64)
        np.cumsum(stays, out=number[1:])
        other.image_start = number[self.image_start].astype(np.int64)
        other.members = number[self.members[~gone]]
        other.row = self.row[stays]
        other.klass = self.klass[stays]
        return other

    def forget(self, *names: str) -> None:
        """Free some attributes, or all, that can be computed again."""
        for name in names or ("boxes", "klass", "_classes", "anchor", "falling", "members"):
            self.__dict__.pop(name, None)

    @cached_property
    def boxes(self) -> Array:
        """float32 (C, 4)."""
        return np.take(self.predictions.boxes, self.row, axis=0)

    @cached_property
    def anchor(self) -> Array:
        """int32 (C,)."""
        return np.take(self.predictions.anchor, self.row)

    @cached_property
    def falling(self) -> Array:
        """uint32 (C,), rises as the score falls."""
        return falling_key(self.predictions.score[self.row])

    @cached_property
    def _classes(self) -> tuple[Array, int]:
        return _classes(self.predictions.category_id, self.row, self._category_ids)

    @cached_property
    def klass(self) -> Array:
        """int32 (C,), index of the class, see `group_class`."""
        return self._classes[0]

    @cached_property
    def members(self) -> Array:
        """int32 (C,), candidates image by image, class by class, rising."""
        return self._grouped()[0]

    def _grouped(self) -> tuple[Array, Array]:
        members = np.empty(len(self.row), np.int32)
        is_first = np.zeros(len(self.row), np.uint8)
        self._work.each(
            balanced(self.image_start, self._work.n_parts), overlaps.group_by_class, self.image_start, self.klass,
            self.n_all_classes, members, is_first,
        )  # fmt: skip
        return members, np.append(np.flatnonzero(is_first), len(self.row)).astype(np.int64)

    def __len__(self) -> int:
        return len(self.row)

    def of_classes(self, which: Any = slice(None)) -> Array:
        """int64 (K,): how many candidates, or how many of some, each category of the ground truth has."""
        return np.bincount(self.klass[which], minlength=self.n_all_classes)[: self.n_classes]

    @property
    def n_images(self) -> int:
        """Images of the ground truth."""
        return len(self.image_start) - 1

    def n_above(self, score_threshold: float) -> Array:
        """int64 (I,): how many candidates of each image, the first ones, score above a threshold."""
        if score_threshold == self.score_threshold:
            return np.diff(self.image_start)
        limit = falling_key(np.array([score_threshold], np.float32))[0]
        return np.diff(np.append(0, np.cumsum(self.falling < limit))[self.image_start])


def _image_index(image_id: Array, image_ids: Array) -> Array:
    """int32: index of each image id among the rising `image_ids`. Runs of equal ids are looked up once."""
    run_first = np.flatnonzero(np.append(True, image_id[1:] != image_id[:-1])) if len(image_id) else np.zeros(0, int)
    index = np.searchsorted(image_ids, image_id[run_first]).astype(np.int32)
    return np.repeat(index, np.diff(np.append(run_first, len(image_id))))


def falling_key(score: Array) -> Array:
    """uint32 keys that rise as the score (0..1: its bits sort like integers) falls, equal for equal scores."""
    # + 0.0 turns -0.0, whose bits are large, into 0.0, which it equals.
    return np.uint32(0x3F800000) - (score + np.float32(0)).view(np.uint32)


def _classes(category_id: Array, row: Array, known: Array) -> tuple[Array, int]:
    """int32: index of the category id of some rows among the known ones, with unknown ones numbered after them.

    And the number of all.
    """
    low, high = (int(category_id.min()), int(category_id.max())) if len(row) else (0, 0)
    # A table by id, unless ids are far apart.
    dense = high - low < 2**20
    parts = [row[first : first + ROWS_AT_ONCE] for first in range(0, len(row), ROWS_AT_ONCE)]
    if dense:
        present = np.zeros(high - low + 1, np.bool_)
        for part in parts:
            present[category_id[part] - low] = True
        found = np.flatnonzero(present) + low
    else:
        found = np.unique(category_id[row])
    everything = np.concatenate((known, np.setdiff1d(found, known))).astype(np.int64)
    order = np.argsort(everything, kind="stable")
    index = order[np.searchsorted(everything[order], found)].astype(np.int32)
    klass = np.empty(len(row), np.int32)
    table = np.zeros(high - low + 1 if dense else 0, np.int32)
    if dense:
        table[found - low] = index
    for number, part in enumerate(parts):
        own = category_id[part]
        here = klass[number * ROWS_AT_ONCE : number * ROWS_AT_ONCE + len(part)]
        here[:] = table[own - low] if dense else index[np.searchsorted(found, own)]
    return klass, len(everything)


def starts_of(counts: Array) -> Array:
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
