"""Headless runs with papermill, into one folder: the lessons in order, and experiments independently."""

from __future__ import annotations

from anchorkit import modules_on_first_use
from anchorkit.batch.experiments import run_experiments
from anchorkit.batch.runner import run_notebooks

__all__ = ["run_experiments", "run_notebooks"]

__getattr__ = modules_on_first_use(__name__)
