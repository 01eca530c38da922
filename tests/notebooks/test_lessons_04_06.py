"""The lessons 04 to 06: their form, and what they do with a small run that is made without the lessons before."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import anchorkit as ak
from anchorkit.batch.parameters import read_parameters
from anchorkit.batch.profiles import PROFILES
from anchorkit.bundled import data_dir, notebooks_dir
from anchorkit.plots.export import remote_references
from anchorkit.runs.folder import choose_data, load_data
from anchorkit.runs.selection import save_selection

from .cells import execute

IMAGES = {"train_images": 16, "val_images": 12, "test_images": 6}
SEARCH = {"max_drop": 0.01, "random_draws": 20}
TRAIN = {"points": 1, "finetune_epochs": 1, "retrain_epochs": 1, "workers": 0}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Path:
    """What the lessons before leave: few images, a detector, its predictions."""
    patch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    if not (data_dir() / "detectors" / "tiny_ssd-shapes").is_dir():
        pytest.skip("the trained detector is not in data/detectors; data/make_detector.py makes it")
    folder = tmp_path_factory.mktemp("start")
    data = choose_data(folder, "shapes", **IMAGES, progress=False)
    detector = ak.load_detector("tiny_ssd", weights="shapes")
    ak.save_detector(detector, folder / "detector")
    ak.collect_predictions(detector, data.val, progress=False).save(folder / "predictions.parquet")
    return folder


@pytest.fixture(scope="module")
def run(start: Path, tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Path:
    """The run's folder after lessons 04, 05 and 06."""
    folder = tmp_path_factory.mktemp("lessons") / "run"
    shutil.copytree(start, folder)
    execute("04_search", folder, **SEARCH)
    execute("05_prune_and_retrain", folder, **TRAIN)
    execute("06_report", folder)
    return folder


@pytest.mark.parametrize("profile", PROFILES)
def test_the_profiles_set_parameters_that_exist(profile: str) -> None:
    for stem, values in PROFILES[profile].items():
        parameters = read_parameters(notebooks_dir() / f"{stem}.ipynb")
        for name, value in values.items():
            assert parameters[name].check(value, stem) == value


@pytest.mark.parametrize(
    ("name", "missing", "maker"),
    [
        ("04_search", "data.json", "01_data"),
        ("04_search", "predictions.parquet", "02_detector"),
        ("05_prune_and_retrain", "search", "04_search"),
        ("05_prune_and_retrain", "detector", "02_detector"),
        ("06_report", "retrained", "05_prune_and_retrain"),
        ("07_deploy", "retrained", "05_prune_and_retrain"),
    ],
)
def test_what_is_missing_names_the_lesson_that_makes_it(
    name: str, missing: str, maker: str, start: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(start, folder)
    if name == "05_prune_and_retrain" and missing == "detector":
        predictions = ak.PredictionTable.load(folder / "predictions.parquet")
        evaluator = ak.Evaluator(predictions, load_data(folder).val.ground_truth)
        full = evaluator.accuracy(evaluator.full)
        ak.search(evaluator, threshold=full, progress=False).save(folder / "search")
    if (folder / missing).is_dir():
        shutil.rmtree(folder / missing)
    else:
        (folder / missing).unlink(missing_ok=True)
    with pytest.raises(ak.InputError, match=f"run the notebook {maker} first"):
        execute(name, folder)


def test_the_search_is_left_for_later_lessons(run: Path) -> None:
    result = ak.SearchResult.load(run / "search")
    assert result.threshold == pytest.approx(result.baseline["accuracy"] - 0.01)
    random = pd.read_csv(run / "search" / "random.csv")
    assert len(random) == 20
    assert list(random) == list(result.evaluated)
    assert (run / "figures" / "04_frontier.svg").exists()


def test_a_search_that_was_stopped_goes_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all its accuracies in the ledger, the search asks the evaluator for none but the full one's."""
    before = (run / "search" / "frontier.csv").read_bytes()
    asked = []
    children = ak.Evaluator.children

    def counted(self: ak.Evaluator, configuration: Any, moves: Any) -> Any:
        asked.append(configuration)
        return children(self, configuration, moves)

    monkeypatch.setattr(ak.Evaluator, "children", counted)
    execute("04_search", run, **SEARCH)
    assert len(asked) == 1 + 3  # the lesson's own table of single removals; verify, with three configurations
    assert (run / "search" / "frontier.csv").read_bytes() == before


@pytest.mark.parametrize("max_drop", [-0.1, 3.0])
def test_a_drop_in_points_is_refused(max_drop: float, start: Path) -> None:
    with pytest.raises(ak.InputError, match="accuracies are 0..1"):
        execute("04_search", start, max_drop=max_drop)


def test_every_stage_is_measured_on_both_splits(run: Path) -> None:
    points = pd.read_csv(run / "retrained" / "points.csv")
    result = ak.SearchResult.load(run / "search")
    names = sorted(set(points["point"]) - {"unpruned"})
    assert names == ["A"]
    stages = [
        ("unpruned", "full"),
        *((name, stage) for stage in ("pruned", "fine-tuned", "retrained") for name in names),
    ]
    found = list(zip(points["point"], points["stage"], points["split"], strict=True))
    assert sorted(found) == sorted((*stage, split) for stage in stages for split in ("val", "test"))
    assert points["accuracy"].between(0, 1).all()
    pruned = points.query("stage == 'pruned' and split == 'val'").set_index("point")
    frontier = result.frontier.set_index("anchors")
    for name in names:
        # The surgery keeps the search's promise, up to the rounding of floats.
        row = frontier.loc[pruned.loc[name, "anchors"]]
        assert pruned.loc[name, "accuracy"] == pytest.approx(row["accuracy"], abs=1e-4)
        assert pruned.loc[name, "head_flops"] == row["head_flops"]
    assert pruned.loc["A", "accuracy"] >= result.baseline["accuracy"] - 1e-4


def test_detectors_are_left_to_be_loaded(run: Path) -> None:
    points = pd.read_csv(run / "retrained" / "points.csv").query("stage != 'full' and split == 'test'")
    test = load_data(run).test
    for row in points.itertuples():
        detector = ak.load_detector(run / "retrained" / f"{row.point}-{row.stage}")
        assert len(detector.layout) == row.n_anchors
        assert ak.costs.costs(detector.layout.full)["total_flops"] == row.total_flops
        table = ak.collect_predictions(detector, test, progress=False)
        evaluator = ak.Evaluator(table, test.ground_truth)
        assert evaluator.accuracy(evaluator.full) == pytest.approx(row.accuracy, abs=1e-4)


def test_trainings_are_not_repeated(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)

    def trainings() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.glob("retrained/*/training-*/checkpoint.pt")}

    before = trainings()
    assert len(before) == 2
    execute("05_prune_and_retrain", folder, **TRAIN)
    assert trainings() == before
    assert (folder / "retrained" / "points.csv").read_bytes() == (run / "retrained" / "points.csv").read_bytes()


