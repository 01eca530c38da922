"""disturb.py, by night."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path

import pytest

DISTURB = runpy.run_path(str(Path(__file__).with_name("disturb.py")), run_name="disturb")


@pytest.mark.slow
@pytest.mark.nightly
def test_a_sweep_that_is_killed_again_and_again_comes_to_the_same_results(tmp_path: Path) -> None:
    sweep = DISTURB["write_sweep"](tmp_path / "a workshop {ünïcode} 工")
    peace, war = tmp_path / "peace", tmp_path / "war 戦"
    subprocess.run(DISTURB["command"](sweep, peace), check=True, capture_output=True)
    hit = DISTURB["disturb"](sweep, war, kills=50)
    assert sum(hit.values()) == 50
    assert min(hit.values()) > 5  # every kind of process was hit
    before = DISTURB["finished"](peace)
    assert len(before) == DISTURB["RUNS"]
    assert DISTURB["finished"](war) == before
