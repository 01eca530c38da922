"""Cut anchors out of an ONNX file: slice its constants, recount its shapes, and drop what nothing needs any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anchorkit.errors import InputError
from anchorkit.onnx.constants import Constants
from anchorkit.onnx.extents import Block, Extents, divided
from anchorkit.onnx.graph import Graph, attribute, helper, in_order, onnx, stored, without_dead_code
from anchorkit.onnx.provenance import ELEMENTWISE, Head

UNTOUCHED = frozenset(
    ["Flatten", "Transpose", "Unsqueeze", "Softmax", "LogSoftmax", "MatMul", "Gemm", "ArgMax", "Conv"]
)


def cut(
    graph: Graph,
    heads: Sequence[Head],
    region: Sequence[Any],
    extents: Extents,
    constants: Constants,
    kept: int,
) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """A model that makes the rows of some anchors only.

    Args:
        graph: the whole model.
        heads: its last convolutions.
        region: the nodes behind them.
        extents: what belongs to whom.
        constants: of this cut; new ones are added to it.
        kept: the anchors that stay, as a bit mask.

    Returns:
        The model, and for each initializer with a head's filters those that stay.

    Raises:
        InputError: the file cannot be cut in this way; the message names the operator.
    """
    blocks = {name: extents.block(name, kept) for name in extents.of}
    surgeon = _Surgeon(graph, blocks, constants)
    filters: dict[str, set[int]] = {}
    for head in heads:
        block = blocks[head.tensor]
        surgeon.head(head, block)
        found = () if block is None else range(head.filters) if block[1] is None else block[1].tolist()
        for name in head_constants(graph, head):
            filters.setdefault(name, set()).update(found)
    for node in region:
        surgeon.node(node)
    for node in graph.nodes:
        if node.op_type == "Shape" and node.input[0] in blocks and _changed(blocks[node.input[0]]):
            lost = blocks[node.input[0]] is None
            surgeon.made[id(node)] = constants.shape_without(node) if lost else constants.shape_as_before(node)
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.node[:]
    gone = {id(node) for node in region} | {id(head.node) for head in heads}
    nodes = [new for node in graph.nodes for new in surgeon.made.get(id(node), [] if id(node) in gone else [node])]
    model.graph.node.extend(in_order([*nodes, *constants.new_nodes()], ()))
    constants.add_to(model)
    _state_shapes(model, graph, blocks, extents)
    if model.ir_version < 4:  # in old files, each constant is an input too
        known = {value.name for value in model.graph.input}
        model.graph.input.extend(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in model.graph.initializer
            if tensor.name not in known
        )
    return without_dead_code(model), {name: tuple(sorted(found)) for name, found in filters.items()}


def head_constants(graph: Graph, head: Head) -> list[str]:
    """Names of the initializers with one entry for each of a head's filters: weights, and the bias."""
    bias_at = 8 if head.node.op_type == "QLinearConv" else 2
    names = [head.weight]
    if len(head.node.input) > bias_at and head.node.input[bias_at]:
        bias = stored(graph, head.node.input[bias_at])
        names += [bias] if bias is not None else []
    return names


def _state_shapes(model: Any, graph: Graph, blocks: dict[str, Block | None], extents: Extents) -> None:
    """Write the shapes of the outputs again, and drop those of other tensors that were cut."""
    touched = {name for name, block in blocks.items() if block is None or any(keep is not None for keep in block)}
    stale = [value for value in model.graph.value_info if value.name in touched]
    for value in stale:
        model.graph.value_info.remove(value)
    for value in model.graph.output:
        if not value.type.tensor_type.HasField("shape") and value.name in extents.of:  # a valid file has at least axes
            for _ in extents.of[value.name].shape:
                value.type.tensor_type.shape.dim.add()
        if value.name not in touched:
            continue
        block, shape = blocks[value.name], list(extents.of[value.name].shape)
        if block is None:
            # Nothing of it is left; an output without rows keeps its name.
            empty = [
                length if keep is None else 0
                for length, keep in zip(shape, _all_gone(value.name, extents), strict=True)
            ]
            kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(empty, kind), value.name + "/none"))
            model.graph.node.append(helper.make_node("Identity", [value.name + "/none"], [value.name]))
            lengths: list[int | None] = list(empty)
        else:
            lengths = [None if keep is None else len(keep) for keep in block]
        for dim, length in zip(value.type.tensor_type.shape.dim, lengths, strict=True):
            if length is None:
                continue
            if dim.HasField("dim_param") and block is not None:
                dim.dim_param = "rows"
            else:
                dim.dim_value = length


