"""The SSD family: one convolution for scores and one for boxes on every level, a softmax over the classes.

torchvision's `SSD` brings the loss, the matching, the hard-negative mining and the post-processing. Its head and its
anchors can only be regular, so the kit has its own: any number of anchors on any level, the empty level included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.ssd import SSD

from anchorkit.detectors.anchor_boxes import FreeAnchorBoxes
from anchorkit.detectors.base import Detector
from anchorkit.detectors.families import Blueprint
from anchorkit.detectors.heads import AnchorHead, HeadCosts
from anchorkit.detectors.state_dicts import State, fill
from anchorkit.detectors.torchvision_modules import TorchvisionDetector, postprocess_settings
from anchorkit.detectors.trunks import Trunk, TrunkFacts
from anchorkit.errors import InputError


def build_ssd(
    blueprint: Blueprint,
    trunk: Trunk,
    *,
    lite: bool = False,
    strides: Sequence[float] | None = None,
    image_mean: Sequence[float] = (0.5, 0.5, 0.5),
    image_std: Sequence[float] = (0.25, 0.25, 0.25),
    options: Mapping[str, Any] | None = None,
) -> TorchvisionDetector:
    """Put a free-anchor SSD head on a trunk.

    Args:
        blueprint: what is built; torchvision's top-k is per class.
        trunk: gives the maps of the levels that have anchors.
        lite: SSDLite's head.
        strides: distance of neighbouring cells of each level in input pixels; None to tile the input evenly.
        image_mean: of the normalisation, for each channel, 0..1.
        image_std: of the normalisation.
        options: the family's options with which this was built.
    """
    shapes, (height, width) = blueprint.shapes, blueprint.size
    scores = len(blueprint.categories) + 1
    module = SSD(
        backbone=trunk,
        anchor_generator=FreeAnchorBoxes(shapes, None if strides is None else [strides[i] for i in trunk.used]),
        size=(width, height),
        num_classes=scores,
        head=AnchorHead(trunk.channels, [len(level) for level in shapes], scores, lite),
        image_mean=list(image_mean),
        image_std=list(image_std),
        **postprocess_settings(blueprint.postprocess),
    )
    costs = partial(_costs, scores=scores, lite=lite)
    return TorchvisionDetector(blueprint, module, head_costs=costs, scores_of=_softmax, options=options)


def _costs(head: AnchorHead, trunk: TrunkFacts, *, scores: int, lite: bool) -> list[HeadCosts]:
    """What the head costs on each level."""
    depthwise = 2 * 9 if lite else 0  # multiply-adds per channel of the two depthwise convolutions
    kernel = 1 if lite else 9
    return [
        HeadCosts(
            head_macs_fixed=depthwise * channels,
            head_macs_per_anchor=kernel * channels * (scores + 4),
            head_params_fixed=(depthwise + 4) * channels if lite else 0,  # with two numbers per batch norm and channel
            head_params_per_anchor=(kernel * channels + 1) * (scores + 4),
        )
        for channels in trunk.channels
    ]


def _softmax(logits: Tensor) -> Tensor:
    """(N, B, 1 + K) to (N, B, K): the background comes first and is left out."""
    return torch.softmax(logits, -1)[..., 1:]


def adopt(detector: Detector, state: State, *, rename: Callable[[str], str]) -> None:
    """Take over the weights of a detector of torchvision's, in place.

    Args:
        detector: whose weights are overwritten.
        state: torchvision's tensors.
        rename: the kit's name of each.

    Raises:
        InputError: the state is for another number of classes, or not that of such a detector.
    """
    classes = classes_of(state)
    if classes != len(detector.categories):
        raise InputError(
            f"weights for {classes} classes and the background; {len(detector.categories)} categories are asked for"
        )
    fill(detector, {rename(name): value for name, value in state.items()})


def trunk_tensors(detector: Detector) -> Iterator[tuple[str, int, int, str]]:
    """The tensors of the first two stages: full name, stage, number of the module within it, name within the module."""
    for name in detector.module.state_dict():
        match = re.fullmatch(r"backbone\.stages\.([01])\.(\d+)\.(.+)", name)
        if match:
            yield name, int(match[1]), int(match[2]), match[3]


def own_head_name(name: str) -> str:
    """The kit's name of a tensor of torchvision's SSD or SSDLite head; other names stay as they are."""
    name = re.sub(r"head\.(classification|regression)_head\.module_list\.", r"head.\1.levels.", name)
    # In SSDLite's head, torchvision numbers the depthwise part 0 and the last convolution 1.
    name = re.sub(r"levels\.(\d+)\.0\.", r"towers.\1.", name)
    return re.sub(r"levels\.(\d+)\.1\.", r"levels.\1.", name)


def classes_of(state: State) -> int | None:
    """How many object classes an SSD's state dict is for, in torchvision's naming or the kit's; None if of no SSD."""
    rows = {own_head_name(name): len(value) for name, value in state.items() if value.ndim}
    for name, boxes in rows.items():
        scores = rows.get(name.replace("regression", "classification"), 0)
        if re.fullmatch(r"head\.regression\.levels\.\d+\.bias", name) and boxes and 4 * scores % boxes == 0:
            return 4 * scores // boxes - 1 if 4 * scores > boxes else None
    return None
