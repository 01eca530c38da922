"""The lessons 00 to 03: their form, and that they run in order, in one folder, on a handful of images."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest

import anchorkit as ak
from anchorkit.bundled import data_dir, notebooks_dir
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


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The few images drawn here stay out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def execute(name: str, folder: Path, **parameters: Any) -> nbformat.NotebookNode:
    """The lesson as a user executes it with plain papermill."""
    source = notebooks_dir() / f"{name}.ipynb"
    return papermill.execute_notebook(
        source, folder / f"{name}.ipynb", parameters, kernel_name="python3", progress_bar=False, cwd=folder
    )


def in_this_process(name: str, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> None:
    """The lesson's cells without a kernel."""
    monkeypatch.setattr(ak.plots, "setup", lambda: None)  # it would stay for the tests that follow
    monkeypatch.setattr(builtins, "display", lambda shown: None, raising=False)
    cells.execute(name, **parameters)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cache: None) -> Path:
    """A run's folder after lessons 01 to 03 on few images, with one pass of training."""
    folder = tmp_path_factory.mktemp("run")
    execute("01_data", folder, run_dir=str(folder), train_images=32, val_images=8, test_images=8, input_size=96)
    execute("02_detector", folder, run_dir=str(folder), **TRAINING)
    execute("03_box_shapes", folder, run_dir=str(folder), min_score=0.02)
    return folder


def texts(notebook: nbformat.NotebookNode) -> str:
    """Everything the cells of an executed notebook printed."""
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


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


def test_executed_notebooks_are_small_and_without_noise(run: Path) -> None:
    for path in run.glob("*.ipynb"):
        assert path.stat().st_size < 3e6
        outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
        assert [output.text for output in outputs if output.get("name") == "stderr"] == []


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


def test_the_tour_shows_that_the_pruned_detector_keeps_its_promise(cache: None, shipped: Path, tmp_path: Path) -> None:
    said = texts(execute("00_start_here", tmp_path, images=24)).splitlines()
    assert "and every class: 0.0" in "".join(said)
    promised, kept = (line.split(":")[1] for line in said if line.startswith(("AP promised", "AP of the pruned")))
    assert promised.strip() == kept.strip()
    assert [path.name for path in tmp_path.iterdir()] == ["00_start_here.ipynb"]


def test_the_shipped_weights_serve_the_built_in_shapes(
    run: Path, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data.json").write_bytes((run / "data.json").read_bytes())
    in_this_process("02_detector", monkeypatch, run_dir=str(tmp_path))
    assert "Trained beforehand" in capsys.readouterr().out
    assert (tmp_path / "detector" / "model.safetensors").read_bytes() == (shipped / "model.safetensors").read_bytes()
    assert not (tmp_path / "detector" / "training").exists()
