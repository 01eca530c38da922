"""The referee itself: small cases worked out by hand, and pycocotools used as its own manual says."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.evaluation.referees import coco as reference
from anchorkit.predictions import PostProcess, PredictionTable

from .cases import Case, random_case

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


def test_however_many_equal_scores_stay_in_the_order_of_rows():
    far = [[20.0 * i, 0, 20 * i + 8, 8] for i in range(300)]
    assert rows([0.5, 0.25] * 150, [1] * 300, [0] * 300, far) == [*range(0, 300, 2), *range(1, 300, 2)]


def test_the_cap_counts_over_all_classes():
    assert rows([0.5, 0.9, 0.5, 0.9, 0.5], [1, 2, 3, 1, 2], [0] * 5, APART, max_detections=3) == [1, 3, 0]


def by_the_manual(case: Case, rows: np.ndarray, **params: Any) -> Any:
    """pycocotools as its manual says, with other parameters; None without results, for it loads no empty list."""
    table = case.predictions
    boxes = table.boxes.astype(float)
    results = [
        {
            "image_id": int(table.image_id[row]),
            "category_id": int(table.category_id[row]),
            "bbox": [boxes[row, 0], boxes[row, 1], boxes[row, 2] - boxes[row, 0], boxes[row, 3] - boxes[row, 1]],
            "score": float(table.score[row]),
        }
        for row in rows
    ]
    if not results:
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = case.ground_truth
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(results), "bbox")
        for name, value in params.items():
            setattr(judge.params, name, value)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


@pytest.mark.parametrize("seed", range(30))
def test_agrees_with_pycocotools_used_as_its_manual_says(seed):
    case = random_case(seed)
    found = reference.evaluate(
        case.predictions, read_ground_truth(case.ground_truth), range(len(case.predictions.layout))
    )
    judge = by_the_manual(case, found.rows)
    if judge is None:
        assert set(found.stats.values()) <= {0.0, -1.0}
    else:
        assert list(found.stats.values()) == judge.stats.tolist()
        assert tuple(found.stats) == reference.STATS


@pytest.mark.parametrize("iou_thresholds", [(0.5,), (0.75,), (0.2, 0.5, 0.75, 1.0)])
@pytest.mark.parametrize("max_dets", [(1, 10, 100), (5, 50, 100)])
def test_agrees_with_pycocotools_for_other_thresholds_and_limits(iou_thresholds, max_dets):
    for seed in range(8):
        case = random_case(seed)
        table, truth = case.predictions, read_ground_truth(case.ground_truth)
        rows = reference.select_rows(table, range(len(table.layout)))
        judge = by_the_manual(case, rows, iouThrs=np.array(iou_thresholds), maxDets=list(max_dets))
        if judge is not None:
            stats, _ = reference.coco_eval(table, truth, rows, iou_thresholds, max_dets)
            assert list(stats.values()) == judge.stats.tolist()
            assert list(stats)[6:9] == [f"AR{limit}" for limit in max_dets]


@pytest.mark.parametrize("max_dets", [(4,), (3, 7), (5, 50, 300)])
def test_the_figures_are_those_at_the_last_limit(max_dets):
    """pycocotools given the last of three says the same, but for AP, which it looks for at 100."""
    for seed in range(10):
        case = random_case(seed)
        table, truth = case.predictions, read_ground_truth(case.ground_truth)
        rows = reference.select_rows(table, range(len(table.layout)))
        stats, per_class = reference.coco_eval(table, truth, rows, None, max_dets)
        judge = by_the_manual(case, rows, maxDets=[1, 2, max_dets[-1]])
        if judge is not None:
            names = ["AP50", "AP75", "APs", "APm", "APl", "ARs", "ARm", "ARl"]
            assert [stats[name] for name in names] == judge.stats[[1, 2, 3, 4, 5, 9, 10, 11]].tolist()
            assert stats[f"AR{max_dets[-1]}"] == judge.stats[8]
        assert reference.coco_ap(table, truth, rows, None, max_dets[-1]) == (stats["AP"], per_class)


@pytest.mark.parametrize("seed", range(30))
def test_ap_alone_is_that_of_all_figures(seed):
    case = random_case(seed)
    table, truth = case.predictions, read_ground_truth(case.ground_truth)
    rows = reference.select_rows(table, range(len(table.layout)))
    stats, per_class = reference.coco_eval(table, truth, rows)
    assert reference.coco_ap(table, truth, rows) == (stats["AP"], per_class)


def detected(*found: tuple[float, list[float]], category: int = 1, image: int = 1) -> list[tuple[Any, ...]]:
    """Detections (score, x y width height) of a category in an image."""
    return [(image, category, score, box) for score, box in found]


def annotated(*boxes: list[float], category: int = 1, image: int = 1, **marks: int) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "category_id": category, "bbox": box, "area": box[2] * box[3], **marks} for box in boxes
    ]


def judged(found: list[tuple[Any, ...]], truth: list[dict[str, Any]]) -> tuple[PredictionTable, Any, np.ndarray]:
    """What the referees take: all detections, with a ground truth of images 1 and 2 and categories 1, 2 and 3."""
    images, categories, scores, boxes = ([entry[i] for entry in found] for i in range(4))
    corners = [[x, y, x + width, y + height] for x, y, width, height in boxes]
    post = PostProcess(score_threshold=0.0, topk=None, nms_iou=1.0, max_detections=None)
    table = PredictionTable(images, [0] * len(found), categories, scores, corners, LAYOUT, post)
    data = {
        "images": [{"id": 1}, {"id": 2}],
        "categories": [{"id": 1}, {"id": 2}, {"id": 3}],
        "annotations": [{"id": number + 1, **entry} for number, entry in enumerate(truth)],
    }
    return table, read_ground_truth(data), reference.select_rows(table, [0])


A, B, C, D = [[30.0 * i, 0.0, 10.0, 10.0] for i in range(4)]


def test_voc_by_hand():
    # True, false (A is taken), neither (C is difficult), true; two boxes to find.
    scene = judged(detected((0.9, A), (0.8, A), (0.7, C), (0.6, B)), [*annotated(A, B), *annotated(C, difficult=1)])
    # Recall 1/2 at precision 1, then 2/2 at precision 2/3.
    assert reference.voc_ap(*scene) == (pytest.approx(5 / 6), {1: pytest.approx(5 / 6), 2: -1.0, 3: -1.0})
    assert reference.voc_ap(*scene, points=11)[0] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_voc_passes_over_difficult_boxes_and_crowds_alike():
    for marks in ({"difficult": 1}, {"iscrowd": 1}, {"difficult": 1, "iscrowd": 1}):
        truth = [*annotated(A), *annotated(B, **marks), *annotated(C, category=2, **marks)]
        # B twice: passed over each time. Category 2 has nothing to find.
        scene = judged(detected((0.9, B), (0.8, B), (0.7, A)), truth)
        assert reference.voc_ap(*scene) == (1.0, {1: 1.0, 2: -1.0, 3: -1.0})
    assert reference.voc_ap(*judged(detected((0.9, B)), annotated(B, difficult=1)))[0] == -1.0


def test_voc_looks_at_the_best_box_only():
    # Both detections overlap A most; the second could have B, and VOC does not look at it.
    near_a = [0.0, 0.0, 10.0, 10.0]
    b = [2.0, 0.0, 10.0, 10.0]
    scene = judged(detected((0.9, near_a), (0.8, near_a)), annotated(near_a, b))
    assert reference.voc_ap(*scene)[0] == 0.5
    assert reference.coco_eval(*scene)[0]["AP50"] == pytest.approx(1.0)


def test_voc_takes_the_first_of_equal_boxes():
    for marks, expected in (({"difficult": 1}, -1.0), ({}, 1.0)):
        scene = judged(detected((0.9, A)), [*annotated(A, **marks), *annotated(A, difficult=1)])
        assert reference.voc_ap(*scene)[0] == expected


def test_voc_knows_no_overlap_with_a_crowd_but_the_plain_one():
    crowd = annotated([0.0, 0.0, 100.0, 100.0], iscrowd=1)
    scene = judged(detected((0.9, [0.0, 0.0, 10.0, 10.0]), (0.8, [200.0, 0.0, 10.0, 10.0])), crowd)
    assert reference.f_score(*scene) == -1.0
    scene = judged(detected((0.9, [50.0, 0.0, 10.0, 10.0]), (0.8, A)), [*crowd, *annotated(A)])
    # Inside the crowd: nothing to COCO, a false positive to VOC.
    assert reference.voc_ap(*scene)[0] == 0.5
    assert reference.coco_eval(*scene)[0]["AP"] == pytest.approx(1.0)


def test_voc_hits_at_the_threshold():
    half = [0.0, 0.0, 10.0, 20.0]
    scene = judged(detected((0.9, A)), annotated(half))
    assert reference.voc_ap(*scene)[0] == 1.0
    assert reference.voc_ap(*scene, iou=0.51)[0] == 0.0


def test_voc_breaks_ties_by_image_and_then_by_row():
    found = [*detected((0.5, B), (0.5, A), image=2), *detected((0.5, C), image=1)]
    # In order: C (false), B (false), A (true).
    assert reference.voc_ap(*judged(found, annotated(A, image=2)))[0] == pytest.approx(1 / 3)


def test_voc_averages_over_categories_with_something_to_find():
    truth = [*annotated(A), *annotated(A, category=2)]
    mean, per_class = reference.voc_ap(*judged(detected((0.9, A)), truth), points=11)
    assert per_class == {1: pytest.approx(1.0), 2: 0.0, 3: -1.0}
    assert mean == per_class[1] / 2


def test_voc_recalls_are_those_of_arange():
    # np.arange gives 0.30000000000000004, which a recall of 3/10 does not reach.
    boxes = [[30.0 * i, 0.0, 10.0, 10.0] for i in range(10)]
    scene = judged(detected(*((0.9, box) for box in boxes[:3])), annotated(*boxes))
    assert reference.voc_ap(*scene, points=11)[0] == pytest.approx(3 / 11)
    assert reference.voc_ap(*scene)[0] == pytest.approx(0.3)


def test_f_score_by_hand():
    scene = judged(detected((0.9, A), (0.8, B), (0.7, D), (0.5, C)), annotated(A, B, C))
    # Above 0.5: two hits, one false alarm, one missed.
    assert reference.f_score(*scene) == 4 / 6
    assert reference.f_score(*scene, beta=2.0) == 10 / (10 + 4 + 1)
    assert reference.f_score(*scene, score_threshold=0.45) == 6 / 7
    assert reference.f_score(*scene, score_threshold=0.95) == 0.0
    assert reference.f_score(*scene, max_det=1) == 2 / 4
    assert reference.f_score(*judged(detected((0.9, A)), [])) == -1.0


def test_f_score_counts_hits_on_a_crowd_neither_way():
    truth = [*annotated(A), *annotated(B, iscrowd=1)]
    assert reference.f_score(*judged(detected((0.9, A), (0.8, B), (0.7, B)), truth)) == 1.0
    # Difficult is a word of VOC's.
    truth = [*annotated(A), *annotated(B, difficult=1)]
    assert reference.f_score(*judged(detected((0.9, A)), truth)) == 2 / 3


def test_f_score_is_over_all_classes_together():
    truth = [*annotated(A, B, C), *annotated(A, category=2)]
    found = [*detected((0.9, A)), *detected((0.9, B), category=2), *detected((0.9, B), category=3)]
    # One hit, two false alarms, three missed.
    assert reference.f_score(*judged(found, truth)) == 2 / (2 + 3 + 2)
