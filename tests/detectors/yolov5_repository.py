"""Repositories that train YOLOv5s and YOLOv7s, as far as checkpoints show them: written for the tests."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

TABLE: dict[str, Any] = {
    "nc": 80,
    "depth_multiple": 0.33,
    "width_multiple": 0.25,
    "anchors": [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]],
    "backbone": [
        [-1, 1, "Conv", [64, 6, 2, 2]],
        [-1, 1, "Conv", [128, 3, 2]],
        [-1, 3, "C3", [128]],
        [-1, 1, "Conv", [256, 3, 2]],
        [-1, 6, "C3", [256]],
        [-1, 1, "Conv", [512, 3, 2]],
        [-1, 9, "C3", [512]],
        [-1, 1, "Conv", [1024, 3, 2]],
        [-1, 3, "C3", [1024]],
        [-1, 1, "SPPF", [1024, 5]],
    ],
    "head": [
        [-1, 1, "Conv", [512, 1, 1]],
        [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
        [[-1, 6], 1, "Concat", [1]],
        [-1, 3, "C3", [512, False]],
        [-1, 1, "Conv", [256, 1, 1]],
        [-1, 1, "nn.Upsample", ["None", 2, "nearest"]],
        [[-1, 4], 1, "Concat", [1]],
        [-1, 3, "C3", [256, False]],
        [-1, 1, "Conv", [256, 3, 2]],
        [[-1, 14], 1, "Concat", [1]],
        [-1, 3, "C3", [512, False]],
        [-1, 1, "Conv", [512, 3, 2]],
        [[-1, 10], 1, "Concat", [1]],
        [-1, 3, "C3", [1024, False]],
        [[17, 20, 23], 1, "Detect", ["nc", "anchors"]],
    ],
}


def yolov7_tiny() -> dict[str, Any]:
    """The table of YOLOv7-tiny; its convolutions end in what its files write as text."""
    rows: list[list[Any]] = []

    def conv(filters: int, size: int = 1, stride: int = 1, source: int = -1) -> int:
        rows.append([source, 1, "Conv", [filters, size, stride, "None", 1, "nn.LeakyReLU(0.1)"]])
        return len(rows) - 1

    def concat(*sources: int) -> None:
        rows.append([list(sources), 1, "Concat", [1]])

    def block(inner: int, filters: int) -> int:
        conv(inner)
        conv(inner, source=-2)
        conv(inner, 3)
        conv(inner, 3)
        concat(-1, -2, -3, -4)
        return conv(filters)

    conv(32, 3, 2)
    conv(64, 3, 2)
    ends = [block(32, 64)]
    for filters in (64, 128, 256):
        rows.append([-1, 1, "MP", []])
        ends.append(block(filters, 2 * filters))
    backbone = len(rows)
    conv(256)
    conv(256, source=-2)
    for number, size in enumerate((5, 9, 13), 1):
        rows.append([-number, 1, "SP", [size]])
    concat(-1, -2, -3, -4)
    conv(256)
    concat(-1, -7)
    heads = [conv(256)]
    for filters, end in ((128, ends[2]), (64, ends[1])):
        conv(filters)
        rows.append([-1, 1, "nn.Upsample", ["None", 2, "nearest"]])
        conv(filters, source=end)
        concat(-1, -2)
        heads.append(block(filters // 2, filters))
    coarse, middle, fine = heads
    conv(128, 3, 2)
    concat(-1, middle)
    middle = block(64, 128)
    conv(256, 3, 2)
    concat(-1, coarse)
    coarse = block(128, 256)
    ends = [conv(filters, 3, source=end) for filters, end in ((128, fine), (256, middle), (512, coarse))]
    rows.append([ends, 1, "IDetect", ["nc", "anchors"]])
    multiples = {"nc": 80, "depth_multiple": 1.0, "width_multiple": 1.0, "anchors": TABLE["anchors"]}
    return {**multiples, "backbone": rows[:backbone], "head": rows[backbone:]}


class Conv(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, size: int = 1, stride: int = 1, padding: Any = None, *rest: Any
    ) -> None:
        super().__init__()
        padding = size // 2 if padding in (None, "None") else padding
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = nn.LeakyReLU(0.1) if rest[1:] == ("nn.LeakyReLU(0.1)",) else nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Any:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels), Conv(channels, channels, 3)
        self.add = shortcut

    def forward(self, x: Tensor) -> Any:
        return x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))


class C3(nn.Module):
    def __init__(self, inputs: int, outputs: int, number: int, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.cv1, self.cv2, self.cv3 = Conv(inputs, half), Conv(inputs, half), Conv(2 * half, outputs)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(number)))

    def forward(self, x: Tensor) -> Any:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(inputs, inputs // 2), Conv(inputs * 2, outputs)
        self.m = nn.MaxPool2d(size, 1, size // 2)

    def forward(self, x: Tensor) -> Any:
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        return self.cv2(torch.cat(maps, 1))


class Concat(nn.Module):
    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat(x, 1)


class Detect(nn.Module):
    def __init__(self, classes: int, anchors: list[list[float]], channels: list[int]) -> None:
        super().__init__()
        self.stride = torch.tensor([8.0, 16.0, 32.0])
        pixels = torch.tensor(anchors).float().view(len(anchors), -1, 2)
        self.register_buffer("anchors", pixels / self.stride.view(-1, 1, 1))
        self.register_buffer("anchor_grid", pixels.view(len(anchors), 1, -1, 1, 1, 2))
        self.m = nn.ModuleList(nn.Conv2d(x, (5 + classes) * pixels.shape[1], 1) for x in channels)

    def outputs(self, level: int, x: Tensor) -> Any:
        return self.m[level](x)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Rows (N, B, 5 + K): x y w h in pixels, objectness, classes; in the kit's order of boxes."""
        rows = []
        for level, (x, anchors, stride) in enumerate(zip(maps, self.anchors, self.stride, strict=True)):
            n, _, h, w = x.shape
            y = self.outputs(level, x).view(n, len(anchors), -1, h, w).permute(0, 3, 4, 1, 2).sigmoid()
            grid = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy"), 2).view(1, h, w, 1, 2)
            xy = (y[..., :2] * 2 - 0.5 + grid) * stride
            wh = (y[..., 2:4] * 2) ** 2 * anchors * stride
            rows.append(torch.cat((xy, wh, y[..., 4:]), -1).flatten(1, 3))
        return torch.cat(rows, 1)


