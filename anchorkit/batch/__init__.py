"""Headless runs: the notebooks executed in order with papermill, into one folder."""

from __future__ import annotations

from anchorkit.batch.runner import run_notebooks

__all__ = ["run_notebooks"]
