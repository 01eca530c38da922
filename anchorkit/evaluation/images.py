"""The state of the images under one configuration, and how others differ from it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from anchorkit.evaluation.index import Index
from anchorkit.evaluation.loops import advancing
from anchorkit.evaluation.loops.tables import (
    AREA_RANGES,
    UNLIMITED,
    Array,
    Children,
    Events,
    Groups,
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

    Memory: 4 bits per member (groups rounded up to 64s) and 2 bits per candidate; 8 bytes per candidate that overlaps
    an annotated box, for each area range; for the events of 32 children 4 bytes per changed detection and 16 per match.

    Args:
        index: the tables that do not depend on the configuration.
        rules: IoU thresholds and limits on the detections.
        every_area: compute outcomes in all four area ranges, and the ranks that recall at fewer detections needs.

    Attributes:
        rules: the numbers that decide. classes: what the curves need of each class. work: threads.
    """

    def __init__(self, index: Index, rules: MatchingRules, every_area: bool) -> None:
        self.work = work = index.work
        self._groups, self._suppressions = index.groups, index.suppressions
        self._matching, self.classes = index.matching(rules)
        self.rules = numbers_of(rules, every_area, index.post, index.n_scopes)
        self.n_anchors = len(index.layout)
        groups, matching = self._groups, self._matching
        by_group, by_rank = int(groups.word[-1]), int(matching.word_start[-1])
        self._standing = Standing(
            alive=np.zeros(by_group, np.uint64),
            kept=np.zeros(by_group, np.uint64),
            dead=np.zeros(by_group, np.uint64),
            once=np.zeros(by_group, np.uint64),
            by_rank=np.zeros(by_rank, np.uint64),
            shown=np.zeros(by_rank, np.uint64),
            horizon=np.zeros(len(groups.image_start) - 1, np.int32),
            fullest=np.zeros(len(groups.image_start) - 1, np.int32),
            outcome=np.zeros(self.rules.n_areas * len(matching.inside), np.uint64),
        )
        self._scratch = [_scratch(groups, matching, self.rules.n_scopes) for _ in range(work.n_threads)]
        # Reused from pass to pass: allocating memory costs more than writing to it.
        self._events = {
            (n_children, part): _events_for(n_children, FIRST_SPACE, FIRST_SPACE)
            for n_children in (1, CHILDREN_AT_ONCE)
            for part in range(work.n_threads)
        }
        self._parts = balanced(groups.image_start, work.n_threads)
        self._sizes: Array | None = None

    def restart(self) -> None:
        """Go back to the empty configuration."""
        for array in self._standing:
            array[:] = 0

    def is_far(self, here: int, there: int) -> bool:
        """Whether starting from the empty configuration is cheaper than starting from `here`."""
        return self._cost(here ^ there) >= self._cost(there)

    def move(self, here: int, there: int) -> list[Events]:
        """Go to a configuration. Returns how it differs from `here`, where the images are, for each range of images."""
        return self._advance(here, [there], commit=True)

    def look(self, here: int, children: Sequence[int]) -> list[Events]:
        """How each child (at most `CHILDREN_AT_ONCE`) differs from `here`, for each range of images."""
        return self._advance(here, children, commit=False)

    def detections(self) -> tuple[Array, Array]:
        """The image and rank, int64 each, of the detector's output: image by image, best first."""
        word_start = self._matching.word_start
        at = np.flatnonzero(np.unpackbits(self._standing.by_rank.view(np.uint8), bitorder="little"))
        image = np.searchsorted(word_start, at >> 6, side="right") - 1
        rank = at - 64 * word_start[image]
        order = np.arange(len(at)) - np.searchsorted(image, image)
        within = order < self.rules.cap
        return image[within], rank[within]

    def memory(self) -> int:
        """Bytes that the state takes."""
        return sum(a.nbytes for a in self._standing) + sum(a.nbytes for events in self._events.values() for a in events)

    def _cost(self, mask: int) -> int:
        """Number of candidates of the anchors in `mask`: moving by them costs about that much."""
        if self._sizes is None:
            self._sizes = members_of_anchors(self._groups, self.n_anchors)
        return sum(int(self._sizes[anchor]) for anchor in bits_of(mask))

    def _advance(self, here: int, there: Sequence[int], commit: bool) -> list[Events]:
        """How configurations differ from `here`, for each range of images."""
        children = Children(
            *_lists([here & ~mask for mask in there]),
            *_lists([mask & ~here for mask in there]),
            np.array([[mask >> a & 1 for a in range(self.n_anchors)] for mask in there], np.uint8).reshape(
                len(there), self.n_anchors
            ),
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
                    first, last, self._groups, self._suppressions, self._matching, self.rules, self._standing, children,
                    events, self._scratch[part], commit,
                )  # fmt: skip
                if first == last:
                    return events
                n = int(np.diff(self._groups.image_start[first : first + 2])[0])
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


