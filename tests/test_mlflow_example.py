"""The example for MLflow, with a stand-in where MLflow is not installed."""

from __future__ import annotations

import contextlib
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

RECORD = {
    "sweep": "my sweep",
    "run": "cost=boxes-123456",
    "state": "done",
    "varied": {"cost": "boxes"},
    "parameters": {"cost": "boxes", "seed": 0},
    "figures": {"accuracy": 0.5, "A.fine-tuned.test.accuracy": 0.4, "odd: name": 1},
    "seconds": 3.5,
}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is said to a stand-in of MLflow."""
    said: list[tuple[Any, ...]] = []
    fake = ModuleType("mlflow")

    def hears(name: str) -> Any:
        return lambda *arguments, **named: said.append((name, *arguments, *named.values()))

    for name in ("set_experiment", "log_params", "log_metrics", "log_metric", "set_tag", "log_artifact", "end_run"):
        setattr(fake, name, hears(name))

    @contextlib.contextmanager
    def start_run(run_name: str) -> Any:
        said.append(("start_run", run_name))
        yield

    fake.start_run = start_run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    return said


def test_parameters_and_figures_are_logged(told, repository: Path, tmp_path: Path) -> None:
    log_run = runpy.run_path(str(repository / "examples" / "mlflow_tracking.py"))["log_run"]
    (tmp_path / "run.json").write_text("{}")
    log_run({**RECORD, "folder": str(tmp_path)})
    assert ("set_experiment", "my sweep") in told
    assert ("start_run", "cost=boxes-123456") in told
    assert ("log_params", {"cost": "boxes", "seed": 0}) in told
    assert ("log_metrics", {"accuracy": 0.5, "A.fine-tuned.test.accuracy": 0.4, "odd_ name": 1.0}) in told
    assert ("log_metric", "seconds", 3.5) in told
    assert ("log_artifact", str(tmp_path / "run.json")) in told
    assert not [said for said in told if said[0] == "end_run"]


def test_a_failed_run_is_marked(told, repository: Path, tmp_path: Path) -> None:
    log_run = runpy.run_path(str(repository / "examples" / "mlflow_tracking.py"))["log_run"]
    error = {"notebook": "04_search", "message": "out of luck"}
    log_run({**RECORD, "state": "failed", "error": error, "folder": str(tmp_path)})
    assert ("set_tag", "error", "out of luck") in told
    assert told[-1] == ("end_run", "FAILED")


def test_without_mlflow_the_sweep_file_is_refused(repository: Path, tmp_path: Path, monkeypatch) -> None:
    from anchorkit.batch.sweeps.sweep_file import read_sweep
    from anchorkit.errors import InputError

    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "mlflow_tracking", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path, str(repository / "examples")])
    path = tmp_path / "sweep.yaml"
    path.write_text("notebooks: [04_search]\non_finished: mlflow_tracking:log_run\n")
    with pytest.raises(InputError, match=r"on_finished: .* pip install mlflow"):
        read_sweep(path)
