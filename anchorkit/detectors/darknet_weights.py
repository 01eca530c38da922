"""darknet's ``.weights`` files: read to the last number or refused, and written.

After a head (three int32: version; images seen, as uint64 since version 0.2, before that as int32) all is float32: for
each convolution in the order of the sections its biases, with batch norm also scales, means and variances, and then its
weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import nn

from anchorkit.detectors.base import Detector
from anchorkit.detectors.darknet import maps_of, sources_of, yolo_levels
from anchorkit.detectors.darknet_cfg import cfg_text
from anchorkit.detectors.darknet_sections import Cfg, Convolution
from anchorkit.detectors.state_dicts import BATCH_NORM_EPSILON, State
from anchorkit.detectors.yolo import YoloDetector
from anchorkit.errors import InputError
from anchorkit.files import replacing, write_text

SUFFIX = ".weights"
VERSION = (0, 2, 5)
_WITH_NORM = ("norm.bias", "norm.weight", "norm.running_mean", "norm.running_var", "conv.weight")


@dataclass(frozen=True)
class _Layer:
    """A convolution: its section, the kit's names of its tensors in the file's order, and the tensors' shapes."""

    section: int
    tensors: tuple[str, ...]
    filters: int
    weight: tuple[int, int, int, int]

    @property
    def numbers(self) -> int:
        return self.filters * (len(self.tensors) - 1) + int(np.prod(self.weight))


def _layers(cfg: Cfg, classes: int) -> Iterator[_Layer]:
    maps, levels = maps_of(cfg), {level.last: index for index, level in enumerate(yolo_levels(cfg))}
    for number, section in enumerate(cfg.sections):
        if not isinstance(section, Convolution):
            continue
        filters, name = section.filters, f"backbone.layers.{number}."
        tensors = [name + tensor for tensor in (_WITH_NORM if section.normalized else ("conv.bias", "conv.weight"))]
        if number in levels:
            name = f"head.levels.{levels[number]}."
            filters = filters // (5 + cfg.sections[number + 1].classes) * (5 + classes)  # type: ignore[attr-defined]
            tensors = [f"{name}bias", f"{name}weight"]
        channels = maps[sources_of(section, number)[0]][0] // section.groups
        yield _Layer(number, tuple(tensors), filters, (filters, channels, section.size, section.size))


def weights_count(cfg: Cfg, classes: int) -> int:
    """How many numbers the ``.weights`` file of a network has.

    Example:
        >>> from anchorkit.detectors.darknet_weights import weights_count
        >>> from anchorkit.detectors.yolo_families import YOLOV4_TINY
        >>> weights_count(YOLOV4_TINY.cfg, classes=80)  # the published file has 4 x 6,062,814 bytes after its head
        6062814
    """
    return sum(layer.numbers for layer in _layers(cfg, classes))


def read_weights(path: Path, cfg: Cfg) -> tuple[State, int]:
    """The tensors of a ``.weights`` file by the kit's names, and for how many object classes they are.

    The file does not say what its numbers are; how many there are says for how many classes they can be.

    Args:
        path: the file.
        cfg: the network that it is for, with any number of classes.

    Raises:
        InputError: the file is missing, cut off, of another network, or has numbers that are not finite.
    """
    numbers, classes, layers = _numbers(path, cfg)
    if not classes:
        raise InputError(
            f"{path}: has the numbers of layers 0 to {layers[-1].section} only; give it as backbone_weights= to begin "
            "a training with them"
        )
    return _state(numbers, layers), classes


def read_trunk(path: Path, cfg: Cfg) -> tuple[State, str]:
    """The tensors of the trunk in a ``.weights`` file, and in words which these are.

    Args:
        path: a whole file, for any number of classes, or one that ends after some whole layers, as those that training
            begins with do (``darknet53.conv.74``).
        cfg: the network that it is for.

    Raises:
        InputError: see `read_weights`.
    """
    numbers, classes, layers = _numbers(path, cfg)
    state = {name: value for name, value in _state(numbers, layers).items() if not name.startswith("head.")}
    return state, f"the trunk of {path}" if classes else f"layers 0 to {layers[-1].section} of {path}"


def is_weights_file(path: Path) -> bool:
    """Whether it is called like a file of darknet's weights: ``yolov4.weights``, or ``yolov4.conv.137`` for a part."""
    return path.suffix == SUFFIX or re.search(r"\.conv\.\d+$", path.name) is not None


