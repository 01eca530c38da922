from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import nbformat
import pandas as pd
import pytest

from anchorkit.batch import runner
from anchorkit.batch.rerun import compare_runs, rerun
from anchorkit.errors import InputError
from anchorkit.runs.provenance import provenance

from .sweeps.conftest import Interpreter

FIGURES = (
    "import json\nfrom pathlib import Path\n(Path(run_dir) / 'figures.json').write_text(json.dumps({'n': seed * 2}))"
)


class Here(Interpreter):
    """A kernel in this process."""

    executed: ClassVar[list[str]] = []

    def __init__(self, folder: Path) -> None:
        super().__init__()

    def execute(self, notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
        self.executed.append(notebook.stem)
        super().execute(notebook, output, parameters)


@pytest.fixture
def run(tmp_path: Path, write_lesson, monkeypatch) -> Path:
    """A finished run of two lessons."""
    monkeypatch.setattr(runner, "Kernel", Here)
    monkeypatch.setattr(Here, "executed", [])
    folder = tmp_path / "a run"
    (folder / "notebooks").mkdir(parents=True)
    notebooks = {}
    for name in ("00_a", "01_b"):
        content = nbformat.read(write_lesson(name, [FIGURES]), as_version=4)
        nbformat.write(content, folder / "notebooks" / f"{name}.ipynb")
        parameters = {"run_dir": str(folder), "data": "shapes", "detector": "tiny_ssd", "seed": 4}
        notebooks[name] = {"parameters": parameters, "seconds": 1.0, "fingerprint": "x"}
    (folder / "figures.json").write_text('{"n": 8}')
    record = {"format": 1, "data": "shapes", "detector": "tiny_ssd", "parameters": {}, "seeds": {"00_a": 4, "01_b": 4}}
    record |= {"versions": {"numpy": "1.0", "torch": None}, "finished": "2025", "notebooks": notebooks}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "run.json").write_text(json.dumps(record | {"provenance": provenance(folder)}))
    return folder


def change(run: Path, **changes: Any) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | changes))


def test_a_run_that_is_repeatable_comes_out_the_same(run: Path) -> None:
    found = rerun(run, progress=False)
    assert found.folder == run.with_name("a run-again")
    assert found.same
    assert found.differences == ()
    assert (found.figures, found.files) == (1, 1)
    record = json.loads((found.folder / "run.json").read_text())
    assert record["repeats"] == str(run)
    assert record["notebooks"]["01_b"]["parameters"]["run_dir"] == str(found.folder)
    assert record["notebooks"]["01_b"]["parameters"]["seed"] == 4
    assert Here.executed == ["00_a", "01_b"]
    rerun(run, progress=False)  # and again: nothing is executed
    assert Here.executed == ["00_a", "01_b"]


def test_what_comes_out_different_is_told(run: Path, tmp_path: Path) -> None:
    (run / "figures.json").write_text('{"n": 9, "lost": 1}')
    about = json.loads((run / "run.json").read_text())["provenance"]
    packages = {**about["packages"], "numpy": "0.1", "gone": "2"}
    change(run, provenance={**about, "packages": packages, "machine": {**about["machine"], "cores": 999}})
    found = rerun(run, tmp_path / "elsewhere", progress=False)
    assert not found.same
    told = {(one.kind, one.name): (one.before, one.after) for one in found.differences}
    assert told["figure", "n"] == (9, 8)
    assert told["figure", "lost"] == (1, None)
    assert ("file", "figures.json") in told
    assert told["version", "numpy"][0] == "0.1"
    assert told["version", "gone"] == ("2", None)
    assert told["machine", "cores"][0] == 999


def test_a_run_without_provenance_tells_what_it_knows(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    del record["provenance"]
    (run / "run.json").write_text(json.dumps(record))
    found = rerun(run, progress=False)
    assert found.same
    assert [(one.kind, one.name, one.before) for one in found.differences] == [("version", "numpy", "1.0")]


def test_tables_are_compared_by_what_they_hold(run: Path, tmp_path: Path) -> None:
    again = rerun(run, progress=False).folder
    table = pd.DataFrame({"accuracy": [0.1, 0.2]})
    for folder, compression in ((run, "snappy"), (again, "gzip")):
        (folder / "search").mkdir()
        table.to_parquet(folder / "search" / "evaluated.parquet", compression=compression)
    first, second = ((folder / "search" / "evaluated.parquet").read_bytes() for folder in (run, again))
    assert first != second
    assert compare_runs(run, again).same
    (table + 1e-9).to_parquet(again / "search" / "evaluated.parquet")
    assert [one.name for one in compare_runs(run, again).differences] == ["search/evaluated.parquet"]


def test_a_stopped_repetition_goes_on(run: Path, monkeypatch) -> None:
    def stop(self: Here, notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    execute = Here.execute
    monkeypatch.setattr(Here, "execute", lambda self, n, o, p: (execute if n.stem == "00_a" else stop)(self, n, o, p))
    with pytest.raises(KeyboardInterrupt):
        rerun(run, progress=False)
    monkeypatch.setattr(Here, "execute", execute)
    assert rerun(run, progress=False).same
    assert Here.executed == ["00_a", "01_b"]


def test_what_cannot_be_repeated(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run.json"):
        rerun(tmp_path)
    with pytest.raises(InputError, match="that is the run itself"):
        rerun(run, run)
    other = tmp_path / "other"
    other.mkdir()
    (other / "run.json").write_text('{"format": 1}')
    with pytest.raises(InputError, match="not a repetition of"):
        rerun(run, other, progress=False)
    (run / "notebooks" / "01_b.ipynb").unlink()
    with pytest.raises(InputError, match="01_b.ipynb: missing"):
        rerun(run)
    change(run, finished=None)
    with pytest.raises(InputError, match="the run is not finished"):
        rerun(run)
