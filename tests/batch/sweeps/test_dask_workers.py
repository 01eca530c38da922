"""A sweep on the workers of a Dask cluster is the sweep of one machine."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

import anchorkit.cluster
from anchorkit.batch.sweeps import run_sweep
from anchorkit.errors import InputError

from ...cluster.clusters import dask_cluster

distributed = pytest.importorskip("distributed", reason="needs the extra cluster")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers in processes of their own, which can be killed."""
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as found:
        yield found


def run(workshop: Any, cluster: Any, **options: Any) -> Any:
    scheduler = cluster.scheduler_address
    return run_sweep(workshop.folder / "sweep.yaml", workshop.out, progress=False, scheduler=scheduler, **options)


def notebook_processes() -> list[psutil.Process]:
    """The processes below this one that execute notebooks for a sweep."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "ipykernel_launcher" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def test_the_same_runs_as_on_one_machine_failed_ones_too(workshop, cluster) -> None:
    workshop.file(grid={"seed": [1, 2], "factor": [2, 13]})
    summary = run(workshop, cluster)
    assert len(summary.done) == 2
    assert len(summary.failed) == 2
    assert all("thirteen" in message for message in summary.failed.values())
    assert sorted(workshop.executed()) == ["a_make"] * 2 + ["b_multiply"] * 4
    assert sorted(value["n"] for value in workshop.figures().values()) == [2.0, 2.0]
    # Finished runs are skipped, and failed ones are not tried again unasked.
    assert len(run(workshop, cluster).done) == 2
    assert workshop.executed() == []


def test_a_killed_worker_costs_time_and_nothing_else(workshop, cluster) -> None:
    from .conftest import MULTIPLY, SECOND

    workshop.notebook("b_multiply", SECOND, ["import time\ntime.sleep(2)", MULTIPLY])
    workshop.file(grid={"seed": [1, 2], "factor": [2, 3]})
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2)
        victim = next(iter(client.run(os.getpid).values()))

    def kill() -> None:
        while not workshop.trace.exists() or "b_multiply" not in workshop.trace.read_text():
            time.sleep(0.1)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = run(workshop, cluster)
    killer.join()
    assert (len(summary.done), dict(summary.failed)) == (4, {})
    assert sorted(value["n"] for value in workshop.figures().values()) == [2.0, 2.0, 3.0, 3.0]


def test_a_sweep_that_is_stopped_leaves_no_notebook_running(workshop, cluster) -> None:
    from .conftest import MULTIPLY, SECOND

    workshop.notebook("b_multiply", SECOND, ["import time\ntime.sleep(600)", MULTIPLY])
    workshop.file(grid={"seed": [1], "factor": [2]})

    def interrupt() -> None:
        while not workshop.trace.exists() or "b_multiply" not in workshop.trace.read_text():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt, match="1 of 1 runs to do; the same command resumes"):
        run(workshop, cluster)
    deadline = time.monotonic() + 60
    while notebook_processes():
        assert time.monotonic() < deadline, "a notebook goes on without anybody who wants it"
        time.sleep(0.2)


@pytest.mark.nightly
def test_a_scheduler_that_is_killed_and_started_again(workshop) -> None:
    from .conftest import MULTIPLY, SECOND

    go = str(workshop.folder / "go")
    waiting = f"import time\nwhile not Path({go!r}).exists(): time.sleep(0.1)"
    workshop.notebook("b_multiply", SECOND, [waiting, MULTIPLY])
    path = workshop.file(grid={"seed": [1], "factor": [2, 3]})
    with dask_cluster(workshop.folder) as first:

        def kill_the_scheduler() -> None:
            while not workshop.trace.exists() or "b_multiply" not in workshop.trace.read_text():
                time.sleep(0.1)
            first.scheduler.kill()

        # Begun before there is a worker: the sweep waits for it.
        killer = threading.Thread(target=kill_the_scheduler, daemon=True)
        killer.start()
        with pytest.raises(InputError, match="was lost: when it is back, the same command resumes the sweep"):
            run_sweep(path, workshop.out, progress=False, scheduler=first.address)
        killer.join()
        # Nobody goes on with what nobody waits for: it would be in the way of who comes next.
        deadline = time.monotonic() + 10
        while notebook_processes():
            assert time.monotonic() < deadline, "a notebook goes on without anybody who wants it"
            time.sleep(0.1)
    assert workshop.executed() == ["a_make", "b_multiply"]
    Path(go).touch()
    with dask_cluster(workshop.folder, first.port) as again:
        summary = run_sweep(path, workshop.out, progress=False, scheduler=again.address)
    assert (len(summary.done), dict(summary.failed)) == (2, {})
    assert workshop.executed() == ["b_multiply", "b_multiply"]
    assert sorted(value["n"] for value in workshop.figures().values()) == [2.0, 3.0]


def test_a_scheduler_that_is_not_there_is_told(workshop, monkeypatch) -> None:
    monkeypatch.setattr(anchorkit.cluster, "connect", partial(anchorkit.cluster.connect, timeout=2))
    workshop.file(grid={"seed": [1]})
    with pytest.raises(InputError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        run_sweep(workshop.folder / "sweep.yaml", workshop.out, progress=False, scheduler="tcp://127.0.0.1:9")
