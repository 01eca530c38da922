"""The RetinaNet family: a feature pyramid, one head for all levels, a sigmoid for each class.

torchvision's `RetinaNet` brings the losses, the matching and the post-processing. It divides its boxes evenly over the
cells of all levels, so the kit has its own anchors, its own head, and its own way through an image in evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.retinanet import RetinaNet

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.datasets import Category
from anchorkit.detectors.anchor_boxes import FreeAnchorBoxes, Shapes
from anchorkit.detectors.base import Builder
from anchorkit.detectors.shared_head import Positions, SharedHead
from anchorkit.detectors.torchvision_modules import TorchvisionDetector
from anchorkit.detectors.trunks import Trunk, measure_trunk
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess

NO_LIMIT = 10**9
"""What torchvision takes for no top-k and no cap."""
FIRST_LEVEL = 3
"""Levels are called by the power of two that their cells are apart: P3 has a cell every 8 pixels."""


class FreeAnchorRetinaNet(RetinaNet):  # type: ignore[misc]
    """torchvision's RetinaNet with any anchors on any level, and labels that count from 1."""

    def __init__(self, trunk: Trunk, head: SharedHead, boxes: FreeAnchorBoxes, classes: int, **settings: Any) -> None:
        super().__init__(trunk, classes, head=head, **settings)
        self.anchor_generator = boxes

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """Losses in training mode, detections in evaluation mode; see `Detector.module`."""
        if self.training:
            if targets is not None:
                targets = [{**target, "labels": target["labels"] - 1} for target in targets]
            return super().forward(images, targets)
        batch, _ = self.transform(images)
        features = list(self.backbone(batch.tensors).values())
        outputs = self.head(features)
        boxes = [
            feature.shape[-2] * feature.shape[-1] * len(shapes)
            for feature, shapes in zip(features, self.anchor_generator.shapes, strict=True)
        ]
        by_level = {name: output.split(boxes, dim=1) for name, output in outputs.items()}
        anchors = [of_image.split(boxes) for of_image in self.anchor_generator(batch, features)]
        detections = self.postprocess_detections(by_level, anchors, batch.image_sizes)
        for found in detections:
            found["labels"] = found["labels"] + 1
        return self.transform.postprocess(detections, batch.image_sizes, [image.shape[-2:] for image in images])


class PaddedAnchorBoxes(FreeAnchorBoxes):
    """Anchor boxes as torchvision's RetinaNet places them on images that are padded to whole multiples of 32 pixels.

    A box is centred on the upper left corner of its cell; cells are the padded side over the number of cells apart,
    rounded down to whole pixels. An input that is not padded, as that of `Detector.network` may be, gets the boxes that
    it would have if it were.

    Args:
        shapes: the anchors of each level that has any.
        spacings: for each of those levels by how much the trunk makes the input smaller.
        multiple: sides are padded to whole multiples of this many pixels.
    """

    def __init__(self, shapes: Shapes, spacings: Sequence[int], multiple: int = 32) -> None:
        super().__init__(shapes, offset=0.0)
        self.spacings = tuple(spacings)
        self.multiple = multiple

    def _tile(
        self, level: int, shapes: Sequence[tuple[float, float]], grid: tuple[int, int], input_size: tuple[int, int]
    ) -> Tensor:
        padded = [math.ceil(side / self.multiple) * self.multiple for side in input_size]
        strides = [side // math.ceil(side / self.spacings[level]) for side in padded]
        return super()._tile(level, shapes, grid, (grid[0] * strides[0], grid[1] * strides[1]))


def build_retinanet(
    architecture: str,
    name: str,
    trunk: Trunk,
    head: SharedHead,
    boxes: FreeAnchorBoxes,
    shapes: Shapes,
    positions: Positions,
    categories: Sequence[Category],
    size: tuple[int, int],
    postprocess: PostProcess,
    *,
    build: Builder,
    **transform: Any,
) -> TorchvisionDetector:
    """Put a shared head on a feature pyramid.

    Args:
        architecture: name of the family.
        name: the detector's own name.
        trunk: gives the maps of the levels that have anchors.
        head: makes their boxes.
        boxes: makes their anchor boxes.
        shapes: (width, height) in input pixels of each level's anchors.
        positions: of each level's anchors; see `checked_positions`.
        categories: object classes.
        size: (height, width) of the input in pixels.
        postprocess: how detections are made; torchvision's top-k is per level.
        build: the builder of the family.
        transform: how images are resized and normalised, as torchvision's `RetinaNet` takes it.

    Raises:
        InputError: the post-processing takes its top-k over something else than a level.
    """
    if postprocess.topk is not None and postprocess.topk_scope != "level":
        raise InputError(
            f"{architecture}: topk_scope is {postprocess.topk_scope!r}; a RetinaNet takes the best of each level: use "
            "'level', or no topk"
        )
    module = FreeAnchorRetinaNet(
        trunk,
        head,
        boxes,
        len(categories),
        score_thresh=postprocess.score_threshold,
        nms_thresh=postprocess.nms_iou,
        detections_per_img=postprocess.max_detections or NO_LIMIT,
        topk_candidates=postprocess.topk or NO_LIMIT,
        **transform,
    )
    facts = measure_trunk(trunk, size)
    levels = tuple(
        Level(
            name=f"P{FIRST_LEVEL + index}",
            height=facts.grids[index][0],
            width=facts.grids[index][1],
            anchors=tuple((float(w), float(h)) for w, h in level_shapes),
            head_macs_fixed=head.macs_fixed,
            head_macs_per_anchor=head.macs_per_anchor,
            head_params_fixed=head.parameters_fixed,
            head_params_per_anchor=head.parameters_per_anchor,
            positions=() if of_level == tuple(range(len(of_level))) else of_level,
        )
        for index, (level_shapes, of_level) in enumerate(zip(shapes, map(tuple, positions), strict=True))
    )
    layout = AnchorLayout(name, size, levels, shared_head=True, trunk_macs=facts.macs, trunk_parts=facts.parts)
    return TorchvisionDetector(
        architecture,
        module,
        layout,
        categories,
        postprocess,
        build=build,
        scores_of=torch.sigmoid,
    )


def checked_positions(positions: Positions | None, shapes: Shapes, detector: str) -> list[tuple[int, ...]]:
    """For each level which of the head's filters make its anchors; by default 0, 1, 2 ... on every level.

    Raises:
        InputError: a level has not one position for each anchor, or one twice, or one below 0.
    """
    if positions is None:
        return [tuple(range(len(level))) for level in shapes]
    # Empty levels at the end are gone from the shapes.
    found = [tuple(int(position) for position in level) for level in positions]
    found += [()] * (len(shapes) - len(found))
    for number, level in enumerate(found):
        anchors = len(shapes[number]) if number < len(shapes) else 0
        if len(level) != anchors or len(set(level)) != anchors or min(level, default=0) < 0:
            raise InputError(
                f"{detector}: positions of level {number} is {list(level)}; one of 0 or more for each of its {anchors} "
                "anchors, all different"
            )
    return found[: len(shapes)]
