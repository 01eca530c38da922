"""From one configuration to the next: the state that makes an evaluation cheap.

The engine is *at* one configuration, whose detections it holds as a bitmap. To *move* to another one, or to *look* at
several children without moving, it lets the images compute what changes (`advancing`), as events, applies the events to
the bitmap, or for a look to a copy of it, and reads figures from that (`curves`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from anchorkit.evaluation.figures import NO_MATCHES, Reading
from anchorkit.evaluation.images import CHILDREN_AT_ONCE, is_far
from anchorkit.evaluation.loops import curves
from anchorkit.evaluation.loops.tables import Array, Classes, Events, Rules
from anchorkit.evaluation.threads import Sharing

Figure = TypeVar("Figure")

_ORDER_BITS = 24  # a place has 34, with its area range


class ImageState(Protocol):
    """The images, which know how configurations differ: `images.Images`, or those on other machines."""

    @property
    def sizes(self) -> Array: ...
    def restart(self) -> None: ...
    def advance(self, here: int, there: Sequence[int], commit: bool, /) -> list[Events]: ...


class Engine:
    """Moves from configuration to configuration.

    Memory: 1 bit a candidate for each area range, and for each thread as much again; 16 bytes a match.

    Args:
        images: their state under one configuration.
        rules: the numbers that decide, see `Rules`.
        classes: what the curves need of each class.
        work: threads.
    """

    def __init__(self, images: ImageState, rules: Rules, classes: Classes, work: Sharing) -> None:
        self._images, self._work = images, work
        self._readings = [Reading(rules, classes) for _ in range(work.n_threads)]
        self._bits, self._matches = np.zeros_like(self._readings[0].bits), NO_MATCHES  # of the configuration it is at
        self._mask: int | None = 0  # None: an interrupt left the state between two configurations

    def figure(self, mask: int, read: Callable[[Reading], Figure]) -> Figure:
        """Move to the configuration with the bits of `mask` set, and read a figure from its bitmap."""
        self.move(mask)
        reading = self._readings[0]
        np.copyto(reading.bits, self._bits)
        reading.show(*self._matches)
        return read(reading)

    def figures(self, mask: int, children: Sequence[int], read: Callable[[Reading], Figure]) -> list[Figure]:
        """Move to the configuration `mask`, and read a figure from the bitmap of each child (given as masks too)."""
        self.move(mask)
        found: list[Figure] = []
        for first in range(0, len(children), CHILDREN_AT_ONCE):
            found += self._look(children[first : first + CHILDREN_AT_ONCE], read)
        return found

    def memory(self) -> int:
        """Bytes that the state takes, without the state of the images."""
        return sum(
            array.nbytes for array in (*self._matches, self._bits, *(reading.bits for reading in self._readings))
        )

    def move(self, mask: int) -> None:
        """Move to the configuration with the bits of `mask` set."""
        if mask == self._mask:
            return
        here, self._mask = self._mask, None
        if here is None or is_far(self._images.sizes, here, mask):
            self._images.restart()
            self._bits[:] = 0
            self._matches = NO_MATCHES
            here = 0
        events = self._images.advance(here, [mask], True)
        _flip(self._bits, events, 0)
        self._matches = _merged(self._matches, _changes(events, 0))
        self._mask = mask

    def _look(self, children: Sequence[int], read: Callable[[Reading], Figure]) -> list[Figure]:
        assert self._mask is not None
        events = self._images.advance(self._mask, children, False)

        def look(reading: Reading, child: int) -> Figure:
            np.copyto(reading.bits, self._bits)
            _flip(reading.bits, events, child)
            reading.show(*self._matches, _changes(events, child))
            return read(reading)

        return self._work.each_with(self._readings, look, range(len(children)))


Matches = tuple[Array, Array]


def _flip(bits: Array, events: list[Events], child: int) -> None:
    """Flip the places that change in a child."""
    for part in events:
        curves.flip(part.n_flips[child], part.flips[child], bits)


def _changes(events: list[Events], child: int) -> Matches:
    """The places at which a child changes outcomes, rising, and the new outcomes."""
    at = np.concatenate([part.change_at[child][: part.n_changes[child]] for part in events])
    outcome = np.concatenate([part.change_to[child][: part.n_changes[child]] for part in events])
    return _rising(at, outcome)


def _merged(old: Matches, changes: Matches) -> Matches:
    """The matches after some changes; an outcome of 0 removes a match."""
    (at, outcome), (new_at, new_outcome) = old, changes
    place = np.searchsorted(at, new_at)
    known = np.append(at, -1)[place] == new_at
    outcome = outcome.copy()
    outcome[place[known]] = new_outcome[known]
    comes = ~known & (new_outcome != 0)
    at, outcome = (np.insert(a, place[comes], b[comes]) for a, b in ((at, new_at), (outcome, new_outcome)))
    stays = outcome != 0
    return at[stays], outcome[stays]


def _rising(at: Array, outcome: Array) -> Matches:
    if len(at) >= 1 << _ORDER_BITS:
        order = np.argsort(at)
        return at[order], outcome[order]
    # The positions ride in the lowest bits: numpy sorts numbers faster than it finds their order.
    both = np.sort(at << _ORDER_BITS | np.arange(len(at)))
    return both >> _ORDER_BITS, outcome[both & ((1 << _ORDER_BITS) - 1)]
