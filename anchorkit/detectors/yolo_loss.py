"""The loss of the YOLO family.

Boxes by complete IoU (Zheng et al. 2020, section 3.3), objectness and classes by binary cross-entropy. An object is
assigned to every anchor whose sides are less than four times as long or as short as its own, on all levels, as YOLOv5
does; one that fits none, to the anchor nearest in shape, so that every object is learned after pruning too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import complete_box_iou_loss

from anchorkit.detectors.anchor_boxes import Shapes
from anchorkit.detectors.darknet import YoloLevel, decode

RATIO = 4.0
CLASSIFICATION, OBJECTNESS = 1 / 8, 1 / 240
"""What the terms are multiplied by: the mean over objects of the sum over classes, and the sum over an image's boxes.

With the mean over objects of the box term, these are YOLOv5's weights, which it adapts to size and classes.
"""
_SMALLEST, _LARGEST = -8.0, 4.0  # the outputs for a box's sides, so that no side is 0 or infinite


def yolo_losses(
    raw: Sequence[Tensor], levels: Sequence[YoloLevel], shapes: Shapes, targets: Sequence[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """The terms of the loss; their sum is minimised.

    Args:
        raw: outputs (N, A, 5 + K, h, w) of each level that has anchors.
        levels: those levels.
        shapes: the anchors of each, (width, height) in pixels of the input.
        targets: of each image ``boxes`` (M, 4), x1 y1 x2 y2 in pixels of the input, and ``labels`` (M,) from 1.

    Returns:
        ``bbox_regression``, ``objectness`` and ``classification``, each a scalar.
    """
    boxes = torch.cat([target["boxes"] for target in targets]).float()  # (M, 4)
    labels = torch.cat([target["labels"] for target in targets]) - 1
    image = torch.cat([labels.new_full((len(target["labels"]),), i) for i, target in enumerate(targets)])
    sides = boxes[:, 2:] - boxes[:, :2]
    anchors = [boxes.new_tensor(level) for level in shapes]
    apart = [_apart(sides, each) for each in anchors]  # (M, A) each
    nearest = torch.cat(apart, 1).amin(1, keepdim=True)  # (M, 1)
    box_terms, class_terms, objectness = [], [], raw[0].new_zeros((), dtype=torch.float32)
    for output, level, own, ratio in zip(raw, levels, anchors, apart, strict=True):
        outputs = output.float().permute(0, 1, 3, 4, 2)  # (N, A, h, w, 5 + K)
        found, anchor = torch.where((ratio < RATIO) | (ratio == nearest))
        cells, pairs = _cells(boxes[found], level, outputs.shape[2:4])
        found, anchor = found[pairs], anchor[pairs]
        place = (image[found], anchor, cells[:, 1], cells[:, 0])
        rows = outputs[place]  # (P, 5 + K)
        offsets = decode(torch.cat([rows[:, :2], rows[:, 2:4].clamp(_SMALLEST, _LARGEST)], 1), level)
        centre, half = (cells + 0.5) * level.stride + offsets[:, :2], own[anchor] * offsets[:, 2:] / 2
        loss = complete_box_iou_loss(torch.cat([centre - half, centre + half], 1), boxes[found])  # (P,), 0..2
        wanted = torch.zeros_like(outputs[..., 4])
        wanted[place] = (1 - loss.detach()).clamp(min=0)
        objectness = objectness + F.binary_cross_entropy_with_logits(outputs[..., 4], wanted, reduction="sum")
        classes = F.one_hot(labels[found], rows.shape[1] - 5).float()
        class_terms.append(F.binary_cross_entropy_with_logits(rows[:, 5:], classes, reduction="none").sum(1))
        box_terms.append(loss)
    return {
        "bbox_regression": _mean(box_terms),
        "objectness": OBJECTNESS * objectness / len(targets),
        "classification": CLASSIFICATION * _mean(class_terms),
    }


def _apart(sides: Tensor, anchors: Tensor) -> Tensor:
    """(M, A): how many times longer or shorter a side of an object is than the anchor's; the worse of both sides."""
    ratio = sides[:, None] / anchors
    return torch.maximum(ratio, 1 / ratio).amax(2)


def _cells(boxes: Tensor, level: YoloLevel, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The cells that learn each of some objects: that of its centre and, where centres reach half a cell beyond their
    own (``scale_x_y=2``), the nearer neighbour in each direction.

    Returns:
        (P, 2), column and row of each cell, and (P,), the number of its object.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / level.stride  # (M, 2)
    limit = torch.tensor([grid[1], grid[0]], device=boxes.device)
    own = centre.long().clamp(min=0).minimum(limit - 1)
    cells = [own]
    if level.yolo.scale >= 2:
        step = torch.where(centre - own < 0.5, -1, 1)
        cells += [own + step * step.new_tensor(axis) for axis in ((1, 0), (0, 1))]
    every, number = torch.cat(cells), torch.arange(len(boxes), device=boxes.device).repeat(len(cells))
    inside = ((every >= 0) & (every < limit)).all(1)
    return every[inside], number[inside]


def _mean(terms: Sequence[Tensor]) -> Tensor:
    """The mean of all; 0 of none."""
    every = torch.cat(list(terms))
    return every.sum() / max(1, len(every))
