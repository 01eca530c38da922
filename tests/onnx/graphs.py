"""Small ONNX graphs as the exporters of the field's frameworks write them, with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 64
STRIDES = (8, 16, 32)
SHAPES = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)), ((116, 90), (156, 198), (373, 326)))


class Graph:
    """Builds a graph node by node; each method gives the name of what it makes."""

    def __init__(self, opset: int = 17, size: tuple[int, int] = (SIZE, SIZE), seed: int = 0) -> None:
        self.opset, self.size = opset, size
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.rng = np.random.default_rng(seed)

    def constant(self, value: Any, name: str | None = None) -> str:
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = name or f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        number = len(self.nodes)
        names = [f"{kind.lower()}{number}_{place}" for place in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"{kind}_{number}", **attributes))
        return names

    def conv(self, x: str, before: int, after: int, kernel: int = 1, stride: int = 1, name: str | None = None) -> str:
        name = name or f"conv{len(self.nodes)}"
        weight = self.rng.standard_normal((after, before, kernel, kernel)) * 0.3 / np.sqrt(before * kernel * kernel)
        bias = self.rng.standard_normal(after) * 0.1
        inputs = [x, self.constant(weight, f"{name}.weight"), self.constant(bias, f"{name}.bias")]
        return self.op("Conv", *inputs, pads=[kernel // 2] * 4, strides=[stride] * 2)

    def trunk(self, strides: Sequence[int] = STRIDES, channels: int = 16) -> list[str]:
        x, found, before, stride = "images", {}, 3, 1
        while stride < max(strides):
            x, before, stride = self.op("Relu", self.conv(x, before, channels, 3, 2)), channels, stride * 2
            found[stride] = x
        return [found[stride] for stride in strides]

    def part(self, x: str, start: int, end: int, axis: int) -> str:
        return self.op("Slice", x, self.ints(start), self.ints(end), self.ints(axis))

    def split(self, x: str, sizes: Sequence[int], axis: int) -> list[str]:
        if self.opset < 13:
            return self.ops("Split", len(sizes), x, axis=axis, split=list(sizes))
        return self.ops("Split", len(sizes), x, self.ints(*sizes), axis=axis)

    def unsqueeze(self, x: str, axis: int) -> str:
        if self.opset < 13:
            return self.op("Unsqueeze", x, axes=[axis])
        return self.op("Unsqueeze", x, self.ints(axis))

    def rows(self, x: str, columns: int) -> str:
        """(1, A x columns, H, W) as (1, H x W x A, columns)."""
        return self.op("Reshape", self.op("Transpose", x, perm=[0, 2, 3, 1]), self.ints(1, -1, columns))

    def model(self, *outputs: str) -> Any:
        image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *self.size])
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "network", [image], ends, initializer=self.constants)
        opset = helper.make_opsetid("", self.opset)
        return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[opset], ir_version=8))


def cells(stride: int, size: tuple[int, int] = (SIZE, SIZE), offset: float = 0.0) -> np.ndarray:
    """(H, W, 2): x and y of the cells of a level, in cells."""
    x, y = np.meshgrid(np.arange(size[1] // stride), np.arange(size[0] // stride))
    return np.stack([x, y], -1) + offset


def priors(scales: Sequence[float]) -> np.ndarray:
    """(boxes, 4) cx cy w h in 0..1, square, cell by cell."""
    found = [
        np.concatenate([np.tile((center * stride / SIZE)[None], (1, 1)), [[scale * stride / SIZE] * 2]], axis=1)
        for stride in STRIDES
        for center in cells(stride, offset=0.5).reshape(-1, 2)
        for scale in scales
    ]
    return np.concatenate(found).astype(np.float32)


def yolov5(
    classes: int = 3,
    how: str = "split",
    opset: int = 17,
    size: tuple[int, int] = (SIZE, SIZE),
    shapes: Sequence[Sequence[tuple[int, int]]] = SHAPES,
    channels: int = 16,
) -> Any:
    """YOLOv5 and YOLOv7 with their grids inside; `how` is ``"split"``, ``"slice"`` or ``"scatter"`` (early exports)."""
    g, columns, found = Graph(opset, size), classes + 5, []
    for number, (feature, stride) in enumerate(zip(g.trunk(channels=channels), STRIDES, strict=True)):
        count, height, width = len(shapes[number]), size[0] // stride, size[1] // stride
        y = g.conv(feature, channels, count * columns, name=f"model.24.m.{number}")
        y = g.op("Reshape", y, g.ints(1, count, columns, height, width))
        y = g.op("Sigmoid", g.op("Transpose", y, perm=[0, 1, 3, 4, 2]))
        grid = np.broadcast_to(cells(stride, size, -0.5), (1, count, height, width, 2))
        anchor = np.broadcast_to(np.array(shapes[number]).reshape(1, count, 1, 1, 2), grid.shape).astype(np.float32)
        two = g.constant(2.0)
        if how == "split":
            xy, wh, rest = g.split(y, (2, 2, columns - 4), 4)
        else:
            xy, wh, rest = (g.part(y, *ends, 4) for ends in ((0, 2), (2, 4), (4, columns)))
        xy = g.op("Mul", g.op("Add", g.op("Mul", xy, two), g.constant(grid)), g.constant(float(stride)))
        wh = g.op("Mul", g.op("Pow", g.op("Mul", wh, two), two), g.constant(anchor))
        if how == "scatter":
            axes = [np.arange(length) for length in (1, count, height, width, 2)]
            places = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
            y = g.op("ScatterND", y, g.constant(places), xy)
            y = g.op("ScatterND", y, g.constant(places + np.array([0, 0, 0, 0, 2])), wh)
        else:
            y = g.op("Concat", xy, wh, rest, axis=4)
        found.append(g.op("Reshape", y, g.ints(1, -1, columns)))
    return g.model(g.op("Concat", *found, axis=1))


def bare(classes: int = 3, split: bool = False) -> Any:
    """The bare convolutions of a YOLO, (1, 3 x (5 + K), H, W); with `split`, (1, 3, H, W, 5 + K)."""
    g, columns, found = Graph(), classes + 5, []
    for feature, stride in zip(g.trunk(), STRIDES, strict=True):
        y = g.conv(feature, 16, 3 * columns)
        if split:
            y = g.op("Reshape", y, g.ints(1, 3, columns, SIZE // stride, SIZE // stride))
            y = g.op("Transpose", y, perm=[0, 1, 3, 4, 2])
        found.append(y)
    return g.model(*found)


def scrfd() -> Any:
    """Nine outputs without a batch axis: scores, distances and landmarks of three levels, two anchors a cell."""
    g = Graph()
    found: list[list[str]] = [[], [], []]
    for feature in g.trunk():
        for number, columns in enumerate((1, 4, 10)):
            y = g.op("Transpose", g.conv(feature, 16, 2 * columns, 3), perm=[2, 3, 0, 1])
            y = g.op("Reshape", y, g.ints(-1, columns))
            found[number].append(y if number else g.op("Sigmoid", y))
    return g.model(*found[0], *found[1], *found[2])


def retinaface(classes: int = 1) -> Any:
    """Softmax with the background first, boxes x1 y1 x2 y2 in 0..1, and landmarks; two anchors a cell."""
    g, prior = Graph(), priors((2, 4))[None]
    found: list[list[str]] = [[], [], []]
    for feature in g.trunk():
        for number, columns in enumerate((4, classes + 1, 10)):
            found[number].append(g.rows(g.conv(feature, 16, 2 * columns), columns))
    moves, scores, marks = (g.op("Concat", *parts, axis=1) for parts in found)
    middle, sides = g.constant(prior[..., :2]), g.constant(prior[..., 2:])

    def moved(x: str) -> str:
        return g.op("Add", middle, g.op("Mul", g.op("Mul", x, g.constant(0.1)), sides))

    xy = moved(g.part(moves, 0, 2, 2))
    wh = g.op("Mul", sides, g.op("Exp", g.op("Mul", g.part(moves, 2, 4, 2), g.constant(0.2))))
    low = g.op("Sub", xy, g.op("Div", wh, g.constant(2.0)))
    boxes = g.op("Concat", low, g.op("Add", wh, low), axis=2)
    points = g.op("Concat", *(moved(g.part(marks, place, place + 2, 2)) for place in range(0, 10, 2)), axis=2)
    return g.model(boxes, g.op("Softmax", scores, axis=-1), points)


def yolox(classes: int = 3) -> Any:
    """One point a cell, decoded with exp; objectness from the branch of the boxes."""
    g, found = Graph(), []
    for feature in g.trunk():
        boxes, scores = (g.op("Relu", g.conv(feature, 16, 16, 3)) for _ in range(2))
        parts = [
            g.conv(boxes, 16, 4),
            g.op("Sigmoid", g.conv(boxes, 16, 1)),
            g.op("Sigmoid", g.conv(scores, 16, classes)),
        ]
        found.append(g.op("Reshape", g.op("Concat", *parts, axis=1), g.ints(1, 5 + classes, -1)))
    y = g.op("Transpose", g.op("Concat", *found, axis=2), perm=[0, 2, 1])
    grid = np.concatenate([cells(stride).reshape(-1, 2) for stride in STRIDES])[None]
    step = np.concatenate([np.full((1, (SIZE // stride) ** 2, 1), stride, np.float32) for stride in STRIDES], axis=1)
    xy, wh, rest = g.split(y, (2, 2, classes + 1), 2)
    xy = g.op("Mul", g.op("Add", xy, g.constant(grid.astype(np.float32))), g.constant(step))
    return g.model(g.op("Concat", xy, g.op("Mul", g.op("Exp", wh), g.constant(step)), rest, axis=2))


def yolov8(classes: int = 3, bins: int = 16) -> Any:
    """One point a cell, distances by distribution focal loss, rows and columns exchanged: (1, 4 + K, boxes)."""
    g, found = Graph(), []
    for feature in g.trunk():
        y = g.op("Concat", g.conv(feature, 16, 4 * bins), g.conv(feature, 16, classes), axis=1)
        found.append(g.op("Reshape", y, g.ints(1, 4 * bins + classes, -1)))
    count = sum((SIZE // stride) ** 2 for stride in STRIDES)
    boxes, scores = g.split(g.op("Concat", *found, axis=2), (4 * bins, classes), 1)
    y = g.op("Transpose", g.op("Reshape", boxes, g.ints(1, 4, bins, count)), perm=[0, 2, 1, 3])
    weights = np.arange(bins, dtype=np.float32).reshape(1, bins, 1, 1)
    y = g.op("Reshape", g.op("Conv", g.op("Softmax", y, axis=1), g.constant(weights)), g.ints(1, 4, count))
    low, high = g.split(y, (2, 2), 1)
    grid = np.concatenate([cells(stride, offset=0.5).reshape(-1, 2) for stride in STRIDES]).T[None]
    step = np.concatenate([np.full((1, 1, (SIZE // stride) ** 2), stride, np.float32) for stride in STRIDES], axis=2)
    first, second = g.op("Sub", g.constant(grid), low), g.op("Add", g.constant(grid), high)
    middle = g.op("Div", g.op("Add", first, second), g.constant(2.0))
    y = g.op("Mul", g.op("Concat", middle, g.op("Sub", second, first), axis=1), g.constant(step))
    return g.model(g.op("Concat", y, g.op("Sigmoid", scores), axis=1))


def tensorflow_ssd(classes: int = 3, nms: bool = False) -> Any:
    """SSD by tf2onnx: biases behind transposes, y before x, sigmoid scores with a background, optionally with NMS."""
    g, prior = Graph(), priors((2, 3, 4))
    found: list[list[str]] = [[], []]
    for feature in g.trunk():
        for number, columns in enumerate((4, classes + 1)):
            y = g.op("Transpose", g.conv(feature, 16, 3 * columns), perm=[0, 2, 3, 1])
            y = g.op("Add", y, g.constant(g.rng.standard_normal(3 * columns) * 0.5))
            found[number].append(g.op("Reshape", y, g.ints(1, -1, columns)))
    moves = g.op("Reshape", g.op("Concat", *found[0], axis=1), g.ints(-1, 4))
    scores = g.op("Sigmoid", g.op("Concat", *found[1], axis=1))
    parts = g.split(g.op("Transpose", moves, perm=[1, 0]), (1, 1, 1, 1), 0)
    middle, sides = [], []
    for part, axis in zip(parts, (1, 0, 3, 2), strict=True):
        line, own = g.op("Reshape", part, g.ints(-1)), g.constant(prior[:, axis])
        if axis < 2:
            scaled = g.op("Mul", g.op("Div", line, g.constant(10.0)), g.constant(prior[:, axis + 2]))
            middle.append(g.op("Add", scaled, own))
        else:
            sides.append(g.op("Mul", g.op("Exp", g.op("Div", line, g.constant(5.0))), own))
    half = [g.op("Div", side, g.constant(2.0)) for side in sides]
    corners = [g.op(kind, *pair) for kind in ("Sub", "Add") for pair in zip(middle, half, strict=True)]
    boxes = g.unsqueeze(g.op("Concat", *(g.unsqueeze(x, 1) for x in corners), axis=1), 0)
    if not nms:
        return g.model(boxes, scores)
    best = g.op("Transpose", g.part(scores, 1, classes + 1, 2), perm=[0, 2, 1])
    limits = [g.ints(10), g.constant(np.float32([0.5])), g.constant(np.float32([0.05]))]
    return g.model(g.op("Cast", g.op("NonMaxSuppression", boxes, best, *limits), to=TensorProto.FLOAT))


def shared_heads(classes: int = 3) -> Any:
    """EfficientDet: one separable head for all levels, boxes cut off at the edge of the image."""
    g, prior, found = Graph(), priors((2, 3, 4))[None] * SIZE, []
    features = g.trunk()
    for kind, columns in (("class", classes), ("box", 4)):
        shapes = ((16, 1, 3, 3), (16, 16, 1, 1), (16, 1, 3, 3), (3 * columns, 16, 1, 1))
        weights = [
            g.constant(g.rng.standard_normal(shape) * 0.3, f"{kind}.{place}") for place, shape in enumerate(shapes)
        ]
        rows = []
        for feature in features:
            x = g.op("Conv", g.op("Conv", feature, weights[0], group=16, pads=[1] * 4), weights[1])
            x = g.op("Mul", x, g.op("Sigmoid", x))
            x = g.op("Conv", g.op("Conv", x, weights[2], group=16, pads=[1] * 4), weights[3])
            rows.append(g.rows(x, columns))
        found.append(g.op("Concat", *rows, axis=1))
    columns_of = [g.op("Gather", found[1], g.constant(np.array(place)), axis=2) for place in range(4)]
    middle, half = [], []
    for axis in range(2):
        side = g.constant(prior[..., 2 + axis])
        middle.append(g.op("Add", g.op("Mul", columns_of[axis], side), g.constant(prior[..., axis])))
        half.append(g.op("Mul", g.op("Mul", g.op("Exp", columns_of[2 + axis]), side), g.constant(0.5)))
    corners = [g.op(kind, *pair) for kind in ("Sub", "Add") for pair in zip(middle, half, strict=True)]
    clipped = [g.op("Clip", x, g.constant(np.float32(0)), g.constant(np.float32(SIZE))) for x in corners]
    return g.model(g.op("Sigmoid", found[0]), g.op("Concat", *(g.unsqueeze(x, 2) for x in clipped), axis=2))


def shared_classes(classes: int = 5) -> Any:
    """Yolo-FastestV2: the anchors of a cell share their classes; (1, H, W, 3 x 4 + 3 + K)."""
    g, found = Graph(), []
    for feature in g.trunk((16, 32)):
        parts = [g.op("Sigmoid", g.conv(feature, 16, count)) for count in (12, 3)]
        parts.append(g.op("Softmax", g.conv(feature, 16, classes), axis=1))
        found.append(g.op("Transpose", g.op("Concat", *parts, axis=1), perm=[0, 2, 3, 1]))
    return g.model(*found)


def quantized(model: Any, folder: Any, per_channel: bool) -> Any:
    """The model with eight-bit weights and activations, as onnxruntime writes it."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Noise(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            lengths = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
            rng = np.random.default_rng(0)
            self.images = iter([{model.graph.input[0].name: rng.random(lengths, np.float32)} for _ in range(2)])

        def get_next(self) -> Any:
            return next(self.images, None)

    whole, small = str(folder / "whole.onnx"), str(folder / "quantized.onnx")
    onnx.save(model, whole)
    quantize_static(
        whole, small, Noise(), quant_format=QuantFormat.QDQ, per_channel=per_channel, weight_type=QuantType.QInt8
    )
    return onnx.load(small)
