"""Weights that the kit did not save itself: torchvision's published ones, state-dict files, and darknet's.

Nothing is ever unpickled: published files are checked against their hash, and all are read as tensors only.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import get_model_weights

from anchorkit.datasets import Category
from anchorkit.detectors import efficientdet, faster_rcnn, retinanet_resnet50, ssd, ssd300, ssdlite, yolov5, yolov7
from anchorkit.detectors.anchor_boxes import Shapes
from anchorkit.detectors.base import Detector
from anchorkit.detectors.checkpoints import Checkpoint, read_checkpoint
from anchorkit.detectors.darknet_sections import Cfg
from anchorkit.detectors.darknet_weights import is_weights_file, read_trunk, read_weights
from anchorkit.detectors.efficientdet import COCO_IDS
from anchorkit.detectors.state_dicts import (
    State,
    check_finite,
    fill,
    named_in_errors,
    prefix_hint,
    read_state,
    without_prefix,
)
from anchorkit.errors import InputError

STATE_SUFFIXES = (".pth", ".pt", ".safetensors")
TRUNK = "backbone."
"""How the names of a trunk's tensors begin, in every family; all others belong to the head."""

THEIRS = ("head.classification_head.", "class_net.", "roi_heads.", "model.")
"""How names of torchvision's heads, effdet's, YOLOv5's and YOLOv7's begin, and none of the kit's."""


@dataclass(frozen=True)
class Adoption:
    """How a family of detectors takes over weights of the library that it comes from: torchvision, or effdet.

    Attributes:
        classes: how many object classes a state dict is for, whether in the library's naming or the kit's; None if it
            has no head of this family.
        model: the detector of torchvision's whose published weights fit, if there is one.
        adopt: takes over a state dict in the library's naming, in place; None if the library has no such detector.
        classifier: the classifier of torchvision's that a detector's trunk is made from, if there is one.
        adopt_imagenet: takes over the trunk's part of that classifier's state dict, in place.
        pickled: the library's checkpoints are pickles of modules, and are read with stand-ins.
        check_table: refuses the architecture's table in such a checkpoint, if it is of another network.
        options: with which a detector is built for weights in the library's naming.
    """

    classes: Callable[[State], int | None]
    model: str | None
    adopt: Callable[[Detector, State], None] | None
    classifier: Callable[[Detector], str] | None = None
    adopt_imagenet: Callable[[Detector, State], None] | None = None
    pickled: bool = False
    check_table: Callable[[Mapping[str, Any]], None] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def _vgg(detector: Detector) -> str:
    return "vgg16_bn" if detector.options["batch_norm"] else "vgg16"


def _retinanet(model: str) -> Adoption:
    adopt, adopt_imagenet = retinanet_resnet50.adopt, retinanet_resnet50.adopt_imagenet
    return Adoption(_retinanet_classes, model, adopt, lambda detector: "resnet50", adopt_imagenet)


def _retinanet_classes(state: State) -> int | None:
    own = _columns(state, "classification.output", "regression.output")
    if own is not None:
        return own
    theirs = _columns(state, "classification_head.cls_logits", "regression_head.bbox_reg")
    return COCO_IDS if theirs == COCO_IDS + 1 else theirs


def _columns(state: State, scores: str, boxes: str) -> int | None:
    """Scores an anchor, from the biases of the last convolutions of a head."""
    biases = [state.get(f"head.{name}.bias") for name in (scores, boxes)]
    lengths = [len(bias) for bias in biases if bias is not None]
    return 4 * lengths[0] // lengths[1] if len(lengths) == 2 and lengths[1] else None


def _faster_rcnn(model: str) -> Adoption:
    return Adoption(faster_rcnn.classes_of, model, faster_rcnn.adopt)


def _ssdlite(classifier: str, model: str | None = None) -> Adoption:
    adopt = partial(ssd.adopt, rename=ssdlite.own_name) if model else None
    return Adoption(ssd.classes_of, model, adopt, lambda detector: classifier, ssdlite.adopt_imagenet)


