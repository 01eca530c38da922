"""The loss of the YOLO family: which boxes of the network an object is for, and what they are to say.

As in YOLOv5, an object is for every anchor that is less than four times as wide and as high as the object, and more
than a quarter, on all levels; in the cell of its centre and in those neighbours from which its centre can be reached.
Boxes are compared by complete IoU (Zheng et al. 2020, section 3.3), which is also what objectness is to say. Objectness
and classes are learned by binary cross-entropy; classes of a ``[region]``, which exclude each other, by cross-entropy.

Unlike there, an object that no anchor fits is for the one nearest in shape: with few anchors left, it would otherwise
be taught as background. And all boxes weigh the same in objectness, which is nearly what YOLOv5's weights of the levels
(4, 1, 0.4) make of its means over 16, 4 and 1 times as many boxes, for any levels and any anchors on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import complete_box_iou_loss

from anchorkit.detectors.anchor_boxes import Shapes
from anchorkit.detectors.darknet import YoloLevel, decode
from anchorkit.detectors.darknet_sections import Region

RATIO = 4.0
CLASSIFICATION, OBJECTNESS = 1 / 8, 1 / 240
"""What the terms are multiplied by: the mean over objects of the sum over classes, and the sum over an image's boxes.

With the mean over objects of the box term, these are YOLOv5's weights, which it adapts to size and classes.
"""
_SMALLEST, _LARGEST = -8.0, 4.0  # the outputs for a box's sides, so that no side is 0 or infinite


class Assigned(NamedTuple):
    """Which boxes of a level are for which objects; P pairs, each int64 (P,).

    Attributes:
        objects: which object.
        anchors: which anchor of the level.
        rows: of the cell.
        columns: of the cell.
    """

    objects: Tensor
    anchors: Tensor
    rows: Tensor
    columns: Tensor


def yolo_losses(
    raw: Sequence[Tensor], levels: Sequence[YoloLevel], shapes: Shapes, targets: Sequence[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """The terms of the loss; their sum is minimised.

    Args:
        raw: outputs (N, A, 5 + K, h, w) of each level that has anchors: x y w h, objectness, classes.
        levels: those levels.
        shapes: the anchors of each, (width, height) in pixels of the input.
        targets: of each image ``boxes`` (M, 4), x1 y1 x2 y2 in pixels of the input, and ``labels`` (M,) from 1.

    Returns:
        ``bbox_regression``, ``objectness`` and ``classification``, each a scalar.
    """
    boxes = torch.cat([target["boxes"] for target in targets]).float()  # (M, 4)
    labels = torch.cat([target["labels"] for target in targets]) - 1
    image = torch.cat([labels.new_full((len(target["labels"]),), i) for i, target in enumerate(targets)])
    anchors = [boxes.new_tensor(level) for level in shapes]
    fitting = fitting_anchors(boxes[:, 2:] - boxes[:, :2], torch.cat(anchors))
    fits = torch.split(fitting, [len(own) for own in anchors], 1)
    box_terms, class_terms, objectness = [], [], raw[0].new_zeros((), dtype=torch.float32)
    for output, level, own, fit in zip(raw, levels, anchors, fits, strict=True):
        outputs = output.float().permute(0, 1, 3, 4, 2)  # (N, A, h, w, 5 + K)
        found = assigned(fit, (boxes[:, :2] + boxes[:, 2:]) / 2, outputs.shape[2:4], level)
        rows = outputs[image[found.objects], found.anchors, found.rows, found.columns]  # (P, 5 + K)
        offsets = decode(torch.cat([rows[:, :2], rows[:, 2:4].clamp(_SMALLEST, _LARGEST)], 1), level)
        cells = torch.stack([found.columns, found.rows], 1)
        centre, half = (cells + 0.5) * level.stride + offsets[:, :2], own[found.anchors] * offsets[:, 2:] / 2
        loss = complete_box_iou_loss(torch.cat([centre - half, centre + half], 1), boxes[found.objects])  # (P,), 0..2
        wanted = outputs.new_zeros(outputs.shape[:4])
        # Where two objects are for the same box, it is to say the better overlap.
        place = image[found.objects]
        for index, length in zip(found[1:], wanted.shape[1:], strict=True):
            place = place * length + index
        wanted.view(-1).scatter_reduce_(0, place, (1 - loss.detach()).clamp(min=0), "amax")
        objectness = objectness + F.binary_cross_entropy_with_logits(outputs[..., 4], wanted, reduction="sum")
        classes = labels[found.objects]
        if isinstance(level.yolo, Region):
            class_terms.append(F.cross_entropy(rows[:, 5:], classes, reduction="none"))
        else:
            wanted_scores = F.one_hot(classes, rows.shape[1] - 5).float()
            class_terms.append(F.binary_cross_entropy_with_logits(rows[:, 5:], wanted_scores, reduction="none").sum(1))
        box_terms.append(loss)
    return {
        "bbox_regression": _mean(box_terms),
        "objectness": OBJECTNESS * objectness / len(targets),
        "classification": CLASSIFICATION * _mean(class_terms),
    }


def fitting_anchors(sides: Tensor, anchors: Tensor) -> Tensor:
    """Which anchors are for which objects.

    Args:
        sides: (M, 2) width and height of the objects in pixels.
        anchors: (A, 2) width and height of the anchors in pixels, of all levels.

    Returns:
        bool (M, A); at least one per object.

    Example:
        >>> import torch
        >>> from anchorkit.detectors.yolo_loss import fitting_anchors
        >>> anchors = torch.tensor([[10.0, 10.0], [30.0, 60.0]])
        >>> fitting_anchors(torch.tensor([[12.0, 30.0], [500.0, 400.0]]), anchors)
        tensor([[ True,  True],
                [False,  True]])
    """
    ratio = sides[:, None] / anchors
    apart = torch.maximum(ratio, 1 / ratio).amax(2)  # how many times longer or shorter; the worse of both sides
    return (apart < RATIO) | (apart == apart.amin(1, keepdim=True))


def assigned(fits: Tensor, centres: Tensor, grid: Sequence[int], level: YoloLevel) -> Assigned:
    """The boxes of a level that are for an object.

    Args:
        fits: bool (M, A), which of the level's anchors are for which objects.
        centres: (M, 2) x y of the objects in pixels of the input.
        grid: (height, width) of the level in cells.
        level: the level.
    """
    objects, anchors = fits.nonzero(as_tuple=True)
    places = centres[objects] / level.stride
    last = places.new_tensor([grid[1] - 1, grid[0] - 1])
    cells = places.floor().clamp(min=0).minimum(last)
    within, reach = places - cells, min((level.yolo.scale - 1) / 2, 0.5)  # how far centres go beyond their cell
    before, after = (within < reach) & (cells > 0), (within > 1 - reach) & (cells < last)  # (., 2): x and y
    chosen = torch.stack([torch.ones_like(before[:, 0]), *before.unbind(1), *after.unbind(1)])
    steps = cells.new_tensor([[0, 0], [-1, 0], [0, -1], [1, 0], [0, 1]])
    direction, pair = chosen.nonzero(as_tuple=True)
    columns, rows = (cells[pair] + steps[direction]).long().unbind(1)
    return Assigned(objects[pair], anchors[pair], rows, columns)


def _mean(terms: Sequence[Tensor]) -> Tensor:
    """The mean of all; 0 of none."""
    every = torch.cat(list(terms))
    return every.sum() / max(1, len(every))
