"""A sweep: which of its steps may begin next, and what is recorded when one ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from anchorkit.batch.beforehand import look_beforehand
from anchorkit.batch.drive import Drive, Outcome, Workers
from anchorkit.batch.sweeps.plan import PlannedRun, SweepPlan, make_plan
from anchorkit.batch.sweeps.progress import Notes
from anchorkit.batch.sweeps.steps import FAILURE_FILE, read_step, step_folder
from anchorkit.batch.sweeps.sweep_file import read_sweep
from anchorkit.batch.sweeps.tasks import Task, finished_key, make_failed_folder, note_failure, read_failure
from anchorkit.batch.sweeps.workers import LocalWorkers
from anchorkit.errors import InputError
from anchorkit.files import read_json, remove_leftovers, write_json
from anchorkit.runs.lock import locked
from anchorkit.runs.record import RECORD_FILE

SWEEP_FORMAT = 1
_ORPHANS_END_WITHIN = 20  # seconds; a notebook's process checks once per second whether its parent is alive


@dataclass(frozen=True)
class SweepSummary:
    """The outcome of a sweep.

    Attributes:
        folder: the sweep's folder.
        done: names of the runs that are finished, now or earlier.
        failed: the error, by name of the run.
    """

    folder: Path
    done: tuple[str, ...]
    failed: Mapping[str, str]


class SweepInterrupted(KeyboardInterrupt):
    """A sweep was stopped; the same call resumes it."""


def run_sweep(
    sweep_file: str | Path,
    out: str | Path | None = None,
    jobs: int | None = None,
    retry_failed: bool = False,
    progress: bool = True,
    scheduler: str | None = None,
) -> SweepSummary:
    """Execute all runs of a sweep that are not finished, and collect the results.

    Args:
        sweep_file: a YAML file, see docs/sweeps.md.
        out: the sweep's folder; ``sweeps/NAME`` by default.
        jobs: the maximum number of notebooks to execute side by side; None for 1, or on a cluster as many as it can.
        retry_failed: try failed runs again; otherwise they stay failed.
        progress: report on standard error.
        scheduler: address of a Dask scheduler whose workers see the folder, see docs/cluster.md; None for processes on
            this machine.

    Raises:
        MissingExtraError: a scheduler is named and Dask is not installed (extra ``cluster``).
        InputError: no scheduler answers, something in the file is wrong, the folder is in use or holds another sweep,
            or the disk is full.
        SweepInterrupted: Ctrl-C or SIGTERM.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs is {jobs}: at least 1 is needed")
    plan = make_plan(read_sweep(sweep_file))
    folder = sweep_folder(plan, out)
    look_beforehand(plan.file.values)
    with _held(folder) as lock:
        _claim(folder, plan)
        for place in (folder / "steps", folder / "runs"):
            remove_leftovers(place)
        notes = Notes(folder, plan, progress)
        sweep = _Sweep(folder, plan, notes)
        workers: Workers
        if scheduler is None:
            workers = LocalWorkers(jobs or 1, lock, folder / "logs")
        else:
            workers = _on_cluster(scheduler, jobs, notes)
        try:
            sweep.look_around(retry_failed)
            with _signals(sweep):
                sweep.run(workers)
        finally:
            workers.close()
            notes.close()
            sweep.running.clear()
            sweep.note()
        if sweep.full is None and sweep.interrupts < 2:
            _gather(folder, plan)
    if sweep.full is not None:
        step = plan.steps[sweep.full.key]
        raise InputError(f"{step.name}: {sweep.full.message}; free some space; the same command resumes the sweep")
    if sweep.interrupts:
        left = len(plan.runs) - len(sweep.done) - len(sweep.failed)
        raise SweepInterrupted(
            f"stopped with {left} of {len(plan.runs)} runs to do; the same command resumes the sweep"
        )
    return SweepSummary(folder, tuple(sweep.done), dict(sweep.failed))


def _on_cluster(scheduler: str, jobs: int | None, notes: Notes) -> Workers:
    from anchorkit.batch.sweeps.dask_workers import DaskWorkers
    from anchorkit.cluster import connect

    workers = DaskWorkers(connect(scheduler), jobs)
    if workers.waits:
        notes.say(f"no worker at {scheduler} yet; the sweep waits for `dask worker {scheduler}`")
    return workers


def sweep_folder(plan: SweepPlan, out: str | Path | None) -> Path:
    """The folder of a sweep, absolute."""
    return (Path("sweeps") / plan.file.name if out is None else Path(out)).resolve()


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[int | None]:
    """The folder's lock. Processes of a killed sweep end by themselves; this waits for them."""
    deadline = time.monotonic() + _ORPHANS_END_WITHIN
    with contextlib.ExitStack() as held:
        while True:
            try:
                handle = held.enter_context(locked(folder))
                break
            except InputError:
                if time.monotonic() > deadline or _holder_lives(folder):
                    raise
            time.sleep(0.2)
        yield handle


def _holder_lives(folder: Path) -> bool:
    try:
        holder = int((folder / ".lock").read_text())
    except (OSError, ValueError):
        return True
    return holder != os.getpid() and psutil.pid_exists(holder)


def _claim(folder: Path, plan: SweepPlan) -> None:
    """Record in the folder which sweep it holds.

    Raises:
        InputError: it holds another one.
    """
    path, file = folder / "sweep.json", plan.file
    if path.exists():
        found = read_json(path)
        held = (found.get("format"), found.get("name")) if isinstance(found, dict) else None
        if held != (SWEEP_FORMAT, file.name):
            raise InputError(f"{path}: this folder holds another sweep, not {file.name!r}; give another --out")
    runs = [{"name": run.name, "given": dict(run.given), "varied": dict(run.varied)} for run in plan.runs]
    notebooks = [notebook.stem for notebook in file.notebooks]
    about = {"format": SWEEP_FORMAT, "name": file.name, "file": str(file.source), "profile": file.profile}
    write_json(path, {**about, "notebooks": notebooks, "runs": runs})