def _numbers(path: Path, cfg: Cfg) -> tuple[np.ndarray, int, list[_Layer]]:
    """All numbers of a file, for how many classes they are (0: they are the first layers only), and the layers."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    major, minor = np.frombuffer(data[:8], "<i4") if len(data) >= 8 else (0, 0)
    head = 20 if major * 10 + minor >= 2 else 16
    body = data[head:]
    known = next(level.yolo.classes for level in yolo_levels(cfg))
    count, none = len(body) // 4, weights_count(cfg, 0)
    per_class = weights_count(cfg, 1) - none
    classes, rest = divmod(count - none, per_class)
    layers = list(_layers(cfg, max(0, classes)))
    if classes < 1 or rest:
        ends = accumulate(layer.numbers for layer in _layers(cfg, known))
        first = next((number for number, end in enumerate(ends, 1) if end == count), 0)
        classes, layers = 0, list(_layers(cfg, known))[:first]
    if len(body) % 4 or not layers:
        expected = head + 4 * weights_count(cfg, known)
        raise InputError(
            f"{path}: has {len(data):,} bytes; weights of this network for {known} classes have {expected:,}. The file "
            "is cut off, or of another cfg"
        )
    numbers = np.frombuffer(body, "<f4")
    if not np.isfinite(numbers).all():
        bad = int((~np.isfinite(numbers)).sum())
        raise InputError(f"{path}: {bad:,} of {count:,} numbers are not finite (NaN or infinite); take earlier weights")
    return numbers, int(classes), layers


def _state(numbers: np.ndarray, layers: Iterable[_Layer]) -> State:
    values = torch.from_numpy(numbers.astype(np.float32))
    state, at = {}, 0
    for layer in layers:
        for name in layer.tensors:
            shape = layer.weight if name is layer.tensors[-1] else (layer.filters,)
            size = int(np.prod(shape))
            state[name] = values[at : at + size].reshape(shape)
            at += size
        if len(layer.tensors) == len(_WITH_NORM):
            state[layer.tensors[0].replace("norm.bias", "norm.num_batches_tracked")] = torch.tensor(0)
    return state


def export_darknet(detector: Detector, path: str | Path) -> Path:
    """Write a YOLO of the kit's as darknet's two files: a ``.cfg``, and a ``.weights`` of the same name.

    A detector without some of its anchors has uneven ``mask=``, and no sections that only empty levels need. TensorRT,
    ncnn, OpenCV and DeepStream read these files.

    Args:
        detector: one of a family with a darknet network, with any anchors and channels.
        path: the ``.cfg`` file.

    Returns:
        The ``.cfg`` file.

    Raises:
        InputError: the detector is none of these, or the files cannot be written.

    Example:
        >>> import anchorkit as ak
        >>> from anchorkit.detectors import export_darknet
        >>> detector = ak.load_detector("tiny_yolo", categories=3, seed=0)
        >>> small = ak.prune(detector, detector.layout.configuration(keep=[0, 4, 5]))
        >>> path = export_darknet(small, "small.cfg")
        >>> ak.load_detector(path, weights="small.weights").layout.full.per_level
        (1, 2)
    """
    path = Path(path)
    if not isinstance(detector, YoloDetector):
        raise InputError(f"{path}: {detector.name} is no YOLO with a darknet network; export it as ONNX")
    if path.suffix != ".cfg":
        raise InputError(f"{path}: give a file name that ends in .cfg; the .weights file is written beside it")
    state = detector.module.state_dict()
    for name, norm in detector.module.named_modules():
        if isinstance(norm, nn.BatchNorm2d):  # darknet's have one epsilon, YOLOv5's another
            state[f"{name}.running_var"] = state[f"{name}.running_var"] + (norm.eps - BATCH_NORM_EPSILON)
    tensors = [
        state[name].detach().cpu().numpy().astype("<f4").tobytes()
        for layer in _layers(detector.whole, len(detector.categories))
        for name in layer.tensors
        if name in state
    ]
    with replacing(path.with_suffix(SUFFIX)) as temporary:
        temporary.write_bytes(b"".join([np.array(VERSION, "<i4").tobytes(), bytes(8), *tensors]))
    write_text(path, cfg_text(detector.cfg()))
    return path
