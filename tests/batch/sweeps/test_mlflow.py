"""The example for MLflow with MLflow itself, and a store on the disk; tests/test_mlflow_example.py does without."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from anchorkit.batch.sweeps import run_sweep

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed (pip install mlflow)")


@pytest.mark.usefixtures("in_process")
def test_the_runs_of_a_sweep_are_in_the_store(workshop, repository: Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # artifacts lie below the working folder
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mlflow_tracking", raising=False)
    shutil.copy(repository / "examples" / "mlflow_tracking.py", workshop.folder)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    workshop.file(name="my sweep", grid={"size": [1, 2], "factor": [1, 13]}, on_finished="mlflow_tracking:log_run")
    summary = run_sweep(workshop.folder / "sweep.yaml", workshop.out, progress=False)
    assert (len(summary.done), len(summary.failed)) == (2, 2)
    found = mlflow.search_runs(experiment_names=["my sweep"]).set_index("tags.mlflow.runName")
    assert set(found.index) == {*summary.done, *summary.failed}
    done, failed = found.loc[list(summary.done)], found.loc[list(summary.failed)]
    assert list(done["status"]) == ["FINISHED"] * 2
    assert list(failed["status"]) == ["FAILED"] * 2
    assert set(failed["tags.error"]) == {"thirteen"}
    assert dict(zip(done["params.size"], done["metrics.n"], strict=True)) == {"1": 1.0, "2": 2.0}
    kept = mlflow.MlflowClient().list_artifacts(done["run_id"].iloc[0])
    assert [artifact.path for artifact in kept] == ["run.json"]
