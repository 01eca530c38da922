"""Timing several detectors in turn, so that other work on the machine slows all of them down alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import pandas as pd

PARTS = ("network", "postprocess", "total")


class Subject(Protocol):
    """What is timed: a detector with its images prepared."""

    def network(self, batch: int, /) -> Any:
        """Run the network on a prepared batch, and return when it is done."""
        ...

    def postprocess(self, outputs: Any, /) -> int:
        """Make detections of what `network` gave, return when done, and say how many rows reached NMS."""
        ...


def _wall_and_processor() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def time_rounds(
    subjects: Mapping[str, Subject],
    batches: int,
    repeats: int,
    warmup: int,
    seed: int = 0,
    *,
    clocks: Callable[[], tuple[float, float]] = _wall_and_processor,
    each_round: Callable[[], Any] = lambda: None,
) -> pd.DataFrame:
    """Time every subject once per round, in a new random order each round.

    Args:
        subjects: what is timed, by name.
        batches: how many batches they have prepared; round r takes batch r modulo this, the same for all subjects.
        repeats: number of rounds.
        warmup: rounds before those, not timed.
        seed: of the order.
        clocks: return the seconds on the wall clock, and those that this process was on a processor.
        each_round: called after each round, warm-up included.

    Returns:
        A row for each round, subject and part, in the order in which they ran: ``detector``, ``part`` (``"network"``,
        ``"postprocess"``, ``"total"``), ``round``, ``batch``, ``ms``, ``cpu_ms``, ``boxes`` (rows that reached NMS).
    """
    rng = np.random.default_rng(seed)
    names = list(subjects)
    rows: list[tuple[str, str, int, int, float, float, int]] = []
    with _no_garbage_collection():
        for number in range(-warmup, repeats):
            batch = number % batches
            for position in rng.permutation(len(names)):
                name = names[position]
                subject = subjects[name]
                start = clocks()
                outputs = subject.network(batch)
                middle = clocks()
                boxes = subject.postprocess(outputs)
                end = clocks()
                if number >= 0:
                    spans = ((start, middle), (middle, end), (start, end))
                    rows += [
                        (name, part, number, batch, 1000 * (b[0] - a[0]), 1000 * (b[1] - a[1]), boxes)
                        for part, (a, b) in zip(PARTS, spans, strict=True)
                    ]
            each_round()
    return pd.DataFrame(rows, columns=["detector", "part", "round", "batch", "ms", "cpu_ms", "boxes"])


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """As `timeit` does: a collection would count against the subject that happens to run."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