_adopt_ssd300 = partial(ssd.adopt, rename=ssd300.own_name)
ADOPT: dict[str, Adoption] = {
    "ssd300_vgg16": Adoption(ssd.classes_of, "ssd300_vgg16", _adopt_ssd300, _vgg, ssd300.adopt_imagenet),
    "ssd300_vgg16_overanchorized": Adoption(ssd.classes_of, None, None, _vgg, ssd300.adopt_imagenet),
    "ssdlite320_mobilenet_v3_large": _ssdlite("mobilenet_v3_large", "ssdlite320_mobilenet_v3_large"),
    "ssdlite300_mobilenet_v2": _ssdlite("mobilenet_v2"),
    "ssdlite300_mobilenet_v3_small": _ssdlite("mobilenet_v3_small"),
    "retinanet_resnet50_fpn": _retinanet("retinanet_resnet50_fpn"),
    "retinanet_resnet50_fpn_v2": _retinanet("retinanet_resnet50_fpn_v2"),
    "fasterrcnn_mobilenet_v3_large_320_fpn": _faster_rcnn("fasterrcnn_mobilenet_v3_large_320_fpn"),
    "fasterrcnn_resnet50_fpn": _faster_rcnn("fasterrcnn_resnet50_fpn"),
    "efficientdet_d0": Adoption(efficientdet.classes_of, None, efficientdet.adopt),
    "efficientdet_d1": Adoption(efficientdet.classes_of, None, efficientdet.adopt),
    "yolov5n": Adoption(yolov5.classes_of, None, yolov5.adopt, pickled=True),
    "yolov5s": Adoption(yolov5.classes_of, None, yolov5.adopt, pickled=True),
    "yolov7_tiny": Adoption(
        yolov5.classes_of,
        None,
        yolov7.adopt,
        pickled=True,
        check_table=yolov7.check_table,
        options={"letterbox": True},
    ),
}
"""The families that take weights of another library's, by architecture."""


@dataclass(frozen=True)
class FoundWeights:
    """Weights that were read but are in no detector yet.

    Attributes:
        source: what errors about them name: a file or a published name.
        state: the tensors.
        categories: the object classes that they are for, or how many; None if that is unknown.
        shapes: the anchors that they were trained with, where the file has them; see `load_detector`.
        options: with which a detector for them is built, unless the caller says otherwise.
    """

    source: str
    state: State
    categories: tuple[Category, ...] | int | None
    shapes: Shapes | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def published_weights(architecture: str) -> tuple[str, ...]:
    """Names of the weights that torchvision publishes for a detector."""
    entry = ADOPT.get(architecture)
    return _names(get_model_weights(entry.model)) if entry and entry.model else ()


def find_weights(architecture: str, weights: str | Path, cfg: Cfg | None = None) -> FoundWeights | None:
    """Read published weights by their name, a state-dict file or one of darknet's; None if `weights` is none of them.

    Args:
        architecture: name of the family.
        weights: see `load_detector`.
        cfg: the family's darknet network, if it has one.

    Raises:
        InputError: the weights cannot be fetched or the file cannot be read, or they have no head of this family.
    """
    if str(weights) in published_weights(architecture):
        model = ADOPT[architecture].model
        assert model is not None
        member: Any = get_model_weights(model)[str(weights)]
        state = _fetch(architecture, "weights", member)
        return FoundWeights(f"{architecture} {weights}", state, _as_categories(member.meta["categories"]))
    path = Path(weights)
    if is_weights_file(path):
        return FoundWeights(str(path), *read_weights(path, _darknets(cfg, architecture, path)))
    if not path.is_file() and path.suffix not in STATE_SUFFIXES:
        return None
    entry = ADOPT.get(architecture)
    if entry is None:
        return FoundWeights(str(path), read_state(path), None)
    if entry.pickled and path.suffix != ".safetensors":
        found = read_checkpoint(path)
        check_finite(found.state, path)
    else:
        found = Checkpoint("", read_state(path))
    count = entry.classes
    with named_in_errors(path):
        state = without_prefix(found.state, lambda bare: count(bare) is not None, path)
        classes = count(state)
        if classes is None:
            some = ", ".join(sorted(state)[:3])
            raise InputError(
                f"not the weights of {architecture}: its {len(state)} tensors ({some} ...) have no such head"
                f"{prefix_hint(state)}"
            )
        if found.names and len(found.names) != classes:
            raise InputError(f"names {len(found.names)} classes, its head has {classes}")
        if found.table is not None and entry.check_table is not None:
            entry.check_table(found.table)
    categories: tuple[Category, ...] | int = classes
    if found.names:
        categories = tuple(Category(number, name) for number, name in enumerate(found.names, 1))
    elif classes == COCO_IDS and not entry.pickled:
        coco: Any = get_model_weights("ssd300_vgg16")["COCO_V1"]
        categories = _as_categories(coco.meta["categories"])
    options = entry.options if _in_their_naming(state) else {}
    return FoundWeights(str(path), state, categories, found.anchors, options)


