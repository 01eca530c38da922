"""SSDLite (Sandler et al. 2018, Howard et al. 2019): an SSD whose head and extra stages are depthwise separable.

Three trunks of torchvision's: MobileNetV3-Large, as torchvision's own `ssdlite320_mobilenet_v3_large` to the digit,
MobileNetV2 and MobileNetV3-Small (paper sections 2.2 and 3.7). The first level is the expansion before the trunk's last
stride (19 cells a side at 300 pixels), the second the trunk's last map, the others come from four extra stages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torchvision.models import mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small
from torchvision.ops import Conv2dNormActivation

from anchorkit.datasets import Category
from anchorkit.detectors import ssd
from anchorkit.detectors.anchor_boxes import Shapes, checked_shapes, checked_size, ssd_shapes, used_levels
from anchorkit.detectors.base import Builder, Detector
from anchorkit.detectors.state_dicts import State, fill_trunk
from anchorkit.detectors.torchvision_modules import TorchvisionDetector
from anchorkit.detectors.trunks import StagedTrunk
from anchorkit.postprocess import PostProcess

SMALLEST_SIZE, LARGEST_SIZE = 96, 1280
# Side of the square anchor of each level over the input's side; the last is only for the last level's 1+.
SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
LOWEST_SCALE = 0.1
DEFAULT_POSTPROCESS = PostProcess(score_threshold=0.001, topk=300, topk_scope="class", nms_iou=0.55, max_detections=300)
EXTRA_CHANNELS = (512, 256, 256, 128)

# torchvision's SSDLite has these figures in its batch norms; MobileNetV2 has its own.
_norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)


@dataclass(frozen=True)
class _Family:
    """What tells one SSDLite from another.

    Attributes:
        architecture: its name.
        classifier: makes torchvision's classifier whose features are the trunk.
        size: (height, width) of the input in pixels.
        ratios: for each level the ratios above 1.
        few_in_first: give the first level three anchors only: a square of half the scale, and the shapes of ratio 2.
    """

    architecture: str
    classifier: Callable[..., nn.Module]
    size: tuple[int, int]
    ratios: tuple[tuple[float, ...], ...]
    few_in_first: bool = False

    def shapes(self, size: tuple[int, int]) -> list[list[tuple[float, float]]]:
        """The family's anchors at an input of (height, width) pixels."""
        shapes = ssd_shapes(SCALES, self.ratios, size, clip=True)
        if self.few_in_first:
            shapes[0] = [(LOWEST_SCALE * size[1], LOWEST_SCALE * size[0]), *shapes[0][2:4]]
        return shapes


V3_LARGE = _Family(
    "ssdlite320_mobilenet_v3_large", partial(mobilenet_v3_large, norm_layer=_norm), (320, 320), ((2, 3),) * 6
)
V2 = _Family("ssdlite300_mobilenet_v2", mobilenet_v2, (300, 300), ((2, 3),) * 6, few_in_first=True)
V3_SMALL = _Family(
    "ssdlite300_mobilenet_v3_small",
    partial(mobilenet_v3_small, norm_layer=_norm),
    (300, 300),
    ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
)


def build_v3_large(
    categories: Sequence[Category],
    size: tuple[int, int] | None = None,
    shapes: Shapes | None = None,
    postprocess: PostProcess | None = None,
    name: str = V3_LARGE.architecture,
    reduced_tail: bool = True,
) -> TorchvisionDetector:
    """SSDLite with MobileNetV3-Large as torchvision has it, with fresh weights.

    Args:
        categories: object classes.
        size: (height, width) of the input in pixels, 96 to 1280 a side; 320 x 320 by default.
        shapes: (width, height) in input pixels of the anchors of each level, 1 to 6 levels; torchvision's by default,
            six a level.
        postprocess: how detections are made.
        name: the detector's own name.
        reduced_tail: halve the channels of the trunk's last blocks (Howard et al. 2019, table 6), as in the published
            detector. A trunk from ImageNet has them whole.

    Raises:
        InputError: the size or the shapes cannot be built.
    """
    return _build(V3_LARGE, build_v3_large, categories, size, shapes, postprocess, name, {"reduced_tail": reduced_tail})


def build_v2(
    categories: Sequence[Category],
    size: tuple[int, int] | None = None,
    shapes: Shapes | None = None,
    postprocess: PostProcess | None = None,
    name: str = V2.architecture,
) -> TorchvisionDetector:
    """SSDLite with MobileNetV2 (Sandler et al. 2018) and three anchors in the first level (paper section 3.7).

    300 x 300 pixels and six anchors on the other levels by default; arguments as for `build_v3_large`.
    """
    return _build(V2, build_v2, categories, size, shapes, postprocess, name, {})


