"""SSDLite (Sandler et al. 2018, Howard et al. 2019): an SSD whose head and extra stages are depthwise separable.

Three trunks of torchvision's: MobileNetV3-Large, as torchvision's own `ssdlite320_mobilenet_v3_large` to the digit,
MobileNetV2 and MobileNetV3-Small (paper sections 2.2 and 3.7). The first level is the expansion before the trunk's last
stride (19 cells a side at 300 pixels), the second the trunk's last map, the others come from four extra stages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn
from torchvision.models import mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small
from torchvision.ops import Conv2dNormActivation

from anchorkit.detectors import ssd
from anchorkit.detectors.anchor_boxes import Shapes, ssd_shapes
from anchorkit.detectors.base import Detector
from anchorkit.detectors.families import Blueprint, Family
from anchorkit.detectors.heads import LITE_NORM
from anchorkit.detectors.state_dicts import State, fill_trunk
from anchorkit.detectors.torchvision_modules import TorchvisionDetector
from anchorkit.detectors.trunks import StagedTrunk
from anchorkit.postprocess import PostProcess

# Side of the square anchor of each level over the input's side; the last is only for the last level's 1+.
SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
LOWEST_SCALE = 0.1
EXTRA_CHANNELS = (512, 256, 256, 128)


def _assemble(blueprint: Blueprint, classifier: Callable[..., nn.Module], **options: bool) -> TorchvisionDetector:
    """An SSDLite on the features of torchvision's `classifier`, which takes the options."""
    trunk = _trunk(classifier(**options), blueprint.used, blueprint.size)
    return ssd.build_ssd(blueprint, trunk, lite=True, image_std=(0.5, 0.5, 0.5), options=options)


def _assemble_v3_large(blueprint: Blueprint, reduced_tail: bool = True) -> TorchvisionDetector:
    """SSDLite with MobileNetV3-Large as torchvision has it, with fresh weights.

    Args:
        blueprint: what is common to all families.
        reduced_tail: halve the channels of the trunk's last blocks (Howard et al. 2019, table 6), as in the published
            detector. A trunk from ImageNet has them whole.
    """
    return _assemble(blueprint, partial(mobilenet_v3_large, norm_layer=LITE_NORM), reduced_tail=reduced_tail)


def _three_in_first(size: tuple[int, int]) -> Shapes:
    """Six anchors a level; in the first level a square of half the scale, and the shapes of ratio 2."""
    first, *others = ssd_shapes(SCALES, ((2, 3),) * 6, size, clip=True)
    return [[(LOWEST_SCALE * size[1], LOWEST_SCALE * size[0]), *first[2:4]], *others]


V3_LARGE = Family(
    "ssdlite320_mobilenet_v3_large",
    size=(320, 320),
    sides=(96, 1280),
    levels=len(SCALES) - 1,
    shapes=partial(ssd_shapes, SCALES, ((2, 3),) * 6, clip=True),
    postprocess=PostProcess(score_threshold=0.001, topk=300, topk_scope="class", nms_iou=0.55, max_detections=300),
    assemble=_assemble_v3_large,
)
"""As torchvision's, with six anchors on each level."""
V2 = replace(
    V3_LARGE,
    architecture="ssdlite300_mobilenet_v2",
    size=(300, 300),
    shapes=_three_in_first,
    assemble=lambda blueprint: _assemble(blueprint, mobilenet_v2),  # whose batch norms are its own
)
"""With MobileNetV2 (Sandler et al. 2018): three anchors on the first level, six on the others (paper section 3.7)."""
V3_SMALL = replace(
    V3_LARGE,
    architecture="ssdlite300_mobilenet_v3_small",
    size=(300, 300),
    shapes=partial(ssd_shapes, SCALES, ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)), clip=True),
    assemble=lambda blueprint: _assemble(blueprint, partial(mobilenet_v3_small, norm_layer=LITE_NORM)),
)
"""With MobileNetV3-Small and the number of anchors of SSD300: 4, 6, 6, 6, 4 and 4.

The paper (table 2) does not say which anchors it has; with these, 38.0 % of the multiply-adds are in the head at 80
classes, where the paper has 37.5 %.
"""


def _trunk(classifier: Any, used: Sequence[int], size: tuple[int, int]) -> StagedTrunk:
    """The classifier's features in two stages, and four extra ones.

    Modules stand where torchvision's `SSDLiteFeatureExtractorMobileNet` has them, so that its weights have the same
    names.
    """
    blocks = classifier.features
    last = max(number for number, block in enumerate(blocks) if getattr(block, "_is_cn", False))
    # The layers of an inverted residual block, as V3 and V2 call them: expansion, depthwise convolution and so on.
    layers = blocks[last].block if hasattr(blocks[last], "block") else blocks[last].conv
    channels = [layers[0].out_channels, blocks[-1].out_channels, *EXTRA_CHANNELS]
    # The stride of the last strided block comes after its expansion, which is the first level.
    stages = [nn.Sequential(*blocks[:last], layers[0]), nn.Sequential(layers[1:], *blocks[last + 1 :])]
    for level in range(2, len(channels)):
        # A single cell cannot be halved; see tiny_ssd.
        single = max(size) <= 32 * 2 ** (level - 2)
        stages.append(_extra_stage(channels[level - 1], channels[level], stride=1 if single else 2))
    for module in nn.ModuleList(stages).modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.03)
    return StagedTrunk(stages, channels, used)


def _extra_stage(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """Half the channels by a 1x1 convolution, a depthwise 3x3 one, and a 1x1 one to all channels."""
    convolution = partial(Conv2dNormActivation, norm_layer=LITE_NORM, activation_layer=nn.ReLU6)
    middle = channels_out // 2
    return nn.Sequential(
        convolution(channels_in, middle, kernel_size=1),
        convolution(middle, middle, kernel_size=3, stride=stride, groups=middle),
        convolution(middle, channels_out, kernel_size=1),
    )


def adopt_imagenet(detector: Detector, state: State) -> None:
    """Take over the features of torchvision's MobileNet classifier, in place; its classifier layers are left out.

    Raises:
        InputError: the state is not that of such a classifier.
    """
    last = len(detector.module.get_submodule("backbone.stages.0")) - 1  # type: ignore[arg-type]
    layers = "conv" if detector.architecture == V2.architecture else "block"
    names = {}
    for name, stage, number, rest in ssd.trunk_tensors(detector):
        if (stage, number) == (0, last):
            rest = f"{layers}.0.{rest}"
        elif (stage, number) == (1, 0):
            rest = f"{layers}.{rest}"
        names[name] = f"features.{stage * last + number}.{rest}"
    fill_trunk(detector, state, names)


def own_name(name: str) -> str:
    """The kit's name of a tensor of torchvision's."""
    name = name.replace("backbone.features.", "backbone.stages.")
    name = re.sub(r"backbone\.extra\.(\d+)\.", lambda match: f"backbone.stages.{int(match[1]) + 2}.", name)
    return ssd.own_head_name(name)
