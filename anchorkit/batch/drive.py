"""The one driver: it executes steps unless they are done, and says what became of them.

`Drive` starts what `Work` says may begin next, on some `Workers`, and hands each outcome back, until nothing is left.
The commands differ in these: `anchorkit run` and `rerun` execute a chain of steps in one folder, `experiments` steps
that are independent (`InOrder`, on `ThisProcess`); a sweep is a graph of steps, on worker processes or a cluster.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from anchorkit.batch.execution import Kernel, KernelDiedError, NotebookError
from anchorkit.batch.plans import Step
from anchorkit.errors import InputError
from anchorkit.files import NO_ROOM, says_no_room
from anchorkit.runs.record import Executed, now

GRACE = 10  # seconds to end cleanly in after Ctrl-C
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # of a notebook's traceback


@dataclass(frozen=True)
class Outcome:
    """What became of a step.

    Attributes:
        key: the step's.
        state: ``"done"``, ``"failed"``, ``"died"`` (its process was killed, or out of memory), ``"stopped"`` (it was
            asked to) or ``"no room"`` (the disk is full).
        seconds: how long the notebook took; 0 if it was not executed now.
        message: what went wrong, else empty.
        error: what went wrong, where the step was executed in this process.
    """

    key: str
    state: str
    seconds: float = 0.0
    message: str = ""
    error: Exception | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can write it; without the error."""
        return {"key": self.key, "state": self.state, "seconds": self.seconds, "message": self.message}


@dataclass(frozen=True)
class Desk:
    """Where a step is executed.

    Attributes:
        folder: the notebook's working folder.
        run_dir: the folder that the notebook reads from and writes to.
        output: the file that the executed notebook becomes.
    """

    folder: Path
    run_dir: Path
    output: Path


class Place(Protocol):
    """Where the steps of a command are executed, and where it notes which are done."""

    def is_done(self, step: Step) -> bool:
        """Whether a step was done, with the same key, and what it left is there."""

    def begin(self, step: Step) -> Desk:
        """Make ready for a step."""

    def note(self, step: Step, executed: Executed) -> None:
        """Note that a step is done."""


def perform(step: Step, place: Place, kernel: Kernel, then: Callable[[], object] | None = None) -> Outcome:
    """Execute a step, unless it is done.

    What a person can mend or a notebook got wrong is an outcome; a bug of the kit is an exception.

    Args:
        step: the step.
        place: where.
        kernel: executes the notebook; after a failure it starts with a new process.
        then: called when the step is done, now or before.
    """
    try:
        seconds = 0.0
        if not place.is_done(step):
            desk = place.begin(step)
            kernel.folder = desk.folder
            parameters = step.parameters_in(desk.run_dir)
            started, clock = now(), time.perf_counter()
            kernel.execute(step.notebook, desk.output, parameters)
            seconds = round(time.perf_counter() - clock, 2)
            place.note(step, Executed(parameters, step.key, started, seconds, step.contents))
        if then is not None:
            then()
        return Outcome(step.key, "done", seconds)
    except (InputError, NotebookError, OSError) as error:
        kernel.close()  # its process may have died, or be left in any state
        message = _COLOURS.sub("", str(error))
        if isinstance(error, OSError) and error.errno not in NO_ROOM:
            raise
        state = "died" if isinstance(error, KernelDiedError) else "failed"
        return Outcome(step.key, "no room" if says_no_room(message) else state, 0.0, message, error)


class HasKey(Protocol):
    """A step, or what contains one."""

    @property
    def key(self) -> str:
        """The step's key."""


T = TypeVar("T", bound=HasKey)
T_contra = TypeVar("T_contra", bound=HasKey, contravariant=True)


class Workers(Protocol[T_contra]):
    """Perform tasks, side by side if they can."""

    @property
    def free(self) -> int:
        """How many tasks could be started at once."""

    def start(self, task: T_contra) -> None:
        """Begin a task; one must be free."""

    def wait(self, seconds: float) -> Outcome | None:
        """The outcome of a task that ended within some seconds, if any."""

    def stop(self) -> None:
        """Ask what runs to end early and cleanly; outcomes still come."""

    def close(self) -> None:
        """End all workers, at once."""


class ThisProcess:
    """Performs steps one after the other, with one kernel of this process; `start` returns when the step has ended."""

    def __init__(self, place: Place, kernel: Kernel) -> None:
        self._place, self._kernel = place, kernel
        self._outcome: Outcome | None = None

    @property
    def free(self) -> int:
        return int(self._outcome is None)

    def start(self, task: Step) -> None:
        self._outcome = perform(task, self._place, self._kernel)

    def wait(self, seconds: float) -> Outcome | None:
        outcome, self._outcome = self._outcome, None
        return outcome

    def stop(self) -> None: ...

    def close(self) -> None:
        self._kernel.close()


