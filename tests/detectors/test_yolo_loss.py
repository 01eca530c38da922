"""The YOLO family's loss: which boxes are for which objects, and its parts against plain arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import complete_box_iou

from anchorkit.detectors.darknet import YoloLevel, yolo_levels
from anchorkit.detectors.yolo_families import YOLOV3, YOLOV7_TINY
from anchorkit.detectors.yolo_loss import assigned, fitting_anchors, yolo_losses

FINE, MIDDLE, _ = yolo_levels(YOLOV7_TINY.cfg)  # centres reach half a cell beyond their cell
STAYS = yolo_levels(YOLOV3.cfg)[0]  # centres do not leave their cell; sides have no bounds
SHAPES = [((10, 13), (16, 30)), ((60, 120),)]


def pairs(level: YoloLevel, centre: tuple[float, float]) -> set[tuple[int, int]]:
    """(row, column) of the cells that an object is for."""
    found = assigned(torch.ones(1, 1, dtype=torch.bool), torch.tensor([centre]), (4, 6), level)
    return set(zip(found.rows.tolist(), found.columns.tolist(), strict=True))


def test_an_object_is_for_its_cell_and_the_neighbours_that_reach_its_centre() -> None:
    assert pairs(FINE, (17, 13)) == {(1, 2), (1, 1), (2, 2)}  # in the left part of its cell, and in the lower one
    assert pairs(FINE, (20, 12)) == {(1, 2)}  # in the middle
    assert pairs(FINE, (0, 31.9)) == {(3, 0)}  # in a corner of the image
    assert pairs(FINE, (48, 32)) == {(3, 5)}  # on the edge of the image, behind the last cell
    assert pairs(STAYS, (17, 13)) == {(1, 2)}
    near = replace(FINE, yolo=replace(FINE.yolo, scale=1.2))
    assert pairs(near, (16.5, 13)) == {(1, 2), (1, 1)}
    assert pairs(near, (17, 13)) == {(1, 2)}


@given(
    side=st.tuples(st.floats(1, 900), st.floats(1, 900)),
    anchors=st.lists(st.tuples(st.floats(1, 900), st.floats(1, 900)), min_size=1, max_size=5),
)
def test_anchors_fit_within_a_factor_of_four_or_are_the_best(
    side: tuple[float, float], anchors: list[tuple[float, float]]
) -> None:
    found = fitting_anchors(torch.tensor([side]), torch.tensor(anchors))[0].tolist()
    worst = [max(side[0] / w, w / side[0], side[1] / h, h / side[1]) for w, h in anchors]
    least = min(worst)
    for fits, ratio in zip(found, worst, strict=True):
        if abs(ratio - 4) > 1e-4:
            assert fits == (ratio < 4) or (fits and ratio == pytest.approx(least, rel=1e-5))
    assert any(found)


def bce(logit: float, target: float) -> float:
    return math.log1p(math.exp(-logit)) + (1 - target) * logit


def test_the_parts_of_the_loss_are_those_of_plain_arithmetic() -> None:
    """Two levels, one image with one object; what is said of every box is known."""
    torch.manual_seed(0)
    raw = [torch.randn(1, 2, 7, 4, 6), torch.randn(1, 1, 7, 2, 3)]
    # 14 x 24 pixels fit both anchors of the fine level and not the one of the other. Its centre is (19, 13): cell
    # (1, 2), and the neighbours to its left and below it.
    box = [12.0, 1.0, 26.0, 25.0]
    target = {"boxes": torch.tensor([box]), "labels": torch.tensor([2])}
    losses = yolo_losses(raw, [FINE, MIDDLE], SHAPES, [target])
    distances, targets, classes = [], torch.zeros(2, 4, 6), []
    for anchor, (width, height) in enumerate(SHAPES[0]):
        for row, column in ((1, 2), (1, 1), (2, 2)):
            x, y, w, h, _, first, second = raw[0][0, anchor, :, row, column].sigmoid().tolist()
            centre = ((2 * x - 0.5 + column) * 8, (2 * y - 0.5 + row) * 8)
            half = ((2 * w) ** 2 * width / 2, (2 * h) ** 2 * height / 2)
            predicted = [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]]
            overlap = complete_box_iou(torch.tensor([predicted]), torch.tensor([box])).item()
            distances.append(1 - overlap)
            targets[anchor, row, column] = max(0.0, overlap)
            classes += [-math.log(1 - first), -math.log(second)]
    background = 0.0
    for output, wanted in ((raw[0], targets), (raw[1], torch.zeros(1, 2, 3))):
        logits = output[0, :, 4].flatten().tolist()
        background += sum(bce(logit, one) for logit, one in zip(logits, wanted.flatten().tolist(), strict=True))
    assert losses["bbox_regression"].item() == pytest.approx(sum(distances) / 6, rel=1e-4)
    assert losses["objectness"].item() == pytest.approx(background / 240, rel=1e-4)
    assert losses["classification"].item() == pytest.approx(sum(classes) / 6 / 8, rel=1e-4)


def test_two_objects_in_one_box_ask_for_the_better_overlap_in_either_order() -> None:
    torch.manual_seed(1)
    raw = [torch.randn(1, 1, 6, 4, 6)]
    shapes = [((12, 12),)]
    boxes = torch.tensor([[12.0, 5.0, 26.0, 20.0], [14.0, 2.0, 26.0, 22.0]])
    labels = torch.ones(2, dtype=torch.int64)
    both = [yolo_losses(raw, [STAYS], shapes, [{"boxes": b, "labels": labels}]) for b in (boxes, boxes.flip(0))]
    assert both[0]["objectness"].item() == pytest.approx(both[1]["objectness"].item())
    alone = [yolo_losses(raw, [STAYS], shapes, [{"boxes": boxes[[n]], "labels": labels[:1]}]) for n in (0, 1)]
    logit = raw[0][0, 0, 4, 1, 2].item()
    better = max if logit < 0 else min  # a larger target means a larger loss where the logit is below zero
    assert both[0]["objectness"].item() == pytest.approx(better(part["objectness"].item() for part in alone))


def test_an_image_without_objects_teaches_background_only() -> None:
    raw = [torch.zeros(2, 2, 7, 4, 6, requires_grad=True)]
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    losses = yolo_losses(raw, [FINE], SHAPES[:1], [empty, empty])
    assert losses["bbox_regression"].item() == losses["classification"].item() == 0
    torch.stack(list(losses.values())).sum().backward()
    gradient = raw[0].grad
    assert gradient is not None
    assert (gradient[:, :, 4] > 0).all()
    assert not gradient[:, :, [0, 1, 2, 3, 5, 6]].any()


def test_sides_without_bounds_give_a_finite_loss() -> None:
    raw: list[Tensor] = [torch.full((1, 2, 7, 4, 6), 300.0)]
    target = {"boxes": torch.tensor([[12.0, 1.0, 26.0, 25.0]]), "labels": torch.tensor([1])}
    assert all(torch.isfinite(part) for part in yolo_losses(raw, [STAYS], SHAPES[:1], [target]).values())
