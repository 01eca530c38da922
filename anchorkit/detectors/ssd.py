"""The SSD family: one convolution for scores and one for boxes on every level, a softmax over the classes.

torchvision's `SSD` brings the loss, the matching, the hard-negative mining and the post-processing. Its head and its
anchors can only be regular, so the kit has its own: any number of anchors on any level, the empty level included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.ssd import SSD

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.datasets import Category
from anchorkit.detectors.anchor_boxes import FreeAnchorBoxes, Shapes
from anchorkit.detectors.base import Builder, Detector
from anchorkit.detectors.heads import AnchorHead
from anchorkit.detectors.state_dicts import State, fill
from anchorkit.detectors.torchvision_modules import TorchvisionDetector
from anchorkit.detectors.trunks import Trunk, measure_trunk
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess

NO_LIMIT = 10**9
"""What torchvision takes for no top-k and no cap."""


def build_ssd(
    architecture: str,
    name: str,
    trunk: Trunk,
    shapes: Shapes,
    categories: Sequence[Category],
    size: tuple[int, int],
    postprocess: PostProcess,
    *,
    build: Builder,
    lite: bool = False,
    strides: Sequence[float] | None = None,
    image_mean: Sequence[float] = (0.5, 0.5, 0.5),
    image_std: Sequence[float] = (0.25, 0.25, 0.25),
    options: Mapping[str, Any] | None = None,
) -> TorchvisionDetector:
    """Put a free-anchor SSD head on a trunk.

    Args:
        architecture: name of the family.
        name: the detector's own name.
        trunk: gives the maps of the levels that have anchors.
        shapes: (width, height) in input pixels of each level's anchors.
        categories: object classes.
        size: (height, width) of the input in pixels.
        postprocess: how detections are made; torchvision's top-k is per class.
        build: the builder of the family.
        lite: SSDLite's head.
        strides: distance of neighbouring cells of each level in input pixels; None to tile the input evenly.
        image_mean: of the normalisation, for each channel, 0..1.
        image_std: of the normalisation.
        options: what `build` must be told to build this again.
    """
    scores = len(categories) + 1
    counts = [len(level) for level in shapes]
    module = SSD(
        backbone=trunk,
        anchor_generator=FreeAnchorBoxes(shapes, None if strides is None else [strides[i] for i in trunk.used]),
        size=(size[1], size[0]),
        num_classes=scores,
        head=AnchorHead(trunk.channels, counts, scores, lite),
        image_mean=list(image_mean),
        image_std=list(image_std),
        score_thresh=postprocess.score_threshold,
        nms_thresh=postprocess.nms_iou,
        detections_per_img=postprocess.max_detections or NO_LIMIT,
        topk_candidates=postprocess.topk or NO_LIMIT,
    )
    facts = measure_trunk(trunk, size)
    depthwise = 2 * 9 if lite else 0  # multiply-adds a channel of the two depthwise convolutions
    kernel = 1 if lite else 9
    levels = tuple(
        Level(
            name=f"L{index}",
            height=facts.grids[index][0],
            width=facts.grids[index][1],
            anchors=tuple((float(w), float(h)) for w, h in level_shapes),
            head_macs_fixed=depthwise * channels,
            head_macs_per_anchor=kernel * channels * (scores + 4),
            head_params_fixed=(depthwise + 4) * channels if lite else 0,  # with two numbers a batch norm and channel
            head_params_per_anchor=(kernel * channels + 1) * (scores + 4),
        )
        for index, (level_shapes, channels) in enumerate(zip(shapes, trunk.channels, strict=False))
    )
    layout = AnchorLayout(name, size, levels, shared_head=False, trunk_macs=facts.macs, trunk_parts=facts.parts)
    return TorchvisionDetector(
        architecture, module, layout, categories, postprocess, build=build, scores_of=_softmax, options=options
    )


def _softmax(logits: Tensor) -> Tensor:
    """(N, B, 1 + K) to (N, B, K): the background comes first and is left out."""
    return torch.softmax(logits, -1)[..., 1:]


def adopt_renamed(detector: Detector, state: State, rename: Callable[[str], str]) -> None:
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
