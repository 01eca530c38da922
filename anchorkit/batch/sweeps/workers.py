"""Processes on this machine that perform the tasks of a sweep."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from anchorkit.batch.drive import Outcome
from anchorkit.batch.sweeps.tasks import Task


@dataclass
class _Worker:
    process: subprocess.Popen[str]
    log: Path
    task: Task | None = None


class LocalWorkers:
    """Worker processes, started when they are first needed; see `worker` and, for the methods, `drive.Workers`.

    Args:
        jobs: the maximum number of workers.
        lock: the sweep's open lock file, which they keep open; None where that is impossible (Windows).
        logs: folder for the output of the workers and their notebooks' processes.
    """

    def __init__(self, jobs: int, lock: int | None, logs: Path) -> None:
        self._jobs, self._held, self._logs = jobs, () if lock is None else (lock,), logs
        self._workers: list[_Worker] = []
        # No SimpleQueue: a signal at the end of its timeout makes it wait without one, so Ctrl-C would not be heard.
        self._outcomes: queue.Queue[tuple[_Worker, Outcome | None]] = queue.Queue()
        self._stopping = False

    @property
    def free(self) -> int:
        return 0 if self._stopping else self._jobs - sum(worker.task is not None for worker in self._workers)

    def start(self, task: Task) -> None:
        idle = [worker for worker in self._workers if worker.task is None]
        worker = idle[0] if idle else self._new()
        worker.task = task
        self._say(worker, {"task": task.to_dict()})

    def wait(self, seconds: float) -> Outcome | None:
        try:
            worker, outcome = self._outcomes.get(timeout=seconds)
        except queue.Empty:
            return None
        task, worker.task = worker.task, None
        if outcome is not None:
            return outcome
        worker.process.wait()
        self._workers.remove(worker)
        if task is None:
            return None
        if self._stopping:
            return Outcome(task.step.key, "stopped")
        died = f"{task.step.notebook.stem}: its process died (killed, or out of memory?); see {worker.log}"
        return Outcome(task.step.key, "died", message=died)

    def stop(self) -> None:
        self._stopping = True
        for worker in self._workers:
            self._say(worker, {"stop": True})

    def close(self) -> None:
        for worker in self._workers:
            if worker.task is None and worker.process.stdin is not None:
                worker.process.stdin.close()  # it is idle and ends by itself
            else:
                _kill(worker.process)
        for worker in self._workers:
            try:
                worker.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                _kill(worker.process)
                worker.process.wait()
        self._workers.clear()

    def _new(self) -> _Worker:
        numbers = {worker.log.name for worker in self._workers}
        name = next(name for n in range(1, self._jobs + 2) if (name := f"worker-{n}.log") not in numbers)
        log = self._logs / name
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # If each process had as many threads as cores, they would wait for one another.
        threads = str(max(1, cores // self._jobs))
        environment = {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads, **os.environ}
        notebooks_log = log.with_name(log.name.replace("worker", "notebooks"))
        command = [sys.executable, "-m", "anchorkit.batch.sweeps.worker", str(notebooks_log), *map(str, self._held)]
        with log.open("ab") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                env=environment,
                pass_fds=self._held,
                start_new_session=True,  # Ctrl-C in the terminal goes to the sweep, which stops its workers
            )
        worker = _Worker(process, log)
        self._workers.append(worker)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        return worker

    def _listen(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        with contextlib.suppress(ValueError):  # a line that was cut off when the worker was killed
            for line in worker.process.stdout:
                self._outcomes.put((worker, Outcome(**json.loads(line))))
        self._outcomes.put((worker, None))

    def _say(self, worker: _Worker, message: dict[str, object]) -> None:
        assert worker.process.stdin is not None
        # The end of its answers reports a worker that has died.
        with contextlib.suppress(BrokenPipeError, ValueError):
            worker.process.stdin.write(json.dumps(message) + "\n")
            worker.process.stdin.flush()


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a worker and its notebooks' process, which has its own session."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    kill_all(family)


def kill_all(family: Iterable[psutil.Process]) -> None:
    """Kill processes, some of which may have ended."""
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
