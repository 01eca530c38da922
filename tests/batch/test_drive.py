"""The driver, with a kernel that only pretends: what is skipped, told, retried, and what ends everything."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from anchorkit.batch.drive import Desk, Drive, InOrder, Outcome, perform
from anchorkit.batch.execution import KernelDiedError, NotebookError
from anchorkit.batch.plans import Step
from anchorkit.errors import InputError
from anchorkit.runs.record import Executed

FULL = f"b: the disk is full ({os.strerror(errno.ENOSPC)})"


def step(name: str) -> Step:
    return Step(f"key of {name}", Path(f"/notebooks/{name}.ipynb"), {"n": 1}, {"n": "f00"}, None)


class Pretending:
    """A kernel that raises what is asked for, and a place that keeps what is noted."""

    def __init__(self, **errors: BaseException) -> None:
        self.errors, self.noted, self.closed, self.folder = errors, {}, 0, Path()  # type: ignore[var-annotated]

    def execute(self, notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
        assert parameters == {"run_dir": "/run", "n": 1}
        if notebook.stem in self.errors:
            raise self.errors[notebook.stem]

    def close(self) -> None:
        self.closed += 1

    def is_done(self, step: Step) -> bool:
        return step.key in self.noted

    def begin(self, step: Step) -> Desk:
        return Desk(Path("/work"), Path("/run"), Path(f"/run/{step.name}.ipynb"))

    def note(self, step: Step, executed: Executed) -> None:
        self.noted[step.key] = executed


def in_order(pretending: Pretending, keep_going: bool = False) -> InOrder:
    steps = [step("a"), step("b"), step("c")]
    return InOrder(steps, pretending, pretending, True, keep_going)  # type: ignore[arg-type]


def test_what_is_done_is_noted_and_skipped_the_next_time(capsys: pytest.CaptureFixture[str]) -> None:
    pretending = Pretending()
    drive = in_order(pretending)
    drive.execute()
    assert (drive.executed, drive.skipped, drive.failed) == (["a", "b", "c"], [], {})
    assert pretending.folder == Path("/work")
    noted = pretending.noted["key of b"]
    assert (noted.fingerprint, noted.parameters, noted.contents) == (
        "key of b",
        {"run_dir": "/run", "n": 1},
        {"n": "f00"},
    )
    again = in_order(pretending)
    again.execute()
    assert (again.executed, again.skipped) == ([], ["a", "b", "c"])
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["[1/3] a: 0 s", "[2/3] b: 0 s"]
    assert lines[3:] == ["[1/3] a: done before", "[2/3] b: done before", "[3/3] c: done before"]


def test_a_failure_ends_a_chain_and_stops_no_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    error = NotebookError("b failed")
    chain, experiments = in_order(Pretending(b=error)), in_order(Pretending(b=error), keep_going=True)
    with pytest.raises(NotebookError, match="b failed"):
        chain.execute()
    assert chain.executed == ["a"]
    experiments.execute()
    assert (experiments.executed, experiments.failed) == (["a", "c"], {"b": error})
    assert capsys.readouterr().err.splitlines() == [
        *("[1/3] a: 0 s", "[2/3] b: failed"),
        *("[1/3] a: 0 s", "[2/3] b: failed", "[3/3] c: 0 s"),
    ]


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_full_disk_ends_everything(keep_going: bool) -> None:
    drive = in_order(Pretending(b=InputError(FULL)), keep_going)
    with pytest.raises(InputError, match="b: the disk is full"):
        drive.execute()
    assert drive.executed == ["a"]


def test_an_interrupt_is_told_and_ends_the_process_of_the_notebooks(capsys: pytest.CaptureFixture[str]) -> None:
    pretending = Pretending(b=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        in_order(pretending).execute()
    assert list(pretending.noted) == ["key of a"]
    assert capsys.readouterr().err == "[1/3] a: 0 s\n[2/3] b: stopped\n"
    assert pretending.closed


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (InputError("no categories"), "failed"),
        (NotebookError("\x1b[31mdivision by zero\x1b[0m"), "failed"),
        (KernelDiedError("died"), "died"),
        (InputError(FULL), "no room"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "no room"),
    ],
)
def test_what_goes_wrong_is_an_outcome(error: Exception, state: str) -> None:
    pretending = Pretending(a=error)
    outcome = perform(step("a"), pretending, pretending)  # type: ignore[arg-type]
    assert (outcome.state, outcome.error, "\x1b" in outcome.message) == (state, error, False)
    assert Outcome(**outcome.to_dict()) == outcome
    assert pretending.closed == 1  # the next one gets another process


def test_a_bug_is_no_outcome() -> None:
    for error in (ZeroDivisionError(), FileNotFoundError(errno.ENOENT, "x")):
        pretending = Pretending(a=error)
        with pytest.raises(type(error)):
            perform(step("a"), pretending, pretending)  # type: ignore[arg-type]


class Dying(Drive):
    """One step, whose process dies a number of times."""

    attempts = 2

    def __init__(self, deaths: int) -> None:
        super().__init__()
        self.deaths, self.told, self.free = deaths, [], 1  # type: ignore[var-annotated]

    def next(self) -> Step | None:
        ended = self.told and not self.told[-1][1]
        return None if self.running or ended else step("a")

    def ended(self, outcome: Outcome, again: bool) -> None:
        self.told.append((outcome.state, again))

    def start(self, task: Step) -> None: ...

    def wait(self, seconds: float) -> Outcome:
        self.deaths -= 1
        return Outcome("key of a", "died" if self.deaths >= 0 else "done")

    def stop(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("deaths", "told"),
    [(0, [("done", False)]), (1, [("died", True), ("done", False)]), (9, [("died", True), ("died", False)])],
)
def test_what_died_is_tried_once_more(deaths: int, told: list[Any]) -> None:
    drive = Dying(deaths)
    drive.run(drive)
    assert drive.told == told
