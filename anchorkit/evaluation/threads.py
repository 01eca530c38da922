"""Work divided among threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from anchorkit.evaluation.loops.tables import Array

Memory = TypeVar("Memory")
Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 8
ROWS_PER_THREAD = 100_000
"""With fewer candidates per thread, a thread costs more than it gains."""


class Sharing:
    """A pool of threads.

    Attributes:
        n_threads: how many work at once.
        n_parts: number of parts to cut work of uneven sizes into.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self.n_parts = 4 * n_threads if n_threads > 1 else 1
        self._pool = ThreadPoolExecutor(n_threads, "anchorkit-evaluator") if n_threads > 1 else None

    def each(self, parts: Array, kernel: Callable[..., Result], *arguments: Any) -> list[Result]:
        """Call ``kernel(first, last, *arguments)`` for every part ``parts[i]:parts[i + 1]``."""
        return self.all([partial(kernel, parts[i], parts[i + 1], *arguments) for i in range(len(parts) - 1)])

    def each_with(
        self, memory: Sequence[Memory], work: Callable[[Memory, Item], Result], items: Iterable[Item]
    ) -> list[Result]:
        """Call ``work(part, item)`` for every item, with a part of `memory`, one for each thread, to itself."""
        free: SimpleQueue[Memory] = SimpleQueue()
        for part in memory:
            free.put(part)

        def call(item: Item) -> Result:
            part = free.get()
            try:
                return work(part, item)
            finally:
                # After an error too: another thread may be waiting.
                free.put(part)

        return self.all([partial(call, item) for item in items])

    def all(self, calls: Sequence[Callable[[], Result]]) -> list[Result]:
        """Make all calls and wait for them; the results in their order."""
        if self._pool is None or len(calls) == 1:
            return [call() for call in calls]
        jobs = [self._pool.submit(call) for call in calls]
        try:
            return [job.result() for job in jobs]
        finally:
            # After Ctrl-C too, no thread may still write to memory that the next evaluation uses.
            for job in jobs:
                job.cancel()
            wait(jobs)


def threads_for(n_rows: int) -> int:
    """How many threads to use on this machine for a table with this many rows."""
    return min(threads_for_all(), 1 + n_rows // ROWS_PER_THREAD)


def threads_for_all() -> int:
    """How many threads to use on this machine for work that takes long with any table."""
    return min(os.cpu_count() or 1, MOST_THREADS)


def balanced(start: Array, n: int) -> Array:
    """Cut images or groups, whose items begin at `start`, into `n` ranges with about equally many items: (n + 1,)."""
    cuts = np.searchsorted(start, np.linspace(0, start[-1], n + 1)[1:-1])
    return np.concatenate(([0], cuts, [len(start) - 1])).astype(np.int64)
