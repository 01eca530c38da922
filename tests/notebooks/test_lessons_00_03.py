"""The lessons 01 to 03 in order, in one folder, on a handful of images."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest

import anchorkit as ak
from anchorkit.bundled import data_dir
from anchorkit.runs.learning import read_learning

from . import cells

# After one pass nearly all boxes are above the score threshold: on the smallest input there are fewest.
TRAINING = {"weights": "none", "epochs": 1, "workers": 0, "input_size": 96}
PICTURES = (
    "01_ground_truth.svg",
    "01_images.png",
    "02_detections.png",
    "02_training.svg",
    "03_box_shapes.svg",
    "03_coverage.svg",
)


def in_this_process(name: str, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> None:
    """The lesson's cells without a kernel."""
    monkeypatch.setattr(ak.plots, "setup", lambda: None)  # it would stay for the tests that follow
    monkeypatch.setattr(builtins, "display", lambda shown: None, raising=False)
    cells.execute(name, **parameters)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Path:
    """A run's folder after lessons 01 to 03 on few images, with one pass of training."""
    patch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setattr(builtins, "display", lambda shown: None, raising=False)
    folder = tmp_path_factory.mktemp("run")
    cells.execute("01_data", folder, train_images=32, val_images=8, test_images=8, input_size=96)
    cells.execute("02_detector", folder, **TRAINING)
    cells.execute("03_box_shapes", folder, min_score=0.02)
    return folder


def test_they_leave_what_the_next_lessons_need(run: Path) -> None:
    assert json.loads((run / "data.json").read_text())["images"] == {"train": 32, "val": 8, "test": 8}
    predictions = ak.PredictionTable.load(run / "predictions.parquet")
    detector = ak.load_detector(run / "detector")
    assert detector.layout == predictions.layout
    learning = read_learning(run)  # judged before anything is searched
    assert learning is not None
    assert (learning.steps, learning.begins_with) == (4, "random weights")
    assert detector.begins_with == "random weights"  # the shipped detector has learnt these very images
    assert sorted(path.name for path in (run / "figures").iterdir()) == list(PICTURES)


def test_a_second_time_the_training_is_not_repeated(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (run / "predictions.parquet").read_bytes()
    checkpoint = (run / "detector" / "training" / "checkpoint.pt").stat().st_mtime_ns
    in_this_process("02_detector", monkeypatch, run_dir=str(run), **TRAINING)
    assert (run / "predictions.parquet").read_bytes() == before
    assert (run / "detector" / "training" / "checkpoint.pt").stat().st_mtime_ns == checkpoint


@pytest.mark.parametrize("name", ["02_detector", "03_box_shapes"])
def test_without_the_data_they_name_the_lesson_that_is_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ak.InputError, match="run the notebook 01_data first"):
        in_this_process(name, monkeypatch, run_dir=str(tmp_path))


def test_without_predictions_lesson_three_names_lesson_two(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data.json").write_bytes((run / "data.json").read_bytes())
    with pytest.raises(ak.InputError, match="run the notebook 02_detector first"):
        in_this_process("03_box_shapes", monkeypatch, run_dir=str(tmp_path))


def test_weights_for_other_classes_are_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.json").write_bytes((run / "data.json").read_bytes())
    ak.save_detector(ak.load_detector("tiny_ssd", categories=3, seed=0), tmp_path / "other")
    with pytest.raises(ak.InputError, match="for other classes than shapes has"):
        in_this_process("02_detector", monkeypatch, run_dir=str(tmp_path), weights=str(tmp_path / "other"))


@pytest.fixture(scope="module")
def shipped() -> Path:
    folder = data_dir() / "detectors" / "tiny_ssd-shapes"
    if not (folder / "card.json").exists():
        pytest.skip(f"the trained detector is not in {folder}; data/make_detector.py makes it")
    return folder


def test_the_shipped_weights_serve_the_built_in_shapes(
    run: Path, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data.json").write_bytes((run / "data.json").read_bytes())
    in_this_process("02_detector", monkeypatch, run_dir=str(tmp_path))
    assert "Trained beforehand" in capsys.readouterr().out
    assert (tmp_path / "detector" / "model.safetensors").read_bytes() == (shipped / "model.safetensors").read_bytes()
    assert not (tmp_path / "detector" / "training").exists()
