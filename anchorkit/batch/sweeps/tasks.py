"""The work of a worker: one step and, after a run's last step, the run's folder.

A scheduler calls only `perform_task`, in any process: it takes and returns plain data and works on files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from anchorkit.batch.drive import Outcome, perform
from anchorkit.batch.execution import Kernel
from anchorkit.batch.plans import Step
from anchorkit.batch.sweeps.plan import PlannedRun
from anchorkit.batch.sweeps.steps import FAILURE_FILE, StepFolders, gather_files, read_step, step_folder
from anchorkit.errors import InputError
from anchorkit.files import appearing, read_json, write_json
from anchorkit.runs.provenance import provenance
from anchorkit.runs.record import Executed, RunRecord, now


@dataclass(frozen=True)
class Task:
    """One step to execute.

    Attributes:
        folder: the sweep's folder, absolute.
        sweep: the sweep's name.
        profile: name of the profile, or None.
        step: the step; the one before it is done.
        run: the run that is complete after this step, or None.
    """

    folder: Path
    sweep: str
    profile: str | None
    step: Step
    run: PlannedRun | None

    @property
    def key(self) -> str:
        """The step's key."""
        return self.step.key

    def to_dict(self) -> dict[str, Any]:
        """As JSON can write it."""
        run = None if self.run is None else asdict(self.run)
        step = {**asdict(self.step), "notebook": str(self.step.notebook)}
        return {"folder": str(self.folder), "sweep": self.sweep, "profile": self.profile, "step": step, "run": run}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Task:
        """What `to_dict` wrote."""
        step = Step(**{**data["step"], "notebook": Path(data["step"]["notebook"])})
        run = None if data["run"] is None else PlannedRun(**{**data["run"], "steps": tuple(data["run"]["steps"])})
        return cls(Path(data["folder"]), data["sweep"], data["profile"], step, run)


def perform_task(task: Task, kernel: Kernel) -> Outcome:
    """Execute a step, unless it is done, and make the run's folder if the run is complete."""
    finish = None if task.run is None else partial(make_run_folder, task)
    return perform(task.step, StepFolders(task.folder), kernel, finish)


def note_failure(sweep_folder: Path, key: str, message: str) -> None:
    """Record that a step failed, so that the next start does not try it again without `--retry-failed`."""
    with contextlib.suppress(InputError):  # if the disk cannot be written, the step is tried again
        write_json(step_folder(sweep_folder, key) / FAILURE_FILE, {"message": message, "when": now()})


def read_failure(sweep_folder: Path, key: str) -> str | None:
    """The error of a step; None if it did not fail, or succeeded later."""
    path = step_folder(sweep_folder, key) / FAILURE_FILE
    if not path.exists() or read_step(path.parent) is not None:
        return None
    return str(read_json(path)["message"])


def make_run_folder(task: Task) -> None:
    """Make the folder of a complete run: all files, ``run.json``, the page."""
    from anchorkit.pages.run import write_index

    assert task.run is not None
    with appearing(task.folder / "runs" / task.run.name) as folder:
        gather_files(step_folder(task.folder, task.step.key), folder)
        about = replace(run_record(task), finished=now())
        about.write(folder)  # the provenance reads the seeds from it
        about = replace(about, provenance=provenance(folder, task.step.notebook.parent))
        about.write(folder)
        write_index(folder)
        # For estimates: the disk space of the run without its steps.
        sizes = [path.stat() for path in folder.rglob("*") if path.is_file()]
        own_bytes = sum(size.st_size for size in sizes if size.st_nlink == 1)
        replace(about, sweep={**(about.sweep or {}), "own_bytes": own_bytes}).write(folder)


def make_failed_folder(task: Task, message: str) -> None:
    """Make the folder of a run whose step failed: the executed notebooks, the failed one too, and the error."""
    assert task.run is not None
    with appearing(task.folder / "runs" / task.run.name) as folder:
        (folder / "notebooks").mkdir()
        for path in sorted((step_folder(task.folder, task.step.key) / "notebooks").glob("[!.]*.ipynb")):
            (folder / "notebooks" / path.name).write_bytes(path.read_bytes())
        error = {"notebook": task.step.notebook.stem, "message": message}
        replace(run_record(task), error=error).write(folder)


def run_record(task: Task) -> RunRecord:
    """The record of a run of a sweep: that of `anchorkit run`, and its steps."""
    run = task.run
    assert run is not None
    notebooks: dict[str, Executed] = {}
    for key in run.steps:
        record = read_step(step_folder(task.folder, key))
        if record is None:
            break
        parameters = dict(record.parameters) | {"run_dir": str(task.folder / "runs" / run.name)}
        notebooks[record.notebook] = Executed(parameters, key, record.started, record.seconds)
    known: dict[str, Any] = {}
    for executed in reversed(notebooks.values()):
        known |= executed.parameters
    return RunRecord.begin(
        profile=task.profile,
        data=known.get("data"),
        detector=known.get("detector"),
        parameters=dict(run.given),
        started=min((str(executed.started) for executed in notebooks.values()), default=None),
        notebooks=notebooks,
        sweep={"name": task.sweep, "run": run.name, "varied": dict(run.varied), "steps": list(run.steps)},
    )


def finished_key(run_folder: Path) -> str | None:
    """Key of the last step of a finished run's folder; None if there is none, or the run is not finished."""
    record = RunRecord.read_if_there(run_folder)
    steps = (record.sweep or {}).get("steps") if record is not None and record.finished else None
    return str(steps[-1]) if steps else None
