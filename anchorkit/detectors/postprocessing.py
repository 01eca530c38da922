"""From a network's scores and boxes to detections, in torch: what YOLO and EfficientDet do and what is timed.

It follows `PostProcess` to the letter, so its detections are those of the kit's evaluator. Written for speed in the way
an application would: everything at or below the score threshold goes first, nothing loops over classes, and
torchvision's `batched_nms` does the NMS.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from anchorkit.anchors import AnchorLayout
from anchorkit.detectors.base import boxes_by_anchor
from anchorkit.postprocess import PostProcess


@dataclass(frozen=True, eq=False)
class Detections:
    """What is left of one image, best score first.

    Attributes:
        row: int64 (D,), which of the network's boxes each detection is.
        boxes: (D, 4), x1 y1 x2 y2 in input pixels.
        scores: (D,), 0..1.
        labels: int64 (D,), index of the class among the detector's categories.
        reached_nms: how many rows (box, class) were left for NMS after the threshold and the top-k.
    """

    row: Tensor
    boxes: Tensor
    scores: Tensor
    labels: Tensor
    reached_nms: int


def level_of_boxes(layout: AnchorLayout, device: torch.device | None = None) -> Tensor:
    """int64 (B,): the level of every box of a network, in the network's order."""
    level_of_anchor = torch.tensor([anchor.level for anchor in layout.anchors], dtype=torch.int64)
    return level_of_anchor[torch.from_numpy(boxes_by_anchor(layout)).long()].to(device)


def detect(scores: Tensor, boxes: Tensor, levels: Tensor, postprocess: PostProcess) -> Detections:
    """Detections of one image: score threshold, top-k, NMS per class, cap.

    Args:
        scores: (B, K), 0..1.
        boxes: (B, 4), x1 y1 x2 y2 in pixels.
        levels: int64 (B,), see `level_of_boxes`.
        postprocess: the steps.
    """
    row, label = (scores > postprocess.score_threshold).nonzero(as_tuple=True)  # box by box, class by class
    # Stable: of equal scores the earlier row stays first.
    score, order = scores[row, label].sort(descending=True, stable=True)
    row, label = row[order], label[order]
    if postprocess.topk is not None:
        if postprocess.topk_scope == "image":
            best = torch.arange(min(postprocess.topk, len(row)), device=row.device)
        else:
            best = _best_of_each(label if postprocess.topk_scope == "class" else levels[row], postprocess.topk)
        row, label, score = row[best], label[best], score[best]
    box = boxes[row]
    # Rows are sorted by score, so rising positions are falling scores, in the right order of ties too.
    kept = batched_nms(box, score, label, postprocess.nms_iou).sort()[0][: postprocess.max_detections]
    return Detections(row[kept], box[kept], score[kept], label[kept], reached_nms=len(row))


def _best_of_each(group: Tensor, topk: int) -> Tensor:
    """Positions, rising, of the first `topk` of each group; `group` is int64 (n,), best first."""
    grouped, position = group.sort(stable=True)
    size = torch.bincount(grouped)
    first = size.cumsum(0) - size
    rank = torch.arange(len(grouped), device=group.device) - first[grouped]
    return position[rank < topk].sort()[0]
