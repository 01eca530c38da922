"""One configuration, by whichever way is sooner done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from anchorkit.evaluation import Evaluator, single

from .cases import random_case


@pytest.mark.parametrize("seed", range(25))
def test_both_ways_give_the_same_bits(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(seed)
    layout = case.predictions.layout
    keep = np.flatnonzero(np.random.default_rng(seed).random(len(layout)) < 0.6)
    configuration = layout.configuration(keep=keep.tolist())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        slow = single.stats(case.predictions, case.ground_truth, configuration)
    with warnings.catch_warnings(record=True) as told_too:
        warnings.simplefilter("always")
        assert Evaluator(case.predictions, case.ground_truth).stats(configuration) == slow
        monkeypatch.setattr(single, "FEW_ROWS", 0)
        assert single.stats(case.predictions, case.ground_truth, configuration) == slow
    assert {str(warning.message) for warning in told} == {str(warning.message) for warning in told_too}


def test_a_small_table_needs_no_machine_code(tmp_path: Path) -> None:
    """Numba takes half a second to import, and on a new installation a quarter of a minute to compile."""
    case = random_case(3)
    case.predictions.save(tmp_path / "table.parquet")
    (tmp_path / "truth.json").write_text(json.dumps(case.ground_truth))
    script = (
        "import sys; from anchorkit import cli; code = cli.main(sys.argv[1:]);"
        "sys.exit(code or 10 * ('numba' in sys.modules))"
    )
    command = ("evaluate", tmp_path / "table.parquet", tmp_path / "truth.json", "--json")
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, command)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
