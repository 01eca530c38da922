from __future__ import annotations

import pytest

import anchorkit as ak
from anchorkit.analysis.takeovers import takeovers
from anchorkit.anchors import AnchorLayout, Level

LAYOUT = AnchorLayout("two", (100, 100), (Level("a", 1, 1, ((40.0, 40.0), (50.0, 50.0))),))
POST = ak.PostProcess(score_threshold=0.01, topk=None, topk_scope="class", nms_iou=0.5, max_detections=None)


def evaluator(rows, boxes) -> ak.Evaluator:
    """`rows`: image, anchor, category, score, x1 y1 x2 y2; `boxes`: image, category, x y width height, crowd."""
    columns = list(zip(*rows, strict=True))
    table = ak.PredictionTable(*columns[:4], [row[4:] for row in rows], LAYOUT, POST)
    annotations = [
        {"id": n, "image_id": b[0], "category_id": b[1], "bbox": b[2:6], "area": b[4] * b[5], "iscrowd": b[6]}
        for n, b in enumerate(boxes, 1)
    ]
    images = [{"id": n, "width": 100, "height": 100} for n in (1, 2)]
    categories = [{"id": n, "name": str(n)} for n in (1, 2)]
    return ak.Evaluator(table, {"images": images, "annotations": annotations, "categories": categories})


def test_a_confident_box_gives_way_to_a_better_one():
    known = evaluator(
        [
            (1, 0, 1, 0.9, 0, 0, 40, 60),  # confident, IoU 40 * 40 / 2400
            (1, 1, 1, 0.6, 0, 0, 40, 42),  # less so, and better placed
            (2, 1, 1, 0.8, 0, 0, 40, 40),  # here nothing changes
        ],
        [(1, 1, 0, 0, 40, 40, 0), (2, 1, 0, 0, 40, 40, 0)],
    )
    found = takeovers(known, known.full, known.layout.configuration(keep=[1]))
    assert len(found) == 1
    row = found.iloc[0]
    assert (row["image_id"], row["before_anchor"], row["after_anchor"]) == (1, 0, 1)
    assert (row["before_score"], row["after_score"]) == pytest.approx((0.9, 0.6))
    assert row["before_iou"] == pytest.approx(1600 / 2400)
    assert row["after_iou"] == pytest.approx(1600 / 1680)
    assert row["gained"] == pytest.approx(row["after_iou"] - row["before_iou"])
    assert row[["x1", "y1", "x2", "y2"]].tolist() == [0, 0, 40, 40]
    assert row[["after_x2", "after_y2"]].tolist() == [40, 42]


def test_a_box_is_about_the_object_that_it_overlaps_most():
    known = evaluator(
        [
            (1, 0, 1, 0.9, 0, 0, 40, 40),  # about the first object; overlaps the second by less
            (1, 1, 1, 0.7, 20, 0, 60, 40),
            (1, 1, 1, 0.5, 0, 0, 40, 39),
        ],
        [(1, 1, 0, 0, 40, 40, 0), (1, 1, 20, 0, 40, 40, 0), (1, 2, 0, 0, 40, 40, 0)],
    )
    found = takeovers(known, known.full, known.layout.configuration(keep=[1]))
    assert found[["x1", "before_score", "after_score"]].round(2).to_numpy().tolist() == [[0, 0.9, 0.5]]


def test_crowds_and_objects_that_one_side_misses_are_left_out():
    known = evaluator(
        [(1, 0, 1, 0.9, 0, 0, 40, 40), (2, 0, 1, 0.9, 0, 0, 40, 60), (2, 1, 1, 0.6, 0, 0, 40, 42)],
        [(1, 1, 0, 0, 40, 40, 0), (2, 1, 0, 0, 40, 40, 1)],
    )
    found = takeovers(known, known.full, known.layout.configuration(keep=[1]))
    assert found.empty
    assert "gained" in found
