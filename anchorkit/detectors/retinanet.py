"""The RetinaNet family: a feature pyramid, one head for all levels, a sigmoid for each class.

torchvision's `RetinaNet` brings the losses, the matching and the post-processing. It divides its boxes evenly over the
cells of all levels, so the kit has its own anchors, its own head, and its own way through an image in evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.retinanet import RetinaNet

from anchorkit.detectors.anchor_boxes import FreeAnchorBoxes, Shapes
from anchorkit.detectors.families import Blueprint
from anchorkit.detectors.heads import HeadCosts
from anchorkit.detectors.pyramid import PyramidTrunk
from anchorkit.detectors.shared_head import SharedHead
from anchorkit.detectors.torchvision_modules import TorchvisionDetector, postprocess_settings
from anchorkit.detectors.trunks import Trunk, TrunkFacts

PADDED_TO = 32
"""Sides of a batch of images are padded to whole multiples of this many pixels."""


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
    """

    def __init__(self, shapes: Shapes, spacings: Sequence[int]) -> None:
        super().__init__(shapes, offset=0.0)
        self.spacings = tuple(spacings)

    def _tile(
        self, level: int, shapes: Sequence[tuple[float, float]], grid: tuple[int, int], input_size: tuple[int, int]
    ) -> Tensor:
        padded = [math.ceil(side / PADDED_TO) * PADDED_TO for side in input_size]
        strides = [side // math.ceil(side / self.spacings[level]) for side in padded]
        return super()._tile(level, shapes, grid, (grid[0] * strides[0], grid[1] * strides[1]))


def build_retinanet(
    blueprint: Blueprint,
    body: nn.Module,
    maps: Mapping[str, int],
    channels: int,
    boxes: FreeAnchorBoxes,
    *,
    extra_from_output: bool,
    convolutions: int = 4,
    groups: int | None,
    box_loss: str,
    **transform: Any,
) -> TorchvisionDetector:
    """Put a feature pyramid and a shared head on a body.

    Args:
        blueprint: what is built.
        body: see `PyramidTrunk`.
        maps: the path within `body` of the module that makes the map of each of the first levels, and its channels.
        channels: of every level of the pyramid.
        boxes: makes the anchor boxes.
        extra_from_output: see `PyramidTrunk`.
        convolutions: see `SharedHead`.
        groups: see `SharedHead`.
        box_loss: see `SharedHead`.
        transform: how images are resized and normalised, as torchvision's `RetinaNet` takes it.
    """
    size, classes = blueprint.size, len(blueprint.categories)
    trunk = PyramidTrunk(
        IntermediateLayerGetter(body, {path: path for path in maps}),
        list(maps),
        list(maps.values()),
        channels,
        blueprint.family.levels,
        blueprint.used,
        extra_from_output=extra_from_output,
    )
    head = SharedHead(
        channels, blueprint.positions, classes, convolutions=convolutions, groups=groups, box_loss=box_loss
    )
    settings = {"min_size": min(size), "max_size": max(size), **postprocess_settings(blueprint.postprocess)}
    module = FreeAnchorRetinaNet(trunk, head, boxes, classes, **settings, **transform)
    return TorchvisionDetector(blueprint, module, head_costs=_costs, scores_of=torch.sigmoid)


def _costs(head: SharedHead, trunk: TrunkFacts) -> list[HeadCosts]:
    return [head.costs()] * len(trunk.grids)
