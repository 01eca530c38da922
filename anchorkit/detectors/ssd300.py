"""SSD300 with VGG-16 (Liu et al. 2016), as torchvision has it, to the digit: the detector of the anchor-pruning paper.

Six levels of 38, 19, 10, 5, 3 and 1 cells a side at 300 x 300 pixels, with 4, 6, 6, 6, 4 and 4 anchors: 8732 boxes. The
trunk's stages are torchvision's, so that its published weights fit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from anchorkit.detectors import ssd
from anchorkit.detectors.anchor_boxes import ssd_shapes
from anchorkit.detectors.base import Detector
from anchorkit.detectors.families import Blueprint, Family
from anchorkit.detectors.state_dicts import State, fill_trunk
from anchorkit.detectors.torchvision_modules import TorchvisionDetector
from anchorkit.detectors.trunks import StagedTrunk
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess

# The shortest side at which a level still has a cell: the last two levels lose a cell at every border.
SMALLEST_SIDE = (32, 32, 32, 32, 140, 268)
# Side of the square anchor of each level over the input's side; the last is only for the last level's 1+.
SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
# Liu et al. place the anchors at these steps at 300 x 300; at other sizes they tile the input evenly.
STEPS = (8, 16, 32, 64, 100, 300)
CHANNELS = (512, 1024, 512, 256, 256, 256)
# The trunk was trained on pixels of 0..255 less their mean.
IMAGE_MEAN, IMAGE_STD = (0.48235, 0.45882, 0.40784), (1 / 255,) * 3


def _assemble(blueprint: Blueprint, width: float = 1.0, batch_norm: bool = False) -> TorchvisionDetector:
    """An SSD300 with fresh weights. Six levels need an input of 268 pixels a side, five 140, four or fewer 32.

    Args:
        blueprint: what is common to all families.
        width: multiplies the number of channels of every convolution of the trunk, above 0 to 1: a quarter makes it
            about 16 times cheaper, so that it can be trained on a CPU.
        batch_norm: batch norm after every convolution of the trunk. SSD300 has none, because its trunk starts from
            ImageNet's weights; where it does not, as at a smaller width, batch norm is what keeps the features of so
            deep a chain of convolutions in bounds, and so lets it be trained from scratch.

    Raises:
        InputError: the width is out of range, or nothing is left of a level that has anchors.
    """
    name, size, last = blueprint.family.architecture, blueprint.size, blueprint.used[-1]
    if isinstance(width, bool) or not isinstance(width, int | float) or not 0 < width <= 1:
        raise InputError(f"{name}: width is {width!r}; a number above 0, at most 1, is needed")
    if min(size) < SMALLEST_SIDE[last]:
        raise InputError(
            f"{name}: at input size {size[0]}x{size[1]} nothing is left of level {last}; it needs "
            f"{SMALLEST_SIDE[last]} pixels a side, or shapes that stop at an earlier level"
        )
    return ssd.build_ssd(
        blueprint,
        _trunk(blueprint.used, width, batch_norm),
        strides=STEPS if size == blueprint.family.size else None,
        image_mean=IMAGE_MEAN,
        image_std=IMAGE_STD,
        options={"width": width, "batch_norm": batch_norm},
    )


SSD300 = Family(
    "ssd300_vgg16",
    size=(300, 300),
    sides=(32, 1024),
    levels=len(CHANNELS),
    shapes=partial(ssd_shapes, SCALES, RATIOS, clip=True),
    postprocess=PostProcess(score_threshold=0.01, topk=400, topk_scope="class", nms_iou=0.45, max_detections=200),
    assemble=_assemble,
)
OVERANCHORIZED = replace(
    SSD300,
    architecture="ssd300_vgg16_overanchorized",
    shapes=partial(ssd_shapes, SCALES, RATIOS, larger_ratios=True, clip=True),
)
"""An SSD300 with far more anchors than it needs, for the search to choose from (paper section 3.5).

48 anchors, 6, 10, 10, 10, 6 and 6 on the levels, 13584 boxes: those of `ssd300_vgg16`, and the same ratios of the
larger scale.
"""


class ScaledNormalisation(nn.Module):
    """Divides each cell's features by their L2 norm and scales each channel by a learnt number, 20 at first.

    Liu et al. 2016, section 3.1: the features of conv4_3 are larger than those of the other levels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 20.0))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) in and out."""
        return self.weight.reshape(1, -1, 1, 1) * F.normalize(x)


def _trunk(used: Sequence[int], width: float, batch_norm: bool) -> StagedTrunk:
    """VGG-16 up to conv4_3; the rest of it with fc6 and fc7 as convolutions; four further stages.

    Modules stand where torchvision's `SSDFeatureExtractorVGG` has them, so that its weights have the same names.
    """

    def scaled(channels: int) -> int:
        return max(1, round(channels * width))

    plan: list[str | int] = [entry if isinstance(entry, str) else scaled(entry) for entry in cfgs["D"]]
    vgg: Any = make_layers(plan, batch_norm=batch_norm)
    for module in vgg.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    pools = [number for number, module in enumerate(vgg) if isinstance(module, nn.MaxPool2d)]
    vgg[pools[2]].ceil_mode = True  # 38 cells a side at 300 pixels, not 37
    c = [scaled(channels) for channels in CHANNELS]

    def convolution(channels_in: int, channels_out: int, kernel: int, **how: int) -> list[nn.Module]:
        layer: Any = nn.Conv2d(channels_in, channels_out, kernel, **how)  # type: ignore[arg-type]
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
        return [layer, *([nn.BatchNorm2d(channels_out)] if batch_norm else []), nn.ReLU(inplace=True)]

    fc = nn.Sequential(
        nn.MaxPool2d(3, stride=1, padding=1),
        *convolution(c[0], c[1], 3, padding=6, dilation=6),
        *convolution(c[1], c[1], 1),
    )
    stages = [vgg[: pools[3]], nn.Sequential(*vgg[pools[3] : pools[4]], fc)]
    for level, how in ((2, {"stride": 2, "padding": 1}), (3, {"stride": 2, "padding": 1}), (4, {}), (5, {})):
        middle = scaled(256 if level == 2 else 128)
        stages.append(nn.Sequential(*convolution(c[level - 1], middle, 1), *convolution(middle, c[level], 3, **how)))
    return StagedTrunk(stages, c, used, taps={0: ScaledNormalisation(c[0])})


def adopt_imagenet(detector: Detector, state: State) -> None:
    """Take over the convolutions from torchvision's `vgg16` classifier (`vgg16_bn` with batch norm), in place.

    Its fully connected layers are left out, as in torchvision.

    Raises:
        InputError: the state is not that of such a classifier.
    """
    first = len(detector.module.get_submodule("backbone.stages.0"))  # type: ignore[arg-type]
    names = {
        name: f"features.{stage * first + number}.{rest}"
        for name, stage, number, rest in ssd.trunk_tensors(detector)
        if "." not in rest  # fc6 and fc7 are nested
    }
    fill_trunk(detector, state, names)


def own_name(name: str) -> str:
    """The kit's name of a tensor of torchvision's."""
    name = name.replace("backbone.scale_weight", "backbone.taps.0.weight")
    name = name.replace("backbone.features.", "backbone.stages.0.")
    name = re.sub(r"backbone\.extra\.(\d+)\.", lambda match: f"backbone.stages.{int(match[1]) + 1}.", name)
    return ssd.own_head_name(name)