def build_v3_small(
    categories: Sequence[Category],
    size: tuple[int, int] | None = None,
    shapes: Shapes | None = None,
    postprocess: PostProcess | None = None,
    name: str = V3_SMALL.architecture,
) -> TorchvisionDetector:
    """SSDLite with MobileNetV3-Small and the number of anchors of SSD300: 4, 6, 6, 6, 4 and 4.

    The paper (table 2) does not say which anchors it has; with these, 38.0 % of the multiply-adds are in the head at
    80 classes, where the paper has 37.5 %. 300 x 300 pixels by default; arguments as for `build_v3_large`.
    """
    return _build(V3_SMALL, build_v3_small, categories, size, shapes, postprocess, name, {})


def _build(
    family: _Family,
    builder: Builder,
    categories: Sequence[Category],
    size: tuple[int, int] | None,
    shapes: Shapes | None,
    postprocess: PostProcess | None,
    name: str,
    options: dict[str, bool],
) -> TorchvisionDetector:
    size = checked_size(family.architecture, size or family.size, SMALLEST_SIZE, LARGEST_SIZE)
    shapes = checked_shapes(family.shapes(size) if shapes is None else shapes, family.architecture, len(SCALES) - 1)
    return ssd.build_ssd(
        family.architecture,
        name,
        _trunk(family.classifier(**options), used_levels(shapes), size),
        shapes,
        categories,
        size,
        postprocess or DEFAULT_POSTPROCESS,
        build=builder,
        lite=True,
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.5, 0.5, 0.5),
        options=options,
    )


def _trunk(classifier: Any, used: Sequence[int], size: tuple[int, int]) -> StagedTrunk:
    """The classifier's features in two stages, and four extra ones.

    Modules stand where torchvision's `SSDLiteFeatureExtractorMobileNet` has them, so that its weights have the same
    names.
    """
    blocks = classifier.features
    last = _last_strided(blocks)
    layers = _layers(blocks[last])
    channels = [layers[0].out_channels, blocks[-1].out_channels, *EXTRA_CHANNELS]
    # The stride of the last strided block comes after its expansion, which is the first level.
    stages = [
        nn.Sequential(*blocks[:last], layers[0]),
        nn.Sequential(layers[1:], *blocks[last + 1 :]),
    ]
    for level in range(2, len(channels)):
        # A single cell cannot be halved; see tiny_ssd.
        single = max(size) <= 32 * 2 ** (level - 2)
        stages.append(_extra_stage(channels[level - 1], channels[level], stride=1 if single else 2))
    for stage in stages:
        for module in stage.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.03)
    return StagedTrunk(stages, channels, used)


def _last_strided(blocks: nn.Sequential) -> int:
    """Which of a MobileNet's blocks is the last with a stride; its expansion is the first level."""
    return max(number for number, block in enumerate(blocks) if getattr(block, "_is_cn", False))


def _layers(block: Any) -> Any:
    """The layers of an inverted residual block: expansion, depthwise convolution and so on."""
    return block.block if hasattr(block, "block") else block.conv  # as V3 and V2 call them


def _extra_stage(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    """Half the channels by a 1x1 convolution, a depthwise 3x3 one, and a 1x1 one to all channels."""
    convolution = partial(Conv2dNormActivation, norm_layer=_norm, activation_layer=nn.ReLU6)
    middle = channels_out // 2
    return nn.Sequential(
        convolution(channels_in, middle, kernel_size=1),
        convolution(middle, middle, kernel_size=3, stride=stride, groups=middle),
        convolution(middle, channels_out, kernel_size=1),
    )


def adopt(detector: Detector, state: State) -> None:
    """Take over the weights of torchvision's SSDLite, in place.

    Raises:
        InputError: the state is for another number of classes, or not that of such a detector.
    """
    ssd.adopt_renamed(detector, state, _own_name)


def adopt_imagenet(detector: Detector, state: State) -> None:
    """Take over the features of torchvision's MobileNet classifier, in place; its classifier layers are left out.

    Raises:
        InputError: the state is not that of such a classifier.
    """
    last = len(detector.module.get_submodule("backbone.stages.0")) - 1  # type: ignore[arg-type]
    layers = "conv" if detector.architecture == V2.architecture else "block"
    names = {}
    for name in detector.module.state_dict():
        match = re.fullmatch(r"backbone\.stages\.([01])\.(\d+)\.(.+)", name)
        if match:
            stage, number, rest = int(match[1]), int(match[2]), match[3]
            if stage == 0 and number == last:
                rest = f"{layers}.0.{rest}"
            elif stage == 1 and number == 0:
                rest = f"{layers}.{rest}"
            names[name] = f"features.{stage * last + number}.{rest}"
    fill_trunk(detector, state, names)


def _own_name(name: str) -> str:
    """The kit's name of a tensor of torchvision's."""
    name = name.replace("backbone.features.", "backbone.stages.")
    name = re.sub(r"backbone\.extra\.(\d+)\.", lambda match: f"backbone.stages.{int(match[1]) + 2}.", name)
    return ssd.own_head_name(name)
