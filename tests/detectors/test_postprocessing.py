"""What is timed is the real thing: its detections are those of the kit's evaluator."""

from __future__ import annotations

import dataclasses
import runpy

import numpy as np
import pytest
import torch

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.datasets import Category
from anchorkit.detectors.base import boxes_by_anchor
from anchorkit.detectors.postprocessing import detect, level_of_boxes
from anchorkit.evaluation import Evaluator
from anchorkit.latency.postprocess_model import BoxesReachingNms
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable

CATEGORIES = [Category(2, "cat"), Category(5, "dog"), Category(9, "hen")]
LAYOUT = AnchorLayout(
    "toy",
    (64, 64),
    (
        Level("P0", 6, 7, ((8.0, 8.0), (16.0, 8.0), (8.0, 16.0))),
        Level("P1", 3, 3, ()),
        Level("P2", 2, 3, ((30.0, 30.0), (40.0, 20.0))),
    ),
)


def outputs(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scores (B, K) and boxes (B, 4) of a network; with ties, of few different scores."""
    rng = np.random.default_rng(seed)
    count = len(boxes_by_anchor(LAYOUT))
    scores = rng.random((count, len(CATEGORIES)), np.float32)
    corner = rng.uniform(0, 40, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 24, (count, 2))], axis=1).astype(np.float32)
    return (np.round(scores * 16) / 16 if ties else scores), boxes


def table_of(scores: np.ndarray, boxes: np.ndarray, post: PostProcess) -> PredictionTable:
    row, label = np.nonzero(scores > np.float32(post.score_threshold))
    category = np.array([category.id for category in CATEGORIES])[label]
    anchor = boxes_by_anchor(LAYOUT)[row]
    return PredictionTable(np.full(len(row), 4), anchor, category, scores[row, label], boxes[row], LAYOUT, post)


def truth_of(table: PredictionTable) -> dict:
    ids = np.unique(table.image_id).tolist() or [4]
    return {
        "images": [{"id": i, "height": 64, "width": 64} for i in ids],
        "annotations": [
            {"id": 1, "image_id": ids[0], "category_id": 2, "bbox": [5, 5, 9, 9], "area": 81, "iscrowd": 0}
        ],
        "categories": [{"id": category.id, "name": category.name} for category in CATEGORIES],
    }


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("cap", [None, 20])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 1.0])
@pytest.mark.parametrize(("topk", "scope"), [(None, "class"), (40, "image"), (15, "class"), (25, "level")])
def test_detections_are_the_evaluators(topk, scope, threshold, cap, ties):
    post = PostProcess(threshold, topk, scope, nms_iou=0.45, max_detections=cap)
    for seed in range(3):
        scores, boxes = outputs(seed, ties)
        table = table_of(scores, boxes, post)
        expected = Evaluator(table, truth_of(table)).detections(LAYOUT.full)
        found = detect(torch.from_numpy(scores), torch.from_numpy(boxes), level_of_boxes(LAYOUT), post)
        assert [CATEGORIES[label].id for label in found.labels.tolist()] == expected["category_id"].tolist()
        np.testing.assert_array_equal(found.scores.numpy(), expected["score"])
        np.testing.assert_array_equal(found.boxes.numpy(), expected[["x1", "y1", "x2", "y2"]].to_numpy())
        np.testing.assert_array_equal(boxes_by_anchor(LAYOUT)[found.row.numpy()], expected["anchor"])
        [counted] = BoxesReachingNms(table)(LAYOUT.full) if len(table) else [0]
        assert found.reached_nms == counted


@pytest.mark.parametrize(("topk", "scope"), [(None, "class"), (40, "image"), (15, "class"), (25, "level")])
@pytest.mark.parametrize("keep", [[0], [1, 3], [3, 4], [0, 1, 2, 3]])
def test_boxes_that_reach_nms_are_counted_for_any_configuration(topk, scope, keep):
    full = PostProcess(0.2, topk, scope)
    scores, boxes = outputs(0, ties=True)
    few = table_of(scores, boxes, full)
    more = table_of(*outputs(1, ties=True), full)
    both = PredictionTable(
        *(np.concatenate([getattr(few, name), getattr(more, name)]) for name in ("image_id", "anchor", "category_id")),
        np.concatenate([few.score, more.score]),
        np.concatenate([few.boxes, more.boxes]),
        LAYOUT,
        dataclasses.replace(full, score_threshold=0.3),
    )
    image_id = both.image_id.copy()
    image_id[len(few) :] = 1
    both = PredictionTable(image_id, both.anchor, both.category_id, both.score, both.boxes, LAYOUT, both.postprocess)
    found = BoxesReachingNms(both)
    assert found.image_ids.tolist() == [1, 4]
    rows = np.isin(boxes_by_anchor(LAYOUT), keep)
    expected = []
    for seed in (1, 0):
        scores, boxes = outputs(seed, ties=True)
        kept = [torch.from_numpy(array[rows]) for array in (scores, boxes)]
        expected.append(detect(*kept, level_of_boxes(LAYOUT)[rows], both.postprocess).reached_nms)
    assert found(LAYOUT.configuration(keep=keep)).tolist() == expected


@pytest.mark.real
def test_a_real_detectors_detections(repository, real_data, tmp_path):
    """8-bit scores have ties without end, and the rows of an image stand where NMS loops over the classes."""
    folder = real_data / "ssd_mobilenet_v1_coco"
    main = runpy.run_path(str(repository / "examples" / "predictions_from_npz.py"))["main"]
    made = tmp_path / "table.parquet"
    assert main([str(folder / "predictions_train2017.npz"), str(folder / "model.json"), str(made)]) == 0
    table = PredictionTable.load(made)
    chosen = np.isin(table.image_id, np.unique(table.image_id)[:12])
    table = PredictionTable(
        *(getattr(table, name)[chosen] for name in ("image_id", "anchor", "category_id", "score", "boxes")),
        table.layout,
        table.postprocess,
    )
    truth = {
        "images": [{"id": i, "height": 640, "width": 640} for i in np.unique(table.image_id).tolist()],
        "annotations": [],
        "categories": [{"id": i, "name": str(i)} for i in range(1, 91)],
    }
    detections = Evaluator(table, truth).detections(table.layout.full)
    counted = BoxesReachingNms(table)(table.layout.full)
    assert counted.max() > 1000
    for image_id, reached in zip(np.unique(table.image_id), counted, strict=True):
        rows = np.flatnonzero(table.image_id == image_id)
        # One box for each row: order, ties, NMS and cap are as in the detector.
        scores = torch.zeros(len(rows), 90)
        scores[np.arange(len(rows)), table.category_id[rows] - 1] = torch.tensor(table.score[rows])
        found = detect(
            scores, torch.tensor(table.boxes[rows]), torch.zeros(len(rows), dtype=torch.int64), table.postprocess
        )
        expected = detections[detections["image_id"] == image_id]
        assert found.reached_nms == reached
        assert (found.labels + 1).tolist() == expected["category_id"].tolist()
        np.testing.assert_array_equal(found.scores.numpy(), expected["score"])
        np.testing.assert_array_equal(found.boxes.numpy(), expected[["x1", "y1", "x2", "y2"]].to_numpy())
