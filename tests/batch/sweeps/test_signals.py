"""A signal that comes while a sweep waits for its workers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LATE = """
import os, signal, sys, threading, time
from pathlib import Path
from anchorkit.batch.sweeps.dask_workers import DaskWorkers
from anchorkit.batch.sweeps.workers import LocalWorkers

class Client:
    status = "running"
    def scheduler_info(self, n_workers):
        return {"address": "nowhere"}

signal.signal(signal.SIGINT, lambda *_: time.sleep(0.5))  # busy for longer than the wait lasts
workers = LocalWorkers(1, None, Path(".")) if sys.argv[1] == "here" else DaskWorkers(Client())
threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
assert workers.wait(0.2) is None
"""


@pytest.mark.skipif(os.name == "nt", reason="os.kill ends the process there")
@pytest.mark.parametrize("where", ["here", "cluster"])
def test_a_signal_that_is_handled_late_does_not_make_the_sweep_wait_for_ever(where: str) -> None:
    if where == "cluster":
        pytest.importorskip("distributed")
    subprocess.run([sys.executable, "-c", LATE, where], check=True, timeout=30)