class Implicit(nn.Module):
    def __init__(self, channels: int, mean: float) -> None:
        super().__init__()
        self.implicit = nn.Parameter(mean + 0.2 * torch.randn(1, channels, 1, 1))


class IDetect(Detect):
    """YOLOv7's: a number added to each channel, and one that multiplies each output."""

    def __init__(self, classes: int, anchors: list[list[float]], channels: list[int]) -> None:
        super().__init__(classes, anchors, channels)
        self.ia = nn.ModuleList(Implicit(x, 0.0) for x in channels)
        self.im = nn.ModuleList(Implicit(len(m.bias), 1.0) for m in self.m)  # type: ignore[arg-type]

    def outputs(self, level: int, x: Tensor) -> Any:
        return self.m[level](x + self.ia[level].implicit) * self.im[level].implicit


class Model(nn.Module):
    """A network from a table like `TABLE`."""

    def __init__(self, table: dict[str, Any], names: Any) -> None:
        super().__init__()
        self.yaml, self.names = table, names
        self.sources: list[Any] = []
        channels: list[int] = []
        layers: list[nn.Module] = []
        for source, number, kind, arguments in table["backbone"] + table["head"]:
            read = [channels[s] if channels else 3 for s in ([source] if isinstance(source, int) else source)]
            number = max(round(number * table["depth_multiple"]), 1) if number > 1 else number
            outputs = sum(read)
            if kind in ("Conv", "C3", "SPPF"):
                outputs = math.ceil(arguments[0] * table["width_multiple"] / 8) * 8
            layer: nn.Module
            if kind == "Conv":
                layer = Conv(read[0], outputs, *arguments[1:])
            elif kind == "C3":
                layer = C3(read[0], outputs, number, *arguments[1:])
            elif kind == "SPPF":
                layer = SPPF(read[0], outputs, arguments[1])
            elif kind in ("Detect", "IDetect"):
                layer = (Detect if kind == "Detect" else IDetect)(table["nc"], table["anchors"], read)
            elif kind in ("MP", "SP"):
                size, stride = (2, 2) if kind == "MP" else (arguments[0], 1)
                layer = nn.MaxPool2d(size, stride, size // 2 if kind == "SP" else 0)
            else:
                layer = Concat() if kind == "Concat" else nn.Upsample(scale_factor=2, mode="nearest")
            layers.append(layer)
            channels.append(outputs)
            self.sources.append(source)
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Any:
        maps: list[Any] = []
        for source, layer in zip(self.sources, self.model, strict=True):
            one = isinstance(source, int)
            x = layer((maps[source] if maps else x) if one else [maps[s] for s in source])
            maps.append(x)
        return x


def model(classes: int, names: Any = None, whole: dict[str, Any] = TABLE, **table: Any) -> Model:
    """A network with random weights and statistics that give spread-out rows."""
    torch.manual_seed(0)
    made = Model({**whole, "nc": classes, **table}, names)
    with torch.no_grad():
        for norm in made.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.normal_(std=0.2)  # type: ignore[union-attr]
                norm.running_var.uniform_(0.002, 0.4)  # type: ignore[union-attr]
        for last in made.model[-1].m:  # type: ignore[union-attr]
            last.weight.mul_(3e-4)  # what comes in is large; no score and no side shall be saturated
    return made.eval()


@contextmanager
def importable() -> Iterator[None]:
    """Inside it, the classes are those of modules ``models.common`` and ``models.yolo``, as a pickle names them."""
    before = {kind: kind.__module__ for kind in (Conv, Bottleneck, C3, SPPF, Concat, Detect, Implicit, IDetect, Model)}
    modules = {name: types.ModuleType(name) for name in ("models", "models.common", "models.yolo")}
    for kind in before:
        kind.__module__ = "models.yolo" if kind in (Detect, IDetect, Model) else "models.common"
        setattr(modules[kind.__module__], kind.__name__, kind)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for kind, name in before.items():
            kind.__module__ = name
        for name in modules:
            del sys.modules[name]


def check_same_predictions(theirs: Model, ours: nn.Module, images: Tensor, pixels: float, score: float) -> None:
    """The kit's network predicts what the repository's does, as far apart as `pixels` and `score` at most."""
    with torch.inference_mode():
        scores, boxes = ours(images)
        rows = theirs(images)
    centre, half = rows[..., :2], rows[..., 2:4] / 2
    height, width = images.shape[2:]
    limit = torch.tensor([width, height] * 2)
    expected = torch.cat([centre - half, centre + half], -1).clamp(min=torch.zeros(4), max=limit)
    assert rows[..., 4:].std() > 0.01
    torch.testing.assert_close(boxes, expected, atol=pixels, rtol=0)
    torch.testing.assert_close(scores, rows[..., 4:5] * rows[..., 5:], atol=score, rtol=0)
