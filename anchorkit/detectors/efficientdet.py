"""EfficientDet (Tan et al. 2020) through the optional package `effdet`, whose layers, loss and matching are used as is.

The trunk is an EfficientNet and a stack of BiFPN cells; one head is applied to all levels. Anchors are centred in their
cells; a shape's filters are the same on every level, so that taking a shape off all levels takes its filters out of the
head, and taking it off one level leaves them unused there.

What a level costs beside its boxes: every level of a BiFPN cell feeds every other on the way down, so of the trunk only
the way up of the last cell goes, and of that only what lies behind the last level with anchors. The head's batch norms
are a level's own; those of levels behind the last one with anchors go, those of an empty level before it stay, unused
(768 parameters per level in D0).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from anchorkit.detectors.anchor_boxes import Shapes
from anchorkit.detectors.base import Detector
from anchorkit.detectors.efficientdet_module import LEVELS, BiFpnHead, BiFpnTrunk, EfficientDetModule
from anchorkit.detectors.families import Blueprint, Family
from anchorkit.detectors.heads import HeadCosts
from anchorkit.detectors.state_dicts import State, fill
from anchorkit.detectors.torchvision_modules import TorchvisionDetector
from anchorkit.detectors.trunks import TrunkFacts, measure_trunk
from anchorkit.errors import InputError, MissingExtraError
from anchorkit.postprocess import PostProcess

SIZE_STEP = 128
# effdet's anchors: squares of 4 strides times 2^(0, 1/3, 2/3), and the same stretched, as (width, height).
ANCHOR_SCALE, OCTAVES, RATIOS = 4, 3, ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))
COCO_IDS = 90  # effdet's published weights have a class for each of COCO's ids, ten of which are not used

# effdet's parts, by which of ours has them.
_OWNER = {"backbone": "backbone.", "fpn": "backbone.", "class_net": "head.", "box_net": "head."}
_FACTS: dict[tuple[str, tuple[int, int], int], TrunkFacts] = {}
"""What a trunk costs, by architecture, input size and last level: to count it takes longer than to build it."""


def adopt(detector: Detector, state: State) -> None:
    """Take over the weights of an `effdet.EfficientDet` of the same name, in place.

    Args:
        detector: one of this module, with all anchors.
        state: effdet's tensors, in its naming. Of the 90 classes that it has for COCO, those of the categories' ids are
            taken. Exactly as many classes as categories are taken as they are.

    Raises:
        InputError: the classes are not those of the categories, or the state is not that of such a network.
    """
    found = {_own_name(name): value for name, value in state.items()}
    classes, ids = classes_of(state), [category.id for category in detector.categories]
    if classes is not None and classes != len(ids):
        if classes != COCO_IDS or not all(1 <= number <= COCO_IDS for number in ids):
            of_coco = f", not all with one of COCO's ids, 1 to {COCO_IDS}" if classes == COCO_IDS else ""
            raise InputError(f"weights for {classes} classes; {len(ids)} categories are asked for{of_coco}")
        for tensor in ("weight", "bias"):
            name = f"head.class_net.predict.conv_pw.{tensor}"
            by_anchor = found[name].reshape(-1, classes, *found[name].shape[1:])
            found[name] = by_anchor[:, [number - 1 for number in ids]].flatten(0, 1)
    fill(detector, found)


def _own_name(name: str) -> str:
    return _OWNER.get(name.partition(".")[0], "") + name


def classes_of(state: State) -> int | None:
    """How many object classes a state dict is for, in effdet's naming or the kit's; None if it is of something else."""
    for prefix in ("", "head."):
        nets = [f"{prefix}{net}.predict.conv_pw" for net in ("class_net", "box_net")]
        if all(f"{net}.{tensor}" in state for net in nets for tensor in ("weight", "bias")):
            scores, boxes = (len(state[f"{net}.bias"]) for net in nets)
            return 4 * scores // max(boxes, 1)
    return None


def _assemble(blueprint: Blueprint) -> TorchvisionDetector:
    """An EfficientDet with fresh weights, whose sides are multiples of 128 pixels.

    Images are resized (bilinear, antialiased) to fit the input with their aspect kept, and padded at the right and at
    the bottom with ImageNet's mean colour.

    Raises:
        InputError: the size cannot be built.
        MissingExtraError: `effdet` is not installed.
    """
    name, size = blueprint.family.architecture, blueprint.size
    try:
        from effdet import EfficientDet, get_efficientdet_config
    except ImportError:
        raise MissingExtraError(
            f"{name} needs the package effdet, which is not installed: pip install 'anchorkit[efficientdet]'"
        ) from None
    if any(side % SIZE_STEP for side in size):
        raise InputError(f"{name}: input size {size[0]}x{size[1]}; both must be multiples of {SIZE_STEP}")
    places, scores = blueprint.positions, len(blueprint.categories)
    config = get_efficientdet_config(name)
    config.image_size, config.num_classes = size, scores
    # The head is built with filters for every place that is named, those that are not used are then left out.
    config.num_scales, config.aspect_ratios = 1, [(1.0, 1.0)] * (1 + max(place for level in places for place in level))
    network = EfficientDet(config, pretrained_backbone=False)
    trunk = BiFpnTrunk(network.backbone, network.fpn, config.fpn_channels, blueprint.used)
    head = BiFpnHead(network.class_net, network.box_net, scores, places)
    module = EfficientDetModule(config, trunk, head, blueprint.shapes, size, blueprint.postprocess)

    key = (name, size, max(trunk.used))
    if key not in _FACTS:
        _FACTS[key] = measure_trunk(trunk, size)
    return TorchvisionDetector(blueprint, module, head_costs=_costs, scores_of=torch.sigmoid, trunk_facts=_FACTS[key])


def _costs(head: BiFpnHead, trunk: TrunkFacts) -> list[HeadCosts]:
    """What the head costs on each level."""
    nets = [(getattr(head, name), columns) for name, columns in head.columns.items()]
    # Towers of separable convolutions, and the depthwise half of the last one.
    towers = [tower for net, _ in nets for part in (net.conv_rep, net.predict.conv_dw) for tower in part.parameters()]
    macs = sum(weights.numel() for weights in towers if weights.ndim > 1)
    per_anchor = sum(net.predict.conv_pw.in_channels * columns for net, columns in nets)
    # What the head holds if a level is its last: batch norms for this level and those before it.
    norms = [
        sum(weights.numel() for net, _ in nets for of_level in net.bn_rep for weights in of_level[level].parameters())
        for level in range(len(trunk.grids))
    ]
    return [
        HeadCosts(
            head_macs_fixed=macs,
            head_macs_per_anchor=per_anchor,
            head_params_fixed=sum(weights.numel() for weights in towers) + sum(norms[: index + 1]),
            head_params_per_anchor=per_anchor + sum(head.columns.values()),
        )
        for index in range(len(trunk.grids))
    ]


def _shapes(size: tuple[int, int]) -> Shapes:
    """Nine on each level, P3 to P7, as in effdet; the same at every input size."""
    strides = [2 ** (3 + level) for level in range(LEVELS)]
    sides = [[ANCHOR_SCALE * stride * 2 ** (octave / OCTAVES) for octave in range(OCTAVES)] for stride in strides]
    return [[(side * w, side * h) for side in level for w, h in RATIOS] for level in sides]


D0 = Family(
    "efficientdet_d0",
    size=(512, 512),
    sides=(128, 1536),
    levels=LEVELS,
    shapes=_shapes,
    # effdet's, but for the score threshold: it has none, which only adds detections below this one. With a threshold
    # of 0, an image of 512 x 512 pixels and 90 classes has 4.4 million rows.
    postprocess=PostProcess(score_threshold=0.01, topk=5000, topk_scope="image", nms_iou=0.5, max_detections=100),
    assemble=_assemble,
    pyramid=True,
)
D1 = replace(D0, architecture="efficientdet_d1", size=(640, 640))
"""Wider and deeper than D0."""
