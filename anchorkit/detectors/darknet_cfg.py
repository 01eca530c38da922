"""darknet's ``.cfg`` files: read into sections, and written.

A section is a layer; layers count from 0. References to other layers, which a file may write relative to the layer
(``-1`` is the one before) or absolute, are absolute here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from anchorkit.errors import InputError
from anchorkit.files import read_text
from anchorkit.suggest import did_you_mean

Settings = tuple[tuple[str, str], ...]
ACTIVATIONS = ("linear", "leaky", "mish", "swish", "logistic", "relu", "relu6", "tanh", "elu")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A layer.

    Attributes:
        line: of the file it was read from; 0 for none.
        other: settings that do not change what the layer computes, such as those of training, as they are written.
    """

    kind: ClassVar[str]
    line: int = field(default=0, compare=False)
    other: Settings = ()


@dataclass(frozen=True)
class Convolution(Section):
    """A convolution; `padding` is in pixels on each side, times `dilation`; `normalized`: it has batch norm."""

    kind = "convolutional"
    filters: int
    size: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    dilation: int = 1
    normalized: bool = True
    activation: str = "leaky"


@dataclass(frozen=True)
class MaxPool(Section):
    """The largest value of each window; `padding` is the sum of both sides, the larger half of it right and below."""

    kind = "maxpool"
    size: int
    stride: int
    padding: int


@dataclass(frozen=True)
class AveragePool(Section):
    """The mean of each channel."""

    kind = "avgpool"


@dataclass(frozen=True)
class Upsample(Section):
    """Each cell repeated `stride` times in both directions."""

    kind = "upsample"
    stride: int


@dataclass(frozen=True)
class Dropout(Section):
    """Nothing, once a network is trained; a training of the kit's leaves it out too."""

    kind = "dropout"


@dataclass(frozen=True)
class Route(Section):
    """The maps of some layers side by side; of each, the part `part` of `groups` equal parts of its channels."""

    kind = "route"
    sources: tuple[int, ...]
    groups: int = 1
    part: int = 0


@dataclass(frozen=True)
class Shortcut(Section):
    """The sum of the map before and that of layer `source`."""

    kind = "shortcut"
    source: int
    activation: str = "linear"


@dataclass(frozen=True)
class Attention(Section):
    """The product, element by element, of the map before and that of layer `source`."""

    kind = "sam"
    source: int


@dataclass(frozen=True)
class ScaleChannels(Section):
    """The map of layer `source`, each channel times the one number that the map before has for it."""

    kind = "scale_channels"
    source: int


@dataclass(frozen=True)
class Yolo(Section):
    """Decodes the map before into boxes.

    Attributes:
        anchors: (width, height) in pixels of the input.
        classes: number of object classes.
        scale: a centre lies at ``sigmoid(t) * scale - (scale - 1) / 2`` cells (``scale_x_y``).
        squared: a side is ``(2 sigmoid(t))^2`` times the anchor's (``new_coords``), else ``exp(t)`` times.
    """

    kind = "yolo"
    anchors: tuple[tuple[float, float], ...]
    classes: int
    scale: float = 1.0
    squared: bool = False


@dataclass(frozen=True)
class Cfg:
    """A network.

    Attributes:
        height: of the input in pixels.
        width: of the input in pixels.
        sections: the layers.
        net: the other settings of ``[net]``, as they are written.
    """

    height: int
    width: int
    sections: tuple[Section, ...]
    net: Settings = ()


def read_cfg(path: str | Path) -> Cfg:
    """Read a ``.cfg`` file.

    Raises:
        InputError: the file is missing, or it has a section or a setting that the kit does not know or cannot compute;
            the message names the line.
    """
    return parse_cfg(read_text(path, fallback="latin-1")[0], str(path))


