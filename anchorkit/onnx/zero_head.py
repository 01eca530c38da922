"""What a file says about its boxes when all its heads say zero.

With the heads' outputs at zero, decoded boxes are the anchors themselves (exp(0) = 1, (2 sigmoid(0))^2 = 1). The step
from cell to cell says in which order the numbers of a box stand, and in which unit. With the outputs at another number
scores say how they are activated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from anchorkit.onnx.graph import helper, numpy_helper, onnx, session
from anchorkit.onnx.provenance import Labels
from anchorkit.onnx.rows import FoundAnchor, Group, Table

# Operators that hide what is behind them: boxes cut off at the image's edge, numbers rounded to eight bits.
_BYPASSED = ("Clip", "QuantizeLinear", "DequantizeLinear")
_FORMATS = {"xyxy": "xyxy", "yxyx": "yxyx", "xycc": "cxcywh", "yxcc": "cycxhw"}


@dataclass(frozen=True)
class Boxes:
    """Where and how a group's outputs say boxes.

    Attributes:
        table: which of the group's tables.
        column: the first of its four columns.
        box_format: the order of the four numbers; None if the file does not decode boxes.
        unit: ``"pixels"``, ``"0..1"`` or ``"cells"``; None if not decoded.
        shapes: (width, height) in pixels of each anchor of the group; None where the file does not say it.
    """

    table: int
    column: int
    box_format: str | None
    unit: str | None
    shapes: tuple[tuple[float, float] | None, ...]


def outputs_of_heads(labels: Labels, region: Sequence[Any], names: Sequence[str], said: float) -> dict[str, np.ndarray]:
    """The tensors `names` where every output of every head is the number `said`."""
    graph = labels.graph
    nodes = []
    for node in region:
        if any(name not in labels.of for name in node.output if name in graph.image_dependent):
            continue
        clipping = node.op_type in ("Max", "Min") and len(node.input) == 2
        variable = [name for name in node.input if name in graph.image_dependent]
        hides = node.op_type in _BYPASSED or (clipping and len(variable) == 1)
        if hides or (len(variable) == 1 and _is_bias(labels, node, variable[0])):
            node = helper.make_node("Identity", variable, node.output)
        nodes.append(node)
    inputs, given = [], {}
    for head in labels.heads:
        kind = graph.types.get(head.tensor) or onnx.TensorProto.FLOAT
        shape = labels.of[head.tensor].shape
        inputs.append(helper.make_tensor_value_info(head.tensor, kind, shape))
        value = np.full(shape, said, helper.tensor_dtype_to_np_dtype(kind))
        if head.node.op_type == "QLinearConv":
            scale, zero = graph.constant(head.node.input[6]), graph.constant(head.node.input[7])
            if scale is not None and zero is not None:
                value = np.full(shape, np.round(said / float(scale)) + int(zero)).astype(zero.dtype)
        given[head.tensor] = value
    read = {name for node in nodes for name in node.input}
    constants = [
        numpy_helper.from_array(value, name)
        for name, value in labels.values.items()
        if name in read and name not in graph.image_dependent
    ]
    ends = [onnx.ValueInfoProto(name=name) for name in names]
    made = helper.make_graph(nodes, "heads", inputs, ends, initializer=constants)
    model = helper.make_model(made, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)
    found = session(model, optimized=False).run(list(names), given)
    return {name: np.asarray(value, np.float64) for name, value in zip(names, found, strict=True)}


def _is_bias(labels: Labels, node: Any, name: str) -> bool:
    """Whether a node adds one number to each filter of a head: what other files have inside the convolution."""
    values = labels.of[name]
    if node.op_type == "BatchNormalization":
        return True
    if node.op_type not in ("Add", "Sub") or values.ndim != 4 or node.input[0] != name:
        return False
    constant = labels.values.get(node.input[1])
    if constant is None or constant.size == 1:
        return False
    lengths = (1,) * (4 - constant.ndim) + constant.shape
    axes = [axis for axis, length in enumerate(lengths) if length > 1]
    filters = values[:, 0, 0, 0], values[0, :, 0, 0], values[0, 0, :, 0], values[0, 0, 0, :]
    if len(axes) != 1 or len(np.unique(filters[axes[0]] % labels.cells)) > 1:
        return False
    return any(head.filters == lengths[axes[0]] for head in labels.heads)


def kinds_of_columns(values: np.ndarray, anchors: Sequence[FoundAnchor]) -> tuple[str, float, float]:
    """One letter for each column: ``x`` or ``y`` if it counts cells along that axis, ``c`` if all cells say the same,
    ``?`` otherwise; and the steps along both axes.
    """
    usable = [anchor for anchor in anchors if anchor.height > 1 and anchor.width > 1]
    if not usable:
        return "?" * values.shape[1], 0.0, 0.0
    anchor = max(usable, key=lambda one: one.height * one.width)
    grid = values[anchor.rows].reshape(anchor.height, anchor.width, -1)
    letters, step_x, step_y = "", 0.0, 0.0
    for column in range(values.shape[1]):
        said = grid[..., column]
        room = 1e-5 + 2e-3 * float(np.abs(said).max())
        right, down = np.diff(said, axis=1), np.diff(said, axis=0)
        across, along = float(np.median(right)), float(np.median(down))
        still_x, still_y = _all_near(right, 0, room / anchor.width), _all_near(down, 0, room / anchor.height)
        if still_x and still_y:
            letters += "c"
        elif still_y and _all_near(right, across, 0.25 * abs(across)) and across > 0:
            letters, step_x = letters + "x", step_x or across
        elif still_x and _all_near(down, along, 0.25 * abs(along)) and along > 0:
            letters, step_y = letters + "y", step_y or along
        else:
            letters += "?"
    return letters, step_x * anchor.width, step_y * anchor.height


def _all_near(values: np.ndarray, target: float, room: float) -> bool:
    return bool((np.abs(values - target) <= room).all())


def find_boxes(
    group: Group, zero: dict[str, np.ndarray], sets: Sequence[int], input_size: tuple[int, int]
) -> Boxes | None:
    """Where a group's outputs say boxes; None if no four columns can be boxes."""
    height, width = input_size
    read = [table.rows(zero[table.name]) for table in group.tables]
    for number, values in enumerate(read):
        letters, span_x, span_y = kinds_of_columns(values, group.anchors)
        places = [(letters.find(pattern), name) for pattern, name in _FORMATS.items() if pattern in letters]
        if places:
            column, name = min(places)  # landmarks behind the box look like corners
            unit = _unit(span_x, span_y, width, height, max(group.anchors, key=lambda one: one.height * one.width))
            box = values[:, column : column + 4]
            if name == "cxcywh" and _is_corner(box, group.anchors, unit, input_size):
                name = "xywh"
            shapes = tuple(
                None
                if _spread(group.sets[number][position, column : column + 4], sets)
                else _shape(box[anchor.rows], name, unit, anchor, input_size)
                for position, anchor in enumerate(group.anchors)
            )
            return Boxes(number, column, name, unit, shapes)
    unknown: tuple[tuple[float, float] | None, ...] = (None,) * len(group.anchors)
    fours = [number for number, table in enumerate(group.tables) if read[number].shape[1] == 4]
    if len(group.tables) > 1 and fours:
        return Boxes(fours[0], 0, None, None, unknown)
    wide = [number for number, table in enumerate(group.tables) if read[number].shape[1] > 4]
    if len(wide) == 1 and not any(table.axis is not None and len(table.shape) > 3 for table in group.tables[1:]):
        return Boxes(wide[0], 0, None, None, unknown)  # BlazeFace has landmarks behind the box
    return None