def _in_their_naming(state: State) -> bool:
    return any(name.startswith(THEIRS) for name in state)


def take_weights(detector: Detector, found: FoundWeights) -> None:
    """Put weights, in the library's naming or the kit's, into a detector of the family they were found for.

    Raises:
        InputError: they do not fit; the message names the tensor or the number of classes, and what is needed.
    """
    entry = ADOPT.get(detector.architecture)
    theirs = _in_their_naming(found.state)
    with named_in_errors(found.source):
        if theirs and entry is not None and entry.adopt is not None:
            entry.adopt(detector, found.state)
            return
        # In the kit's own naming a YOLO may have any number of anchors, and its classes cannot be counted.
        known = None if entry and entry.pickled else entry.classes(found.state) if entry else found.categories
        if known not in (None, len(detector.categories)):
            raise InputError(f"weights for {known} classes; {len(detector.categories)} categories are asked for")
        needed = set(detector.module.state_dict())
        # A name or two may be shared by chance; most of them are not.
        state = without_prefix(found.state, lambda bare: 2 * len(needed & set(bare)) > len(needed), found.source)
        fill(detector, state)


def _darknets(cfg: Cfg | None, architecture: str, path: Path) -> Cfg:
    if cfg is None:
        raise InputError(f"{path}: darknet's weights, and {architecture} is not darknet's; give the .cfg file instead")
    return cfg


def take_trunk(detector: Detector, path: Path, name: str = "", cfg: Cfg | None = None) -> str:
    """Put the trunk of a saved detector into a detector: every tensor that has the same name and shape in both.

    Args:
        detector: whose trunk is overwritten; its head stays as it is.
        path: the ``model.safetensors`` of a saved detector; its classes, anchors and input size may be others. Or
            darknet's weights, all of them or of the first layers.
        name: what the saved detector is called.
        cfg: the detector's darknet network, if it has one.

    Returns:
        In words what was taken, with how many of the trunk's tensors.

    Raises:
        InputError: the file cannot be read, or nothing in it fits.
    """
    if is_weights_file(path):
        state, words = read_trunk(path, _darknets(cfg, detector.architecture, path))
    else:
        state, words = read_state(path), f"the trunk of {name}"
    own = detector.module.state_dict()
    trunk = [name for name in own if name.startswith(TRUNK)]
    fitting = {name: state[name] for name in trunk if name in state and state[name].shape == own[name].shape}
    if not fitting:
        raise InputError(f"{path}: no tensor of it fits the trunk of {detector.name}; leave out backbone_weights")
    detector.module.load_state_dict(own | fitting)
    return f"{words} ({len(fitting)} of {len(trunk)} tensors)"


