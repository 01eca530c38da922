"""How a sweep reports its progress: a bar or plain lines, ``status.json``, and a log per run."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from anchorkit.batch.drive import Outcome
from anchorkit.batch.sweeps.plan import PlannedRun, SweepPlan
from anchorkit.batch.sweeps.tasks import Task
from anchorkit.errors import InputError
from anchorkit.files import write_json
from anchorkit.runs.record import now


class Notes:
    """Reports the progress of a sweep to people and programs.

    Args:
        folder: the sweep's folder; ``logs/`` is made there.
        plan: the sweep.
        progress: report on standard error too: a bar in a terminal, else one line per step.
    """

    def __init__(self, folder: Path, plan: SweepPlan, progress: bool) -> None:
        self._folder, self._plan, self._progress = folder, plan, progress
        self._bar: tqdm[Any] = tqdm(unit="step", disable=not (progress and sys.stderr.isatty()))
        self._ended = self._to_do = 0
        self._ticked = time.monotonic()
        (folder / "logs").mkdir(exist_ok=True)

    def begin(self, done: int, failed: int, to_do: int) -> None:
        """Report how many runs were done and failed before, and how many steps there are to do."""
        self._to_do = to_do
        self._bar.reset(to_do)
        self.say(
            f"{self._plan.file.name}: {len(self._plan.runs)} runs, {done} done before, {failed} failed before; "
            f"{to_do} of {len(self._plan.steps)} steps to do"
        )

    def step_begun(self, task: Task) -> None:
        """A step was given to a worker."""
        users = self._plan.users(task.step.key)
        shared = f", for {len(users)} runs" if len(users) > 1 else ""
        for run in users:
            self.log(run, f"{task.step.notebook.stem}: begun{shared}, in steps/{task.step.key}")

    def step_ended(self, outcome: Outcome) -> None:
        """A step succeeded or failed."""
        self._ended += 1
        self._bar.update()
        if outcome.state == "done" and not self._bar.disable:
            return
        users = self._plan.users(outcome.key)
        whom = users[0].name if len(users) == 1 else f"{len(users)} runs"
        said = f"{outcome.seconds:.0f} s" if outcome.state == "done" else f"failed: {outcome.message.splitlines()[0]}"
        stem = self._plan.steps[outcome.key].notebook.stem
        self.say(f"[{self._ended}/{max(self._ended, self._to_do)}] {stem} for {whom}: {said}")

    def step_died(self, outcome: Outcome) -> None:
        """The process of a step died, and the sweep tries the step once more."""
        for run in self._plan.users(outcome.key):
            self.log(run, f"{outcome.message}; trying once more")
        self.say(f"{outcome.message}; trying once more")

    def status(
        self, done: Collection[str], failed: Mapping[str, str], ready: Collection[str], running: Collection[str]
    ) -> None:
        """Write ``status.json``.

        Args:
            done: names of runs.
            failed: the error, by name of the run.
            ready: keys of steps that are done.
            running: keys of steps.
        """
        runs: dict[str, dict[str, Any]] = {}
        for run in self._plan.runs:
            state = "done" if run.name in done else "failed" if run.name in failed else "waiting"
            if state == "waiting" and any(key in running for key in run.steps):
                state = "running"
            steps_done = len(run.steps) if state == "done" else sum(key in ready for key in run.steps)
            runs[run.name] = {"state": state, "steps": len(run.steps), "steps_done": steps_done}
            if steps_done < len(run.steps):
                runs[run.name]["at"] = self._plan.steps[run.steps[steps_done]].notebook.stem
            if state == "failed":
                runs[run.name]["error"] = failed[run.name]
        states = [about["state"] for about in runs.values()]
        counts = {state: states.count(state) for state in ("done", "failed", "running", "waiting")}
        self._bar.set_postfix(counts)
        try:
            write_json(self._folder / "status.json", {"updated": now(), "counts": counts, "runs": runs})
        except InputError as error:  # a full disk must not end the running notebooks
            self.say(str(error))

    def tick(self) -> None:
        """Update the bar's clock while nothing begins or ends."""
        if time.monotonic() - self._ticked >= 1.0:
            self._ticked = time.monotonic()
            self._bar.refresh()

    def log(self, run: PlannedRun, text: str) -> None:
        """Add a line to the log of a run."""
        path = self._folder / "logs" / f"{run.name}.log"
        with contextlib.suppress(OSError), path.open("a", encoding="utf-8") as log:
            log.write(f"{now()} {text}\n")

    def say(self, text: str) -> None:
        """Print a line on standard error, above the bar if there is one."""
        if self._progress:
            tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar.close()
