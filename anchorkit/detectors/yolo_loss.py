"""The loss of the YOLO family: which boxes of the network an object is for, and what they are to say.

As in YOLOv5: an object is for every anchor that is less than four times as large or as small in either direction, in
the cell of its centre and in those neighbours from which its centre can be reached. Boxes are compared by complete IoU
(Zheng et al. 2020, section 3), which is also what objectness is to say.

Unlike there, an object that no anchor fits is for the one that fits best: with few anchors left, it would otherwise be
taught as background. The class is trained for one class too, as the score is objectness times class score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import complete_box_iou_loss

LARGEST_RATIO = 4.0
"""An anchor is for an object if its width and its height are apart from the object's by a factor below this."""
BOX, OBJECTNESS, CLASSES = 0.05, 1.0, 0.5  # YOLOv5's weights of the parts; that of the classes is for 80 of them
BATCH = 16
"""YOLOv5 adds up over the images of a batch, where the kit takes the mean; this many make learning rates alike."""
SIDE, LEVELS = 640, 3  # of the input in pixels, and how many: what those weights were chosen for


@dataclass(frozen=True)
class LossLevel:
    """What the loss needs to know about a level.

    Attributes:
        anchors: (width, height) of its anchors in pixels of the input.
        stride: pixels of the input per cell.
        reach: how far outside its cell the centre of a box can lie, in cells, 0..0.5.
        decode: turns outputs (M, 4) for boxes into how far the centre is from the cell's, x y in pixels, and how many
            times as wide and as high as the anchor the box is.
    """

    anchors: Sequence[tuple[float, float]]
    stride: int
    reach: float
    decode: Callable[[Tensor], Tensor]

    @property
    def weight(self) -> float:
        """Of objectness: finer levels have more cells, and so fewer of them with an object."""
        return {8: 4.0, 16: 1.0, 32: 0.4}.get(self.stride, 4.0 if self.stride < 8 else 0.4)


@dataclass(frozen=True)
class Assigned:
    """Which boxes of a level are for which objects; M pairs, all (M,) int64.

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


def fitting_anchors(sides: Tensor, anchors: Tensor) -> Tensor:
    """Which anchors are for which objects.

    Args:
        sides: (G, 2) width and height of the objects in pixels.
        anchors: (A, 2) width and height of the anchors in pixels, of all levels.

    Returns:
        bool (G, A); at least one per object.

    Example:
        >>> import torch
        >>> from anchorkit.detectors.yolo_loss import fitting_anchors
        >>> anchors = torch.tensor([[10.0, 10.0], [30.0, 60.0]])
        >>> fitting_anchors(torch.tensor([[12.0, 30.0], [500.0, 400.0]]), anchors)
        tensor([[ True,  True],
                [False,  True]])
    """
    ratio = sides[:, None] / anchors
    worst = torch.maximum(ratio, 1 / ratio).amax(2)
    best = F.one_hot(worst.argmin(1), len(anchors)).bool() if len(sides) else worst.bool()
    fits = worst < LARGEST_RATIO
    return fits | (best & ~fits.any(1, keepdim=True))


def assigned(fits: Tensor, centres: Tensor, grid: tuple[int, int], level: LossLevel) -> Assigned:
    """The boxes of a level that are for an object.

    Args:
        fits: bool (G, A), which of the level's anchors are for which objects.
        centres: (G, 2) x y of the objects in pixels of the input.
        grid: (height, width) of the level in cells.
        level: the level.
    """
    objects, anchors = fits.nonzero(as_tuple=True)
    places = centres[objects] / level.stride
    last = places.new_tensor([grid[1] - 1, grid[0] - 1])
    cells = places.floor().clamp(min=torch.zeros_like(last), max=last)
    within = places - cells
    before = (within < level.reach) & (cells > 0)  # (M, 2): near enough to the left and to the upper neighbour
    after = (within > 1 - level.reach) & (cells < last)
    chosen = torch.stack([torch.ones_like(before[:, 0]), before[:, 0], before[:, 1], after[:, 0], after[:, 1]])
    steps = cells.new_tensor([[0, 0], [-1, 0], [0, -1], [1, 0], [0, 1]])
    direction, pair = chosen.nonzero(as_tuple=True)
    columns, rows = (cells[pair] + steps[direction]).long().unbind(1)
    return Assigned(objects[pair], anchors[pair], rows, columns)


def yolo_losses(
    raw: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]], levels: Sequence[LossLevel]
) -> dict[str, Tensor]:
    """The parts of the loss, whose sum is to be made small.

    Args:
        raw: outputs (N, A, 5 + K, h, w) of each level before any activation: x y w h, objectness, classes.
        targets: per image ``boxes`` (G, 4), x1 y1 x2 y2 in pixels of the input, and ``labels`` (G,), counted from 1.
        levels: of each output.

    Returns:
        ``box``, ``objectness`` and ``classes``, each ().
    """
    device = raw[0].device
    image = torch.cat([torch.full((len(target["boxes"]),), n, device=device) for n, target in enumerate(targets)])
    boxes = torch.cat([target["boxes"] for target in targets]).float()
    labels = torch.cat([target["labels"] for target in targets]) - 1
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    shapes = [boxes.new_tensor(list(level.anchors)) for level in levels]
    fits = fitting_anchors(sides, torch.cat(shapes)).split([len(of_level) for of_level in shapes], 1)

    zero = torch.stack([output.sum() * 0 for output in raw]).sum().float()  # where no object is, gradients are 0
    box, objectness, classes = zero, zero, zero
    for output, level, of_level, fit in zip(raw, levels, shapes, fits, strict=True):
        height, width = output.shape[-2:]
        found = assigned(fit, centres, (height, width), level)
        wanted = torch.zeros_like(output[:, :, 4], dtype=torch.float32)
        if len(found.objects):
            where = (image[found.objects], found.anchors, found.rows, found.columns)
            rows = output.permute(0, 1, 3, 4, 2)[where].float()  # (M, 5 + K)
            # A side of exp(8) anchors is wrong enough; exp of more would be infinite.
            offsets = level.decode(rows[:, :4].clamp(max=8))
            cells = torch.stack([found.columns, found.rows], 1)
            centre = (cells + 0.5) * level.stride + offsets[:, :2]
            half = of_level[found.anchors] * offsets[:, 2:] / 2
            predicted = torch.cat([centre - half, centre + half], 1)
            distance = complete_box_iou_loss(predicted, boxes[found.objects])
            box = box + distance.mean()
            # Where two objects want the same box, it is to say the better one's overlap.
            _, anchors, *_ = wanted.shape
            flat = ((where[0] * anchors + where[1]) * height + where[2]) * width + where[3]
            wanted.view(-1).scatter_reduce_(0, flat, (1 - distance).detach().clamp(min=0), "amax")
            truth = F.one_hot(labels[found.objects], rows.shape[1] - 5).to(rows.dtype)
            classes = classes + F.binary_cross_entropy_with_logits(rows[:, 5:], truth) * truth.shape[1] / 80
        area = height * width * level.stride**2 / SIDE**2
        objectness = objectness + level.weight * area * F.binary_cross_entropy_with_logits(
            output[:, :, 4].float(), wanted
        )
    gain = BATCH * LEVELS / len(raw)
    return {"box": BOX * gain * box, "objectness": OBJECTNESS * gain * objectness, "classes": CLASSES * gain * classes}
