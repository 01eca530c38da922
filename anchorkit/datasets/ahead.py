"""Work that threads do ahead of its use: decoding and augmenting images beside a network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int = 1, *, waiting: int | None = None
) -> Iterator[Result]:
    """The results of `work` for each item, in order; while one is used, threads compute the next ones.

    The results do not depend on the number of threads if `work` does not depend on earlier calls. An error in a thread
    is raised where its result would have come. Leaving early waits for the calls that run.

    Args:
        work: called once per item, in a thread.
        items: taken one by one, in the calling thread.
        threads: how many calls run at once; 0 computes each result in the calling thread when it is asked for.
        waiting: how many results may wait for their use; by default one per thread.

    Example:
        >>> from anchorkit.datasets.ahead import ahead
        >>> list(ahead(str.upper, ["a", "b", "c"], threads=2))
        ['A', 'B', 'C']
    """
    if not threads:
        yield from map(work, items)
        return
    most = threads if waiting is None else waiting
    jobs: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, "anchorkit-ahead")
    try:
        for item in items:
            jobs.append(pool.submit(work, item))
            if len(jobs) > most:
                yield jobs.popleft().result()
        while jobs:
            yield jobs.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