def _all_gone(name: str, extents: Extents) -> Block:
    """The axes of a tensor along which anchors follow each other, as empty blocks."""
    extent = extents.of[name]
    mixed = [present is not None and len(np.unique(present, axis=0)) > 1 for present in extent.present]
    if not any(mixed):  # an output of one anchor: its longest axis has the rows
        mixed = [length == max(extent.shape) for length in extent.shape]
        mixed = [one and position == mixed.index(True) for position, one in enumerate(mixed)]
    return tuple(np.empty(0, np.int64) if one else None for one in mixed)


class _Surgeon:
    """Rewrites nodes one by one; `made` has what stands in the place of each."""

    def __init__(self, graph: Graph, blocks: dict[str, Block | None], constants: Constants) -> None:
        self.graph, self.blocks, self.constants = graph, blocks, constants
        self.made: dict[int, list[Any]] = {}

    def head(self, head: Head, block: Block | None) -> None:
        """Slice a head's filters."""
        if block is None:
            return
        node = _copy(head.node)
        keep = block[1]
        if keep is not None:
            places = (3, 4, 5, 8) if node.op_type == "QLinearConv" else (1, 2)
            for place in places:
                if len(node.input) > place and node.input[place]:
                    shape = self.constants.shape(node.input[place])
                    if shape and shape[0] == head.filters:
                        node.input[place] = self.constants.cut(node.input[place], (keep,) + (None,) * (len(shape) - 1))
        self.made[id(head.node)] = [node]

    def node(self, node: Any) -> None:
        """Rewrite a node behind the heads."""
        outputs = [name for name in node.output if name in self.blocks]
        if not outputs:
            self.made[id(node)] = [_copy(node)]
            return
        left = [name for name in outputs if self.blocks[name] is not None]
        if not left:
            return  # all that it makes is gone
        names = [*left, *(name for name in node.input if name in self.blocks)]
        if all(self.blocks[name] is not None and not _changed(self.blocks[name]) for name in names):
            self.made[id(node)] = [_copy(node)]
            return
        new = _copy(node)
        kind = node.op_type
        if kind in ELEMENTWISE:
            self._elementwise(new)
        elif kind in UNTOUCHED or kind.startswith("Reduce"):
            pass
        else:
            rewrite = getattr(self, f"_{kind.lower()}", None)
            if rewrite is None:
                raise self._refusal(node, "cannot be recounted")
            new = rewrite(new) or new
        self.made[id(node)] = [new]

    def _out(self, node: Any) -> Block:
        block = self.blocks[node.output[0]]
        if block is None:
            raise self._refusal(node, "has an output without rows")
        return block

    def _in(self, node: Any, place: int = 0) -> Block:
        block = self.blocks.get(node.input[place])
        if block is None:
            raise self._refusal(node, "has an input without rows")
        return block

    def _refusal(self, node: Any, why: str) -> InputError:
        return InputError(
            f"{self.graph.source}: the {node.op_type} {node.name or node.output[0]} {why} for these anchors; drop "
            "whole levels, or end the file before it with outputs="
        )

    def _elementwise(self, node: Any) -> None:
        block = self._out(node)
        if node.op_type in ("BatchNormalization", "QuantizeLinear", "DequantizeLinear"):
            axis = 1 if node.op_type == "BatchNormalization" else attribute(node, "axis", 1) % len(block)
            for place in range(1, len(node.input)):
                if block[axis] is not None and node.input[place] and self._is_along(node, place, axis):
                    node.input[place] = self.constants.cut(node.input[place], (block[axis],))
            return
        for place, name in enumerate(node.input):
            if name and name not in self.blocks:
                node.input[place] = self.constants.cut_to(name, block)

    def _is_along(self, node: Any, place: int, axis: int) -> bool:
        shape = self.constants.shape(node.input[place])
        return shape == (self.constants.shapes[node.output[0]][axis],)

    def _concat(self, node: Any) -> None:
        block = self._out(node)
        axis = attribute(node, "axis") % len(block)
        parts = divided(block, axis, [self.constants.shape(name)[axis] for name in node.input])
        node.input[:] = [
            name if name in self.blocks else self.constants.cut(name, part)
            for name, part in zip(node.input, parts, strict=True)
            if part is not None
        ]

    def _reshape(self, node: Any) -> None:
        node.input[1] = self.constants.recounted(node, self._in(node), self._out(node))

    def _expand(self, node: Any) -> None:
        node.input[1] = self.constants.recounted(node, self._in(node), self._out(node))

    def _squeeze(self, node: Any) -> None:
        before, after = self.constants.shapes[node.input[0]], self.constants.shapes[node.output[0]]
        if len(node.input) < 2 and attribute(node, "axes") is None and len(before) != len(after):
            axes = [axis for axis, length in enumerate(before) if length == 1]
            if self.graph.opset >= 13:
                node.input.append(self.constants.new(np.array(axes), node.name + "/axes"))
            else:
                node.attribute.append(helper.make_attribute("axes", axes))

    def _tile(self, node: Any) -> None:
        before, after = self.constants.shapes[node.input[0]], self.constants.shapes[node.output[0]]
        for axis, keep in enumerate(self._out(node)):
            if keep is not None and before[axis] != after[axis]:
                raise self._refusal(node, "repeats what would have to be cut")

    def _split(self, node: Any) -> None:
        axis = attribute(node, "axis", 0) % len(self._in(node))
        sizes, names = [], []
        for name in node.output:
            block = self.blocks.get(name)
            if block is not None:
                names.append(name)
                keep = block[axis]
                sizes.append(self.constants.shapes[name][axis] if keep is None else len(keep))
        before = [self.constants.shapes[name][axis] for name in node.output]
        if sizes == before:
            return
        if self.constants.open_size and self.constants.varies_along(node.output, axis):
            raise self._refusal(node, "divides an axis whose length depends on the size of the image, which is open")
        node.output[:] = names
        for entry in [entry for entry in node.attribute if entry.name in ("split", "num_outputs")]:
            node.attribute.remove(entry)
        if self.graph.opset >= 13:
            node.input[:] = [node.input[0], self.constants.new(np.array(sizes), node.name + "/split")]
        else:
            node.attribute.append(helper.make_attribute("split", sizes))

    def _slice(self, node: Any) -> Any:
        before, after = self._in(node), self._out(node)
        shape = self.constants.shapes[node.input[0]]
        old = self.graph.opset < 10
        if old:
            starts, ends = attribute(node, "starts"), attribute(node, "ends")
            axes, steps = attribute(node, "axes") or list(range(len(starts))), [1] * len(starts)
        else:
            read: list[Any] = [self.constants.value(name).tolist() if name else None for name in node.input[1:]]
            read += [None] * (4 - len(read))
            starts, ends = read[0], read[1]
            axes, steps = read[2] or list(range(len(starts))), read[3] or [1] * len(starts)
        changed = False
        for number, axis in enumerate(axis % len(shape) for axis in axes):
            if before[axis] is None:
                continue
            changed = True
            chosen = np.arange(shape[axis])[slice(starts[number], _end(ends[number], steps[number]), steps[number])]
            chosen = chosen if after[axis] is None else chosen[after[axis]]
            places = np.searchsorted(before[axis], chosen)
            step = int(places[1] - places[0]) if len(places) > 1 else 1
            if step < 1 or not (np.diff(places) == step).all():
                raise self._refusal(node, "takes no regular part any more")
            starts[number], ends[number], steps[number] = int(places[0]), int(places[-1]) + 1, step
        if not changed:
            return None
        if not old and any(name in self.constants.varying for name in node.input[1:]):
            raise self._refusal(node, "has limits that depend on the size of the image, which is open")
        if old:
            if any(step != 1 for step in steps):
                raise self._refusal(node, "takes no contiguous part any more")
            return helper.make_node(
                "Slice", node.input, node.output, name=node.name, starts=starts, ends=ends, axes=list(axes)
            )
        limits = [np.clip(np.array(values), -(2**62), 2**62) for values in (starts, ends, axes, steps)]
        for place, (values, word) in enumerate(zip(limits, ("starts", "ends", "axes", "steps"), strict=True)):
            new = self.constants.new(values.astype(np.int64), f"{node.name}/{word}")
            if place + 1 < len(node.input):
                node.input[place + 1] = new
            else:
                node.input.append(new)
        return None

    def _gather(self, node: Any) -> None:
        before, after = self._in(node), self._out(node)
        axis = attribute(node, "axis", 0) % len(before)
        if before[axis] is None:
            return
        indices = self.constants.value(node.input[1])
        keeps = after[axis : axis + indices.ndim]
        indices = np.where(indices < 0, indices + self.constants.shapes[node.input[0]][axis], indices)
        for place, keep in enumerate(keeps):
            indices = indices if keep is None else indices.take(keep, place)
        node.input[1] = self.constants.new(np.searchsorted(before[axis], indices), node.name + "/indices")

    def _scatternd(self, node: Any) -> None:
        block, shape = self._out(node), self.constants.shapes[node.output[0]]
        indices = self.constants.value(node.input[1])
        depth = indices.shape[-1]
        inside = np.ones(indices.shape[:-1], np.bool_)
        moved = []
        for axis in range(depth):
            own = block[axis]
            keep = np.arange(shape[axis]) if own is None else own
            at = np.where(indices[..., axis] < 0, indices[..., axis] + shape[axis], indices[..., axis])
            place = np.clip(np.searchsorted(keep, at), 0, len(keep) - 1)
            inside &= keep[place] == at
            moved.append(place)
        part = [np.flatnonzero(inside.any(tuple(set(range(inside.ndim)) - {axis}))) for axis in range(inside.ndim)]
        if inside.sum() != np.prod([len(keep) for keep in part]):
            raise self._refusal(node, "writes what is no block any more")
        new = np.stack(moved, -1)[np.ix_(*part)]
        if node.input[0] not in self.blocks:
            node.input[0] = self.constants.cut(node.input[0], block)
        if node.input[2] not in self.blocks:
            lengths: tuple[int, ...] = inside.shape
            keeps = [None if len(one) == length else one for one, length in zip(part, lengths, strict=True)]
            node.input[2] = self.constants.cut(node.input[2], (*keeps, *block[depth:]))
        found = None
        if (
            self.graph.constant(node.input[1]) is None
        ):  # they stay computed: stored, they may be larger than the weights
            found = self.constants.shifted(node.input[1], part, new - indices[np.ix_(*part)])
        if found is None and node.input[1] in self.constants.varying:
            raise self._refusal(node, "writes where the size of the image, which is open, says,")
        node.input[1] = found or self.constants.new(new, node.name + "/indices")


def _copy(node: Any) -> Any:
    return onnx.NodeProto.FromString(node.SerializeToString())


def _changed(block: Block | None) -> bool:
    return block is None or any(keep is not None for keep in block)


def _end(end: int, step: int) -> int | None:
    return None if step < 0 and end < -(2**30) else end
