from __future__ import annotations

import threading

from anchorkit.widgets.background import Background

PATIENCE = 30.0


class Work:
    """Work that waits until it is let go."""

    def __init__(self, result: str) -> None:
        self.result = result
        self.started, self.go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.started.set()
        assert self.go.wait(PATIENCE)
        return self.result


def test_results_arrive_and_then_it_is_idle() -> None:
    done: list[int] = []
    background = Background(done.append, lambda error: None)
    assert background.wait(0)
    assert not background.busy
    background.submit(lambda: 7)
    assert background.wait(PATIENCE)
    assert done == [7]
    assert not background.busy
    background.submit(lambda: 8)  # a new thread after the first has ended
    assert background.wait(PATIENCE)
    assert done == [7, 8]


def test_of_those_that_wait_only_the_newest_is_done() -> None:
    done: list[str] = []
    background = Background(done.append, lambda error: None)
    first, second, third = Work("first"), Work("second"), Work("third")
    background.submit(first)
    assert first.started.wait(PATIENCE)
    background.submit(second)
    background.submit(third)
    assert background.busy
    assert not background.wait(0)
    for work in (first, second, third):
        work.go.set()
    assert background.wait(PATIENCE)
    assert done == ["third"]  # the first was overtaken, the second never begun
    assert not second.started.is_set()


def test_a_failure_is_told_and_ends_nothing() -> None:
    done: list[str] = []
    failures: list[Exception] = []
    background = Background(done.append, failures.append)

    def fail() -> str:
        raise ValueError("no")

    background.submit(fail)
    assert background.wait(PATIENCE)
    assert [str(error) for error in failures] == ["no"]
    background.submit(lambda: "fine")
    assert background.wait(PATIENCE)
    assert done == ["fine"]


def test_work_may_hand_in_more_work() -> None:
    done: list[str] = []
    background: Background[str] = Background(done.append, lambda error: None)

    def first() -> str:
        background.submit(lambda: "second")
        return "first"

    background.submit(first)
    assert background.wait(PATIENCE)
    assert done == ["second"]
