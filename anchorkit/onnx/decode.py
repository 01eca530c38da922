"""From rows of a file's outputs to boxes and scores in pixels of the input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anchorkit.errors import InputError
from anchorkit.onnx.scores import Column
from anchorkit.onnx.understand import Analysis, Reading
from anchorkit.onnx.zero_head import to_pixels

DECODERS = ("yolov3", "yolov5", "yolox", "ssd", "distance")
"""How the program that uses a file decodes boxes which the file leaves as they are: ``yolov3`` (sigmoid and exp;
darknet's), ``yolov5`` (twice the sigmoid; that of YOLOv7 too), ``yolox`` (a centre from the cell and exp, in cells),
``ssd`` (with variances 0.1 and 0.2), ``distance`` (of the four sides from the cell, in cells; SCRFD and the like)."""


def decoded(
    analysis: Analysis, reading: Reading, values: dict[str, np.ndarray], decoder: str | None, activation: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes x1 y1 x2 y2 in pixels of the input, float64 (rows, 4), and scores, float32 (rows, classes).

    Raises:
        InputError: the file does not decode its boxes or activate its scores, and nothing says how to.
    """
    table = reading.group.tables[reading.boxes.table]
    column = reading.boxes.column
    numbers = table.rows(values[table.name])[:, column : column + 4].astype(np.float64)
    if reading.boxes.box_format is None:
        boxes = _decode(analysis, reading, numbers, decoder)
    else:
        boxes = _corners(numbers, reading.boxes.box_format)
        for anchor in reading.group.anchors:
            across, down = to_pixels(reading.boxes.unit, anchor, analysis.input_size)
            if (across, down) != (1, 1):
                boxes[anchor.rows] *= (across, down, across, down)
    return boxes, _scores(analysis, reading, values, activation)


def _corners(numbers: np.ndarray, box_format: str) -> np.ndarray:
    """x1 y1 x2 y2 from the four numbers in another order."""
    if box_format in ("yxyx", "cycxhw"):
        numbers = numbers[:, [1, 0, 3, 2]]
    if box_format in ("cxcywh", "cycxhw"):
        return np.concatenate([numbers[:, :2] - numbers[:, 2:] / 2, numbers[:, :2] + numbers[:, 2:] / 2], axis=1)
    if box_format == "xywh":
        return np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], axis=1)
    return numbers


def _decode(analysis: Analysis, reading: Reading, numbers: np.ndarray, decoder: str | None) -> np.ndarray:
    """What the program that uses the file makes of a box's four numbers."""
    source = analysis.graph.source
    if decoder not in DECODERS:
        raise InputError(
            f"{source}: the file does not decode its boxes; say how with decode= ({', '.join(DECODERS)}), and give the "
            "anchors with shapes= if there are any"
        )
    boxes = np.empty_like(numbers)
    for anchor in reading.group.anchors:
        rows = anchor.rows
        number = int(reading.anchor[rows[0]])
        known = analysis.shapes[number]
        step = np.array([analysis.input_size[1] / anchor.width, analysis.input_size[0] / anchor.height])
        cell = np.arange(len(rows))
        grid = np.stack([cell % anchor.width, cell // anchor.width], axis=1)
        first, second = numbers[rows, :2], numbers[rows, 2:]
        if decoder == "distance":
            corner = grid * step
            boxes[rows] = np.concatenate([corner - first * step, corner + second * step], axis=1)
            continue
        if decoder == "yolox":
            middle, sides = (grid + first) * step, np.exp(second) * step
            boxes[rows] = np.concatenate([middle - sides / 2, middle + sides / 2], axis=1)
            continue
        if known is None:
            raise InputError(f"{source}: decode={decoder!r} needs the anchors: give shapes=, finest level first")
        shape = np.array(known)
        if decoder == "ssd":
            middle, sides = (grid + 0.5) * step + 0.1 * first * shape, shape * np.exp(0.2 * second)
        elif decoder == "yolov3":
            middle, sides = (_sigmoid(first) + grid) * step, shape * np.exp(second)
        else:
            middle, sides = (2 * _sigmoid(first) - 0.5 + grid) * step, shape * (2 * _sigmoid(second)) ** 2
        boxes[rows] = np.concatenate([middle - sides / 2, middle + sides / 2], axis=1)
    return boxes


def _scores(analysis: Analysis, reading: Reading, values: dict[str, np.ndarray], activation: str | None) -> np.ndarray:
    """Scores of the classes, 0..1, with the objectness in them."""
    scores = reading.scores

    def read(columns: Sequence[Column]) -> np.ndarray:
        table = reading.group.tables[columns[0][0]]
        return table.rows(values[table.name])[:, [column for _, column in columns]].astype(np.float32)

    known = scores.activation != "none"
    if not known and activation is None:
        raise InputError(
            f"{analysis.graph.source}: the file does not activate its scores; say activation='sigmoid' or 'softmax'"
        )
    found = read(scores.classes)
    if not known and activation == "softmax":
        every = found if scores.background is None else np.concatenate([found, read([scores.background])], axis=1)
        powers = np.exp(every - every.max(1, keepdims=True))
        found = (powers / powers.sum(1, keepdims=True))[:, : found.shape[1]]
    elif not known:
        found = _sigmoid(found)
    if scores.objectness is not None:
        objectness = read([scores.objectness])
        found = found * (objectness if known else _sigmoid(objectness))
    return found


def _sigmoid(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        activated: np.ndarray = 1 / (1 + np.exp(-values))
    return activated
