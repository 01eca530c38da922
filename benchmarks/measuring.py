"""What all measurements share: repeating, running a process of its own, and what the machine is."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGES = ("anchorkit", "numpy", "numba", "pycocotools", "torchvision", "faster-coco-eval", "hotcoco", "vernier")


@dataclass(frozen=True)
class Times:
    """Seconds that repeats of one thing took."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one: half of the repeats were faster."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        text = human(self.median)
        if len(self.seconds) > 1:
            text += f"  ({human(min(self.seconds))} to {human(max(self.seconds))}, {len(self.seconds)} times)"
        return text


def told(milliseconds: Sequence[float], digits: int = 0) -> tuple[str, str]:
    """The median and the worst, as text."""
    return f"{statistics.median(milliseconds):.{digits}f} ms", f"{max(milliseconds):.{digits}f} ms"


def human(seconds: float) -> str:
    """Seconds with three digits, in the unit that suits them."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


_timers = [time.perf_counter]


def clock(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call took, and what it returned. After `pin`, seconds of the processor."""
    timer = _timers[-1]
    start = timer()
    answer = work()
    return timer() - start, answer


def busy(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time that a call took, all threads together, and what it returned."""
    start = time.process_time()
    answer = work()
    return time.process_time() - start, answer


def each(works: Iterable[Callable[[], Any]], per: int = 1) -> list[float]:
    """Seconds that each call took, divided by the number of things that a call does."""
    return [clock(work)[0] / per for work in works]


def grid(rows: list[tuple[str, ...]]) -> str:
    """Rows as text in columns, the first one being the heads."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def one_core() -> dict[str, str]:
    """The environment of a process that is to use one core.

    Libraries read these when they are loaded, so they cannot be set later from within.
    """
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON", "VECLIB_MAXIMUM")
    return {f"{name}_NUM_THREADS": "1" for name in names}


def pin() -> None:
    """Keep this process on one core, where the system can, and have `clock` measure processor time."""
    _timers.append(time.process_time)
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def run(script: str, *arguments: str | Path, single: bool = False) -> Any:
    """Run a script of this folder in a process of its own; what it prints last is its answer, as JSON.

    Args:
        script: name of the module.
        arguments: for its command line.
        single: give it one core.
    """
    environment = {**os.environ, **(one_core() if single else {})}
    command = [sys.executable, str(HERE / f"{script}.py"), *map(str, arguments), *(["--one-core"] if single else [])]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """What the figures depend on beside the code: processor, cores, load, versions."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "processor": name,
        "cores": cores(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": versions,
    }
