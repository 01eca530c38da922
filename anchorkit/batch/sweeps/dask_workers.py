# mypy: allow-untyped-calls
"""Workers of a Dask cluster that perform the tasks of a sweep: on any machine that sees the sweep's folder.

Dask decides which worker executes a notebook, and executes it on another one if a worker dies. The notebook runs in its
own process there, as on one machine; that process ends when the sweep no longer needs its answer.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anchorkit.batch.drive import Outcome
from anchorkit.batch.sweeps.tasks import Task
from anchorkit.batch.sweeps.workers import LocalWorkers
from anchorkit.errors import InputError

if TYPE_CHECKING:
    from distributed import Client, Future


class DaskWorkers:
    """See `anchorkit.batch.drive.Workers`.

    Args:
        client: of the cluster; see `anchorkit.cluster.connect`.
        most: the maximum number of notebooks at a time; None for one more than the workers have threads, so that an
            adaptive cluster grows, even from zero workers.
    """

    def __init__(self, client: Client, most: int | None = None) -> None:
        self._client, self._most = client, most
        self._address = str(client.scheduler_info(n_workers=0)["address"])
        self._sweep = ""
        self._running: dict[str, tuple[Task, Future[Any]]] = {}
        # No SimpleQueue: a signal at the end of its timeout makes it wait without one, so Ctrl-C would not be heard.
        self._ended: queue.Queue[str] = queue.Queue()
        self._stopping = False

    @property
    def waits(self) -> bool:
        """Whether the cluster has no worker yet."""
        return not self._client.nthreads()

    @property
    def free(self) -> int:
        if self._stopping:
            return 0
        wanted = int(sum(self._client.nthreads().values())) + 1
        return max(0, min(wanted, self._most or wanted) - len(self._running))

    def start(self, task: Task) -> None:
        key, self._sweep = task.step.key, str(task.folder)
        future = self._client.submit(perform_here, task.to_dict(), pure=False)
        self._running[key] = (task, future)
        future.add_done_callback(lambda _: self._ended.put(key))

    def wait(self, seconds: float) -> Outcome | None:
        try:
            key = self._ended.get(timeout=seconds)
        except queue.Empty:
            if self._client.status not in ("running", "connecting"):
                raise self._lost() from None
            return None
        if key not in self._running:
            return None
        task, future = self._running.pop(key)
        if self._stopping:
            return Outcome(key, "stopped")
        if future.status == "cancelled" or self._client.status != "running":
            raise self._lost()
        error = future.exception()
        if error is None:
            return Outcome(**future.result())
        return Outcome(key, "failed", message=f"{task.step.notebook.stem}: {type(error).__name__}: {error}")

    def stop(self) -> None:
        self._stopping = True
        for key, (_, future) in list(self._running.items()):
            future.cancel()
            self._ended.put(key)

    def close(self) -> None:
        with suppress(Exception):  # the cluster may be gone
            for _, future in self._running.values():
                future.cancel()
            self._client.run(release, self._sweep, on_error="ignore")
        self._running.clear()
        self._client.close()

    def _lost(self) -> InputError:
        return InputError(
            f"the cluster at {self._address} was lost: when it is back, the same command resumes the sweep"
        )


_kept: dict[int, tuple[str, LocalWorkers]] = {}
"""By thread of a Dask worker: its sweep and its process."""


def perform_here(data: dict[str, Any]) -> dict[str, Any]:
    """Perform a task on a Dask worker, in a process that is kept for the next task of the same sweep.

    Args:
        data: see `Task.to_dict`.

    Returns:
        An `Outcome` as a dict.
    """
    task, thread = Task.from_dict(data), threading.get_ident()
    if not task.folder.is_dir():
        raise InputError(
            f"{task.folder}: not found on {socket.gethostname()}; all machines must see it under the same path"
        )
    sweep = str(task.folder)
    kept, workers = _kept.get(thread, ("", None))
    if workers is None or kept != sweep:
        if workers is not None:
            workers.close()
        workers = _process(task.folder)
        _kept[thread] = (sweep, workers)
    workers.start(task)
    while (outcome := workers.wait(0.5)) is None:
        if _unwanted():
            workers.close()
            _kept.pop(thread, None)
            return Outcome(task.step.key, "stopped").to_dict()
    return outcome.to_dict()


def release(sweep: str) -> None:
    """End the processes that this Dask worker keeps for a sweep."""
    for thread, (kept, workers) in list(_kept.items()):
        if kept == sweep:
            _kept.pop(thread, None)
            workers.close()


def _process(folder: Path) -> LocalWorkers:
    logs = folder / "logs" / f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}"
    logs.mkdir(parents=True, exist_ok=True)
    return LocalWorkers(1, None, logs)  # the process that runs the sweep holds its lock


def _unwanted() -> bool:
    """Whether the sweep was stopped or has died (Dask then cancels its tasks), or the scheduler is lost.

    Without its scheduler a worker ends, but first waits for its tasks: too long, if the sweep starts again.
    """
    from distributed import get_worker

    worker = get_worker()
    if worker.status.name not in ("running", "paused", "closing_gracefully"):
        return True
    task = worker.state.tasks.get(worker.get_current_task())
    return task is None or task.state in ("cancelled", "released", "forgotten")
