from __future__ import annotations

import json
import runpy

import numpy as np
import pytest

from anchorkit.costs import costs
from anchorkit.evaluation import Evaluator
from anchorkit.predictions import PredictionTable
from anchorkit.search import search

MODEL = {
    "model": "toy",
    "input": {"w": 64, "h": 32},
    "num_classes": 3,
    "background_column_dropped": True,
    "levels": [
        {
            "h": 2,
            "w": 4,
            "in_channels": 8,
            "predictor_kernel": 3,
            "anchors": [{"w_rel": 0.25, "h_rel": 0.5}, {"w_rel": 0.5, "h_rel": 0.25}],
        },
        {"h": 1, "w": 2, "in_channels": 16, "predictor_kernel": 1, "anchors": [{"w_rel": 0.75, "h_rel": 1.5}]},
    ],
    "nms": {"iou_threshold": 0.6, "score_threshold": 1e-8, "max_per_class": 100, "max_total": 100},
}
ARRAYS = {
    "image_id": np.array([7, 7, 9]),
    "level": np.array([0, 0, 1], dtype=np.int16),
    "anchor": np.array([0, 1, 0], dtype=np.int16),
    "class_id": np.array([1, 3, 2], dtype=np.int16),
    "score": np.array([0.5, 0.25, 0.75], dtype=np.float32),
    "box": np.array([[0, 0, 10, 20], [1, 1, 5, 5], [2, 2, 3, 3]], dtype=np.float32),
}


@pytest.fixture(scope="module")
def main(repository):
    return runpy.run_path(str(repository / "examples" / "predictions_from_npz.py"))["main"]


def run(main, folder, *options, model=MODEL, **arrays):
    np.savez(folder / "raw.npz", **(ARRAYS | arrays))
    (folder / "model.json").write_text(json.dumps(model))
    return main([str(folder / "raw.npz"), str(folder / "model.json"), str(folder / "out.parquet"), *options])


def test_a_table_is_made_of_arrays(main, tmp_path, capsys):
    assert run(main, tmp_path) == 0
    assert "3 rows of 2 images, 3 anchors, categories 1 to 3" in capsys.readouterr().out
    table = PredictionTable.load(tmp_path / "out.parquet")
    assert table.anchor.tolist() == [0, 1, 2]
    assert table.category_id.tolist() == [1, 3, 2]
    assert table.image_id.tolist() == [7, 7, 9]
    assert table.score.tolist() == [0.5, 0.25, 0.75]
    assert table.boxes.tolist() == ARRAYS["box"].tolist()
    assert table.layout.ids == ("L0/16x16", "L0/32x8", "L1/48x48")
    assert table.layout.input_size == (32, 64)
    assert table.postprocess.to_dict() == {
        "score_threshold": 0.05,
        "topk": None,
        "topk_scope": "class",
        "nms_iou": 0.6,
        "max_detections": 100,
    }
    assert costs(table.layout.full) == {
        "n_anchors": 3,
        "boxes": 2 * 8 + 2,
        "head_flops": 8 * 2 * 9 * 8 * (4 + 4) + 2 * 16 * (4 + 4),
        "total_flops": None,
        "head_parameters": 2 * (9 * 8 + 1) * 8 + (16 + 1) * 8,
    }


def test_columns_counted_from_0_are_moved(main, tmp_path):
    assert run(main, tmp_path, "--class-offset", "1") == 0
    assert PredictionTable.load(tmp_path / "out.parquet").category_id.tolist() == [2, 4, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anchor": np.array([0, 2, 0])}, "raw.npz: row 1: level 0 has no anchor 2"),
        ({"level": np.array([0, 0, 2])}, "row 2: level 2 has no anchor 0"),
        ({"score": np.array([0.5, np.nan, 0.1])}, "column score, row 1"),
        ({"model": {"model": "toy"}}, "lacks 'num_classes'"),
        ({"model": {**MODEL, "nms": {**MODEL["nms"], "max_per_class": 5}}}, "cap for each class"),
    ],
)
def test_bad_input_is_one_line_and_code_2(main, tmp_path, capsys, change, message):
    assert run(main, tmp_path, **change) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.parquet").exists()


def test_missing_files_are_told(main, tmp_path, capsys):
    assert main([str(tmp_path / "no.npz"), str(tmp_path / "no.json"), str(tmp_path / "out.parquet")]) == 2
    assert "no.json" in capsys.readouterr().err


@pytest.mark.real
@pytest.mark.slow
def test_a_real_detector(main, tmp_path, real_data):
    folder = real_data / "ssd_mobilenet_v1_coco"
    out = tmp_path / "out.parquet"
    assert main([str(folder / "predictions_train2017.npz"), str(folder / "model.json"), str(out)]) == 0
    table = PredictionTable.load(out)
    assert len(table) == 1_327_685
    assert len(table.layout) == 33
    assert costs(table.layout.full)["boxes"] == 1917
    # A seventh of the images is enough to see that classes and boxes are read as they are meant.
    truth = json.loads((real_data / "coco_subset" / "annotations" / "instances_train2017.json").read_text())
    images = sorted(image["id"] for image in truth["images"])[::7]
    rows = np.isin(table.image_id, images)
    truth["images"] = [image for image in truth["images"] if image["id"] in set(images)]
    truth["annotations"] = [note for note in truth["annotations"] if note["image_id"] in set(images)]
    few = PredictionTable(
        table.image_id[rows],
        table.anchor[rows],
        table.category_id[rows],
        table.score[rows],
        table.boxes[rows],
        table.layout,
        table.postprocess,
    )
    evaluator = Evaluator(few, truth)
    assert evaluator.accuracy(table.layout.full) > 0.15
    result = search(evaluator, "boxes", threshold=evaluator.accuracy(table.layout.full), progress=False)
    assert result.cheapest() in result.configurations
    assert len(result.cheapest()) < 33
