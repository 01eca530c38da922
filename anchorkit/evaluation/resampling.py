"""COCO's AP on data sets that contain each image as often as a weight says, without repeating the matching.

What a detection matches depends on its own image alone. So the outcomes of a configuration are gathered once, and one
pass over them with weights evaluates a data set made of copies of the images. It has the bits of pycocotools on the
data set written out, with the copies of an image having consecutive ids, in the order of the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from anchorkit.errors import InputError
from anchorkit.evaluation.figures import Reading
from anchorkit.evaluation.index import Index
from anchorkit.evaluation.loops import weighing
from anchorkit.evaluation.loops.matching import HIT
from anchorkit.evaluation.loops.tables import (
    N_RECALLS,
    NO_PLACE,
    PLACE,
    Array,
    Placed,
    Seen,
    Steps,
    ToFind,
    WeighingScratch,
)
from anchorkit.evaluation.loops.weighing import DRAWS
from anchorkit.evaluation.metrics import MatchingRules, MeanPrecision
from anchorkit.evaluation.threads import Sharing

_ALL_THRESHOLDS = np.uint64(2**31 - 1)


@dataclass(frozen=True)
class Weights:
    """How many copies of each image each data set has.

    Attributes:
        counts: uint16 (draws, I).

    Raises:
        InputError: a weight is negative, not a whole number, or above 65,535.
    """

    counts: npt.NDArray[np.uint16]

    @classmethod
    def read(cls, values: npt.ArrayLike, n_images: int) -> Weights:
        """Weights from an array (draws, I) of whole numbers."""
        array = np.asarray(values)
        if array.ndim != 2 or array.shape[1] != n_images:
            raise InputError(f"weights has shape {array.shape}; (data sets, {n_images} images) is needed")
        if array.dtype.kind not in "iub" or (array.size and not 0 <= array.min() <= array.max() < 2**16):
            raise InputError("weights: whole numbers from 0 to 65535 are needed, the number of copies of each image")
        return cls(array.astype(np.uint16))

    @classmethod
    def drawn(cls, n_images: int, draws: int, seed: int) -> Weights:
        """Bootstrap samples of as many images, drawn with replacement. More draws begin with the same ones."""
        if n_images == 0:
            raise InputError("there are no images to draw from")
        random = np.random.default_rng(seed)
        counts = np.empty((draws, n_images), np.uint16)
        for draw in range(draws):
            counts[draw] = np.bincount(random.integers(n_images, size=n_images), minlength=n_images)
        return cls(counts)

    def with_all(self) -> Weights:
        """These weights after a first data set that has every image once."""
        return Weights(np.concatenate([np.ones((1, self.counts.shape[1]), np.uint16), self.counts]))

    @cached_property
    def blocks(self) -> list[Array]:
        """uint16 (I, DRAWS) each; data sets without images fill up the last one."""
        n = -(-len(self.counts) // DRAWS) * DRAWS
        filled = np.zeros((n, self.counts.shape[1]), np.uint16)
        filled[: len(self.counts)] = self.counts
        return [np.ascontiguousarray(filled[first : first + DRAWS].T) for first in range(0, n, DRAWS)]

    @property
    def largest(self) -> int:
        return int(self.counts.max(initial=0))


class Resampler:
    """One of COCO's AP figures under weights.

    Args:
        index: the tables. rules: IoU thresholds and limits on the detections.
        figure: which part of the precision to average. work: threads.
    """

    def __init__(self, index: Index, rules: MatchingRules, figure: MeanPrecision, work: Sharing) -> None:
        self._work = work
        self.area, self._n_thresholds = figure.area, len(rules.thresholds)
        self._which = slice(None) if figure.iou is None else np.flatnonzero(np.equal(rules.thresholds, figure.iou))
        matching, classes = index.matching(rules)
        rows, truth = index.rows, index.truth
        self._place_start = 64 * classes.place_word
        measured = matching.place != NO_PLACE
        place = matching.place[measured] & PLACE
        self._image = np.zeros(int(self._place_start[-1]), np.int32)
        self._image[place] = np.repeat(np.arange(rows.n_images, dtype=np.int32), np.diff(rows.image_start))[measured]
        self._falling = np.zeros(len(self._image), np.uint32)
        self._falling[place] = rows.falling[measured]
        rows.forget("falling")
        real = matching.real >> self.area & 1 == 1
        n_real = classes.n_real[self.area]
        self._classes = np.flatnonzero(n_real)
        by_class = np.argsort(truth.category[real], kind="stable")
        self._to_find = ToFind(np.append(0, np.cumsum(n_real[self._classes])), truth.image[real][by_class])

    def see(self, reading: Reading) -> Seen:
        """The detections of a bitmap."""
        shown = np.flatnonzero(np.unpackbits(reading.bits[self.area].view(np.uint8), bitorder="little"))
        first, end = np.searchsorted(reading.bitmap.at, [self.area << 32, self.area + 1 << 32])
        at = reading.bitmap.at[first:end] & np.int64(PLACE)
        outcome = reading.bitmap.outcome[first:end]
        place = np.union1d(shown, at)
        counted = np.zeros(len(place), bool)
        counted[np.searchsorted(place, shown)] = True
        hit, off = np.zeros((2, len(place)), np.uint32)
        hit[np.searchsorted(place, at)] = outcome >> HIT & _ALL_THRESHOLDS
        off[np.searchsorted(place, at)] = outcome & _ALL_THRESHOLDS
        return Seen(place, counted, hit, off)

    def placed(self, seen: Seen) -> Placed:
        """The same detections by class, score and image."""
        klass = np.searchsorted(self._place_start, seen.place, side="right") - 1
        return Placed(klass, self._falling[seen.place], self._image[seen.place], *seen[1:])

    def steps(self, placed: Placed) -> Steps:
        """Detections as steps. Those after the last hit of a class change nothing and are left out."""
        klass, falling, image, counted, hit, off = placed
        is_hit = hit != 0
        # Where detections of one image and class tie and one of them is a hit, their copies alternate.
        begins = np.ones(len(klass), bool)
        begins[1:] = (image[1:] != image[:-1]) | (falling[1:] != falling[:-1]) | (klass[1:] != klass[:-1])
        tie = np.cumsum(begins) - 1
        hits_of_tie = np.bincount(tie, is_hit, minlength=1)
        in_turns = (np.bincount(tie, minlength=1)[tie] > 1) & (hits_of_tie[tie] > 0)
        last = np.full(len(self._place_start), -1)
        matters = is_hit | in_turns
        last[klass[matters]] = np.flatnonzero(matters)  # of equal indices the last one stays
        stays = np.arange(len(klass)) <= last[klass]
        klass, image, counted, begins = klass[stays], image[stays], counted[stays], begins[stays]
        in_turns, hit, off = in_turns[stays], hit[stays], off[stays]
        is_item = (hit != 0) | (off != 0) | in_turns
        opens = is_item & (begins | ~in_turns)
        fillers_before = np.cumsum(~is_item)
        first_items = np.flatnonzero(opens[is_item])
        step_class = klass[opens]
        tied = np.bincount(klass[in_turns], minlength=1).max()
        return Steps(
            class_step=np.append(np.searchsorted(step_class, self._classes), len(step_class)).astype(np.int64),
            fill_start=np.append(0, fillers_before[opens]).astype(np.int64),
            fill_image=image[~is_item],
            image=image[opens],
            item_start=np.append(first_items, is_item.sum()).astype(np.int64),
            hit=hit[is_item],
            off=off[is_item],
            counted=counted[is_item].astype(np.uint8),
            most=int(np.bincount(klass[is_item], minlength=1).max()),
            most_tied=int(tied),
        )

    def figures(self, steps: Steps, weights: Weights) -> npt.NDArray[np.float64]:
        """The figure in each data set: float64 (draws,), -1 where there is nothing to be found."""
        n_items = steps.most + steps.most_tied * max(weights.largest - 1, 0)
        most = (len(steps.fill_image) + len(steps.hit)) * max(weights.largest, 1)
        if max(most, len(self._to_find.image) * weights.largest) >= 2**31:
            raise InputError(f"weights: {weights.largest:,} copies of an image are too many to count; use lower ones")
        n_classes = len(self._classes)
        memory = [_ThreadScratch.of(n_items, self._n_thresholds, n_classes) for _ in range(self._work.n_threads)]

        def work(scratch: _ThreadScratch, block: Array) -> list[float]:
            weighing.weighted_precision(block, steps, self._to_find, self._n_thresholds, *scratch[:3])
            return [self._mean(scratch, draw) for draw in range(DRAWS)]

        found = self._work.each_with(memory, work, weights.blocks)
        return np.array(found, np.float64).ravel()[: len(weights.counts)]

    def _mean(self, scratch: _ThreadScratch, draw: int) -> float:
        """The mean as pycocotools takes it: over one contiguous row of numbers (the order decides the bits)."""
        n = int(scratch.n_columns[draw])
        lines = scratch.lines[draw, self._which]
        size = len(lines) * N_RECALLS * n
        if size == 0:
            return -1.0
        weighing.spread(lines, n, scratch.row)
        return float(np.mean(scratch.row[:size]))


def mixed(parts: Sequence[Placed], part_of_image: Array) -> Placed:
    """For each image, the detections of the part that it belongs to."""
    chosen = [
        Placed(*(column[part_of_image[placed.image] == number] for column in placed))
        for number, placed in enumerate(parts)
    ]
    both = Placed(*(np.concatenate(column) for column in zip(*chosen, strict=True)))
    order = np.lexsort((both.image, both.falling, both.klass))  # stable: within an image as they come
    return Placed(*(column[order] for column in both))


class _ThreadScratch(NamedTuple):
    """The memory of one thread. `lines` takes most: 13 kB for each IoU threshold and class."""

    weighing: WeighingScratch
    lines: Array
    n_columns: Array
    row: Array

    @classmethod
    def of(cls, n: int, n_thresholds: int, n_classes: int) -> _ThreadScratch:
        hit, off = np.empty((2, n), np.uint32)
        times, before, found = np.empty((3, n, DRAWS), np.int32)
        n_real, column = np.empty((2, DRAWS), np.int64)
        need = np.empty((DRAWS, N_RECALLS), np.int32)
        counted, right, off_so_far = np.empty((3, DRAWS), np.int32)
        curve, best = np.empty((n, DRAWS)), np.empty(DRAWS)
        weighing = WeighingScratch(
            hit, off, times, before, found, curve, n_real, column, need, counted, right, off_so_far, best
        )
        shape = (n_thresholds, n_classes, N_RECALLS)
        return cls(weighing, np.empty((DRAWS, *shape)), np.empty(DRAWS, np.int64), np.empty(int(np.prod(shape))))
