"""The network of a darknet ``.cfg``: a trunk that computes only what the levels with anchors need.

A *level* is a ``[yolo]`` or ``[region]`` section with the convolution before it; levels are counted from the finest.
That convolution belongs to the head, everything before it to the trunk.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anchorkit.detectors.darknet_sections import (
    Attention,
    AveragePool,
    Cfg,
    Convolution,
    Dropout,
    MaxPool,
    Region,
    Reorganize,
    Route,
    ScaleChannels,
    Section,
    Shortcut,
    SpaceToDepth,
    Upsample,
    Yolo,
)
from anchorkit.detectors.trunks import Trunk
from anchorkit.errors import InputError

_ACTIVATIONS: dict[str, Any] = {
    "linear": nn.Identity,
    "leaky": lambda: nn.LeakyReLU(0.1, inplace=True),
    "mish": lambda: nn.Mish(inplace=True),
    "swish": lambda: nn.SiLU(inplace=True),
    "logistic": nn.Sigmoid,
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": lambda: nn.ReLU6(inplace=True),
    "tanh": nn.Tanh,
    "elu": lambda: nn.ELU(inplace=True),
}


@dataclass(frozen=True)
class YoloLevel:
    """Where boxes are made.

    Attributes:
        last: the number of the section of the last convolution; the next section is that of the boxes.
        stride: pixels of the input per cell.
        channels: that the last convolution reads.
        convolution: the section of that number.
        yolo: the section behind it, its anchors in pixels of the input.
    """

    last: int
    stride: int
    channels: int
    convolution: Convolution
    yolo: Yolo


def with_anchors(yolo: Yolo, anchors: Sequence[tuple[float, float]], factor: float) -> Yolo:
    """A section with other anchors; those of a ``[region]`` are multiplied by a factor, as they are in cells."""
    factor = factor if isinstance(yolo, Region) else 1
    return replace(yolo, anchors=tuple((width * factor, height * factor) for width, height in anchors))


def yolo_levels(cfg: Cfg) -> tuple[YoloLevel, ...]:
    """The levels of a network, the finest first.

    Raises:
        InputError: maps do not fit together, or what is before a ``[yolo]`` does not; the message names the line.
    """
    maps = maps_of(cfg)
    levels: list[YoloLevel] = []
    for number, yolo in enumerate(cfg.sections):
        if not isinstance(yolo, Yolo):
            continue
        last = cfg.sections[number - 1] if number > 1 else yolo
        outputs = (5 + yolo.classes) * len(yolo.anchors)
        if not isinstance(last, Convolution) or last.normalized:
            raise _error(yolo, "needs a [convolutional] without batch_normalize before it")
        if levels and type(levels[0].yolo) is not type(yolo):
            raise _error(yolo, f"beside a [{levels[0].yolo.kind}] is not supported")
        if last.filters != outputs:
            raise _error(
                last,
                f"filters={last.filters}: the [{yolo.kind}] behind it needs (5 + {yolo.classes} classes) x "
                f"{len(yolo.anchors)} anchors = {outputs}",
            )
        if last.activation != ("logistic" if yolo.squared else "linear"):
            raise _error(last, f"activation={last.activation} does not go with new_coords={int(yolo.squared)}")
        channels, stride = maps[number - 2]
        if max(last.groups, last.dilation, last.stride) > 1 or stride == float("inf"):
            needed = "groups=1, dilation=1, stride=1 and a map of more than one cell"
            raise _error(last, f"before a [{yolo.kind}] needs {needed}")
        yolo = with_anchors(yolo, yolo.anchors, stride)
        levels.append(YoloLevel(number - 1, int(stride), channels, last, yolo))
    return tuple(sorted(levels, key=lambda level: level.stride))


def decode(rows: Tensor, level: YoloLevel) -> Tensor:
    """Outputs (..., 4) of boxes as how they differ from their anchors.

    Args:
        rows: x y w h, before any activation.
        level: where they are made.

    Returns:
        (..., 4): how far the centre is from the cell's, x y in pixels of the input, and how many times as wide and as
        high as the anchor the box is.
    """
    scale = level.yolo.scale
    centre = (rows[..., :2].sigmoid() * scale - scale / 2) * level.stride
    sides = (2 * rows[..., 2:].sigmoid()) ** 2 if level.yolo.squared else rows[..., 2:].exp()
    return torch.cat([centre, sides], -1)


def maps_of(cfg: Cfg) -> dict[int, tuple[int, float]]:
    """Channels of the map that each section makes, and pixels of the input per cell; the image is -1.

    Raises:
        InputError: maps that are put together do not fit.
    """
    maps: dict[int, tuple[int, float]] = {-1: (3, 1.0)}
    for number, section in enumerate(cfg.sections):
        sources = sources_of(section, number)
        for source in sources:
            if source >= 0 and isinstance(cfg.sections[source], Yolo):
                raise _error(section, f"reads a [{cfg.sections[source].kind}] section; put a [route] before it")
        read = [maps[source] for source in sources]
        channels, stride = read[0]
        match section:
            case Convolution():
                if channels % section.groups or section.filters % section.groups:
                    raise _error(section, f"groups={section.groups} does not divide {channels} and {section.filters}")
                _check_cells(section, 2 * section.padding * section.dilation - section.dilation * (section.size - 1))
                channels, stride = section.filters, stride * section.stride
            case MaxPool():
                _check_cells(section, section.padding - section.size + 1)
                stride *= section.stride
            case Upsample():
                stride /= section.stride
            case Reorganize() | SpaceToDepth():
                if channels % section.stride**2 and isinstance(section, Reorganize):
                    raise _error(section, f"stride={section.stride}: {channels} channels are no multiple of its square")
                channels, stride = channels * section.stride**2, stride * section.stride
            case AveragePool():
                stride = float("inf")
            case Route():
                if any(channels % section.groups for channels, _ in read):
                    raise _error(section, f"groups={section.groups} does not divide the channels of its layers")
                channels = sum(channels // section.groups for channels, _ in read)
                if len({stride for _, stride in read}) > 1:
                    raise _error(section, "its layers have maps of different sizes")
            case Shortcut() | Attention():
                if len(set(read)) > 1:
                    raise _error(section, f"its layers have maps of different sizes or channels ({read[0]}, {read[1]})")
            case ScaleChannels():
                (factors, _), (channels, stride) = read
                if factors != channels:
                    raise _error(section, f"has {factors} factors for {channels} channels")
        maps[number] = (channels, stride)
    return maps


def _check_cells(section: Convolution | MaxPool, margin: int) -> None:
    """Refuse windows that make other cells than those of the map before, or every `stride`-th of them.

    Args:
        section: moves a window over a map.
        margin: by how many cells the padded map is larger than one with as many windows as it has cells.
    """
    if not -section.stride < margin <= 0:
        raise _error(
            section,
            f"size={section.size}, stride={section.stride} and padding={section.padding} (pad=1: size / 2) do not make "
            f"a map of exactly 1/{section.stride} of the one before",
        )


def sources_of(section: Section, number: int) -> tuple[int, ...]:
    """The numbers of the sections whose maps a section reads; -1 is the image."""
    if isinstance(section, Route):
        return section.sources
    if isinstance(section, Shortcut | Attention | ScaleChannels):
        return (number - 1, section.source)
    return (number - 1,)


def _error(section: Section, message: str) -> InputError:
    return InputError(f"line {section.line}: [{section.kind}] {message}")


class DarknetTrunk(Trunk):
    """All sections that the levels with anchors need, by their numbers in the whole network.

    Args:
        cfg: the whole network.
        levels: its levels.
        used: indices of the levels that have anchors.
    """

    def __init__(self, cfg: Cfg, levels: Sequence[YoloLevel], used: Sequence[int]) -> None:
        super().__init__()
        depth = max(used) + 1
        users: dict[int, set[int]] = defaultdict(set)
        for level in range(depth):
            waiting = [levels[level].last - 1]
            while waiting:
                number = waiting.pop()
                if number >= 0 and level not in users[number]:
                    users[number].add(level)
                    waiting += sources_of(cfg.sections[number], number)
        live = [number for number in sorted(users) if not users[number].isdisjoint(used)]
        maps = maps_of(cfg)
        self.layers = nn.ModuleDict()
        self.sources: dict[str, tuple[str, ...]] = {}
        for number in live:
            section, key = cfg.sections[number], str(number)
            sources = sources_of(section, number)
            self.layers[key] = _layer(section, maps[sources[0]][0])
            self.sources[key] = tuple(map(str, sources))
        self.used, self.channels = tuple(used), tuple(level.channels for level in levels)
        self.taps = {str(level): str(levels[level].last - 1) for level in used}
        self.parts = {f"layers.{n}": tuple(sorted(users[n])) for n in live if len(users[n]) < depth}
        self.grid_at = [f"layers.{self._grid(level, levels, maps, live)}" for level in range(depth)]
        # A map is dropped once the last section that reads it has run.
        last = {source: key for key, sources in self.sources.items() for source in sources}
        self.done: dict[str, list[str]] = defaultdict(list)
        for source, key in last.items():
            if source not in self.taps.values():
                self.done[key].append(source)

    def _grid(self, level: int, levels: Sequence[YoloLevel], maps: Any, live: Sequence[int]) -> int:
        """The section whose map has the grid of a level: the one that its head reads, or another of that size."""
        if level in self.used:
            return levels[level].last - 1
        found = [number for number in live if maps[number][1] == levels[level].stride]
        if not found:
            raise InputError(f"nothing that is left has the grid of level {level}; keep an anchor of it")
        return found[-1]

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """See `Trunk`."""
        maps = {"-1": images}
        for key, layer in self.layers.items():
            maps[key] = layer(*[maps[source] for source in self.sources[key]])
            for source in self.done[key]:
                del maps[source]
        return OrderedDict((level, maps[key]) for level, key in self.taps.items())


def _layer(section: Section, channels: int) -> nn.Module:
    """The module of a section; `channels` are those of the map that it reads first."""
    match section:
        case Convolution():
            parts: dict[str, nn.Module] = {
                "conv": nn.Conv2d(
                    channels,
                    section.filters,
                    section.size,
                    section.stride,
                    section.padding * section.dilation,
                    section.dilation,
                    section.groups,
                    bias=not section.normalized,
                )
            }
            if section.normalized:
                parts["norm"] = nn.BatchNorm2d(section.filters)
            return nn.Sequential(OrderedDict(**parts, act=_ACTIVATIONS[section.activation]()))
        case MaxPool():
            return _MaxPool(section.size, section.stride, section.padding)
        case Reorganize() | SpaceToDepth():
            return _Blocks(section.stride, larger=isinstance(section, Reorganize))
        case AveragePool():
            return nn.AdaptiveAvgPool2d(1)
        case Upsample():
            return nn.Upsample(scale_factor=float(section.stride), mode="nearest")
        case Route():
            return _Route(section.groups, section.part)
        case Shortcut():
            return _Sum(section.activation)
        case Attention() | ScaleChannels():
            return _Product()
    assert isinstance(section, Dropout)
    return nn.Identity()


class _MaxPool(nn.Module):
    def __init__(self, size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        before = self.padding // 2
        after = self.padding - before
        if before == after and before <= self.size // 2:
            return F.max_pool2d(x, self.size, self.stride, before)
        if self.size == self.stride and after < self.size:  # such as 2 and 2: only an odd side needs the margin
            return F.max_pool2d(x, self.size, self.stride, ceil_mode=True)
        # A repeated edge never wins against the edge itself, which is in every window that hangs over it.
        return F.max_pool2d(F.pad(x, (before, after, before, after), mode="replicate"), self.size, self.stride)


class _Blocks(nn.Module):
    """See `SpaceToDepth`; `larger` for `Reorganize`."""

    def __init__(self, stride: int, larger: bool) -> None:
        super().__init__()
        self.stride, self.larger = stride, larger

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        step, k = self.stride, self.stride if self.larger else 1
        blocks = x.reshape(n, c // k**2, h * k // step, step, w * k // step, step)
        return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, c * step**2, h // step, w // step)


class _Route(nn.Module):
    def __init__(self, groups: int, part: int) -> None:
        super().__init__()
        self.groups, self.part = groups, part

    def forward(self, *maps: Tensor) -> Tensor:
        parts = [x.chunk(self.groups, 1)[self.part] for x in maps] if self.groups > 1 else list(maps)
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


class _Sum(nn.Module):
    def __init__(self, activation: str) -> None:
        super().__init__()
        self.act = _ACTIVATIONS[activation]()

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        total: Tensor = self.act(x + other)
        return total


class _Product(nn.Module):
    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return x * other
