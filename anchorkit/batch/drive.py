"""The one driver: it executes steps unless they are done, and reports their outcomes.

`Drive` starts the next possible tasks on some `Workers` and records their outcomes, until nothing is left. The commands
`run` and `rerun` execute a chain of steps in one folder, `experiments` independent steps (`InOrder`, in this process);
a sweep executes a graph of steps, on worker processes or a cluster.
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from anchorkit.batch.execution import Kernel, KernelDiedError, NotebookError
from anchorkit.batch.plans import Step
from anchorkit.errors import InputError
from anchorkit.files import NO_ROOM, says_no_room
from anchorkit.runs.record import Executed, now

_BELOW = "\n      "  # before what is reported of a step
_GRACE = 10  # seconds to end cleanly in after Ctrl-C
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # of a notebook's traceback


@dataclass(frozen=True)
class Outcome:
    """The outcome of a step.

    Attributes:
        key: the step's.
        state: ``"done"``, ``"failed"``, ``"died"`` (its process was killed, or out of memory), ``"stopped"`` (on
            request) or ``"no room"`` (the disk is full).
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
        output: the file for the executed notebook.
    """

    folder: Path
    run_dir: Path
    output: Path


class Place(Protocol):
    """Where a command executes its steps and records which are done."""

    def is_done(self, step: Step) -> bool:
        """Whether a step was done with the same key and its files are there."""

    def begin(self, step: Step) -> Desk:
        """Prepare for a step."""

    def note(self, step: Step, executed: Executed) -> None:
        """Record that a step is done."""


def perform(step: Step, place: Place, kernel: Kernel, then: Callable[[], object] | None = None) -> Outcome:
    """Execute a step, unless it is done.

    Bad input and errors in notebooks are outcomes; a bug of the kit is an exception.

    Args:
        step: the step.
        place: where.
        kernel: executes the notebook; after a failure it starts with a new process.
        then: called when the step is done, now or earlier.
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
        kernel.close()  # its process may have died, or be in any state
        message = _COLOURS.sub("", str(error))
        if isinstance(error, OSError) and error.errno not in NO_ROOM:
            raise
        state = "died" if isinstance(error, KernelDiedError) else "failed"
        return Outcome(step.key, "no room" if says_no_room(message) else state, 0.0, message, error)


class Workers(Protocol):
    """Perform tasks, possibly in parallel. A task is a step, or contains one; it has a ``key``."""

    @property
    def free(self) -> int:
        """How many tasks could be started now."""

    def start(self, task: Any) -> None:
        """Begin a task; at least one worker must be free."""

    def wait(self, seconds: float) -> Outcome | None:
        """The outcome of a task that ends within some seconds, or None."""

    def stop(self) -> None:
        """Ask the running tasks to end early and cleanly; their outcomes still come."""

    def close(self) -> None:
        """End all workers immediately."""


class Drive:
    """Executes the steps of a command until nothing is left, or it is stopped. Subclasses decide what may begin next.

    Attributes:
        attempts: how often a step is tried if its process dies.
        running: keys of the steps that run.
        interrupts: how often the user asked to stop. After the first time nothing new begins and running tasks are
            asked to end; after the second `run` returns immediately.
        full: the outcome that reported a full disk; nothing new begins then.
    """

    attempts = 1

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.interrupts = 0
        self.full: Outcome | None = None
        self._deaths: Counter[str] = Counter()

    def next(self) -> Any:
        """The task that may begin now; None if nothing may, or nothing is left."""
        raise NotImplementedError

    def ended(self, outcome: Outcome, again: bool) -> None:
        """Record that a task ended; `again` means that its process died and it is tried once more."""
        raise NotImplementedError

    def begun(self, task: Any) -> None:
        """Record that a task was given to the workers."""

    def tick(self) -> None:
        """Called several times a second while something runs."""

    def run(self, workers: Workers) -> None:
        """Start tasks and record their ends. Tasks that still run when it returns end with the workers."""
        stop_by: float | None = None
        while True:
            while not self.interrupts and self.full is None and workers.free and (task := self.next()) is not None:
                self.running.add(task.key)
                self.begun(task)
                try:
                    workers.start(task)
                except BaseException:
                    self._ended(Outcome(task.key, "stopped"))
                    raise
            if not self.running:
                return
            outcome = workers.wait(0.2)
            if outcome is not None:
                self._ended(outcome)
            self.tick()
            if self.interrupts:
                if stop_by is None:
                    stop_by = time.monotonic() + _GRACE
                    print("\nstopping the running notebooks; press Ctrl-C again to kill them", file=sys.stderr)
                    workers.stop()
                if self.interrupts > 1 or time.monotonic() > stop_by:
                    return

    def _ended(self, outcome: Outcome) -> None:
        self.running.discard(outcome.key)
        if outcome.state == "no room":
            self.full = outcome
        # The cause may be gone (another program took the memory); a notebook that takes all memory itself dies again.
        self._deaths[outcome.key] += outcome.state == "died"
        self.ended(outcome, outcome.state == "died" and self._deaths[outcome.key] < self.attempts)


class InOrder(Drive):
    """Steps one after the other in this process, with one line per step on standard error.

    Args:
        steps: the steps.
        place: where they are executed; knows which are done.
        kernel: executes the notebooks.
        progress: whether the lines are printed.
        keep_going: whether to execute the steps after a failed one.

    Attributes:
        executed: names of the steps that were executed.
        skipped: names of the steps that were done before.
        failed: the error, by name.
    """

    def __init__(
        self, steps: Sequence[Step], place: Place, kernel: Kernel, progress: bool, keep_going: bool = False
    ) -> None:
        super().__init__()
        self._steps, self._place, self._kernel = steps, place, kernel
        self._progress, self._keep_going = progress, keep_going
        self._number = 0
        self._reported = False
        if progress:
            kernel.heard = self._hear
        self._outcome: Outcome | None = None
        self.executed: list[str] = []
        self.skipped: list[str] = []
        self.failed: dict[str, Exception] = {}

    def execute(self) -> None:
        """Execute the steps.

        Raises:
            InputError: the disk is full; or, unless `keep_going`, as `Kernel.execute`.
            NotebookError: unless `keep_going`, as `Kernel.execute`.
        """
        try:
            self.run(self)
        finally:
            self.close()
        for error in self.failed.values():
            if self.full is not None or not self._keep_going:
                raise error

    def next(self) -> Step | None:
        while self._number < len(self._steps) and (self._keep_going or not self.failed):
            step = self._steps[self._number]
            self._number += 1
            self._say(f"[{self._number}/{len(self._steps)}] {step.name}: ")
            if not self._place.is_done(step):
                return step
            self._say("done before\n")
            self.skipped.append(step.name)
        return None

    def ended(self, outcome: Outcome, again: bool) -> None:
        name = self._steps[self._number - 1].name
        if outcome.state == "done":
            self.executed.append(name)
        elif outcome.error is not None:
            self.failed[name] = outcome.error
        said = {"done": f"{outcome.seconds:.0f} s", "stopped": "stopped"}
        self._say(f"{_BELOW if self._reported else ''}{said.get(outcome.state, 'failed')}\n")
        self._reported = False

    # It is its own one worker: a step has ended when `start` returns.

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

    def _hear(self, line: str) -> None:
        self._reported = True
        self._say(f"{_BELOW}{line}")

    def _say(self, text: str) -> None:
        if self._progress:
            print(text, end="", file=sys.stderr, flush=True)
