"""The lessons with a detector that is only an ONNX file, and lesson 08, which makes itself one."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import anchorkit as ak
from anchorkit.bundled import data_dir
from anchorkit.files import read_json
from anchorkit.pages.run import write_index
from anchorkit.runs.points import Points
from anchorkit.runs.record import RunRecord

from .cells import execute

pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:the machine was busy"),
]

IMAGES = {"train_images": 2, "val_images": 12, "test_images": 6}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> Path:
    patch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setattr(builtins, "display", lambda shown: None, raising=False)
    if not (data_dir() / "detectors" / "tiny_ssd-shapes").is_dir():
        pytest.skip("the trained detector is not in data/detectors; data/make_detector.py makes it")
    return tmp_path_factory.mktemp("onnx")


@pytest.fixture(scope="module")
def eighth(folder: Path) -> dict[str, Any]:
    return execute("08_any_onnx", folder / "run", images=12, draws=20, rounds=2)


@pytest.fixture(scope="module")
def run(folder: Path, eighth: dict[str, Any]) -> tuple[Path, dict[str, dict[str, Any]]]:
    """A run with the file that lesson 8 has made, and the names that its lessons left."""
    file, place = str(eighth["file"]), folder / "run"
    left = {
        "01_data": execute("01_data", place, detector=file, **IMAGES),
        "02_detector": execute("02_detector", place, detector=file, preset="anchorkit"),
        "04_search": execute("04_search", place, max_drop=0.01, random_draws=5),
        "05_prune_and_retrain": execute("05_prune_and_retrain", place, points=1),
        "06_report": execute("06_report", place),
        "07_deploy": execute("07_deploy", place, rounds=2),
    }
    return place, left


def test_an_unknown_file_is_understood_and_cut(eighth: dict[str, Any]) -> None:
    """The file is the kit's own, so it is known what has to be found."""
    trained = ak.load_detector("tiny_ssd", weights="shapes")
    found = eighth["found"].layout
    assert not eighth["file"].with_suffix(".json").exists()
    assert [anchor.id for anchor in found.anchors] == [anchor.id for anchor in trained.layout.anchors]
    assert ak.costs.costs(found.full) == ak.costs.costs(trained.layout.full)
    assert eighth["off"] == {"boxes": 0.0, "scores": 0.0}
    chosen, again = eighth["chosen"], eighth["again"]
    assert again.accuracy(again.full) == eighth["evaluator"].accuracy(chosen)
    assert eighth["facts_file"]["kept_anchors"] == list(chosen)
    assert (eighth["folder"].parent / "figures" / "08_first_look.png").is_file()


def test_the_lessons_work_with_a_file(run: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    place, left = run
    assert isinstance(ak.load_detector(place / "detector"), ak.onnx.OnnxDetector)
    assert len(left["01_data"]["layout"]) == 30
    assert (place / "figures" / "02_first_look.png").is_file()
    points = Points.read(place).table
    assert set(points["stage"]) == {"full", "pruned"}  # nothing was trained
    promise = left["05_prune_and_retrain"]["promised"]
    kept = promise.layout.configuration(keep=points.loc[points["stage"] == "pruned", "anchors"].iloc[0].split())
    [measured] = points.query("stage == 'pruned' and split == 'val'")["accuracy"]
    assert measured == promise.accuracy(kept)
    assert read_json(place / "retrained" / "A-pruned" / "model.json")["kept_filters"]
    assert np.isfinite(left["06_report"]["found"]["boxes"].numpy()).all()
    assert "torch" not in left["07_deploy"]["reports"]
    assert (place / "deploy" / "unpruned.onnx").is_file()
    cut = ak.load_detector(place / "retrained" / "A-pruned")
    again = read_json(ak.export_onnx(cut, place / "again.onnx").with_suffix(".json"))
    assert again["kept_filters"] == read_json(place / "retrained" / "A-pruned" / "model.json")["kept_filters"]
    with pytest.raises(ak.InputError, match="NMS cannot be put into it"):
        ak.export_onnx(cut, place / "again.onnx", nms=True)


def test_training_cells_say_what_to_do_instead(
    run: tuple[Path, dict[str, dict[str, Any]]], eighth: dict[str, Any]
) -> None:
    _, left = run
    said = left["05_prune_and_retrain"]["untrainable"]
    assert "an ONNX file cannot be trained" in said
    assert "kept_filters" in said
    data = ak.load_dataset("shapes", train=2, val=12, test=6, progress=False)
    for train in (lambda: ak.fit(eighth["whole"], data), lambda: ak.untrained(eighth["whole"], seed=0)):
        with pytest.raises(ak.InputError, match="kept_filters"):
            train()


def test_the_page_of_such_a_run(run: tuple[Path, dict[str, dict[str, Any]]], eighth: dict[str, Any]) -> None:
    place, _ = run
    RunRecord.begin(profile="smoke", data="shapes", detector=str(eighth["file"])).write(place)
    page = write_index(place).read_text(encoding="utf-8")
    assert "unknown.onnx on shapes" in page
    assert "An ONNX file cannot be trained" in page
    assert "Not there yet: pruned detectors after training" not in page
