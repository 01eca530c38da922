"""Lesson 18 on a small table: it runs without torch's help, and its answer is told on images that had no say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

import anchorkit as ak
from anchorkit.batch.parameters import read_parameters
from anchorkit.bundled import notebooks_dir

from .simulated import some_images

NAME = "18_is_it_luck"
NOTEBOOK = notebooks_dir() / f"{NAME}.ipynb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a table and its annotations beside."""
    found = tmp_path_factory.mktemp("run")
    own = some_images(60, 9)
    own.predictions.save(found / "table.parquet")
    (found / "truth.json").write_text(json.dumps(own.ground_truth.to_coco()))
    return found


def execute(folder: Path, **parameters: Any) -> dict[str, Any]:
    """The lesson's cells without a kernel; the names they leave."""
    assert set(parameters) <= set(read_parameters(NOTEBOOK))
    known: dict[str, Any] = {"__name__": "lesson"}
    files = {"predictions": str(folder / "table.parquet"), "ground_truth": str(folder / "truth.json")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ak.plots, "setup", lambda: None)  # it would stay for the tests that follow
        for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{NAME}: {cell.id}", "exec"), known)
            if "parameters" in cell.metadata.get("tags", ()):
                known.update({"run_dir": str(folder), **files, "draws": 60, "folds": 3, **parameters})
    return known


def test_the_answer_is_written_and_follows_from_what_was_told(folder, capsys):
    known = execute(folder, margin=0.02)
    answer = json.loads((folder / "experiments" / NAME / "answer.json").read_text())
    statement = known["statement"]
    assert statement.tried == 0  # told on images that the search has not seen
    assert str(statement) in answer["answer"]
    lost = known["report"]["high"].iloc[0] < -0.02
    assert answer["verdict"] == ("held" if statement.n_removed else "did not hold" if lost else "cannot be told here")
    assert answer["figures"]["images, margin, confidence, draws, seed"] == [60, 0.02, 0.95, 60, 0]
    assert not set(known["split"].search) & set(known["split"].holdout)
    for chart in ("frontier_intervals.svg", "optimism.svg"):
        assert (folder / "experiments" / NAME / chart).stat().st_size > 1000
    assert str(known["fitted"]) in capsys.readouterr().out


def test_a_test_table_tells_on_images_that_no_search_has_seen(folder, tmp_path, capsys):
    assert execute(folder)["kept_apart"] is None
    assert "No images were kept apart" in capsys.readouterr().out
    apart = some_images(40, 10)
    apart.predictions.save(tmp_path / "test.parquet")
    (tmp_path / "test.json").write_text(json.dumps(apart.ground_truth.to_coco()))
    files = {"test_predictions": str(tmp_path / "test.parquet"), "test_ground_truth": str(tmp_path / "test.json")}
    known = execute(folder, **files)
    free = known["free"]
    change = apart.accuracy(apart.layout.configuration(keep=free.ids)) - apart.accuracy(apart.full)
    answer = json.loads((folder / "experiments" / NAME / "answer.json").read_text())
    assert answer["figures"]["kept on the test images (points)"][0] == round(100 * change, 2)
    assert known["test_statement"] in answer["answer"]
    assert "told on 40 test images" in answer["answer"]
    with pytest.raises(ak.InputError, match="go together"):
        execute(folder, test_predictions=files["test_predictions"])


def test_a_large_margin_holds_and_a_tiny_one_cannot_be_told(folder):
    assert execute(folder, margin=0.3)["verdict"] == "held"
    small = execute(folder, margin=0.0, draws=30)
    assert small["verdict"] != "held"
    assert small["statement"].n_removed == 0


def test_a_share_given_in_points_is_refused(folder):
    with pytest.raises(ak.InputError, match="3 points are 0.03"):
        execute(folder, max_drop=3.0)