def _unit(span_x: float, span_y: float, width: int, height: int, anchor: FoundAnchor) -> str:
    """In which unit the centres of a level's cells span the image."""
    candidates = {
        "pixels": np.log(span_x / width) ** 2 + np.log(span_y / height) ** 2,
        "0..1": np.log(span_x) ** 2 + np.log(span_y) ** 2,
        "cells": np.log(span_x / anchor.width) ** 2 + np.log(span_y / anchor.height) ** 2,
    }
    return min(candidates, key=lambda unit: float(candidates[unit]))


def to_pixels(unit: str | None, anchor: FoundAnchor, input_size: tuple[int, int]) -> tuple[float, float]:
    """What a width and a height have to be multiplied by to be pixels of the input."""
    height, width = input_size
    if unit == "0..1":
        return float(width), float(height)
    if unit == "cells":
        return width / anchor.width, height / anchor.height
    return 1.0, 1.0


def _shape(
    boxes: np.ndarray, box_format: str, unit: str, anchor: FoundAnchor, input_size: tuple[int, int]
) -> tuple[float, float] | None:
    """(width, height) of an anchor in pixels; None where a box of zeros has no extent or one that is not constant."""
    sides = boxes[:, 2:] - boxes[:, :2] if box_format in ("xyxy", "yxyx") else boxes[:, 2:]
    if box_format in ("yxyx", "cycxhw"):
        sides = sides[:, ::-1]
    across, down = to_pixels(unit, anchor, input_size)
    middle = np.median(sides, axis=0) * (across, down)
    if not (np.isfinite(middle).all() and (middle > 1e-3).all()):
        return None
    if not np.allclose(sides * (across, down), middle, rtol=1e-2, atol=0.5):
        return None
    return float(middle[0]), float(middle[1])


def _is_corner(boxes: np.ndarray, anchors: Sequence[FoundAnchor], unit: str, size: tuple[int, int]) -> bool:
    """Whether the first two numbers are a corner: the middle of the first cell is then half a box further."""
    fits = []
    for anchor in anchors:
        across, _ = to_pixels(unit, anchor, size)
        step = size[1] / anchor.width
        left, extent = boxes[anchor.rows[0], 0] * across, boxes[anchor.rows[0], 2] * across
        fits.append(abs(left + extent / 2 - step / 2) < step / 8 and not -step / 8 <= left <= step * 1.125)
    return all(fits)


def _spread(numbers: np.ndarray, sets: Sequence[int]) -> bool:
    """Whether a number of a box is read off many filters, so that zeros say nothing of a shape."""
    return any(sets[int(number)].bit_count() > 4 for number in numbers if number >= 0)


def activation_of(
    table: Table, columns: Sequence[int], zero: dict[str, np.ndarray], three: dict[str, np.ndarray]
) -> str:
    """``"softmax"``, ``"sigmoid"`` or ``"none"``: what was done to scores, from what the heads' 0 and 3 become."""
    low = table.rows(zero[table.name])[:, columns]
    high = table.rows(three[table.name])[:, columns]
    if not (low >= -1e-6).all() or not (np.maximum(low, high) <= 1 + 1e-6).all():
        return "none"
    if np.allclose(low, high, atol=1e-6):
        return "softmax" if (low > 0).all() else "none"
    return "sigmoid" if (low > 0.05).all() else "none"
