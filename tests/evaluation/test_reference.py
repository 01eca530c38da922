"""The referee itself: small cases worked out by hand, and pycocotools used as its own manual says."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.evaluation import reference
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.predictions import PostProcess, PredictionTable

from .cases import random_case

LAYOUT = AnchorLayout("toy", (9, 9), (Level("a", 1, 1, ((8.0, 8.0), (4.0, 8.0))), Level("b", 1, 1, ((9.0, 9.0),))))


def rows(scores, categories, anchors, boxes, keep=(0, 1, 2), **post):
    settings = {"score_threshold": 0.1, "topk": None, "topk_scope": "class", "nms_iou": 0.5, "max_detections": None}
    table = PredictionTable(
        np.ones(len(scores), int), anchors, categories, scores, boxes, LAYOUT, PostProcess(**{**settings, **post})
    )
    return reference.select_rows(table, keep).tolist()


APART = [[10 * i, 0, 10 * i + 5, 5] for i in range(5)]


def test_best_first_and_ties_to_the_earlier_row():
    assert rows([0.3, 0.9, 0.3, 0.9, 0.1], [1] * 5, [0] * 5, APART) == [1, 3, 0, 2]


def test_only_kept_anchors_take_part():
    assert rows([0.5] * 5, [1] * 5, [0, 1, 2, 1, 0], APART, keep=[1]) == [1, 3]


@pytest.mark.parametrize(("scope", "expected"), [("class", [0, 1, 2, 4]), ("level", [0, 1, 3]), ("image", [0, 1])])
def test_topk_counts_over_its_scope(scope, expected):
    # Best first; anchors 0 and 1 are on the first level, 2 on the second.
    categories, anchors = [1, 7, 1, 1, 7], [0, 1, 0, 2, 1]
    assert rows([0.9, 0.8, 0.7, 0.6, 0.5], categories, anchors, APART, topk=2, topk_scope=scope) == expected


def test_a_suppressed_row_uses_up_its_place_in_the_topk():
    same = [[0, 0, 5, 5], [0, 0, 5, 5], [20, 0, 25, 5]]
    assert rows([0.9, 0.8, 0.7], [1] * 3, [0] * 3, same, topk=2) == [0]


def test_a_suppressed_row_suppresses_nothing():
    # IoU 2/3 of neighbours, 0.43 of the outer two.
    chain = [[0, 0, 10, 1], [2, 0, 12, 1], [4, 0, 14, 1]]
    assert rows([0.9, 0.8, 0.7], [1] * 3, [0] * 3, chain) == [0, 2]


def test_iou_at_the_limit_does_not_suppress_and_classes_do_not_meet():
    half = [[0, 0, 2, 1], [0, 0, 1, 1], [0, 0, 2, 1]]
    assert rows([0.9, 0.8, 0.7], [1, 1, 2], [0] * 3, half) == [0, 1, 2]


def test_boxes_without_area_stay():
    assert rows([0.9, 0.8, 0.7], [1] * 3, [0] * 3, [[1, 1, 1, 4]] * 2 + [[0, 0, 5, 5]], nms_iou=0.0) == [0, 1, 2]


def test_the_cap_counts_over_all_classes():
    assert rows([0.5, 0.9, 0.5, 0.9, 0.5], [1, 2, 3, 1, 2], [0] * 5, APART, max_detections=3) == [1, 3, 0]


@pytest.mark.parametrize("seed", range(30))
def test_agrees_with_pycocotools_used_as_its_manual_says(seed):
    case = random_case(seed)
    table = case.predictions
    keep = range(len(table.layout))
    found = reference.evaluate(table, read_ground_truth(case.ground_truth), keep)
    boxes = table.boxes.astype(float)
    results = [
        {
            "image_id": int(table.image_id[row]),
            "category_id": int(table.category_id[row]),
            "bbox": [boxes[row, 0], boxes[row, 1], boxes[row, 2] - boxes[row, 0], boxes[row, 3] - boxes[row, 1]],
            "score": float(table.score[row]),
        }
        for row in found.rows
    ]
    if not results:  # pycocotools cannot load an empty list
        assert set(found.stats.values()) <= {0.0, -1.0}
        return
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = case.ground_truth
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert list(found.stats.values()) == judge.stats.tolist()
