"""`tiny_retinanet`: a small RetinaNet that a laptop trains in minutes.

It mirrors RetinaNet in small: a feature pyramid, nine anchors on each of its levels P3 to P6 (three sizes a third of an
octave apart, ratios 1/2, 1 and 2), one head with two towers for all of them. The head takes about half of the
multiply-adds, as in RetinaNet at 300 pixels: about 0.5 M parameters and 0.14 G multiply-adds at 160 x 160 pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import nn
from torchvision.ops import Conv2dNormActivation

from anchorkit.detectors.anchor_boxes import FreeAnchorBoxes, Shapes
from anchorkit.detectors.families import Blueprint, Family
from anchorkit.detectors.retinanet import build_retinanet
from anchorkit.detectors.tiny_ssd import Residual
from anchorkit.detectors.torchvision_modules import TorchvisionDetector
from anchorkit.postprocess import PostProcess

# Side of the smallest square anchor of each level over the input's side.
SCALES = (0.09, 0.18, 0.36, 0.72)
OCTAVES = (1, 2 ** (1 / 3), 2 ** (2 / 3))
RATIOS = (0.5, 1, 2)  # height over width
CHANNELS = 48


def _assemble(blueprint: Blueprint) -> TorchvisionDetector:
    height, width = blueprint.size
    return build_retinanet(
        blueprint,
        _body(),
        {"stage3": 48, "stage4": 64, "stage5": 64},
        CHANNELS,
        FreeAnchorBoxes(blueprint.shapes),
        extra_from_output=False,
        convolutions=2,
        groups=8,
        box_loss="giou",
        fixed_size=(width, height),
        size_divisible=1,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.25, 0.25, 0.25],
    )


def _shapes(size: tuple[int, int]) -> Shapes:
    height, width = size
    return [
        [
            (round(scale * octave / ratio**0.5 * width, 2), round(scale * octave * ratio**0.5 * height, 2))
            for ratio in RATIOS
            for octave in OCTAVES
        ]
        for scale in SCALES
    ]


TINY_RETINANET = Family(
    "tiny_retinanet",
    size=(160, 160),
    sides=(96, 512),
    levels=len(SCALES),
    shapes=_shapes,
    postprocess=PostProcess(score_threshold=0.02, topk=1000, topk_scope="level", nms_iou=0.5, max_detections=100),
    assemble=_assemble,
    pyramid=True,
)


def _body() -> nn.Sequential:
    """Residual stages; the first map has an eighth of the image's side, each other one half of the one before."""
    halving = partial(Conv2dNormActivation, stride=2)
    return nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(halving(3, 16), halving(16, 24), Residual(24)),
            stage3=nn.Sequential(halving(24, 48), Residual(48)),
            stage4=nn.Sequential(halving(48, 64), Residual(64)),
            stage5=nn.Sequential(halving(64, 64), Residual(64)),
        )
    )