def parse_cfg(text: str, source: str = "cfg") -> Cfg:
    r"""Read the text of a ``.cfg`` file; `source` is named in errors.

    Raises:
        InputError: see `read_cfg`.

    Example:
        >>> from anchorkit.detectors.darknet_cfg import parse_cfg
        >>> head = "[net]\nwidth=96\nheight=64\n"
        >>> parse_cfg(head + "[upsample]\nstride=2\n[yolo]\nanchors=10,14").sections[0]
        Upsample(line=4, other=(), stride=2)
        >>> parse_cfg(head + "[upsampel]\nstride=2", "my.cfg")
        Traceback (most recent call last):
        anchorkit.errors.InputError: my.cfg, line 4: unknown section [upsampel]; did you mean upsample?
    """
    found: list[_Given] = []
    for number, written in enumerate(text.splitlines(), 1):
        line = written.partition("#")[0].strip()
        if not line or line.startswith(";"):
            continue
        if line.startswith("["):
            found.append(_Given(line.strip("[] \t").lower(), number, source, len(found) - 1))
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not found:
            raise InputError(f"{source}, line {number}: {line[:60]!r} is no NAME=VALUE within a [section]")
        found[-1].values.setdefault(name, value)  # darknet takes the first of two
    if not found or found[0].kind not in ("net", "network"):
        raise InputError(f"{source}: does not begin with [net]; a darknet .cfg file is needed")
    net, *layers = found
    if net.whole("channels", 3) != 3:
        raise net.error(f"channels={net.values['channels']}: images of three channels are needed")
    height, width = net.whole("height", least=1), net.whole("width", least=1)
    sections = []
    for given in layers:
        if given.kind not in _READERS:
            raise InputError(
                f"{source}, line {given.line}: unknown section [{given.kind}]; {did_you_mean(given.kind, _READERS)}"
            )
        for name in _CHANGE_THE_RESULT.get(given.kind, ()):
            if given.values.get(name, "0") not in ("0", "none"):
                raise given.error(f"{name}={given.values[name]} is not supported")
        section = _READERS[given.kind](given)
        sections.append(replace(section, line=given.line, other=given.rest()))
    if not any(isinstance(section, Yolo) for section in sections):
        raise InputError(f"{source}: has no [yolo] section, so no anchors")
    return Cfg(height, width, tuple(sections), net.rest())


class _Given:
    """The settings of a section as they are written; notes which were read."""

    def __init__(self, kind: str, line: int, source: str, number: int) -> None:
        self.kind, self.line, self.source, self.number = kind, line, source, number
        self.values: dict[str, str] = {}
        self.read: set[str] = set()

    def error(self, message: str) -> InputError:
        return InputError(f"{self.source}, line {self.line}: [{self.kind}] {message}")

    def text(self, name: str, default: str | None = None) -> str:
        self.read.add(name)
        if name not in self.values and default is None:
            raise self.error(f"lacks {name}=")
        return self.values.get(name, default or "")

    def numbers(self, name: str, default: str | None = None) -> list[float]:
        parts = [part for part in self.text(name, default).replace(" ", "").split(",") if part]
        try:
            return [float(part) for part in parts]
        except ValueError:
            raise self.error(f"{name}={self.values.get(name)}: numbers separated by commas are needed") from None

    def wholes(self, name: str, default: str | None = None) -> list[int]:
        found = self.numbers(name, default)
        if any(number != int(number) for number in found):
            raise self.error(f"{name}={self.values.get(name)}: whole numbers are needed")
        return [int(number) for number in found]

    def whole(self, name: str, default: int | None = None, least: int = 0) -> int:
        found = self.wholes(name, None if default is None else str(default))
        if len(found) != 1 or found[0] < least:
            raise self.error(f"{name}={self.values.get(name)}: a whole number of {least} or more is needed")
        return found[0]

    def activation(self, default: str) -> str:
        name = self.text("activation", default)
        if name not in ACTIVATIONS:
            raise self.error(f"activation={name} is unknown; {did_you_mean(name, ACTIVATIONS)}")
        return name

    def layers(self, name: str) -> tuple[int, ...]:
        """References to other layers, absolute."""
        found = [number + self.number if number < 0 else number for number in self.wholes(name)]
        if not found or not all(0 <= number < self.number for number in found):
            raise self.error(f"{name}={self.values[name]}: there is no such layer before layer {self.number}")
        return tuple(found)

    def layer(self, name: str) -> int:
        found = self.layers(name)
        if len(found) > 1:
            raise self.error(f"{name}={self.values[name]}: only one layer is supported")
        return found[0]

    def rest(self) -> Settings:
        return tuple((name, value) for name, value in self.values.items() if name not in self.read)


def _convolution(given: _Given) -> Section:
    size = given.whole("size", 1, least=1)
    padding = given.whole("padding", 0)
    if given.whole("pad", 0):
        padding = size // 2
    return Convolution(
        filters=given.whole("filters", 1, least=1),
        size=size,
        stride=given.whole("stride", 1, least=1),
        padding=padding,
        groups=given.whole("groups", 1, least=1),
        dilation=given.whole("dilation", 1, least=1),
        normalized=bool(given.whole("batch_normalize", 0)),
        activation=given.activation("logistic"),
    )


def _max_pool(given: _Given) -> Section:
    stride = given.whole("stride", 1, least=1)
    size = given.whole("size", stride, least=1)
    return MaxPool(size=size, stride=stride, padding=given.whole("padding", size - 1))


def _route(given: _Given) -> Section:
    groups, part = given.whole("groups", 1, least=1), given.whole("group_id", 0)
    if part >= groups:
        raise given.error(f"group_id={part}: there are only {groups} groups")
    return Route(sources=given.layers("layers"), groups=groups, part=part)


