"""Watching a search while it runs: its progress, its frontier so far, and a way to stop it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property

import pandas as pd

from anchorkit.anchors import Configuration
from anchorkit.search.frontier import Frontier
from anchorkit.search.measuring import Measurer, Node, node_frame

INTERVAL = 0.1
"""Least time between two calls of a watch, in seconds."""


class Stopped(Exception):  # noqa: N818  # nothing went wrong
    """A watch asked the search to stop. It never leaves this package."""


class Progress:
    """How far a search is, for the function that watches it.

    Use it only while that function runs: it reads from the search, which waits meanwhile.

    Attributes:
        evaluated: how many configurations have been tried.
        per_second: how many a second, not counting the time that the watch took (a pause, for example).
    """

    def __init__(self, measurer: Measurer, frontier: Frontier[Node], per_second: float) -> None:
        self._measurer, self._frontier = measurer, frontier
        self.evaluated = len(measurer.nodes)
        self.per_second = per_second
        self.stopped = False

    def stop(self) -> None:
        """End the search with what it has found, as soon as the watch returns."""
        self.stopped = True

    @cached_property
    def frontier(self) -> pd.DataFrame:
        """The frontier so far, with the columns of `SearchResult.frontier`."""
        return node_frame(self._frontier.members(), self._measurer.cost).drop(columns=["order", "parent"])

    @cached_property
    def configurations(self) -> list[Configuration]:
        """The configurations of the frontier's rows, in the same order."""
        return [node.configuration for node in self._frontier.members()]

    @cached_property
    def tried(self) -> pd.DataFrame:
        """``accuracy`` (0..1) and the cost of every configuration tried so far, in order."""
        nodes = self._measurer.nodes
        return pd.DataFrame(
            {"accuracy": [node.accuracy for node in nodes], self._measurer.cost.name: [node.cost for node in nodes]}
        )


Watch = Callable[[Progress], None]
"""Called some ten times a second at most, on the thread of the search, which waits until it returns."""


class Pulse:
    """Calls a watch at most every `INTERVAL` seconds; a search calls this between its steps.

    Raises:
        Stopped: by calling it, once the watch has asked for that.
    """

    def __init__(self, watch: Watch, measurer: Measurer, frontier: Frontier[Node]) -> None:
        self._watch, self._measurer, self._frontier = watch, measurer, frontier
        self._began = time.perf_counter()
        self._next = 0.0

    def __call__(self) -> None:
        now = time.perf_counter()
        if now < self._next:
            return
        seconds = max(now - self._began, 1e-9)
        progress = Progress(self._measurer, self._frontier, len(self._measurer.nodes) / seconds)
        self._watch(progress)
        after = time.perf_counter()
        self._began += after - now  # the time that the watch took is not the search's
        self._next = after + INTERVAL
        if progress.stopped:
            raise Stopped
