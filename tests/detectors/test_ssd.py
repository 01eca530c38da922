"""The SSD family: raw predictions and costs are those of the real network."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from anchorkit.costs import costs
from anchorkit.detectors import Detector, load_detector, prune
from anchorkit.detectors.base import to_tensor
from anchorkit.evaluation import Evaluator
from anchorkit.predictions import PredictionTable


def table_of(detector: Detector, images: list[np.ndarray]) -> PredictionTable:
    """A prediction table of images numbered from 1."""
    rows = []
    for number, raw in enumerate(detector.raw_predictions(images), start=1):
        box, column = np.nonzero(raw.scores > detector.postprocess.score_threshold)
        category = np.array([c.id for c in detector.categories])[column]
        rows.append((np.full(len(box), number), raw.anchor[box], category, raw.scores[box, column], raw.boxes[box]))
    columns = [np.concatenate(parts) for parts in zip(*rows, strict=True)]
    return PredictionTable(*columns, layout=detector.layout, postprocess=detector.postprocess)


def ground_truth_of(detector: Detector, images: list[np.ndarray]) -> dict:
    return {
        "images": [{"id": i, "height": image.shape[0], "width": image.shape[1]} for i, image in enumerate(images, 1)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 3, "bbox": [5, 5, 40, 30], "area": 1200, "iscrowd": 0}
            for i in range(1, len(images) + 1)
        ],
        "categories": [{"id": c.id, "name": c.name} for c in detector.categories],
    }


def test_raw_predictions_have_the_promised_form(detector: Detector, images: list[np.ndarray]) -> None:
    boxes = sum(level.cells * len(level.anchors) for level in detector.layout.levels)
    for image, raw in zip(images, detector.raw_predictions(images), strict=True):
        assert raw.boxes.shape == (boxes, 4)
        assert raw.boxes.dtype == raw.scores.dtype == np.float32
        assert raw.scores.shape == (boxes, 2)
        assert raw.anchor.shape == (boxes,)
        assert (raw.scores >= 0).all()
        assert (raw.scores.sum(1) <= 1 + 1e-5).all()
        assert (raw.boxes >= 0).all()
        assert (raw.boxes <= np.array([image.shape[1], image.shape[0]] * 2) + 1e-3).all()
        assert (raw.boxes[:, 2:] >= raw.boxes[:, :2]).all()


def test_the_kits_postprocessing_gives_what_the_network_returns(detector: Detector, images: list[np.ndarray]) -> None:
    evaluator = Evaluator(table_of(detector, images), ground_truth_of(detector, images))
    ours = evaluator.detections(detector.layout.full)
    with torch.inference_mode():
        theirs = detector.module.eval()([to_tensor(image) for image in images])
    ids = [category.id for category in detector.categories]
    for number, returned in enumerate(theirs, start=1):
        mine = ours[ours.image_id == number].sort_values("score", ascending=False, kind="stable")
        order = returned["scores"].argsort(descending=True, stable=True)
        assert len(mine) == len(order) > 0
        assert mine.category_id.tolist() == [ids[label - 1] for label in returned["labels"][order].tolist()]
        np.testing.assert_allclose(mine.score, returned["scores"][order].numpy(), atol=1e-6)
        np.testing.assert_allclose(mine[["x1", "y1", "x2", "y2"]], returned["boxes"][order].numpy(), atol=1e-3)


def test_anchor_of_box_follows_the_generators_order(detector: Detector) -> None:
    layout = detector.layout
    grids = [(level.height, level.width) for level in layout.levels]
    boxes = detector.module.anchor_generator.boxes(grids, layout.input_size, torch.device("cpu"))
    for anchor in layout.anchors:
        mine = boxes[torch.from_numpy(detector.anchor_of_box == anchor.index)]
        torch.testing.assert_close(mine[:, 2] - mine[:, 0], torch.full((len(mine),), anchor.width), rtol=0, atol=1e-3)
        torch.testing.assert_close(mine[:, 3] - mine[:, 1], torch.full((len(mine),), anchor.height), rtol=0, atol=1e-3)


@pytest.mark.parametrize("drop", [(), range(4), (3, 5, 29), range(26, 30), (*range(4), *range(22, 30))])
def test_costs_are_those_of_the_real_module(drop: Iterable[int]) -> None:
    full = load_detector("tiny_ssd", categories=6, seed=0)
    configuration = full.layout.configuration(drop=drop)
    small = prune(full, configuration)
    module = small.module.eval()
    with torch.no_grad():
        batch = torch.zeros(1, 3, *small.layout.input_size)
        with FlopCounterMode(display=False) as whole:
            features = list(module.backbone(batch).values())
            with FlopCounterMode(display=False) as head:
                outputs = module.head(features)
    counted = costs(configuration)
    assert counted["head_flops"] == head.get_total_flops() // 2
    assert counted["total_flops"] == whole.get_total_flops() // 2
    assert counted["boxes"] == outputs["cls_logits"].shape[1]
    assert counted["head_parameters"] == sum(p.numel() for p in module.head.parameters())
    assert counted == costs(small.layout.full)


@pytest.mark.parametrize("size", [(96, 96), (128, 128), (96, 160), (160, 160)])
def test_gradients_in_half_precision_are_repeatable(size: tuple[int, int]) -> None:
    images = [torch.rand(3, *size, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    targets = [{"boxes": torch.tensor([[9.0, 9.0, 70.0, 60.0]]), "labels": torch.tensor([1])}] * 3
    module = load_detector("tiny_ssd", categories=2, size=size, seed=0).module.train()
    seen = []
    for _ in range(6):
        leftovers = [torch.full((count,), float("nan")) for count in range(64, 64 * 64 * 9 + 1, 4096)]
        del leftovers  # memory that is read before it is written shows as NaN
        module.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = sum(module(images, targets).values())
        loss.backward()
        seen.append(torch.cat([parameter.grad.flatten() for parameter in module.parameters()]))
    assert all(torch.equal(gradient, seen[0]) for gradient in seen)
    assert torch.isfinite(seen[0]).all()


def test_tiny_ssd_is_as_small_as_it_says() -> None:
    detector = load_detector("tiny_ssd", categories=6, seed=0)
    assert 300_000 <= detector.parameters <= 700_000
    assert [len(level.anchors) for level in detector.layout.levels] == [4, 6, 6, 6, 4, 4]
    assert costs(detector.layout.full)["boxes"] == 2424
