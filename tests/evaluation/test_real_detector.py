"""The evaluator on the raw predictions of a real 8-bit SSD on real COCO images: 1.3 million rows full of ties."""

from __future__ import annotations

import json

import numpy as np
import pytest

from anchorkit.anchors import AnchorLayout, Level, Move
from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.referees import coco as reference
from anchorkit.predictions import PostProcess, PredictionTable

N_IMAGES = 40


@pytest.fixture(scope="module")
def own(real_data) -> Evaluator:
    folder = real_data / "ssd_mobilenet_v1_coco"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    model = json.loads((folder / "model.json").read_text())
    height, width = model["input"]["h"], model["input"]["w"]
    levels = tuple(
        Level(
            f"level{level['level']}",
            level["h"],
            level["w"],
            tuple((width * anchor["w_rel"], height * anchor["h_rel"]) for anchor in level["anchors"]),
        )
        for level in model["levels"]
    )
    layout = AnchorLayout(model["model"], (height, width), levels)
    first = np.cumsum([0] + [len(level.anchors) for level in levels])
    truth = json.loads((real_data / "coco_subset" / "annotations" / "instances_train2017.json").read_text())
    images = sorted(image["id"] for image in truth["images"])[:N_IMAGES]
    truth["images"] = [image for image in truth["images"] if image["id"] in images]
    truth["annotations"] = [annotation for annotation in truth["annotations"] if annotation["image_id"] in images]
    with np.load(folder / "predictions_train2017.npz") as data:
        few = np.isin(data["image_id"], images)
        table = PredictionTable(
            data["image_id"][few],
            first[data["level"][few]] + data["anchor"][few],
            data["class_id"][few],
            data["score"][few],
            data["box"][few],
            layout,
            PostProcess(score_threshold=1e-8, topk=None, topk_scope="class", nms_iou=0.6, max_detections=100),
        )
    return Evaluator(table, truth)


@pytest.mark.real
def test_same_bits_as_pycocotools_on_a_real_detector(own):
    for keep in (list(own.full), list(range(3, 33)), [0, 4, 9, 20, 32]):
        expected = reference.evaluate(own.predictions, own.ground_truth, keep)
        assert own.stats(keep) == expected.stats
        assert own.per_class(keep) == expected.per_class
    # A real detector: were classes or boxes mixed up, next to nothing would be found.
    assert own.accuracy(own.full) > 0.1


@pytest.mark.real
def test_children_and_other_post_processing_on_a_real_detector(own):
    full = own.full
    given = [Move((0,), "one"), Move((3, 4, 5), "three"), Move(tuple(range(27, 33)), "the last levels")]
    rows = [reference.select_rows(own.predictions, list(full.without(move.anchors))) for move in given]
    expected = [reference.coco_ap(own.predictions, own.ground_truth, found)[0] for found in rows]
    assert own.children(full, given).tolist() == expected
    assert [stats["AP"] for stats in own.children_stats(full, given)] == expected
    tight = own.with_postprocess(nms_iou=0.4, score_threshold=0.05, topk=100, topk_scope="image", max_detections=20)
    table = own.predictions.with_postprocess(tight.postprocess)
    assert tight.stats(full) == reference.evaluate(table, own.ground_truth, list(full)).stats
    assert own.children(full, given).tolist() == expected
