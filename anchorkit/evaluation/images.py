"""The state of the images under one configuration, and how others differ from it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np

from anchorkit.evaluation.index import Index
from anchorkit.evaluation.loops import advancing
from anchorkit.evaluation.loops.tables import (
    AREA_RANGES,
    UNLIMITED,
    Array,
    Candidates,
    Children,
    Events,
    Matching,
    Rules,
    Scratch,
    Standing,
)
from anchorkit.evaluation.metrics import MatchingRules
from anchorkit.evaluation.threads import balanced
from anchorkit.postprocess import PostProcess

CHILDREN_AT_ONCE = 32
"""Children per pass over the images. More would need more memory for their events and gain nothing."""

FIRST_SPACE = 4096


class Images:
    """The images of a table under the configuration that they were last moved to, at first the empty one.

    Memory: 6 bits per candidate; 8 bytes per candidate that overlaps an annotated box, for each area range; for the
    events of 32 children 4 bytes per changed detection and 16 per match.

    Args:
        index: the tables that do not depend on the configuration.
        rules: IoU thresholds and limits on the detections.
        every_area: compute outcomes in all four area ranges, and the ranks that recall at fewer detections needs.

    Attributes:
        rules: the numbers that decide. classes: what the curves need of each class. work: threads.
    """

    def __init__(self, index: Index, rules: MatchingRules, every_area: bool) -> None:
        self.work = index.work
        self._candidates, self._suppressions = index.candidates, index.suppressions
        self._matching, self.classes = index.matching(rules)
        self.rules = numbers_of(rules, every_area, index.post, index.n_scopes)
        self._n_anchors = len(index.layout)
        candidates, matching, n_threads = self._candidates, self._matching, self.work.n_threads
        alive, kept, dead, once, pair, shown = np.zeros((6, candidates.word_start[-1]), np.uint64)
        settled, fullest = np.zeros((2, len(candidates.image_start) - 1), np.int32)
        outcome = np.zeros(self.rules.n_areas * len(matching.inside), np.uint64)
        self._standing = Standing(alive, kept, dead, once, pair, shown, settled, fullest, outcome)
        self.restart()
        self._scratch = [_scratch(candidates, matching, self.rules.n_scopes) for _ in range(n_threads)]
        # Reused from pass to pass: allocating memory costs more than writing to it.
        self._events = {(n, part): _events_for(n) for n in (1, CHILDREN_AT_ONCE) for part in range(n_threads)}
        self._parts = balanced(candidates.image_start, n_threads)

    @cached_property
    def sizes(self) -> Array:
        """int64 (A,): how many candidates each anchor has."""
        return sizes_of_anchors(self._candidates, self._n_anchors)

    def restart(self) -> None:
        """Go back to the empty configuration."""
        for array in self._standing:
            array[:] = 0
        self._standing.settled[:] = np.diff(self._candidates.word_start)

    def detections(self) -> tuple[Array, Array]:
        """The image and rank, int64 each, of the detector's output: image by image, best first."""
        word_start = self._candidates.word_start
        at = np.flatnonzero(np.unpackbits(self._standing.kept.view(np.uint8), bitorder="little"))
        image = np.searchsorted(word_start, at >> 6, side="right") - 1
        rank = at - 64 * word_start[image]
        order = np.arange(len(at)) - np.searchsorted(image, image)
        within = order < self.rules.cap
        return image[within], rank[within]

    def memory(self) -> int:
        """Bytes that the state takes."""
        return sum(a.nbytes for a in self._standing) + sum(a.nbytes for events in self._events.values() for a in events)

    def advance(self, here: int, there: Sequence[int], commit: bool) -> list[Events]:
        """How at most `CHILDREN_AT_ONCE` configurations differ from `here`, where the images are.

        Returns:
            The events of each range of images. With `commit`, the images go to the only configuration in `there`.
        """
        children = Children(
            *_lists([here & ~mask for mask in there]),
            *_lists([mask & ~here for mask in there]),
            np.array([[mask >> anchor & 1 for anchor in range(self._n_anchors)] for mask in there], np.uint8),
        )

        def advance(part: int) -> Events:
            first, last = int(self._parts[part]), int(self._parts[part + 1])
            # A single child is often far away. It has memory of its own, or all 32 would need that much.
            room = (1 if len(there) == 1 else CHILDREN_AT_ONCE, part)
            self._events[room].n_flips[:] = 0
            self._events[room].n_changes[:] = 0
            while True:
                events = self._events[room]
                first = advancing.advance(
                    first, last, self._candidates, self._suppressions, self._matching, self.rules, self._standing,
                    children, events, self._scratch[part], commit,
                )  # fmt: skip
                if first == last:
                    return events
                n = int(np.diff(self._candidates.image_start[first : first + 2])[0])
                self._events[room] = _with_space(events, n, n * self.rules.n_areas)

        return self.work.all([partial(advance, part) for part in range(len(self._parts) - 1)])


