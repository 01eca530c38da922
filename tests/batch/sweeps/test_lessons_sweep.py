"""A sweep over real lessons: the shipped detector, few images, two searches."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from anchorkit.batch.rerun import rerun
from anchorkit.batch.sweeps import run_sweep
from anchorkit.bundled import data_dir
from anchorkit.plots.export import remote_references
from anchorkit.runs.compare import open_results, rank_runs

SWEEP = """\
notebooks: [01_data, 02_detector, 04_search]
base: {train_images: 4, val_images: 24, test_images: 4, random_draws: 10, max_drop: 0.005}
grid: {cost: [head_flops, boxes]}
"""

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (data_dir() / "detectors" / "tiny_ssd-shapes").is_dir():
        pytest.skip("the trained detector is not in data/detectors; data/make_detector.py makes it")
    folder = tmp_path_factory.mktemp("swept")
    (folder / "searches.yaml").write_text(SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCHORKIT_CACHE", str(folder / "cache"))
        summary = run_sweep(folder / "searches.yaml", folder / "out", jobs=2, progress=False)
    assert summary.failed == {}
    return summary.folder


def test_data_detector_and_predictions_are_made_once_and_shared(swept: Path) -> None:
    steps = [json.loads(path.read_text())["notebook"] for path in swept.glob("steps/*/step.json")]
    assert sorted(steps) == ["01_data", "02_detector", "04_search", "04_search"]
    weights = [path.stat().st_ino for path in swept.glob("runs/*/detector/model.safetensors")]
    assert len(weights) == 2
    assert len(set(weights)) == 1


def test_the_runs_can_be_compared(swept: Path) -> None:
    ranked = rank_runs(open_results([swept]), "boxes")
    assert set(ranked["cost"]) == {"head_flops", "boxes"}
    assert set(ranked["group"]) == {1}
    assert ranked["hypervolume"].between(0.1, 1).all()
    table = pd.read_parquet(swept / "results.parquet")
    whole = table[table["what"] == "run"]
    assert len(set(whole["data.fingerprint"])) == 1
    assert len(set(whole["accuracy"])) == 1
    assert (whole["seconds.04_search"] > 0).all()


def test_the_pages_show_the_runs(swept: Path) -> None:
    page = (swept / "index.html").read_text()
    assert remote_references(page) == []
    assert len(list((swept / "pictures").glob("*.svg"))) == 2
    for folder in (swept / "runs").iterdir():
        assert f"runs/{folder.name.replace('=', '%3D')}/index.html" in page
        assert "images are too few to tell" in (folder / "index.html").read_text()


def test_a_run_says_where_it_comes_from_and_can_be_repeated(swept: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ANCHORKIT_CACHE", str(tmp_path / "cache"))
    run = next(path for path in (swept / "runs").iterdir() if "boxes" in path.name)
    about = json.loads((run / "run.json").read_text())["provenance"]
    named = {"detector/model.safetensors", "predictions.parquet", "search/frontier.csv", "search/evaluated.parquet"}
    assert named <= set(about["files"])
    assert about["data"]["fingerprint"]
    again = rerun(run, tmp_path / "again", progress=False)
    assert again.same, again.differences
    assert again.files >= 4
    assert again.figures >= 8
