"""The experiments that search and train nothing (10, 11, 15, 16, 17, 19), on a small run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import anchorkit as ak
from anchorkit import findings
from anchorkit.batch.profiles import PROFILES
from anchorkit.bundled import data_dir
from anchorkit.runs.answers import VERDICTS
from anchorkit.runs.folder import choose_data, load_data

from . import cells

NAMES = ("10_baselines", "11_better_searches", "15_backbones", "16_voc_metric", "17_cost_tables", "19_same_boxes")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Path:
    patch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    if not (data_dir() / "detectors" / "tiny_ssd-shapes").is_dir():
        pytest.skip("the trained detector is not in data/detectors; data/make_detector.py makes it")
    folder = tmp_path_factory.mktemp("run")
    data = choose_data(folder, "shapes", train_images=1, val_images=32, test_images=1, progress=False)
    detector = ak.load_detector("tiny_ssd", weights="shapes")
    ak.save_detector(detector, folder / "detector")
    ak.collect_predictions(detector, data.val, progress=False).save(folder / "predictions.parquet")
    (folder / "truth.json").write_text(json.dumps(data.val.ground_truth))
    return folder


def execute(name: str, folder: Path, **parameters: Any) -> dict[str, Any]:
    """The experiment with the parameters of profile smoke; the names it leaves, its answer as ``written``."""
    known = cells.execute(name, folder, **(PROFILES["smoke"].get(name, {}) | parameters))
    answer = json.loads((folder / "experiments" / name / "answer.json").read_text())
    assert answer == json.loads(json.dumps(known["written"]))
    assert answer["verdict"] in VERDICTS
    return known


def test_baselines(run: Path) -> None:
    known = execute("10_baselines", run)
    rivals = pd.read_csv(run / "experiments" / "10_baselines" / "rivals.csv")
    counts = rivals.groupby("rival").size().to_dict()
    assert counts == {"random": 20, "layer by layer": 5, "symmetric": 14, "score mass": 29, "filter magnitude": 29}
    # A configuration of a rival counts against the search only if nothing as cheap is as good.
    worst = min(found["lead"].min() for found in known["leads"].values())
    assert (known["verdict"] == "did not hold") == (worst < -0.001)
    assert set(known["elsewhere"]) == set(counts)
    assert (run / "experiments" / "10_baselines" / "rivals.svg").is_file()


def test_a_table_alone_is_enough(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "predictions.parquet", tmp_path / "table.parquet")
    known = execute(
        "10_baselines",
        tmp_path / "elsewhere",
        predictions=str(tmp_path / "table.parquet"),
        ground_truth=str(run / "truth.json"),
    )
    assert "filter magnitude" not in known["worth"]  # that needs the detector's weights


def test_better_searches(run: Path) -> None:
    known = execute("11_better_searches", run)
    gaps = known["gaps"]
    assert len(gaps) == 2 * 3
    assert (gaps["largest AP gap (points)"] >= 0).all()
    assert (gaps["hypervolume missing (%)"] >= -1e-9).all()
    assert (gaps["evaluated"] < 2**6).all()
    assert {name: len(found.evaluated) <= 400 for name, found in known["results"].items()} == dict.fromkeys(
        ("algorithm1", "authors", "local"), True
    )
    assert known["curves"]["share"].max() == pytest.approx(1.0)


def test_one_detector_says_nothing_of_backbones(run: Path) -> None:
    known = execute("15_backbones", run)
    assert known["verdict"] == "cannot be told here"
    assert "other_run_dir" in known["answer"]


def test_a_detector_is_like_itself(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "other")
    known = execute("15_backbones", run, other_run_dir=str(tmp_path / "other"))
    assert known["verdict"] == "held"
    assert known["largest"] == 0.0
    assert len(known["results"]) == 2


def test_nothing_is_told_of_a_detector_that_was_hardly_trained(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(findings, "HARDLY_TRAINED", 0.99)
        known = execute("15_backbones", run, other_run_dir=str(tmp_path / "other"), splits=1)
    assert (known["verdict"], known["largest"]) == ("cannot be told here", 0.0)


def test_a_detector_that_finds_nothing_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "other")
    categories = ak.load_detector(run / "detector").categories
    fresh = ak.load_detector("tiny_ssd", categories=categories, seed=0)
    ak.collect_predictions(fresh, load_data(run).val, progress=False).save(tmp_path / "other" / "predictions.parquet")
    with pytest.raises(ak.InputError, match="finds nothing \\(AP 0.0 points\\), so nothing can be told"):
        execute("15_backbones", run, other_run_dir=str(tmp_path / "other"), splits=1)


def test_voc_metric(run: Path) -> None:
    known = execute("16_voc_metric", run)
    assert known["by_metric"]["VOC"]["gain (points)"] >= 0
    assert (known["gains"].xs("here", axis=1, level=1) >= 0).all().all()
    folder = run / "experiments" / "16_voc_metric"
    assert (folder / "more_confident_less_accurate.png").exists() == bool(known["sheets"])
    changed = known["changed"]
    assert changed["gained"].is_monotonic_decreasing
    kept = set(known["best"].indices)
    assert set(changed["after_anchor"]) <= kept


def test_cost_tables(run: Path) -> None:
    known = execute("17_cost_tables", run)
    tables = known["tables"]
    assert len(tables) == 27
    differing = [(model, what) for _, model, what in tables.index[~tables["agrees"]]]
    assert differing == [("MobileNetV3-Small-SSDLite", "share")]
    assert known["configurations"]["A"].per_level == (4, 4, 5, 3, 2, 1)
    assert known["configurations"]["B"].per_level == (2, 4, 5, 3, 2, 1)


def test_what_other_anchors_cover(run: Path) -> None:
    known = execute("19_same_boxes", run)
    best = known["best"]
    assert len(best) == len(known["enough"]) > 0
    assert best["there (%)"].between(0, 100).all()
    # One other anchor covers no more than all others together do.
    assert (best["there (%)"] <= best["all others, there (%)"] + 1e-6).all()
    evaluator, anchor = known["evaluator"], best.index[0]
    lost = evaluator.accuracy(evaluator.full.without([anchor])) - known["full_ap"]
    assert best.loc[anchor, "AP without it (points)"] == pytest.approx(100 * lost)
    assert (known["verdict"] == "held") == bool(len(known["both"]))
    assert (run / "experiments" / "19_same_boxes" / "box_shapes.svg").is_file()


def test_a_table_alone_says_what_its_anchors_cover(run: Path, tmp_path: Path) -> None:
    predictions, truth = str(run / "predictions.parquet"), str(run / "truth.json")
    known = execute("19_same_boxes", tmp_path, predictions=predictions, ground_truth=truth, least_boxes=10**6)
    assert known["verdict"] == "cannot be told here"
