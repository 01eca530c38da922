"""`yolov5n` and `yolov5s`: YOLOv5 as it is since release 6.0, and how the weights of its training repository fit.

Their layers are among darknet's, so each is a short description like those of `yolo_families`: CSP stages with three
convolutions (C3), SPPF, PAN, three levels of three anchors. Images keep their aspect, in the middle of a grey input.

A checkpoint of a training of one's own is loaded whole: `load_detector("yolov5n", weights="best.pt")`.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from torch import nn

from anchorkit.detectors.base import Detector
from anchorkit.detectors.darknet_sections import Cfg, Convolution, Shortcut, Upsample
from anchorkit.detectors.families import Blueprint
from anchorkit.detectors.state_dicts import State, fill
from anchorkit.detectors.yolo import POSTPROCESS, YoloDetector, YoloFamily, assembled, yolo_family
from anchorkit.detectors.yolo_families import V3_ANCHORS, Layers
from anchorkit.errors import InputError

NORM_EPSILON, NORM_MOMENTUM = 1e-3, 0.03
_DETECT = "model.24."  # how the names of the repository's last module begin
_FIRST = "model.0.conv.weight"
_OF_WIDTH = {16: "yolov5n", 32: "yolov5s", 48: "yolov5m", 64: "yolov5l", 80: "yolov5x"}  # filters of the first layer


class _Named(Layers):
    """Layers, and the numbers of their convolutions by the names that these have in the repository.

    Args:
        depth: the factor of the numbers of blocks.
        width: the factor of the numbers of filters.
    """

    def __init__(self, depth: float, width: float) -> None:
        super().__init__("swish")
        self.depth, self.width = depth, width
        self.numbers: dict[str, int] = {}

    def filters(self, full: int) -> int:
        """Of the largest network, as many as this one has: a multiple of 8."""
        return math.ceil(full * self.width / 8) * 8

    def one(self, name: str, filters: int, size: int = 1, stride: int = 1) -> int:
        padding = 2 if size == 6 else size // 2  # the first layer was once a rearrangement of pixels
        section = Convolution(filters=filters, size=size, stride=stride, padding=padding, activation=self.activation)
        self.numbers[name] = self.add(section)
        return self.last

    def c3(self, name: str, full: int, blocks: int, shortcuts: bool = True) -> int:
        """A chain of blocks beside a convolution, and one over both."""
        start, filters = self.last, self.filters(full)
        self.one(f"{name}.cv1", filters // 2)
        for number in range(max(round(blocks * self.depth), 1)):
            before = self.last
            self.one(f"{name}.m.{number}.cv1", filters // 2)
            self.one(f"{name}.m.{number}.cv2", filters // 2, size=3)
            if shortcuts:
                self.add(Shortcut(source=before))
        chain = self.last
        self.route(start)
        self.route(chain, self.one(f"{name}.cv2", filters // 2))
        return self.one(f"{name}.cv3", filters)

    def sppf(self, name: str, full: int) -> int:
        """The map, and three times in a row the largest values of windows of 5 cells."""
        maps = [self.one(f"{name}.cv1", self.filters(full) // 2)]
        maps += [self.pool(5, 1) for _ in range(3)]
        self.route(*maps)
        return self.one(f"{name}.cv2", self.filters(full))


def _network(depth: float, width: float) -> tuple[Cfg, dict[str, int]]:
    net = _Named(depth, width)
    net.one("model.0", net.filters(64), size=6, stride=2)
    ends = []
    for number, (full, blocks) in enumerate(((128, 3), (256, 6), (512, 9), (1024, 3))):
        net.one(f"model.{2 * number + 1}", net.filters(full), size=3, stride=2)
        ends.append(net.c3(f"model.{2 * number + 2}", full, blocks))
    net.sppf("model.9", 1024)
    laterals = []
    for number, full, end in ((10, 512, ends[2]), (14, 256, ends[1])):
        laterals.append(net.one(f"model.{number}", net.filters(full)))
        net.route(net.add(Upsample(stride=2)), end)
        net.c3(f"model.{number + 3}", full, 3, shortcuts=False)
    middle = net.last
    for level, full in enumerate((256, 512, 1024)):
        if level:
            net.route(middle)
            net.route(net.one(f"model.{15 + 3 * level}", net.filters(full // 2), size=3, stride=2), laterals[-level])
            net.c3(f"model.{17 + 3 * level}", full, 3, shortcuts=False)
        middle = net.last
        net.yolo(V3_ANCHORS[3 * level : 3 * level + 3], scale=2.0, squared=True)
    return net.cfg(640), net.numbers


def _family(architecture: str, depth: float, width: float) -> YoloFamily:
    family = yolo_family(architecture, _network(depth, width)[0], assemble=_assemble)
    return replace(family, postprocess=replace(POSTPROCESS, nms_iou=0.6), letterbox=True)


def _assemble(blueprint: Blueprint, *, letterbox: bool | None = None) -> YoloDetector:
    detector = assembled(blueprint, letterbox=letterbox)
    for norm in detector.module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps, norm.momentum = NORM_EPSILON, NORM_MOMENTUM
    return detector


YOLOV5N = _family("yolov5n", 0.33, 0.25)
YOLOV5S = _family("yolov5s", 0.33, 0.50)
_NUMBERS = _network(0.33, 1.0)[1]  # those of both: they differ in width only


def classes_of(state: State) -> int | None:
    """How many object classes a state dict is for, in the repository's naming or the kit's; None if it has no head.

    Raises:
        InputError: it is of a YOLOv5 before release 6.0.
    """
    if "model.0.conv.conv.weight" in state:
        raise InputError(
            "of a YOLOv5 before release 6.0 (its first layer is a Focus), which the kit does not build; export it to "
            "ONNX and load that file"
        )
    heads = [name for name in state if re.fullmatch(r"model\.\d+\.m\.0\.bias", name)]
    if heads:
        anchors = state.get(heads[0].replace(".m.0.bias", ".anchors"))
        return None if anchors is None else len(state[heads[0]]) // anchors.shape[1] - 5
    own = state.get("head.levels.0.bias")
    return None if own is None else len(own) // 3 - 5


def adopt(detector: Detector, state: State) -> None:
    """Take over the weights of a YOLOv5 of the training repository, in its naming, in place.

    Raises:
        InputError: they are those of a larger or smaller one, for other classes, or of something else.
    """
    theirs = _OF_WIDTH.get(len(state.get(_FIRST, ())), detector.architecture)
    if theirs != detector.architecture:
        raise InputError(f"weights of {theirs}, not of {detector.architecture}")
    classes = classes_of(state)
    if classes != len(detector.categories):
        raise InputError(f"weights for {classes} classes; {len(detector.categories)} categories are asked for")
    fill(detector, {own_name(name): value for name, value in state.items() if not _beside(name)})


def _beside(name: str) -> bool:
    """Whether a tensor is of the anchors, which a detector of the kit has in its layout."""
    return name in (f"{_DETECT}anchors", f"{_DETECT}anchor_grid")


def own_name(name: str) -> str:
    """The kit's name of a tensor of the repository's; any other name as it is.

    Example:
        >>> from anchorkit.detectors.yolov5 import own_name
        >>> own_name("model.24.m.0.weight"), own_name("model.2.cv1.bn.running_mean")
        ('head.levels.0.weight', 'backbone.layers.2.norm.running_mean')
    """
    if name.startswith(f"{_DETECT}m."):
        return name.replace(f"{_DETECT}m.", "head.levels.")
    module, _, tensor = name.rpartition(".conv.") if ".conv." in name else name.rpartition(".bn.")
    number = _NUMBERS.get(module)
    part = "conv" if ".conv." in name else "norm"
    return name if number is None else f"backbone.layers.{number}.{part}.{tensor}"
