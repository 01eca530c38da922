"""darknet's ``.cfg`` files: read into sections, and written.

References to other layers may be relative in a file (``-1`` is the layer before) or absolute; in sections they are
absolute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from anchorkit.detectors.darknet_sections import (
    ACTIVATIONS,
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
    Settings,
    Shortcut,
    SpaceToDepth,
    Upsample,
    Yolo,
)
from anchorkit.errors import InputError
from anchorkit.files import read_text
from anchorkit.suggest import did_you_mean


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
            mend = "export the network to ONNX" if given.kind in _OTHERS else did_you_mean(given.kind, _READERS)
            raise InputError(f"{source}, line {given.line}: unknown section [{given.kind}]; {mend}")
        for name in _CHANGE_THE_RESULT.get(given.kind, ()):
            if name in given.values and given.values[name] not in _HARMLESS.get(name, ("0", "none")):
                raise given.error(f"{name}={given.values[name]} is not supported")
        section = _READERS[given.kind](given)
        sections.append(replace(section, line=given.line, other=given.rest()))
    if not any(isinstance(section, Yolo) for section in sections):
        raise InputError(f"{source}: has no [yolo] and no [region] section, so no anchors")
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


def _region(given: _Given) -> Section:
    numbers, count = given.numbers("anchors"), given.whole("num", 1, least=1)
    if len(numbers) != 2 * count:
        raise given.error(f"num={count}: there are {len(numbers) / 2:g} anchors")
    for name, default, needed in (("coords", 4, 4), ("softmax", 0, 1)):
        if given.whole(name, default) != needed:
            raise given.error(f"{name}={given.values.get(name, default)} is not supported; {name}={needed} is")
    pairs = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return Region(anchors=pairs, classes=given.whole("classes", 20, least=1))


_READERS: Mapping[str, Callable[[_Given], Section]] = {
    "convolutional": _convolution,
    "maxpool": _max_pool,
    "avgpool": lambda given: AveragePool(),
    "upsample": lambda given: Upsample(stride=given.whole("stride", 2, least=1)),
    "reorg": lambda given: Reorganize(stride=given.whole("stride", 1, least=1)),
    "reorg3d": lambda given: SpaceToDepth(stride=given.whole("stride", 1, least=1)),
    "dropout": lambda given: Dropout(),
    "route": _route,
    "shortcut": lambda given: Shortcut(source=given.layer("from"), activation=given.activation("linear")),
    "sam": lambda given: Attention(source=given.layer("from")),
    "scale_channels": lambda given: ScaleChannels(source=given.layer("from")),
    "yolo": _yolo,
    "region": _region,
}
# fmt: off
_OTHERS = (
    "gaussian_yolo", "detection", "connected", "deconvolutional", "local", "local_avgpool", "crnn", "conv_lstm",
    "contrastive", "implicit_add", "implicit_mul", "empty", "silence",
)
# fmt: on
"""darknet's other sections, as far as networks of detectors have them."""
_CHANGE_THE_RESULT = {
    "convolutional": ("binary", "xnor", "stride_x", "stride_y", "antialiasing", "deform", "share_index", "flipped"),
    "maxpool": ("maxpool_depth", "stride_x", "stride_y", "antialiasing"),
    "upsample": ("reverse", "scale"),
    "reorg": ("reverse", "flatten", "extra"),
    "reorg3d": ("reverse", "flatten", "extra"),
    "sam": ("activation",),
    "region": ("tree", "map", "background", "classfix"),
    "route": ("stream",),
    "shortcut": ("weights_type",),
    "scale_channels": ("scale_wh", "activation"),
}
"""Settings that change what a layer computes in ways that the kit does not know."""
_HARMLESS = {"activation": ("linear",), "scale": ("1", "1.0", "1.")}
"""Values with which they do not; of most, 0."""


def cfg_text(cfg: Cfg) -> str:
    """The text of a ``.cfg`` file. Read again, it gives the same network.

    Example:
        >>> from anchorkit.detectors.darknet_cfg import cfg_text, parse_cfg
        >>> from anchorkit.detectors.darknet_sections import Cfg, Convolution, Yolo
        >>> sections = (Convolution(filters=12, normalized=False), Yolo(anchors=((10, 14), (23.5, 27)), classes=1))
        >>> cfg = Cfg(32, 32, sections)
        >>> parse_cfg(cfg_text(cfg)).sections == cfg.sections
        True
    """
    # darknet has one list of anchors for all [yolo] sections, from which each picks its own.
    yolos = [section for section in cfg.sections if isinstance(section, Yolo) and not isinstance(section, Region)]
    yolos.sort(key=lambda yolo: min(width * height for width, height in yolo.anchors))
    every = ", ".join(f"{_short(width)},{_short(height)}" for yolo in yolos for width, height in yolo.anchors)
    lines = _lines("net", [("width", cfg.width), ("height", cfg.height), ("channels", 3)], cfg.net)
    for number, section in enumerate(cfg.sections):
        settings = _settings(section, number)
        if section in yolos:
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
        case Upsample() | Reorganize() | SpaceToDepth():
            return [("stride", section.stride)]
        case Route():
            layers = ",".join(str(source - number) for source in section.sources)
            parts = [("groups", section.groups), ("group_id", section.part)] if section.groups > 1 else []
            return [("layers", layers), *parts]
        case Shortcut():
            return [("from", section.source - number), ("activation", section.activation)]
        case Attention() | ScaleChannels():
            return [("from", section.source - number)]
        case Region():
            anchors = ", ".join(f"{_short(width)},{_short(height)}" for width, height in section.anchors)
            known = [("num", len(section.anchors)), ("classes", section.classes), ("coords", 4), ("softmax", 1)]
            return [("anchors", anchors), *known]
        case Yolo():
            coordinates = [("new_coords", 1)] if section.squared else []
            return [("classes", section.classes), ("scale_x_y", _short(section.scale)), *coordinates]
    return []


def _lines(kind: str, settings: Iterable[tuple[str, object]], other: Settings) -> list[str]:
    return [f"[{kind}]", *(f"{name}={value}" for name, value in (*settings, *other))]


def _short(number: float) -> str:
    text = f"{number:g}"
    return text if float(text) == number else repr(float(number))
