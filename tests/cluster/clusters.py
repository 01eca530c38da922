"""A Dask cluster of two processes with a life of their own, as `dask scheduler` and `dask worker` start them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Cluster:
    """A scheduler and its worker.

    Attributes:
        port: of the scheduler; address: what clients call it by.
        scheduler: its process; worker: the worker's (a nanny, whose child does the work).
    """

    port: int
    address: str
    scheduler: subprocess.Popen[bytes]
    worker: subprocess.Popen[bytes]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def dask_cluster(folder: Path, port: int | None = None) -> Iterator[Cluster]:
    """Start a cluster in a folder, at a port or a free one; in the end both processes are killed."""
    port = port or free_port()
    address, dask = f"tcp://127.0.0.1:{port}", [sys.executable, "-m", "dask"]
    with contextlib.ExitStack() as stack:

        def start(*command: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [*dask, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        scheduler = start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
        worker = start("worker", address, "--nthreads", "1", "--no-dashboard", "--death-timeout", "60")
        yield Cluster(port, address, scheduler, worker)
