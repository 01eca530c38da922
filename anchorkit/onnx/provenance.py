"""Which filters make which element of a tensor: labels pushed from the last convolutions to the outputs.

Each element of a head's output (a *head* is the last convolution on a path to an output) gets a label: the set of
filters it is made of, and its cell. Operators that only move elements are executed by onnxruntime on the labels, so
nothing here knows what a Slice or a ScatterND means. Operators on single elements keep labels, and join those of
several inputs. Operators that mix the filters of a cell (softmax, the weighted sum of distribution focal loss) join
them. What mixes cells cannot be the end of an anchor-based detector and is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from anchorkit.errors import InputError
from anchorkit.onnx.graph import Graph, attribute, helper, inputs_of, onnx, session, stored, weight_of

# fmt: off
ELEMENTWISE = frozenset((
    "Abs", "Add", "And", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip", "DequantizeLinear", "Div", "Dropout",
    "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity",
    "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu",
    "Pow", "QuantizeLinear", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt",
    "Sub", "Sum", "Swish", "Tanh", "ThresholdedRelu", "Where", "Xor",
))
# The inputs that hold the elements which are moved; None for all. All other inputs say where to.
MOVING: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(("DepthToSpace", "Flatten", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile"), (0,)),
    **dict.fromkeys(("Expand", "Gather", "GatherElements", "GatherND", "Transpose", "Unsqueeze"), (0,)),
    "Concat": None,
    "ScatterND": (0, 2),
    "ScatterElements": (0, 2),
}
MIXING = frozenset((
    "ArgMax", "Conv", "Gemm", "LogSoftmax", "MatMul", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax",
    "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Softmax",
))
# fmt: on
HEADS = ("Conv", "QLinearConv")


@dataclass(frozen=True)
class Head:
    """The last convolution on a path to an output.

    Attributes:
        node: it, in `Graph.nodes`.
        tensor: what it makes, (N, filters, height, width).
        weight: the initializer with its weights, filters first.
        first: number of the heads' filters before its own.
        filters: how many it has.
        height: cells of its level.
        width: cells of its level.
        first_cell: number of the cells before those of its grid.
    """

    node: Any
    tensor: str
    weight: str
    first: int
    filters: int
    height: int
    width: int
    first_cell: int


class BlockedError(Exception):
    """Labels cannot pass an operator."""

    def __init__(self, node: Any, why: str) -> None:
        super().__init__(why)
        self.node, self.why = node, why


def is_fixed_sum(graph: Graph, node: Any) -> bool:
    """Whether a convolution is the weighted sum 0, 1, 2 ... with which distribution focal loss reads a distance."""
    weight = weight_of(graph, node) if node.op_type == "Conv" else None
    if weight is None or weight.shape[0] != 1 or weight.shape[1] < 2 or weight.size != weight.shape[1]:
        return False
    numbers, last = weight.ravel().astype(np.float64), weight.size - 1
    if weight.dtype.kind in "iu":  # quantized
        numbers = (numbers - numbers[0]) * last / max(1.0, numbers[-1] - numbers[0])
    return bool(np.allclose(numbers, np.arange(weight.size), atol=0.005 * last))


def head_nodes(graph: Graph) -> tuple[list[Any], list[Any]]:
    """The heads' nodes, and the nodes between them and the outputs, both in order.

    Raises:
        InputError: an output depends on the image past any convolution, or on a convolution behind another one.
    """
    heads: list[Any] = []
    region: list[Any] = []
    wanted = {name for name in graph.outputs if name in graph.image_dependent}
    if not wanted:
        raise InputError(f"{graph.source}: no output depends on the image")
    for node in reversed(graph.nodes):
        if not any(name in wanted for name in node.output):
            continue
        if node.op_type in HEADS and not is_fixed_sum(graph, node):
            heads.append(node)
            continue
        region.append(node)
        wanted.update(name for name in inputs_of(node) if name in graph.image_dependent)
    integer = next((node for node in region if node.op_type in ("ConvInteger", "FusedConv")), None)
    if integer is not None:
        raise InputError(
            f"{graph.source}: its last convolutions are of the kind {integer.op_type}; give the file before it was "
            "quantized dynamically or optimized by onnxruntime, or one in the QDQ format"
        )
    if not heads or graph.image.name in wanted:
        raise InputError(
            f"{graph.source}: the outputs do not come from convolutions alone, so there are no cells and no anchors; "
            "the kit needs a detector with anchors, or with one box per cell"
        )
    made = {name for node in region for name in node.output}
    for node in heads:
        if not made.isdisjoint(node.input):
            raise InputError(
                f"{graph.source}: the convolution {node.name or node.output[0]} follows another output's head (a "
                "cascade); name the tensors of one stage with outputs="
            )
    return heads[::-1], region[::-1]


def describe_heads(graph: Graph, nodes: Iterable[Any], shapes: dict[str, tuple[int, ...]]) -> tuple[Head, ...]:
    """The facts of the heads' nodes."""
    heads: list[Head] = []
    grids: dict[tuple[int, int], int] = {}
    first = cells = 0
    for node in nodes:
        shape = shapes[node.output[0]]
        weight = stored(graph, node.input[3 if node.op_type == "QLinearConv" else 1])
        if len(shape) != 4 or weight is None:
            raise InputError(
                f"{graph.source}: the convolution {node.name or node.output[0]} has no stored weights over an image's "
                "two axes; export the detector with its weights as constants"
            )
        if attribute(node, "group", 1) != 1:
            raise InputError(
                f"{graph.source}: the last convolution {node.name or node.output[0]} works in groups, so its filters "
                "cannot be cut one by one; name the tensors behind another one with outputs="
            )
        filters, height, width = shape[1:]
        if (height, width) not in grids:
            grids[height, width] = cells
            cells += height * width
        heads.append(Head(node, node.output[0], weight, first, filters, height, width, grids[height, width]))
        first += filters
    return tuple(heads)


