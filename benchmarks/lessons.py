"""How long after *Run all* a lesson's first picture comes, and how much memory the lesson takes.

    python benchmarks/lessons.py runs/quick-shapes             a finished quick run; it is copied, and stays as it is
    python benchmarks/lessons.py runs/quick-shapes --only 04 05

Each lesson is executed in a kernel of its own, with the parameters of profile quick, as JupyterLab does after *Restart
and run all*. The clock starts when the kernel is ready and the first cell is sent. Trainings that the run has finished
are not repeated. On a busy machine read the seconds of the processor: they are what the lesson's process has used until
its first picture, and on an idle machine the clock shows about as much. Memory is the most that the process
had in RAM, with what its children had of their own, looked at every 50 ms. Trainings count only if the run has not
finished them: remove `retrained/` from a copy to see lesson 5 train.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from measuring import grid, machine
from nbclient import NotebookClient
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from anchorkit.batch.parameters import read_parameters
from anchorkit.batch.plans import LESSONS, find_notebooks
from anchorkit.batch.profiles import PROFILES
from anchorkit.bundled import notebooks_dir

LATEST_PICTURE = 10.0  # seconds
MOST_MEMORY = 1.5e9  # bytes


@dataclass
class Watched:
    """What was seen of a lesson."""

    lesson: str
    picture: float | None = None
    processor: float | None = None
    seconds: float = 0.0
    memory: int = 0

    @property
    def row(self) -> tuple[str, ...]:
        """The line of the table."""
        first = ("none", "none") if self.picture is None else (f"{self.picture:.1f} s", f"{self.processor:.1f} s")
        return (self.lesson, *first, f"{self.memory / 1e9:.2f} GB", f"{self.seconds:.0f} s")


def watch(path: Path, run: Path) -> Watched:
    """Execute a lesson as it is in the folder of a run."""
    seen, over = Watched(path.stem), threading.Event()
    values = {**PROFILES["quick"].get(path.stem, {}), "run_dir": str(run)}
    known = read_parameters(path)
    notebook = parameterize_notebook(load_notebook_node(str(path)), {n: v for n, v in values.items() if n in known})
    client = NotebookClient(notebook, kernel_name="python3", timeout=None, resources={"metadata": {"path": str(run)}})
    start = 0.0

    def look(kernel: psutil.Process) -> None:
        while not over.wait(0.05):
            try:
                held = kernel.memory_info().rss
                for process in kernel.children(recursive=True):
                    held += process.memory_full_info().uss  # the libraries that it shares with the lesson count once
                seen.memory = max(seen.memory, held)
            except psutil.Error:  # a child has ended
                continue

    def finished(cell: Any, **_: Any) -> None:
        kinds = {kind for output in cell.get("outputs", ()) for kind in output.get("data", {})}
        if seen.picture is None and any(kind.startswith("image/") for kind in kinds):
            seen.picture, times = time.perf_counter() - start, kernel.cpu_times()
            seen.processor = times.user + times.system - before

    with client.setup_kernel():
        kernel = psutil.Process(client.km.provisioner.process.pid)
        before = sum(kernel.cpu_times()[:2])
        threading.Thread(target=look, args=(kernel,), daemon=True).start()
        start = time.perf_counter()
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
            finished(cell)
        seen.seconds = time.perf_counter() - start
        over.set()
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="a finished quick run")
    parser.add_argument("--only", nargs="+", default=[], metavar="NUMBER", help="numbers of lessons, as 04")
    asked = parser.parse_args()
    facts = machine()
    print(f"{facts['processor']}, {facts['cores']} cores; load {os.getloadavg()[0]:.1f}", flush=True)
    lessons = [*find_notebooks(None, LESSONS), notebooks_dir() / "20_compare.ipynb"]
    lessons = [path for path in sorted(lessons) if not asked.only or path.stem[:2] in asked.only]
    rows = [("lesson", "first picture", "processor until then", "memory", "whole lesson")]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        shutil.copytree(asked.run, run, ignore=shutil.ignore_patterns(".*"))
        for path in lessons:
            seen = watch(path, run)
            rows.append(seen.row)
            late = seen.processor is None or seen.processor > LATEST_PICTURE
            print(*seen.row, *(["LATE"] * late + ["LARGE"] * (seen.memory > MOST_MEMORY)), sep="  ", flush=True)
    print(grid(rows))
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
