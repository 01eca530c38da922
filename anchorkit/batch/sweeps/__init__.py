"""Sweeps: many runs of the same notebooks with other parameters, planned, executed and collected.

``sweep_file`` and ``plan`` turn a sweep file into runs and steps, ``steps`` keeps a folder for each step, ``workers``
execute them in processes, ``sweep`` decides what may begin next, ``page`` shows the results.
"""

from __future__ import annotations

from anchorkit import modules_on_first_use
from anchorkit.batch.sweeps.sweep import SweepSummary, run_sweep

__all__ = ["SweepSummary", "run_sweep"]

__getattr__ = modules_on_first_use(__name__)