class Labels:
    """Labels of all tensors between the heads and the outputs.

    A label is ``set * cells + cell``, or -1 for an element that no filter makes (a constant).

    Attributes:
        heads: the heads.
        cells: how many cells there are, all grids together.
        sets: the sets of filters, as bit masks over all heads' filters.
        of: the labels of a tensor, by name.
    """

    def __init__(
        self,
        graph: Graph,
        heads: tuple[Head, ...],
        region: list[Any],
        shapes: dict[str, tuple[int, ...]],
        values: dict[str, np.ndarray],
    ) -> None:
        self.graph, self.heads, self.shapes, self.values = graph, heads, shapes, values
        grids = {(head.first_cell, head.height * head.width) for head in heads}
        self.cells = sum(cells for _, cells in grids)
        filters = heads[-1].first + heads[-1].filters
        self.sets: list[int] = [1 << number for number in range(filters)]
        self._number: dict[int, int] = {mask: number for number, mask in enumerate(self.sets)}
        self.kind: Any = np.int32 if 4 * filters * self.cells < 2**31 else np.int64
        self.of: dict[str, np.ndarray] = {}
        self.blocked: list[BlockedError] = []
        for head in heads:
            each: np.ndarray = np.arange(head.first, head.first + head.filters, dtype=self.kind)[:, None] * self.cells
            cell: np.ndarray = head.first_cell + np.arange(head.height * head.width, dtype=self.kind)
            self.of[head.tensor] = (each + cell).reshape(1, head.filters, head.height, head.width)
        for node in region:
            if all(name in self.of for name in inputs_of(node) if name in graph.image_dependent):
                try:
                    made = self._through(node)
                except BlockedError as error:
                    self.blocked.append(error)
                    continue
                for name, labels in zip(node.output, made, strict=False):
                    if name:
                        self.of[name] = labels

    def _through(self, node: Any) -> list[np.ndarray]:
        """The labels of a node's outputs."""
        if node.op_type in ("Shape", "Size"):
            return []
        if node.op_type in ELEMENTWISE:
            shape = self.shapes[node.output[0]]
            joined: np.ndarray | None = None
            for name in node.input:
                if name in self.of:
                    labels = self.of[name]
                    labels = labels if labels.shape == shape else np.broadcast_to(labels, shape)
                    joined = labels if joined is None else self._joined(joined, labels, node)
            return [] if joined is None else [joined]
        if node.op_type in MOVING:
            return self._moved(node)
        if node.op_type in MIXING:
            return [self._mixed(node)]
        raise BlockedError(node, f"the operator {node.op_type} does not say which cell an element belongs to")

    def _moved(self, node: Any) -> list[np.ndarray]:
        """What onnxruntime makes of labels in the place of elements."""
        places = MOVING[node.op_type]
        given: dict[str, np.ndarray] = {}
        renamed = onnx.NodeProto.FromString(node.SerializeToString())
        for place, name in enumerate(node.input):
            if not name:
                continue
            if places is None or place in places:
                labels = self.of.get(name)
                value = np.full(self.values[name].shape, -1, self.kind) if labels is None else labels
            elif name in self.graph.image_dependent:
                raise BlockedError(node, f"where {node.op_type} moves elements depends on the image")
            else:
                value = self.values[name]
            renamed.input[place] = f"{place}"
            given[f"{place}"] = value
        wanted = [name for name in node.output if name]
        inputs = [
            helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for key, value in given.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
        graph = helper.make_graph([renamed], "labels", inputs, outputs)
        model = helper.make_model(graph, opset_imports=self.graph.model.opset_import, ir_version=8)
        found: list[np.ndarray] = session(model, optimized=False, threads=1).run(wanted, given)
        return found

    def _mixed(self, node: Any) -> np.ndarray:
        """Labels behind an operator that joins the filters along some axes."""
        name = node.input[0]
        if name not in self.of or sum(other in self.graph.image_dependent for other in node.input) > 1:
            raise BlockedError(node, f"{node.op_type} multiplies what the network computed by what it computed")
        labels, shape = self.of[name], self.shapes[node.output[0]]
        axes = self._axes(node, labels.ndim)
        for axis in axes:
            labels = self._united(labels, axis, node)
        if node.op_type in ("MatMul", "Gemm", "Conv", "Softmax", "LogSoftmax"):
            return np.broadcast_to(labels, shape)
        return labels.reshape(shape)

    def _axes(self, node: Any, ndim: int) -> list[int]:
        """The axes along which an operator mixes elements."""
        if node.op_type == "Conv":
            if not is_fixed_sum(self.graph, node):
                raise BlockedError(node, "a convolution behind the head")
            return [1]
        if node.op_type == "Gemm" or node.op_type == "MatMul":
            return [0 if node.op_type == "Gemm" and attribute(node, "transA") else ndim - 1]
        if node.op_type in ("Softmax", "LogSoftmax"):
            axis = attribute(node, "axis", -1 if self.graph.opset >= 13 else 1) % ndim
            return [axis] if self.graph.opset >= 13 else list(range(axis, ndim))
        if node.op_type == "ArgMax":
            return [attribute(node, "axis", 0) % ndim]
        axes = attribute(node, "axes")
        if axes is None and len(node.input) > 1 and node.input[1]:
            axes = self.values[node.input[1]].tolist()
        return [axis % ndim for axis in axes] if axes else list(range(ndim))

    def _united(self, labels: np.ndarray, axis: int, node: Any) -> np.ndarray:
        """Labels whose sets are joined along an axis, which stays with length 1."""
        if labels.shape[axis] == 1:
            return labels
        rows = np.moveaxis(labels, axis, -1)
        cells = np.where(rows >= 0, rows % self.cells, -1)
        highest = cells.max(-1)
        if (np.where(rows >= 0, cells, highest[..., None]) != highest[..., None]).any():
            raise BlockedError(node, f"{node.op_type} mixes the cells of a feature map")
        sets = np.where(rows >= 0, rows // self.cells, -1)
        kinds, first = distinct_rows(sets.reshape(-1, sets.shape[-1]))
        united = []
        for row in sets.reshape(-1, sets.shape[-1])[first]:
            mask = 0
            for number in row[row >= 0]:
                mask |= self.sets[number]
            united.append(self._intern(mask) if mask else -1)
        chosen = np.array(united, self.kind)[kinds].reshape(highest.shape)
        made = np.where(chosen >= 0, chosen * self.cells + highest, -1).astype(self.kind)
        return np.expand_dims(made, axis)

    def _joined(self, one: np.ndarray, other: np.ndarray, node: Any) -> np.ndarray:
        """Labels of elements that two tensors make together."""
        if one is other:
            return one
        differ = (one != other) & (one >= 0) & (other >= 0)
        made = np.where(one >= 0, one, other)
        if not differ.any():
            return made
        left, right = one[differ], other[differ]
        if (left % self.cells != right % self.cells).any():
            raise BlockedError(node, f"{node.op_type} mixes the cells of a feature map")
        count = len(self.sets)
        pairs = (left // self.cells).astype(np.int64) * count + right // self.cells
        present = np.zeros(count * count, np.bool_) if count * count < 2**26 else None
        if present is None:
            found = np.unique(pairs)
            places = np.searchsorted(found, pairs)
        else:
            present[pairs] = True
            found = np.flatnonzero(present)
            places = (np.cumsum(present, dtype=np.int32) - 1)[pairs]
        sets = np.array([self._intern(self.sets[pair // count] | self.sets[pair % count]) for pair in found], self.kind)
        made[differ] = sets[places] * self.cells + left % self.cells
        return made

    def _intern(self, mask: int) -> int:
        """The number of a set of filters."""
        if mask not in self._number:
            self._number[mask] = len(self.sets)
            self.sets.append(mask)
            if self.kind is np.int32 and len(self.sets) * self.cells >= 2**31:
                raise InputError(
                    f"{self.graph.source}: more than {len(self.sets):,} different sets of filters make its outputs; "
                    "export it without post-processing, or name the tensors before that with outputs="
                )
        return self._number[mask]


def distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row of integers, the number of its kind, and for each kind, the position of its first row.

    Kinds are counted by their first row.
    """
    random = np.random.default_rng(0)
    low = int(rows.min()) if rows.size else 0
    table = random.integers(0, 2**63, int(rows.max()) - low + 1 if rows.size else 1, np.uint64)
    places = random.integers(0, 2**62, rows.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    digest = np.zeros(len(rows), np.uint64)
    for column in range(rows.shape[1]):
        digest += table[rows[:, column] - low] * places[column]
    _, first, kinds = np.unique(digest, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    kinds, first = rank[kinds.ravel()], first[order]
    if not np.array_equal(rows, rows[first[kinds]]):  # two kinds with one digest: once in 2**64
        raise ArithmeticError("two kinds of rows have the same digest")
    return kinds, first


def filters_in(mask: int) -> list[int]:
    """The numbers of a set's filters, rising."""
    found = []
    while mask:
        lowest = mask & -mask
        found.append(lowest.bit_length() - 1)
        mask ^= lowest
    return found
