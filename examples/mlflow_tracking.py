"""Track the runs of a sweep with MLflow: put `on_finished: mlflow_tracking:log_run` into a sweep file beside this one.

    pip install mlflow
    export MLFLOW_TRACKING_URI=sqlite:///mlflow.db     # or the address of a server
    anchorkit sweep sweep.yaml
    mlflow ui --backend-store-uri sqlite:///mlflow.db

The sweep calls `log_run` with the record of every run that has ended. The sweep becomes an experiment, and its runs
become runs of the experiment. A failed run that is tried again appears twice. For another tracker, write a similar
function of one dictionary. anchorkit itself does not need MLflow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

try:
    import mlflow
except ImportError as error:
    raise ImportError(
        "mlflow is not installed: pip install mlflow, or remove on_finished from the sweep file"
    ) from error


def log_run(record: dict[str, Any]) -> None:
    """Write one run of a sweep to MLflow.

    Args:
        record: ``sweep``, ``run`` and ``folder``, ``state`` (``"done"`` or ``"failed"``), ``varied`` and ``parameters``
            by name, ``figures`` (numbers by name), ``seconds``; and ``error``, if it failed.
    """
    mlflow.set_experiment(record["sweep"])
    with mlflow.start_run(run_name=record["run"]):
        mlflow.log_params(record["parameters"])
        mlflow.log_metrics({_metric(name): float(value) for name, value in record["figures"].items()})
        mlflow.log_metric("seconds", record["seconds"])
        mlflow.set_tag("state", record["state"])
        for name in ("run.json", "index.html"):
            if (Path(record["folder"]) / name).exists():
                mlflow.log_artifact(str(Path(record["folder"]) / name))
        if record["state"] == "failed":
            mlflow.set_tag("error", record["error"]["message"][:500])
            mlflow.end_run("FAILED")  # leaving the `with` would mark it as finished


def _metric(name: str) -> str:
    """A name that MLflow accepts: only letters, digits and ``_-./ ``."""
    return "".join(letter if letter.isalnum() or letter in "_-./ " else "_" for letter in name)