def test_training_may_be_left_out(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    execute("05_prune_and_retrain", folder, points=2, points_max_loss=0.01, finetune_epochs=0, retrain_epochs=0)
    assert "Retraining was left out" in capsys.readouterr().out
    points = pd.read_csv(folder / "retrained" / "points.csv")
    assert set(points["stage"]) == {"full", "pruned"}
    costs = points.query("split == 'val'").set_index("point")["head_flops"]
    assert costs["unpruned"] > costs["A"] > costs["B"]
    execute("06_report", folder)
    assert "Not there yet: pruned detectors after training" in (folder / "index.html").read_text()


def test_what_was_picked_by_hand_is_pruned_as_well(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    assert not (folder / "search" / "selected.json").exists()  # nobody touched lesson 4
    table = ak.PredictionTable.load(folder / "predictions.parquet")
    evaluator = ak.Evaluator(table, load_data(folder).val.ground_truth)
    mine = evaluator.full.without([0, 5, 9])
    save_selection(folder, mine, evaluator.fingerprint)
    known = execute("05_prune_and_retrain", folder, points=1, points_max_loss=0.0, finetune_epochs=0, retrain_epochs=0)
    assert list(known["chosen"].values())[1:] == [mine]
    points = pd.read_csv(folder / "retrained" / "points.csv")
    assert " ".join(mine.ids) in set(points["anchors"])


def test_nothing_to_prune_is_told(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    result = ak.SearchResult.load(folder / "search")
    only = result.evaluated.iloc[:1]
    full, asked = only.drop(columns=["order", "parent"]), replace(result.asked, threshold=None)
    nothing = replace(result, asked=asked, frontier=full, evaluated=only, configurations=[result.layout.full])
    nothing.save(folder / "search")
    with pytest.raises(ak.InputError, match="give a larger points_max_loss, and points=2"):
        execute("05_prune_and_retrain", folder, **TRAIN)


def test_the_report_tells_the_answer_first(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = execute("06_report", run, max_loss=0.99)
    points = pd.read_csv(run / "retrained" / "points.csv")
    cheapest = points["head_flops"].min()
    assert known["shipped"]["head_flops"] == cheapest
    answer = capsys.readouterr().out
    few = "12 images are too few to tell which anchors the detector needs"
    assert answer.startswith(few)  # so does the page
    assert "No detector to ship." in answer
    assert np.isfinite(known["found"]["boxes"].detach().numpy()).all()
    page = (run / "index.html").read_text()
    assert remote_references(page) == []
    assert f"<h1>{few}" in page
    for praise in ("can go", "To ship", "which flatter what they chose"):
        assert praise not in page
    assert "Not there yet: the search" not in page


def test_the_detector_is_timed_and_without_the_extra_not_exported(
    run: Path, tmp_path: Path, patch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    there = importlib.util.find_spec
    with pytest.MonkeyPatch.context() as without:
        without.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else there(name))
        known = execute("07_deploy", run, rounds=3)
    assert list(known["reports"]) == ["torch"]
    assert not known["sizes"]
    table = pd.read_csv(run / "deploy" / "latency.csv")
    assert set(table["part"]) == {"network", "postprocess", "total"}
    assert set(table["detector"]) == {"unpruned", known["name"]}
    assert (run / "figures" / "07_latency.svg").is_file()
