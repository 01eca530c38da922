"""A sweep of two tiny notebooks, quick enough to be run often."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook

from anchorkit.batch.drive import Outcome
from anchorkit.batch.sweeps import tasks

FIRST = 'run_dir: str = "runs/x"  # the folder\nsize: int = 1  # how much\nseed: int = 0  # makes it repeatable\n'
SECOND = 'run_dir: str = "runs/x"  # the folder\nfactor: float = 1.0  # times\nseed: int = 0  # makes it repeatable\n'
MAKE = "(Path(run_dir) / 'data.bin').write_bytes(bytes([seed]) * 70_000 * size)"
MULTIPLY = """\
n = factor * len((Path(run_dir) / 'data.bin').read_bytes()) / 70_000
if factor == 13:
    raise ValueError('thirteen')
(Path(run_dir) / 'figures.json').write_text(json.dumps({'n': n, 'seed': seed}))"""
# Each execution leaves a line outside the run's folder, so that the tests see what was executed.
TRACE = "import json, os\nfrom pathlib import Path\nwith open({trace!r}, 'a') as f: f.write({name!r} + ' ')\n"


class Workshop:
    """A folder with two notebooks and a sweep file over them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.trace, self.out = folder, folder / "trace", folder / "out"
        folder.mkdir(parents=True, exist_ok=True)
        self.notebook("a_make", FIRST, [MAKE])
        self.notebook("b_multiply", SECOND, [MULTIPLY])

    def notebook(self, name: str, parameters: str, cells: Sequence[str]) -> Path:
        first = new_code_cell(parameters, metadata={"tags": ["parameters"]}, id="parameters")
        trace = new_code_cell(TRACE.format(trace=str(self.trace), name=name), id="trace")
        others = [new_code_cell(cell, id=f"cell-{number}") for number, cell in enumerate(cells)]
        path = self.folder / f"{name}.ipynb"
        nbformat.write(new_notebook(cells=[first, trace, *others]), path)
        return path

    def file(self, **content: Any) -> Path:
        path = self.folder / "sweep.yaml"
        named = {"notebooks": ["a_make.ipynb", "b_multiply.ipynb"], **content}
        path.write_text(yaml.safe_dump(named, allow_unicode=True, sort_keys=False), encoding="utf-8")
        return path

    def executed(self) -> list[str]:
        """Names of the notebooks in the order of their executions since the last call."""
        found = self.trace.read_text().split() if self.trace.exists() else []
        self.trace.unlink(missing_ok=True)
        return found

    def figures(self) -> dict[str, Any]:
        """The figures of all finished runs, by the run's varied parameters."""
        found = {}
        for path in self.out.glob("runs/*/run.json"):
            record = json.loads(path.read_text())
            if record["finished"]:
                found[json.dumps(record["sweep"]["varied"])] = json.loads((path.parent / "figures.json").read_text())
        return found


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "a workshop {ünïcode} 工")


class Interpreter:
    """Executes notebooks in this process: what a sweep does with steps can be tested without starting kernels."""

    def __init__(self) -> None:
        self.folder = Path()

    def close(self) -> None: ...

    def execute(self, notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
        known: dict[str, Any] = {}
        content = nbformat.read(notebook, as_version=4)
        for cell in content.cells:
            exec(cell.source, known)
            if "parameters" in cell.metadata.get("tags", ()):
                known.update(parameters)
        output.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(content, output)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Takes the place of the worker processes, and of the page of a run; the keys of the tasks in order."""
    from anchorkit.batch.sweeps import sweep
    from anchorkit.pages import run as report

    performed: list[str] = []

    class Here:
        def __init__(self, jobs: int, lock: int, logs: Path) -> None:
            self.free, self._outcomes, self.kernel = jobs, [], Interpreter()

        def start(self, task: tasks.Task) -> None:
            task = tasks.Task.from_dict(json.loads(json.dumps(task.to_dict())))  # as it would reach a process
            performed.append(task.step.key)
            self.free -= 1
            try:
                self._outcomes.append(tasks.perform_task(task, self.kernel))  # type: ignore[arg-type]
            except Exception as error:  # as a worker does with a bug
                self._outcomes.append(Outcome(task.step.key, "failed", message=str(error)))

        def wait(self, seconds: float) -> Outcome | None:
            self.free += 1
            return self._outcomes.pop(0)

        def stop(self) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(sweep, "LocalWorkers", Here)
    monkeypatch.setattr(report, "write_index", lambda folder: None)
    return performed  # type: ignore[return-value]
