"""torchvision's RetinaNets on ResNet-50: `retinanet_resnet50_fpn` (Lin et al. 2017b) and its `_v2` (Zhang et al. 2020).

Levels P3 to P7 with 9 anchors each, two towers of four convolutions of 256 channels (paper section 3.6, Table 4).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from torch import Tensor
from torchvision.models import resnet50
from torchvision.models.detection.anchor_utils import AnchorGenerator

from anchorkit.detectors.base import Detector
from anchorkit.detectors.families import Blueprint, Family
from anchorkit.detectors.retinanet import PaddedAnchorBoxes, build_retinanet
from anchorkit.detectors.state_dicts import State, fill, fill_trunk, thawed
from anchorkit.detectors.torchvision_modules import TorchvisionDetector
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess

SPACINGS = (8, 16, 32, 64, 128)
CHANNELS = 256
MAPS = {"layer2": 512, "layer3": 1024, "layer4": 2048}
COCO_COLUMNS = 91
"""torchvision's detectors for COCO have one score for every category id from 0 (background) to 90."""


def _assemble(blueprint: Blueprint, **differences: Any) -> TorchvisionDetector:
    """See `build_retinanet` for the arguments."""
    boxes = PaddedAnchorBoxes(blueprint.shapes, [SPACINGS[level] for level in blueprint.used])
    return build_retinanet(blueprint, resnet50(), MAPS, CHANNELS, boxes, **differences)


def default_shapes(size: tuple[int, int] | None = None) -> list[list[tuple[float, float]]]:
    """Those of torchvision: sizes 32 to 512 and their thirds of an octave, ratios 1/2, 1 and 2, in whole pixels.

    They are the same at every input size.
    """
    sizes = tuple((side, int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3))) for side in (32, 64, 128, 256, 512))
    generator = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    return [[(x2 - x1, y2 - y1) for x1, y1, x2, y2 in of_level.tolist()] for of_level in generator.cell_anchors]


V1 = Family(
    "retinanet_resnet50_fpn",
    size=(800, 1333),
    sides=(64, 4096),
    levels=len(SPACINGS),
    shapes=default_shapes,
    postprocess=PostProcess(score_threshold=0.05, topk=1000, topk_scope="level", nms_iou=0.5, max_detections=300),
    assemble=lambda blueprint: _assemble(blueprint, extra_from_output=True, groups=None, box_loss="l1"),
    pyramid=True,
)
"""P6 comes from P5's output; the head has no norm, its box loss is L1.

The size of the input is nominal: an image is resized so that its shorter side is the smaller of the two, or its longer
side the larger if that is less, and padded to whole multiples of 32. Costs count an image of this very size without
padding.
"""
V2 = replace(
    V1,
    architecture="retinanet_resnet50_fpn_v2",
    assemble=lambda blueprint: _assemble(blueprint, extra_from_output=False, groups=32, box_loss="giou"),
)
"""P6 comes from the body's last map; the head has group norms, its box loss is that of GIoU."""


def adopt(detector: Detector, state: State) -> None:
    """Take over the weights of torchvision's detector of the same name, in place.

    torchvision counts the background among its classes, as the first: its column of scores is dropped. Of the 91
    columns that it has for COCO, those of the categories' ids are taken. Exactly one column a category are taken as
    they are.

    Args:
        detector: a `retinanet_resnet50_fpn` or `_v2` with all anchors.
        state: torchvision's tensors, in the naming of any of its versions. Batch norms that count no batches are the
            frozen ones of torchvision's COCO weights, which it computes with an epsilon of 0.

    Raises:
        InputError: the columns are not those of the categories, or the state is not that of such a detector.
    """
    found = thawed({_own_name(name): value for name, value in state.items()}, epsilon_zero=True)
    for tensor in ("weight", "bias"):
        name = f"head.classification.output.{tensor}"
        if name in found:
            found[name] = _own_columns(found[name], detector)
    fill(detector, found)


def adopt_imagenet(detector: Detector, state: State) -> None:
    """Take over the body's weights from torchvision's `resnet50` classifier, in place; its last layer is left out.

    Raises:
        InputError: the state is not that of such a classifier.
    """
    body = "backbone.body."
    names = [name for name in detector.module.state_dict() if name.startswith(body)]
    fill_trunk(detector, state, {name: name.removeprefix(body) for name in names})


def _own_name(name: str) -> str:
    """The kit's name of a tensor of torchvision's, in whose older files a convolution has one number only."""
    name = re.sub(r"^backbone\.fpn\.inner_blocks\.(\d)\.(0\.)?", r"backbone.laterals.\1.", name)
    name = re.sub(r"^backbone\.fpn\.layer_blocks\.(\d)\.(0\.)?", r"backbone.outputs.\1.", name)
    name = name.replace("backbone.fpn.extra_blocks.p6.", "backbone.outputs.3.")
    name = name.replace("backbone.fpn.extra_blocks.p7.", "backbone.outputs.4.")
    name = re.sub(r"^head\.(classification|regression)_head\.", r"head.\1.", name)
    # They counted the activations between the convolutions.
    name = re.sub(r"\.conv\.(\d)\.(\w+)$", lambda match: f".conv.{int(match[1]) // 2}.0.{match[2]}", name)
    return name.replace(".conv.", ".tower.").replace(".cls_logits.", ".output.").replace(".bbox_reg.", ".output.")


def _own_columns(filters: Tensor, detector: Detector) -> Tensor:
    """Of torchvision's filters for scores, (9 * columns, ...), those of the detector's categories."""
    by_anchor = filters.reshape(len(default_shapes()[0]), -1, *filters.shape[1:])
    columns, ids = by_anchor.shape[1], [category.id for category in detector.categories]
    if columns == len(ids):
        return filters
    if columns == COCO_COLUMNS and all(1 <= number < columns for number in ids):
        kept = ids
    elif columns == len(ids) + 1:
        kept = list(range(1, columns))
    else:
        raise InputError(
            f"weights for {columns - 1} classes and the background; {len(ids)} categories are asked for"
            + (f", not all with one of COCO's ids, 1 to {columns - 1}" if columns == COCO_COLUMNS else "")
        )
    return by_anchor[:, kept].flatten(0, 1)