def take_backbone_weights(detector: Detector, weights: str | Path) -> None:
    """Put the weights of an ImageNet classifier into a detector's trunk.

    The first convolution is scaled so that the trunk sees, in the detector's normalisation of the pixels, what it saw
    in the classifier's; but for the image's border, which both pad with zeros.

    Args:
        detector: whose trunk is overwritten.
        weights: a published name of the classifier's, or a state-dict file of it. A file with the name of a published
            one is taken to have been trained with that one's normalisation, any other with that of IMAGENET1K_V1.

    Raises:
        InputError: the detector has no such trunk, or the weights are unknown, unreadable, or do not fit.
    """
    entry = ADOPT.get(detector.architecture)
    if entry is None or entry.classifier is None or entry.adopt_imagenet is None:
        raise InputError(
            f"{detector.architecture}: backbone_weights: no classifier of torchvision's has its trunk, and "
            f"{str(weights)!r} is neither a shipped nor a saved detector; those with such a trunk: "
            f"{', '.join(name for name, known in ADOPT.items() if known.classifier)}"
        )
    classifier = entry.classifier(detector)
    members: Any = get_model_weights(classifier)
    if str(weights) in _names(members):
        member, source = members[str(weights)], f"{classifier} {weights}"
        state = _fetch(classifier, "backbone_weights", member)
    elif Path(weights).is_file():
        named = [known for known in members if known.url.endswith(f"/{Path(weights).name}")]
        member, source = [*named, members.IMAGENET1K_V1][0], str(weights)
        state = read_state(Path(weights))
    else:
        raise InputError(
            f"unknown backbone_weights {str(weights)!r} of {detector.architecture}: use "
            f"{', '.join(map(repr, _names(members)))}, or a state-dict file of torchvision's {classifier}"
        )
    firsts = {"features.0.weight", "features.0.0.weight", "conv1.weight"}  # VGG, MobileNet, ResNet
    state = without_prefix(state, lambda bare: not firsts.isdisjoint(bare), source)
    with named_in_errors(source):
        entry.adopt_imagenet(detector, state)
    preset = member.transforms()
    _renormalise(detector.module, preset.mean, preset.std)


@torch.no_grad()
def _renormalise(module: Any, mean: Sequence[float], std: Sequence[float]) -> None:
    """Make a trunk that was trained with the given normalisation right for that of the module's transform."""
    theirs_mean, theirs_std = torch.tensor(mean), torch.tensor(std)
    ours_mean, ours_std = torch.tensor(module.transform.image_mean), torch.tensor(module.transform.image_std)
    if torch.equal(ours_mean, theirs_mean) and torch.equal(ours_std, theirs_std):
        return
    layers: list[Any] = [layer for layer in module.backbone.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    first, second = layers[:2]
    shift = (first.weight * ((ours_mean - theirs_mean) / theirs_std).reshape(1, 3, 1, 1)).sum((1, 2, 3))
    first.weight.mul_((ours_std / theirs_std).reshape(1, 3, 1, 1))
    if first.bias is not None:
        first.bias.add_(shift)
    else:
        second.running_mean.sub_(shift)


def _fetch(model: str, argument: str, member: Any) -> State:
    """The state dict of published weights, from torch's cache or from the network."""
    try:
        # Torch prints on standard output what it downloads; that belongs to the caller.
        with contextlib.redirect_stdout(sys.stderr):
            state: State = member.get_state_dict(check_hash=True, weights_only=True, map_location="cpu")
    except Exception as error:  # no network, another hash, a damaged file in the cache: all are mended the same way
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(
            f"{model}: the weights {member.name} could not be fetched ({reason}); where there is no network, give "
            f"{argument}= a local copy of {Path(member.url).name}, from {member.url}"
        ) from None
    return state


def _names(members: Any) -> tuple[str, ...]:
    """Names of published weights, without their aliases."""
    return tuple(member.name for member in members)


def _as_categories(names: Sequence[str]) -> tuple[Category, ...]:
    """Categories of torchvision's columns, whose first is the background; unused ones are called N/A and stay."""
    return tuple(Category(number, name) for number, name in enumerate(names) if number)