def _yolo(given: _Given) -> Section:
    numbers = given.numbers("anchors")
    every = list(zip(numbers[::2], numbers[1::2], strict=False))
    mask = given.wholes("mask", ",".join(map(str, range(len(every)))))
    given.read.add("num")
    if len(numbers) % 2 or not mask or not all(0 <= number < len(every) for number in mask):
        raise given.error(f"mask={given.values.get('mask')}: picks from {len(numbers) / 2:g} anchors, counted from 0")
    return Yolo(
        anchors=tuple(every[number] for number in mask),
        classes=given.whole("classes", 20, least=1),
        scale=(given.numbers("scale_x_y", "1") or [1.0])[0],
        squared=bool(given.whole("new_coords", 0)),
    )


_READERS: Mapping[str, Callable[[_Given], Section]] = {
    "convolutional": _convolution,
    "maxpool": _max_pool,
    "avgpool": lambda given: AveragePool(),
    "upsample": lambda given: Upsample(stride=given.whole("stride", 2, least=1)),
    "dropout": lambda given: Dropout(),
    "route": _route,
    "shortcut": lambda given: Shortcut(source=given.layer("from"), activation=given.activation("linear")),
    "sam": lambda given: Attention(source=given.layer("from")),
    "scale_channels": lambda given: ScaleChannels(source=given.layer("from")),
    "yolo": _yolo,
}
_CHANGE_THE_RESULT = {
    "convolutional": ("binary", "xnor", "stride_x", "stride_y", "antialiasing", "deform", "share_index", "flipped"),
    "maxpool": ("maxpool_depth", "stride_x", "stride_y", "antialiasing"),
    "upsample": ("reverse",),
    "route": ("stream",),
    "shortcut": ("weights_type",),
    "scale_channels": ("scale_wh",),
}
"""Settings that change what a layer computes in ways that the kit does not know."""


def cfg_text(cfg: Cfg) -> str:
    """The text of a ``.cfg`` file. Read again, it gives the same network.

    Example:
        >>> from anchorkit.detectors.darknet_cfg import Cfg, Convolution, Yolo, cfg_text, parse_cfg
        >>> sections = (Convolution(filters=12, normalized=False), Yolo(anchors=((10, 14), (23.5, 27)), classes=1))
        >>> cfg = Cfg(32, 32, sections)
        >>> parse_cfg(cfg_text(cfg)).sections == cfg.sections
        True
    """
    # darknet has one list of anchors for all [yolo] sections, from which each picks its own.
    yolos = [section for section in cfg.sections if isinstance(section, Yolo)]
    yolos.sort(key=lambda yolo: min(width * height for width, height in yolo.anchors))
    every = ", ".join(f"{_short(width)},{_short(height)}" for yolo in yolos for width, height in yolo.anchors)
    lines = _lines("net", [("width", cfg.width), ("height", cfg.height), ("channels", 3)], cfg.net)
    for number, section in enumerate(cfg.sections):
        settings = _settings(section, number)
        if isinstance(section, Yolo):
            first = sum(len(yolo.anchors) for yolo in yolos[: next(i for i, y in enumerate(yolos) if y is section)])
            mask = ",".join(str(first + index) for index in range(len(section.anchors)))
            settings = [("mask", mask), ("anchors", every), ("num", every.count(",") // 2 + 1), *settings]
        lines += ["", *_lines(section.kind, settings, section.other)]
    return "\n".join(lines) + "\n"


def _settings(section: Section, number: int) -> list[tuple[str, object]]:
    """What a section says, but for anchors. References are relative, which stays right when layers before it go."""
    match section:
        case Convolution():
            named: list[tuple[str, object]] = [("batch_normalize", 1)] if section.normalized else []
            named += [(name, getattr(section, name)) for name in ("filters", "size", "stride", "padding")]
            named += [(name, getattr(section, name)) for name in ("groups", "dilation") if getattr(section, name) > 1]
            if section.padding == section.size // 2:  # as every file writes it
                named[named.index(("padding", section.padding))] = ("pad", 1)
            return [*named, ("activation", section.activation)]
        case MaxPool():
            padding = [("padding", section.padding)] if section.padding != section.size - 1 else []
            return [("size", section.size), ("stride", section.stride), *padding]
        case Upsample():
            return [("stride", section.stride)]
        case Route():
            layers = ",".join(str(source - number) for source in section.sources)
            parts = [("groups", section.groups), ("group_id", section.part)] if section.groups > 1 else []
            return [("layers", layers), *parts]
        case Shortcut():
            return [("from", section.source - number), ("activation", section.activation)]
        case Attention() | ScaleChannels():
            return [("from", section.source - number)]
        case Yolo():
            coordinates = [("new_coords", 1)] if section.squared else []
            return [("classes", section.classes), ("scale_x_y", _short(section.scale)), *coordinates]
    return []


def _lines(kind: str, settings: Iterable[tuple[str, object]], other: Settings) -> list[str]:
    return [f"[{kind}]", *(f"{name}={value}" for name, value in (*settings, *other))]


def _short(number: float) -> str:
    text = f"{number:g}"
    return text if float(text) == number else repr(float(number))