def members_of_anchors(groups: Groups, n_anchors: int) -> Array:
    """int64 (A,): how many candidates each anchor has."""
    first = groups.word[groups.image_group]
    starts = (n_anchors * first[:-1, None] + np.arange(n_anchors) * np.diff(first)[:, None]).ravel()
    counts = np.append(np.bitwise_count(groups.by_anchor), 0)
    sizes = np.add.reduceat(counts, starts, dtype=np.int64).reshape(-1, n_anchors)
    found: Array = sizes[np.diff(first) > 0].sum(axis=0)
    return found


def _lists(masks: Sequence[int]) -> tuple[Array, Array]:
    lists = [bits_of(mask) for mask in masks]
    start = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return start, np.array([bit for bits in lists for bit in bits], np.int32)


def _scratch(groups: Groups, matching: Matching, n_scopes: int) -> Scratch:
    """Scratch memory for the largest image."""
    by_group = int(np.diff(groups.word[groups.image_group]).max(initial=1))
    by_rank = int(np.diff(matching.word_start).max(initial=1))
    return Scratch(
        alive=np.zeros(by_group, np.uint64),
        touched=np.zeros(by_group, np.uint64),
        dead=np.zeros(by_group, np.uint64),
        twice=np.zeros(by_group, np.uint64),
        reached=np.zeros(by_group, np.uint64),
        released=np.zeros(by_group, np.uint64),
        by_rank=np.zeros(by_rank, np.uint64),
        shown=np.zeros(by_rank, np.uint64),
        used=np.zeros(int(matching.truth_count.max(initial=1)), np.uint64),
        taken=np.zeros(n_scopes, np.int64),
    )


def _events_for(n_children: int, flips: int, changes: int) -> Events:
    return Events(
        np.empty((n_children, flips), np.uint32),
        np.zeros(n_children, np.int64),
        np.empty((n_children, changes), np.int64),
        np.empty((n_children, changes), np.uint64),
        np.zeros(n_children, np.int64),
    )


def _with_space(events: Events, flips: int, changes: int) -> Events:
    """Events with space for at least so many more of each in every child."""
    more_flips, more_changes = (
        2 * size if int(n.max()) + wanted > size else 0
        for size, n, wanted in (
            (events.flips.shape[1], events.n_flips, flips),
            (events.change_at.shape[1], events.n_changes, changes),
        )
    )
    if more_flips:
        events = events._replace(flips=_wider(events.flips, more_flips + flips))
    if more_changes:
        wider = more_changes + changes
        events = events._replace(change_at=_wider(events.change_at, wider), change_to=_wider(events.change_to, wider))
    return events


def _wider(array: Array, columns: int) -> Array:
    # With rows a power of two apart, all rows would share a few lines of the processor's cache.
    wider = np.empty((len(array), columns + 64 - columns % 64 + 16), array.dtype)
    wider[:, : array.shape[1]] = array
    return wider
