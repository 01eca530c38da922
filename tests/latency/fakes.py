"""A clock that stands still until somebody works, and detectors whose work takes as long as one says."""

from __future__ import annotations

from collections.abc import Callable

Duration = Callable[[int], float]


class Clock:
    """Seconds on the wall and on a processor; `wait` is a spell in which something else has the processor."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def __call__(self) -> tuple[float, float]:
        return self.wall, self.processor

    def work(self, seconds: float) -> None:
        self.wall += seconds
        self.processor += seconds

    def wait(self, seconds: float) -> None:
        self.wall += seconds


class FakeSubject:
    """Takes `network(batch)` and `postprocess(batch)` seconds; writes its name to `log` when it runs."""

    def __init__(self, name: str, clock: Clock, log: list[tuple[str, int]], network: Duration, postprocess: Duration):
        self.name, self.clock, self.log = name, clock, log
        self._network, self._postprocess = network, postprocess

    def network(self, batch: int) -> int:
        self.log.append((self.name, batch))
        self.clock.work(self._network(batch))
        return batch

    def postprocess(self, outputs: int) -> int:
        self.clock.work(self._postprocess(outputs))
        return 10 * outputs
