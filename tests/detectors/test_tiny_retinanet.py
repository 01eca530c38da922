"""tiny_retinanet, on which pruning by the search's moves is tried for real; it is small enough to try them all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from anchorkit import testing
from anchorkit.anchors import moves
from anchorkit.costs import COSTS, cost_of, costs
from anchorkit.datasets import Category
from anchorkit.detectors import Detector, load_detector, prune, save_detector, tiny_retinanet
from anchorkit.evaluation import Evaluator
from anchorkit.postprocess import PostProcess
from anchorkit.search import search
from tests.detectors import properties

CATEGORIES = [Category(3, "cat"), Category(7, "dog")]
SIZE = (96, 128)
IMAGES = properties.noise_images((120, 90), (96, 128), (60, 200))


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(1)
    few = PostProcess(score_threshold=0.45, topk=60, topk_scope="level", nms_iou=0.5, max_detections=100)
    return properties.spread(tiny_retinanet.TINY_RETINANET(CATEGORIES, size=SIZE, postprocess=few))


def test_it_is_as_small_as_it_says() -> None:
    detector = load_detector("tiny_retinanet", categories=6, seed=0)
    found = costs(detector.layout.full)
    assert detector.parameters < 510_000
    assert found["total_flops"] < 140e6
    assert 0.4 < found["head_flops"] / found["total_flops"] < 0.6
    assert found["boxes"] == 9 * (20 * 20 + 10 * 10 + 5 * 5 + 3 * 3)


@pytest.mark.parametrize("kind", ["shared", "anchor"])
def test_every_move_of_the_search_can_be_made_for_real(detector: Detector, kind: str) -> None:
    """Also from a configuration in which the levels keep different shapes."""
    full = detector.layout.full
    uneven = full.without([0, 4, 11, *range(18, 26)])
    for start in (full, uneven):
        for move in moves(start, kind)[:: 1 if kind == "shared" else 5]:
            child = start.without(move.anchors)
            testing.check_pruning(detector, child, IMAGES[:1])
            properties.costs_are_those_of_the_real_network(detector, child)


def test_a_shape_gone_everywhere_takes_its_filters_with_it(detector: Detector) -> None:
    layout = detector.layout
    [shape] = [move for move in moves(layout.full) if move.label == "shape 4"]
    small = prune(detector, layout.full.without(shape.anchors))
    filters = detector.module.head.classification.output.weight.unflatten(0, (9, 2))
    kept = [0, 1, 2, 3, 5, 6, 7, 8]
    torch.testing.assert_close(small.module.head.classification.output.weight, filters[kept].flatten(0, 1))
    assert {level.positions for level in small.layout.levels} == {tuple(kept)}
    # One level that keeps the shape keeps the filters.
    [*others, _] = shape.anchors
    almost = prune(detector, layout.full.without(others))
    assert almost.module.head.classification.output.weight.shape == (18, 48, 3, 3)
    assert [level.positions for level in almost.layout.levels] == [tuple(kept)] * 3 + [()]
    head_parameters = [cost_of(d.layout.full, "head_parameters") for d in (detector, almost, small)]
    assert head_parameters[0] == head_parameters[1] > head_parameters[2]


def test_a_pruned_detector_has_no_weight_that_nothing_uses(detector: Detector) -> None:
    layout = detector.layout
    for keep in ([5], [12, 14], [20, 30], [35], [1, 35]):
        module = prune(detector, layout.configuration(keep=keep)).module
        outputs = module.head(list(module.backbone(torch.rand(1, 3, *SIZE)).values()))
        sum(output.sum() for output in outputs.values()).backward()
        assert [name for name, parameter in module.named_parameters() if parameter.grad is None] == []


def test_positions_are_saved_and_loaded(detector: Detector, tmp_path: Path) -> None:
    small = prune(detector, detector.layout.configuration(keep=[1, 8, 12, 35]))
    assert [level.positions for level in small.layout.levels] == [(1, 8), (3,), (), (8,)]
    again = load_detector(save_detector(small, tmp_path))
    assert again.layout == small.layout
    # The same filters: a second pruning counts the positions of the first detector.
    testing.check_saving(prune(again, again.layout.configuration(keep=[1, 3])), IMAGES, tmp_path)
    assert [level.positions for level in load_detector(tmp_path).layout.levels] == [(8,), (), (), (8,)]


def test_the_search_promises_what_the_pruned_detectors_do(detector: Detector) -> None:
    """Shapes and levels, top-k of each level: the frontier's accuracies are those of the detectors pruned for real."""
    table, full = properties.table_of(detector, IMAGES), detector.layout.full
    assert {move.label for move in moves(full)} == {
        *(f"shape {position}" for position in range(9)),
        *(f"level P{level}" for level in range(3, 7)),
    }
    empty = properties.ground_truth_of(detector, IMAGES) | {"annotations": []}
    found = Evaluator(table, empty).detections(full)
    everything = table.with_postprocess(replace(detector.postprocess, topk=None))
    assert not found.equals(Evaluator(everything, empty).detections(full))  # the top-k of the levels cuts
    truth = empty | {"annotations": _as_objects(found.iloc[::7])}

    evaluator = Evaluator(table, truth)
    result = search(evaluator, cost="head_flops", moves="shared", threshold=0.02, progress=False)
    assert len(result.configurations) > 3
    for configuration in result.configurations[:: len(result.configurations) // 3]:
        small = prune(detector, configuration)
        pruned = Evaluator(properties.table_of(small, IMAGES), truth)
        assert pruned.stats(small.layout.full) == pytest.approx(evaluator.stats(configuration), abs=1e-6)
        for cost in COSTS:
            assert cost_of(small.layout.full, cost) == cost_of(configuration, cost)


def _as_objects(detections: pd.DataFrame) -> list[dict]:
    """COCO annotations a little beside the detections."""
    return [
        {
            "id": number,
            "image_id": row.image_id,
            "category_id": row.category_id,
            "bbox": [row.x1 + 1, row.y1, row.x2 - row.x1, row.y2 - row.y1 + 1],
            "area": (row.x2 - row.x1) * (row.y2 - row.y1 + 1),
            "iscrowd": 0,
        }
        for number, row in enumerate(detections.itertuples(), start=1)
    ]
