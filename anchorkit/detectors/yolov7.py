"""How checkpoints of YOLOv7's training repository fit `yolov7_tiny`, which is described as darknet has it.

Both have the same convolutions in the same order. The repository puts maps side by side from the last one to the first,
so where darknet does not, the inputs of the next convolution change their order. Its head adds a learned number to each
channel before the last convolution, and multiplies each output by another; both go into that convolution's weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from anchorkit.detectors.base import Detector
from anchorkit.detectors.darknet import maps_of, sources_of
from anchorkit.detectors.darknet_sections import Cfg, Convolution, Route
from anchorkit.detectors.state_dicts import BATCH_NORM_EPSILON, State, fill
from anchorkit.detectors.yolo_families import YOLOV7_TINY
from anchorkit.detectors.yolov5 import NORM_EPSILON, classes_of
from anchorkit.errors import InputError

_TENSOR = re.compile(r"model\.(\d+)\.(conv|bn)\.(\w+)")
_HEAD = re.compile(r"model\.(\d+)\.m\.(\d+)\.weight")


def adopt(detector: Detector, state: State) -> None:
    """Take over the weights of a YOLOv7-tiny of the training repository, in its naming, in place.

    Raises:
        InputError: they are those of another YOLOv7, for other classes, or of something else.
    """
    classes = classes_of(state)
    if classes != len(detector.categories):
        raise InputError(f"weights for {classes} classes; {len(detector.categories)} categories are asked for")
    fill(detector, own_state(state))


def own_state(state: State) -> dict[str, Tensor]:
    """The tensors of a state dict of the repository as those of the kit's `yolov7_tiny`.

    Raises:
        InputError: it has another number of convolutions.
    """
    cfg = YOLOV7_TINY.cfg
    numbers = [n for n, section in enumerate(cfg.sections) if isinstance(section, Convolution) and section.normalized]
    parts = [match for match in map(_TENSOR.fullmatch, state) if match]
    modules = sorted({int(match[1]) for match in parts})
    if len(modules) != len(numbers):
        raise InputError(
            f"{len(modules)} convolutions with a norm, yolov7_tiny has {len(numbers)}: weights of another network; "
            "export it to ONNX and load that file"
        )
    own: dict[str, Tensor] = {}
    for match in parts:
        number, value = numbers[modules.index(int(match[1]))], state[match[0]]
        if match[3] == "running_var":  # the repository's norms have another epsilon
            value = value + (NORM_EPSILON - BATCH_NORM_EPSILON)
        elif match[2] == "conv":
            value = _as_darknet(cfg, number, value)
        own[f"backbone.layers.{number}.{'conv' if match[2] == 'conv' else 'norm'}.{match[3]}"] = value
    for name in state:
        head = _HEAD.fullmatch(name)
        if head is None:
            continue
        weight, bias = state[name], state[name.replace("weight", "bias")]
        added = state.get(f"model.{head[1]}.ia.{head[2]}.implicit", torch.zeros(weight.shape[1]))
        times = state.get(f"model.{head[1]}.im.{head[2]}.implicit", torch.ones(len(weight))).flatten()
        own[f"head.levels.{head[2]}.weight"] = weight * times.reshape(-1, 1, 1, 1)
        own[f"head.levels.{head[2]}.bias"] = (bias + weight.flatten(1) @ added.flatten()) * times
    return own


def _as_darknet(cfg: Cfg, number: int, weight: Tensor) -> Tensor:
    """The weight of a convolution with its inputs in darknet's order of the maps that it reads."""
    [read] = sources_of(cfg.sections[number], number)
    route = cfg.sections[read]
    if not isinstance(route, Route) or len(route.sources) == 1:
        return weight
    maps = maps_of(cfg)
    theirs = sorted(route.sources, reverse=True)
    blocks = dict(zip(theirs, torch.split(weight, [maps[source][0] for source in theirs], 1), strict=True))
    return torch.cat([blocks[source] for source in route.sources], 1)


def check_table(table: Mapping[str, Any]) -> None:
    """Refuse the architecture's table of a network with other activations, which its weights do not show.

    Raises:
        InputError: it is one.
    """
    rows = [row for row in table.get("backbone", ()) if isinstance(row, list) and row[2:3] == ["Conv"]]
    if any("LeakyReLU(0.1)" not in str(row[3]) for row in rows):
        raise InputError(
            "its table has other activations than LeakyReLU(0.1), which yolov7_tiny has; export it to ONNX and load "
            "that file"
        )
