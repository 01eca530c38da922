"""What a sweep would do: its runs and steps, which are done, and how long the others may take, by earlier runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anchorkit.batch.plans import Step
from anchorkit.batch.sweeps.plan import SweepPlan
from anchorkit.batch.sweeps.steps import StepRecord, read_step, step_folder
from anchorkit.batch.sweeps.tasks import finished_key, read_failure
from anchorkit.errors import InputError
from anchorkit.runs.record import RECORD_FILE, RunRecord


@dataclass(frozen=True)
class NotebookEstimate:
    """The executions of one notebook that a sweep needs.

    Attributes:
        notebook: its stem.
        runs: how many runs need it.
        steps: how often it is executed for them.
        to_do: how many of these are not done.
        seconds: how long those may take, one after the other; None if it was never executed before.
        new_bytes: the disk space that they may take; None if unknown.
        earlier: how many executions the estimate is based on.
    """

    notebook: str
    runs: int
    steps: int
    to_do: int
    seconds: float | None
    new_bytes: float | None
    earlier: int


@dataclass(frozen=True)
class SweepEstimate:
    """A sweep before it is started.

    Attributes:
        runs: names of all runs with their state: ``"done"``, ``"failed"`` or ``"to do"``.
        notebooks: in order.
        run_bytes: the disk space of the folders of the runs to do, without their steps; None if unknown.
    """

    runs: Mapping[str, str]
    notebooks: tuple[NotebookEstimate, ...]
    run_bytes: float | None

    @property
    def seconds(self) -> float | None:
        """How long all steps to do may take, one after the other; None if that of a notebook is unknown."""
        return _sum([entry.seconds for entry in self.notebooks if entry.to_do])

    @property
    def new_bytes(self) -> float | None:
        """The disk space that the sweep may take; None if a part of it is unknown."""
        return _sum([self.run_bytes, *(entry.new_bytes for entry in self.notebooks if entry.to_do)])


def estimate_sweep(plan: SweepPlan, folder: Path, runs: Path = Path("runs")) -> SweepEstimate:
    """What a sweep would do.

    Times and sizes are means over the earlier executions of a notebook whose parameters agree in most values.

    Args:
        plan: the sweep.
        folder: its folder, which need not exist; sweeps beside it count as earlier runs too.
        runs: the folder with the runs of `anchorkit run`.
    """
    states = {}
    for run in plan.runs:
        done = finished_key(folder / "runs" / run.name) == run.steps[-1]
        failed = any(read_failure(folder, key) for key in run.steps)
        states[run.name] = "done" if done else "failed" if failed else "to do"
    needed = {key for run in plan.runs if states[run.name] == "to do" for key in run.steps}
    to_do = {key for key in needed if read_step(step_folder(folder, key)) is None}
    earlier = list(_executions(folder.parent, runs))
    notebooks = []
    for notebook in plan.file.notebooks:
        keys = [key for key, step in plan.steps.items() if step.notebook == notebook]
        left = [plan.steps[key] for key in keys if key in to_do]
        guesses = [_nearest(step, earlier) for step in left]
        seconds = [_mean([found.seconds for found in guess]) for guess in guesses]
        sizes = [_mean([found.new_bytes for found in guess if found.new_bytes is not None]) for guess in guesses]
        used = max((len(guess) for guess in guesses), default=0)
        entry = NotebookEstimate(notebook.stem, len(plan.runs), len(keys), len(left), _sum(seconds), _sum(sizes), used)
        notebooks.append(entry)
    unfinished = list(states.values()).count("to do")
    size = _mean(_run_sizes(folder.parent)) if unfinished else 0.0
    return SweepEstimate(states, tuple(notebooks), None if size is None else unfinished * size)


def _run_sizes(sweeps: Path) -> list[int]:
    """The disk space of the folders of earlier runs, without their steps."""
    sizes = []
    for path in sweeps.glob(f"*/runs/*/{RECORD_FILE}"):
        with contextlib.suppress(InputError, KeyError, TypeError):
            sizes.append(int((RunRecord.read(path.parent).sweep or {})["own_bytes"]))
    return sizes


def _executions(sweeps: Path, runs: Path) -> Iterator[StepRecord]:
    """Earlier executions of notebooks; records that cannot be read are skipped."""
    for path in sorted(sweeps.glob("*/steps/*/step.json")):
        try:
            step = read_step(path.parent)
        except InputError:
            continue
        if step is not None:
            yield step
    for path in sorted(runs.glob(f"*/{RECORD_FILE}")):
        try:
            record = RunRecord.read(path.parent)
        except InputError:
            continue
        for stem, executed in record.notebooks.items():
            yield StepRecord(stem, executed.parameters, executed.started, executed.seconds, None, {})


def _nearest(step: Step, earlier: list[StepRecord]) -> list[StepRecord]:
    """The executions of the same notebook that agree in the most parameters."""
    same = [found for found in earlier if found.notebook == step.notebook.stem]
    agreeing = [sum(found.parameters.get(name) == value for name, value in step.parameters.items()) for found in same]
    return [found for found, count in zip(same, agreeing, strict=True) if count == max(agreeing)]


def _mean(values: list[Any]) -> float | None:
    return sum(values) / len(values) if values else None


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