def numbers_of(rules: MatchingRules, every_area: bool, post: PostProcess, n_scopes: int) -> Rules:
    """The numbers that decide, see `Rules`."""
    return Rules(
        topk=post.topk or 0,
        n_scopes=n_scopes,
        cap=post.max_detections or UNLIMITED,
        most_shown=rules.max_dets[-1],
        n_thresholds=len(rules.thresholds),
        n_areas=len(AREA_RANGES) if every_area else 1,
        ranks=np.array(rules.max_dets[:-1] if every_area else (), np.int64),
    )


def bits_of(mask: int) -> list[int]:
    """The set bits of a mask, rising."""
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]


def is_far(sizes: Array, here: int, there: int) -> bool:
    """Whether starting from the empty configuration is cheaper than starting from `here`.

    Moving costs about as much as the anchors that come or go have candidates: `sizes`, int64 (A,).
    """
    return bool(sizes[bits_of(here ^ there)].sum() >= sizes[bits_of(there)].sum())


def sizes_of_anchors(candidates: Candidates, n_anchors: int) -> Array:
    """int64 (A,): how many candidates each anchor has."""
    first = candidates.word_start
    starts = (n_anchors * first[:-1, None] + np.arange(n_anchors) * np.diff(first)[:, None]).ravel()
    counts = np.append(np.bitwise_count(candidates.by_anchor), 0)
    sizes = np.add.reduceat(counts, starts, dtype=np.int64).reshape(-1, n_anchors)
    found: Array = sizes[np.diff(first) > 0].sum(axis=0)
    return found


def _lists(masks: Sequence[int]) -> tuple[Array, Array]:
    lists = [bits_of(mask) for mask in masks]
    start = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return start, np.array([bit for bits in lists for bit in bits], np.int32)


def _scratch(candidates: Candidates, matching: Matching, n_scopes: int) -> Scratch:
    """Scratch memory for the largest image."""
    n_words = np.diff(candidates.word_start).max(initial=1)
    alive, touched, dead, reached, twice, thrice, kept, shown = np.zeros((8, n_words), np.uint64)
    used, taken = np.zeros(matching.truth_count.max(initial=1), np.uint64), np.zeros(n_scopes, np.int64)
    return Scratch(alive, touched, dead, reached, twice, thrice, kept, shown, used, taken)


def _events_for(n_children: int) -> Events:
    flips, change_at, change_to = (
        np.empty((n_children, FIRST_SPACE), kind) for kind in (np.uint32, np.int64, np.uint64)
    )
    return Events(flips, np.zeros(n_children, np.int64), change_at, change_to, np.zeros(n_children, np.int64))


def _with_space(events: Events, flips: int, changes: int) -> Events:
    """Events with space for at least so many more of each in every child."""
    at, to, n_flips, n_changes = events.change_at, events.change_to, events.n_flips, events.n_changes
    if n_flips.max() + flips > events.flips.shape[1]:
        events = events._replace(flips=_wider(events.flips, n_flips, flips))
    if n_changes.max() + changes > at.shape[1]:
        events = events._replace(change_at=_wider(at, n_changes, changes), change_to=_wider(to, n_changes, changes))
    return events


def _wider(array: Array, used: Array, more: int) -> Array:
    columns = 3 * array.shape[1] // 2 + more
    # With rows a power of two apart, all rows would share a few lines of the processor's cache.
    wider = np.empty((len(array), columns + 64 - columns % 64 + 16), array.dtype)
    # Few children change much: what is not written takes no memory.
    for row, (old, n) in enumerate(zip(array, used.tolist(), strict=True)):
        wider[row, :n] = old[:n]
    return wider