class Work(Protocol[T]):
    """The steps of a command: which may begin, and what is to be noted of them."""

    def next(self, running: Collection[str]) -> T | None:
        """What may begin now, besides the steps with the keys `running`; None if nothing may, or nothing is left."""

    def begun(self, task: T) -> None:
        """A task was given to the workers."""

    def ended(self, outcome: Outcome, again: bool) -> None:
        """A task ended; `again` says that its process died, and that it is tried once more."""

    def tick(self) -> None:
        """Called several times a second while something runs."""


class Drive(Generic[T]):
    """Executes the steps of a command until nothing is left, or it is stopped.

    Args:
        work: the steps.
        attempts: how often a step is tried whose process dies.

    Attributes:
        interrupts: how often the user asked to stop: once, and nothing new begins and what runs is asked to end; twice,
            and `run` returns at once.
        full: the outcome that said that the disk is full; nothing new begins then.
    """

    def __init__(self, work: Work[T], attempts: int = 1) -> None:
        self._work, self._attempts = work, attempts
        self._running: dict[str, T] = {}
        self._deaths: dict[str, int] = {}
        self.interrupts = 0
        self.full: Outcome | None = None

    def run(self, workers: Workers[T]) -> None:
        """Start what may begin and hand on what ends. What still runs when it returns ends with the workers."""
        stop_by: float | None = None
        while True:
            while not self.interrupts and self.full is None and workers.free and (task := self._next()) is not None:
                self._running[task.key] = task
                self._work.begun(task)
                try:
                    workers.start(task)
                except BaseException:
                    self._ended(Outcome(task.key, "stopped"))
                    raise
            if not self._running:
                return
            outcome = workers.wait(0.2)
            if outcome is not None:
                self._ended(outcome)
            self._work.tick()
            if self.interrupts:
                if stop_by is None:
                    stop_by = time.monotonic() + GRACE
                    print("\nstopping what runs; Ctrl-C once more kills it", file=sys.stderr)
                    workers.stop()
                if self.interrupts > 1 or time.monotonic() > stop_by:
                    return

    def _next(self) -> T | None:
        return self._work.next(self._running.keys())

    def _ended(self, outcome: Outcome) -> None:
        del self._running[outcome.key]
        if outcome.state == "no room":
            self.full = outcome
        again = False
        if outcome.state == "died":
            # Whoever killed it, or took the memory, may be gone; a notebook that eats all memory itself dies again.
            self._deaths[outcome.key] = self._deaths.get(outcome.key, 0) + 1
            again = self._deaths[outcome.key] < self._attempts
        self._work.ended(outcome, again)


class InOrder:
    """Steps one after the other, with a line each on standard error.

    Args:
        steps: the steps.
        place: says which are done.
        progress: whether the lines are printed.
        keep_going: whether the steps after one that failed are executed.

    Attributes:
        executed: names of the steps that were executed.
        skipped: names of the steps that were done before.
        failed: what went wrong, by name.
    """

    def __init__(self, steps: Sequence[Step], place: Place, progress: bool, keep_going: bool = False) -> None:
        self._steps, self._place, self._progress, self._keep_going = steps, place, progress, keep_going
        self._number = 0
        self.executed: list[str] = []
        self.skipped: list[str] = []
        self.failed: dict[str, Exception] = {}

    @classmethod
    def execute(
        cls, steps: Sequence[Step], place: Place, kernel: Kernel, progress: bool, keep_going: bool = False
    ) -> InOrder:
        """Execute steps with one kernel.

        Raises:
            InputError: the disk is full; or, unless it is to keep going, as `Kernel.execute`.
            NotebookError: unless it is to keep going, as `Kernel.execute`.
        """
        work = cls(steps, place, progress, keep_going)
        drive = Drive(work)
        workers = ThisProcess(place, kernel)
        try:
            drive.run(workers)
        finally:
            workers.close()
        if drive.full is not None and drive.full.error is not None:
            raise drive.full.error
        if work.failed and not keep_going:
            raise next(iter(work.failed.values()))
        return work

    def next(self, running: Collection[str]) -> Step | None:
        while self._number < len(self._steps) and (self._keep_going or not self.failed):
            step = self._steps[self._number]
            self._number += 1
            self._say(f"[{self._number}/{len(self._steps)}] {step.name}: ")
            if not self._place.is_done(step):
                return step
            self._say("done before\n")
            self.skipped.append(step.name)
        return None

    def begun(self, task: Step) -> None: ...

    def ended(self, outcome: Outcome, again: bool) -> None:
        name = self._steps[self._number - 1].name
        if outcome.state == "done":
            self.executed.append(name)
        elif outcome.error is not None:
            self.failed[name] = outcome.error
        said = {"done": f"{outcome.seconds:.0f} s", "stopped": "stopped"}
        self._say(f"{said.get(outcome.state, 'failed')}\n")

    def tick(self) -> None: ...

    def _say(self, text: str) -> None:
        if self._progress:
            print(text, end="", file=sys.stderr, flush=True)
