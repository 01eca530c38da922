"""Sweeps: many runs of the same notebooks with other parameters, planned, executed and gathered.

``reading`` and ``plan`` turn a sweep file into runs and steps, ``steps`` executes one step in a folder of its own,
``workers`` does so in processes, ``running`` drives them, ``page`` shows what came out.
"""

from __future__ import annotations

from anchorkit import modules_on_first_use
from anchorkit.batch.sweeps.running import SweepSummary, run_sweep

__all__ = ["SweepSummary", "run_sweep"]

__getattr__ = modules_on_first_use(__name__)
