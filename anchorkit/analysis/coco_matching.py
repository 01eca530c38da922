"""COCO's matching in numpy: which detection finds which annotated box at one IoU.

It has the bits of pycocotools: boxes are compared as x y width height in float64, with their roundings.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from anchorkit.evaluation.ground_truth import GroundTruth

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


class Pairs(NamedTuple):
    """Detections and annotated boxes that may belong together, by rising detection.

    Attributes:
        detection: int64 (P,), row of the detection.
        box: int64 (P,), row of the annotated box in the ground truth.
        iou: float64 (P,), 0..1; with a crowd, the share of the detection that lies inside.
    """

    detection: Ints
    box: Ints
    iou: Floats

    def of(self, which: Flags) -> Pairs:
        """Some of the pairs, chosen by a bool (P,)."""
        return Pairs(self.detection[which], self.box[which], self.iou[which])


def pair_up(boxes: Floats, first: Ints, last: Ints, truth: GroundTruth) -> Pairs:
    """Every detection with every annotated box of a range.

    Args:
        boxes: float64 (N, 4), x1 y1 x2 y2 in pixels.
        first: int (N,), first row of the ground truth to pair each detection with.
        last: int (N,), the row after the last one.
        truth: the annotated boxes.

    Example:
        >>> import numpy as np
        >>> from anchorkit.evaluation.ground_truth import read_ground_truth
        >>> objects = [dict(id=x, image_id=1, category_id=1, bbox=[x, 0, 8, 8], area=64) for x in (1, 3)]
        >>> truth = read_ground_truth(dict(images=[dict(id=1)], categories=[dict(id=1)], annotations=objects))
        >>> boxes = np.array([[1.0, 0, 9, 8], [1, 0, 8, 8]])
        >>> pairs = pair_up(boxes, np.array([0, 0]), np.array([2, 2]), truth)
        >>> pairs.iou.round(2).tolist()
        [1.0, 0.6, 0.88, 0.5]
        >>> found, in_crowd = match_greedily(pairs.of(pairs.iou >= 0.6), 2, truth.crowd)
        >>> found.tolist()  # the first box is taken when the second detection comes
        [0, -1]
    """
    count = last - first
    detection = np.repeat(np.arange(len(boxes)), count)
    box = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count - first, count)
    x1, y1 = boxes[:, 0], boxes[:, 1]
    width, height = boxes[:, 2] - x1, boxes[:, 3] - y1
    corners = truth.boxes[:, :2] + truth.boxes[:, 2:]
    # pycocotools adds the width that it was given to x: the sum may differ from x2 in the last bit.
    across = np.minimum((x1 + width)[detection], corners[box, 0]) - np.maximum(x1[detection], truth.boxes[box, 0])
    down = np.minimum((y1 + height)[detection], corners[box, 1]) - np.maximum(y1[detection], truth.boxes[box, 1])
    common = np.maximum(across, 0) * np.maximum(down, 0)
    own = (width * height)[detection]
    whole = np.where(truth.crowd[box], own, own + (truth.boxes[:, 2] * truth.boxes[:, 3])[box] - common)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Pairs(detection, box, np.where(common > 0, common / whole, 0.0))


def match_greedily(pairs: Pairs, n: int, crowd: Flags) -> tuple[Ints, Flags]:
    """The annotated box that each detection finds, by COCO's rule.

    The detections choose one after the other. Each takes, among its pairs whose box is still free, the one with the
    highest IoU (of equal ones the later box); if there is none, a crowd, which any number of detections may share.

    Args:
        pairs: those with enough overlap, of one class each; the better detection has the lower number.
        n: number of detections.
        crowd: bool, which boxes of the ground truth are crowds.

    Returns:
        int64 (n,), row of the box that each detection finds, -1 for none; and bool (n,), which hit a crowd instead.
    """
    found, in_crowd = np.full(n, -1, np.int64), np.zeros(n, bool)
    taken: set[int] = set()
    order = np.lexsort((-pairs.box, -pairs.iou, crowd[pairs.box], pairs.detection))
    for detection, box in zip(pairs.detection[order].tolist(), pairs.box[order].tolist(), strict=True):
        if found[detection] >= 0 or in_crowd[detection] or box in taken:
            continue
        if crowd[box]:
            in_crowd[detection] = True
        else:
            found[detection] = box
            taken.add(box)
    return found, in_crowd