class _Sweep(Drive):
    """The state of a sweep that is being executed."""

    attempts = 2

    def __init__(self, folder: Path, plan: SweepPlan, notes: Notes) -> None:
        super().__init__()
        self.folder, self.plan, self.notes = folder, plan, notes
        self.done: dict[str, None] = {}  # names of runs, in the order in which they ended
        self.failed: dict[str, str] = {}  # why, by name of the run
        self.ready: set[str] = set()  # keys of steps that are done

    def look_around(self, retry_failed: bool) -> None:
        """Find the steps that earlier starts finished, and those that failed."""
        for key in self.plan.steps:
            folder = step_folder(self.folder, key)
            if read_step(folder) is not None:
                self.ready.add(key)
            elif retry_failed:
                (folder / FAILURE_FILE).unlink(missing_ok=True)
        told = self._told()
        for run in self.plan.runs:
            if finished_key(self.folder / "runs" / run.name) == run.steps[-1]:
                self.done[run.name] = None
                if run.name not in told:  # the sweep was killed between the run's end and the call
                    self._tell(run, "done")
        for key in self.plan.steps:
            message = read_failure(self.folder, key)
            if message is not None:
                self._fail(key, message, before=True)
        unfinished = [run for run in self.plan.runs if run.name not in self.done and run.name not in self.failed]
        # A run's folder is made with its last step, so that step counts even if it is done.
        left = {key for run in unfinished for key in run.steps if key not in self.ready or key == run.steps[-1]}
        self.notes.begin(len(self.done), len(self.failed), len(left))
        self.note()

    def note(self) -> None:
        """Bring ``status.json`` up to date."""
        self.notes.status(self.done, self.failed, self.ready, self.running)

    def next(self) -> Task | None:
        """The next task, from the first run that has one, so that runs end one after the other."""
        for run in self.plan.runs:
            if run.name in self.done or run.name in self.failed:
                continue
            key = next((key for key in run.steps if key not in self.ready), run.steps[-1])
            if key not in self.running:
                return self._task(key, run if key == run.steps[-1] else None)
        return None

    def begun(self, task: Task) -> None:
        self.notes.step_begun(task)
        self.note()

    def ended(self, outcome: Outcome, again: bool) -> None:
        key = outcome.key
        if outcome.state == "done":
            self.ready.add(key)
            for run in self.plan.users(key):
                self.notes.log(run, f"{self.plan.steps[key].name}: done in {outcome.seconds:.1f} s")
                if key == run.steps[-1]:
                    self.done[run.name] = None
                    self.notes.log(run, "finished")
                    self._tell(run, "done")
            self.notes.step_ended(outcome)
        elif again:
            self.notes.step_died(outcome)
        elif outcome.state in ("failed", "died"):
            note_failure(self.folder, key, outcome.message)
            self._fail(key, outcome.message)
            self.notes.step_ended(outcome)
        self.note()

    def tick(self) -> None:
        self.notes.tick()

    def _task(self, key: str, run: PlannedRun | None) -> Task:
        return Task(self.folder, self.plan.file.name, self.plan.file.profile, self.plan.steps[key], run)

    def _fail(self, key: str, message: str, before: bool = False) -> None:
        """Record that all runs with a step have failed; those that failed `before` have their folders already."""
        for run in self.plan.users(key):
            if run.name in self.failed or run.name in self.done:
                continue
            self.failed[run.name] = message
            if before and (self.folder / "runs" / run.name / RECORD_FILE).exists():
                continue
            self.notes.log(run, message)
            try:
                make_failed_folder(self._task(key, run), message)
            except InputError as error:
                self.notes.say(str(error))
            self._tell(run, "failed")

    def _tell(self, run: PlannedRun, state: str) -> None:
        """Call the user's function. Its exceptions are logged and do not fail the run."""
        if self.plan.file.on_finished is None:
            return
        from anchorkit.runs.results_table import run_summary

        folder = self.folder / "runs" / run.name
        record = {"sweep": self.plan.file.name, "run": run.name, "folder": str(folder), "state": state}
        try:
            self.plan.file.on_finished({**record, "varied": dict(run.varied), **run_summary(folder)})
        except Exception as error:
            self.notes.say(f"{run.name}: on_finished: {type(error).__name__}: {error}")
            self.notes.log(run, f"on_finished: {type(error).__name__}: {error}")
            return
        if state == "done":
            with contextlib.suppress(InputError):
                write_json(self.folder / "told.json", [*self._told(), run.name])

    def _told(self) -> list[str]:
        path = self.folder / "told.json"
        return list(read_json(path)) if path.exists() else []


@contextlib.contextmanager
def _signals(drive: Drive) -> Iterator[None]:
    """Ctrl-C once: begin nothing new and stop the running notebooks; twice: kill them. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hear(number: int, frame: FrameType | None) -> None:
        drive.interrupts += 1

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _gather(folder: Path, plan: SweepPlan) -> None:
    from anchorkit.batch.sweeps.page import write_sweep_page
    from anchorkit.runs.results_table import write_results

    write_results([folder / "runs" / run.name for run in plan.runs], folder / "results.parquet")
    write_sweep_page(folder, plan)
