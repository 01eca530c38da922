"""The evaluator on the raw predictions of a real 8-bit SSD on real COCO images: 1.3 million rows full of ties."""

from __future__ import annotations

import pytest

from anchorkit.anchors import Move
from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.referees import coco as reference

from .real_ssd import real_ssd


@pytest.fixture(scope="module")
def own(real_data) -> Evaluator:
    return real_ssd(real_data, 40, 1e-8)


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
