"""The notebook 20_compare on runs that are made without executing anything."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import anchorkit as ak

from ..runs import searched_runs
from . import cells


def execute(monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> dict[str, Any]:
    """The notebook's cells without a kernel; the names they leave."""
    monkeypatch.setattr(ak.plots, "setup", lambda: None)  # it would stay for the tests that follow
    return cells.execute("20_compare", **parameters)


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    made = []
    for gain, other in itertools.product((0.0, 0.01, 0.02), ("a", "b")):
        result = searched_runs.search_result(gain)
        made.append(str(searched_runs.write_run(tmp_path / f"{gain}{other}", result, gain=gain, other=other)))
    return made


def test_the_setting_that_mattered_is_found(runs, monkeypatch) -> None:
    known = execute(monkeypatch, runs=runs, max_loss=0.1)
    assert known["varied"] == ["gain", "other"]
    effects = known["effects"].set_index("parameter")
    assert effects.loc["gain", "explained"] == pytest.approx(1.0)
    assert effects.loc["other", "explained"] == pytest.approx(0.0)
    assert list(known["ranked"]["gain"][:2]) == [0.02, 0.02]
    assert (known["best"][known["cost"]] <= known["budget"]).all()
    assert not known["best"].empty


def test_one_run_alone_is_no_error(runs, monkeypatch, capsys) -> None:
    known = execute(monkeypatch, runs=runs[:1], max_loss=0.1)
    assert known["varied"] == []
    assert "at least three runs" in capsys.readouterr().out


def test_a_table_will_do(runs, monkeypatch, tmp_path: Path) -> None:
    from anchorkit.runs.results_table import write_results

    write_results(runs, tmp_path / "results.parquet")
    known = execute(monkeypatch, runs=[str(tmp_path / "results.parquet")], max_loss=0.1)
    pd.testing.assert_series_equal(
        known["ranked"]["hypervolume"], execute(monkeypatch, runs=runs, max_loss=0.1)["ranked"]["hypervolume"]
    )
