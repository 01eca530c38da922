"""The constants of a cut: slices of those the file has, and shapes counted again.

A constant may be stored, or computed by the graph from other constants and from the size of the image. Where the file
leaves batch or size open, what depends on them stays computed, so that they stay open in the cut file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from anchorkit.errors import InputError
from anchorkit.onnx.extents import Block, divided
from anchorkit.onnx.graph import Graph, attribute, helper, inputs_of, numpy_helper, onnx, stored

_BY_ELEMENT = frozenset(
    ["Abs", "Add", "Cast", "Div", "Exp", "Identity", "Log", "Mul", "Neg", "Pow", "Reciprocal", "Sigmoid", "Sqrt", "Sub"]
)
_QUANTIZING = ("DequantizeLinear", "QuantizeLinear")


class Constants:
    """Constants that a cut asks for.

    Attributes:
        shapes: of all tensors that depend on the image.
        varying: names of the constants that depend on the batch or on the size of the image.
        open_size: whether the file leaves the size of the image open.
    """

    def __init__(
        self,
        graph: Graph,
        shapes: dict[str, tuple[int, ...]],
        values: dict[str, np.ndarray],
        elsewhere: tuple[dict[str, tuple[int, ...]], dict[str, np.ndarray]] | None,
    ) -> None:
        """Begin a cut.

        Args:
            graph: the whole model.
            shapes: of tensors that depend on the image.
            values: of constants behind the heads.
            elsewhere: shapes and values for another batch and size, if the file leaves these open.
        """
        self.graph, self.shapes, self._values = graph, shapes, values
        self._other = elsewhere
        self.varying: set[str] = set()
        if elsewhere is not None:
            for name, value in values.items():
                other = elsewhere[1].get(name)
                if other is not None and (other.shape != value.shape or not np.array_equal(other, value, True)):
                    self.varying.add(name)
        declared = graph.declared_input()
        self.open_size = declared[2] is None or declared[3] is None
        self._made: list[tuple[str, Any]] = []  # the name it replaces, the tensor
        self._nodes: list[Any] = []
        self._known: dict[tuple[str, bytes], str] = {}

    def value(self, name: str) -> np.ndarray:
        """The value of a constant."""
        if name in self._values:
            return self._values[name]
        found = self.graph.constant(name)
        if found is None:
            raise InputError(f"{self.graph.source}: the tensor {name} has no constant value")
        return found

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of any tensor."""
        if name in self.shapes:
            return self.shapes[name]
        behind = stored(self.graph, name)  # quantized weights are not computed here
        return self.value(name if name in self._values or behind is None else behind).shape

    def varies_along(self, names: Any, axis: int) -> bool:
        """Whether the length of an axis of image-dependent tensors depends on the size of the image."""
        if self._other is None:
            return False
        return any(self.shapes[name][axis] != self._other[0][name][axis] for name in names if name in self.shapes)

    def new(self, value: np.ndarray, like: str) -> str:
        """A new constant, whole numbers as int64; its name begins like another one."""
        return self._same_kind(value.astype(np.int64) if value.dtype.kind == "i" else value, like)

    def _same_kind(self, value: np.ndarray, like: str) -> str:
        value = np.ascontiguousarray(value)
        key = (like, value.dtype.str.encode() + str(value.shape).encode() + value.tobytes())
        if key not in self._known:
            name = f"{like or 'constant'}/cut{len(self._known)}"
            self._made.append((like, numpy_helper.from_array(value, name)))
            self._known[key] = name
        return self._known[key]

    def new_nodes(self) -> list[Any]:
        """Nodes that compute constants and have not been asked for yet."""
        nodes, self._nodes = self._nodes, []
        return nodes

    def cut_to(self, name: str, block: Block) -> str:
        """A constant that is combined, element by element, with a tensor of which `block` remains."""
        shape = self.shape(name)
        own = [
            None if length == 1 else keep
            for length, keep in zip(shape[::-1], block[::-1], strict=False)
        ][::-1]  # fmt: skip
        return self.cut(name, tuple(own))

    def cut(self, name: str, block: Block) -> str:
        """The name of what remains of a constant."""
        if all(keep is None for keep in block):
            return name
        stored = self.graph.constant(name)
        node = self.graph.producer.get(name)
        if stored is None and node is not None and node.op_type in _QUANTIZING:
            return self._cut_quantized(node, block)
        if stored is not None or name not in self.varying:
            value = stored if stored is not None else self.value(name)
            for axis, keep in enumerate(block):
                value = value if keep is None else value.take(keep, axis)
            return self._same_kind(value, name)
        return self._cut_computed(node, block)

    def _cut_quantized(self, node: Any, block: Block) -> str:
        """Weights stay quantized: what is cut is the integers, and their scales where each filter has its own."""
        new = onnx.NodeProto.FromString(node.SerializeToString())
        new.input[0] = self.cut(node.input[0], block)
        axis = attribute(node, "axis", 1) % len(block) if block else 0
        for place in range(1, len(node.input)):
            if node.input[place] and len(self.shape(node.input[place])) == 1 and self.shape(node.input[place]) != (1,):
                new.input[place] = self.cut(node.input[place], (block[axis],))
        return self._placed(new)

    def _cut_computed(self, node: Any, block: Block) -> str:
        """Push a cut into the nodes that compute a constant from the size of the image."""
        kind = node.op_type
        new = onnx.NodeProto.FromString(node.SerializeToString())
        if kind in _BY_ELEMENT:
            for place, name in enumerate(node.input):
                new.input[place] = self.cut_to(name, block)
        elif kind == "Concat":
            axis = attribute(node, "axis") % len(block)
            parts = divided(block, axis, [self.value(name).shape[axis] for name in node.input])
            pairs = zip(node.input, parts, strict=True)
            new.input[:] = [self.cut(name, part) for name, part in pairs if part is not None]
        elif kind == "Transpose":
            order = attribute(node, "perm") or list(range(len(block)))[::-1]
            moved: list[np.ndarray | None] = [None] * len(block)
            for place, axis in enumerate(order):
                moved[axis] = block[place]
            new.input[0] = self.cut(node.input[0], tuple(moved))
        elif kind in ("Gather", "GatherND", "Slice", "Tile") and (moved_on := self._same_axes(node, block)) is not None:
            new.input[0] = self.cut(node.input[0], moved_on)
        elif kind in ("Unsqueeze", "Squeeze"):
            new.input[0] = self.cut(node.input[0], self._through_unit_axes(node, block))
        elif kind == "Expand":
            new.input[0] = self.cut_to(node.input[0], block)
            inner = self.value(node.input[0]).shape
            own = (None,) * (len(block) - len(inner)) + tuple(
                None if length == 1 else keep
                for length, keep in zip(inner, block[len(block) - len(inner) :], strict=True)
            )
            new.input[1] = self._shape_with(node.input[1], self.value(node.output[0]).shape, own, block, expands=True)
        else:
            raise InputError(
                f"{self.graph.source}: the {kind} {node.name or node.output[0]} computes from the size of the image "
                "what has to be cut; export the file for a fixed size of the image"
            )
        return self._placed(new)

    def _same_axes(self, node: Any, block: Block) -> Block | None:
        """The block before a node that leaves the axes to be cut as they are; None if it does not."""
        before, after = self.value(node.input[0]).shape, self.value(node.output[0]).shape
        moved = list(block)
        lengths = list(after)
        if node.op_type == "Gather":
            axis = attribute(node, "axis", 0) % len(before)
            rank = self.value(node.input[1]).ndim
            if any(keep is not None for keep in moved[axis : axis + rank]):
                return None
            moved[axis : axis + rank], lengths[axis : axis + rank] = [None], [before[axis]]
        if node.op_type == "GatherND":
            places = self.value(node.input[1]).shape
            if attribute(node, "batch_dims", 0) or any(keep is not None for keep in moved[: len(places) - 1]):
                return None
            moved[: len(places) - 1] = [None] * places[-1]
            lengths[: len(places) - 1] = before[: places[-1]]
        if any(keep is not None and length != own for keep, length, own in zip(moved, lengths, before, strict=True)):
            return None
        return tuple(moved)

    def shifted(self, name: str, part: list[np.ndarray], by: np.ndarray) -> str | None:
        """Indices that depend on the size of the image: a part of them, and a number added to each; None if that number
        depends on the size as well.
        """
        cut_axes = [axis for axis, keep in enumerate(part) if len(keep) < self.value(name).shape[axis]]
        other = self._other[1][name] if self._other is not None else self.value(name)
        if any(other.shape[axis] != self.value(name).shape[axis] for axis in cut_axes):
            return None
        for axis in range(len(part)):
            first = by.take([0], axis)
            if axis not in cut_axes:
                if not (by == first).all():
                    return None
                by = first
        for axis in cut_axes:
            indices = self.new(part[axis], f"{name}/kept")
            name = self._placed(helper.make_node("Gather", [name, indices], [name], name=f"{name}/part", axis=axis))
        if not by.any():
            return name
        return self._placed(helper.make_node("Add", [name, self.new(by, f"{name}/by")], [name], name=f"{name}/moved"))

    def _through_unit_axes(self, node: Any, block: Block) -> Block:
        """The block before a Squeeze or an Unsqueeze."""
        before, after = self.value(node.input[0]).shape, self.value(node.output[0]).shape
        keeps = [keep for keep, length in zip(block, after, strict=True) if length != 1]
        return tuple(None if length == 1 else keeps.pop(0) for length in before)

    def _placed(self, node: Any) -> str:
        """Add a node that computes a constant; the name of what it makes."""
        original = node.output[0]
        node.output[0] = ""
        key = (original, node.SerializeToString())
        if key not in self._known:
            name = f"{original}/cut{len(self._known)}"
            node.output[0] = name
            node.name = f"{node.name or original}/cut{len(self._known)}"
            self._nodes.append(node)
            self._known[key] = name
        return self._known[key]

    def recounted(self, node: Any, before: Block, after: Block) -> str:
        """The second input of a Reshape or Expand: the shape of its output, counted again."""
        return self._shape_with(
            node.input[1], self.shapes[node.output[0]], before, after, expands=node.op_type == "Expand", node=node
        )

    def _shape_with(
        self,
        name: str,
        length_of: tuple[int, ...],
        before: Block,
        after: Block,
        expands: bool,
        node: Any = None,
    ) -> str:
        asked = self.value(name)
        other = self._other[1].get(name) if self._other is not None else None
        other = asked if other is None else other
        new, fixed = asked.copy(), np.ones(len(asked), np.bool_)
        offset = len(length_of) - len(asked)  # an Expand may leave out axes in front
        for place, said in enumerate(asked.tolist()):
            keep = after[place + offset]
            if said == -1:
                continue
            if said == 0 and not expands:
                same = place < len(before) and (before[place] is None) == (keep is None)
                if same:
                    continue
            if asked[place] != other[place]:
                fixed[place] = False
                if keep is not None:
                    if expands:
                        new[place], fixed[place] = 1, True
                    elif (asked == -1).any() or (new == -1).any():
                        raise self._open(node, name)
                    else:
                        new[place], fixed[place] = -1, True
                continue
            if keep is not None:
                unchanged = expands and before[place + offset - (len(after) - len(before))] is not None
                new[place] = 1 if unchanged else len(keep)
        if fixed.all():
            return self.new(new, name)
        mask, numbers = self.new(fixed, name + "/fixed"), self.new(new, name)
        return self._placed(helper.make_node("Where", [mask, numbers, name], [name], name=name + "/shape"))

    def shape_without(self, node: Any) -> list[Any]:
        """Nodes that say the shape of a tensor that is gone: from the shape of the image."""
        shape, image = self.shapes[node.input[0]], self.shapes[self.graph.image.name]
        if self._other is None or self._other[0][node.input[0]] == shape:
            return [
                helper.make_node("Constant", [], node.output, value=numpy_helper.from_array(np.array(shape, np.int64)))
            ]
        larger, larger_image = self._other[0][node.input[0]], self._other[0][self.graph.image.name]
        axes, steps, fixed = [], [], []
        for length, other in zip(shape, larger, strict=True):
            fixed.append(length == other)
            found = [
                axis
                for axis in ((0, 1, 2) if self.graph.channels_last else (0, 2, 3))
                if not image[axis] % length and image[axis] // length * other == larger_image[axis]
            ]  # fmt: skip
            if not found and not fixed[-1]:
                raise self._open(node, node.input[0])
            axes.append(found[0] if found and not fixed[-1] else 0)
            steps.append(image[axes[-1]] // length if not fixed[-1] else 1)
        name = node.output[0]
        inputs = [
            self.new(np.array(values), f"{name}/{word}")
            for values, word in ((axes, "axes"), (steps, "steps"), (fixed, "fixed"), (shape, "numbers"))
        ]
        return [
            helper.make_node("Shape", [self.graph.image.name], [f"{name}/image"]),
            helper.make_node("Gather", [f"{name}/image", inputs[0]], [f"{name}/lengths"], axis=0),
            helper.make_node("Div", [f"{name}/lengths", inputs[1]], [f"{name}/cells"]),
            helper.make_node("Where", [inputs[2], inputs[3], f"{name}/cells"], [name]),
        ]

    def shape_as_before(self, node: Any) -> list[Any]:
        """Nodes that say the shape of a tensor as before the cut: what is computed from it is recounted later."""
        shape = self.shapes[node.input[0]]
        larger = shape if self._other is None else self._other[0][node.input[0]]
        fixed = np.array([length == other for length, other in zip(shape, larger, strict=True)])
        name = node.output[0]
        numbers = np.array(shape, np.int64)
        if fixed.all():
            return [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(numbers))]
        inputs = [self.new(fixed, f"{name}/fixed"), self.new(numbers, f"{name}/numbers")]
        return [
            helper.make_node("Shape", [node.input[0]], [f"{name}/after"]),
            helper.make_node("Where", [*inputs, f"{name}/after"], [name]),
        ]

    def _open(self, node: Any, name: str) -> InputError:
        where = node.name or node.output[0] if node is not None else name
        return InputError(
            f"{self.graph.source}: the shape of {where} depends on the size of the image in a way that cannot be "
            "counted again; export the file for a fixed size of the image"
        )

    def add_to(self, model: Any) -> None:
        """Put the new constants into a cut model; one that replaces a constant entirely takes its name."""
        read = {name for node in model.graph.node for name in inputs_of(node)}
        read |= {value.name for value in model.graph.output}
        replaced: dict[str, list[Any]] = {}
        for like, tensor in self._made:
            if tensor.name in read:
                replaced.setdefault(like, []).append(tensor)
        stored = {tensor.name for tensor in model.graph.initializer}
        made = {name for node in model.graph.node for name in node.output}
        renamed = {}
        for like, tensors in replaced.items():
            if len(tensors) == 1 and like not in read and like and (like in stored or like not in made):
                renamed[tensors[0].name] = like
        dropped = set(renamed.values())
        kept = [tensor for tensor in model.graph.initializer if tensor.name not in dropped]
        kept += [tensor for tensors in replaced.values() for tensor in tensors]
        shapes = {}
        for tensor in kept:
            tensor.name = renamed.get(tensor.name, tensor.name)
            shapes[tensor.name] = list(tensor.dims)
        copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del model.graph.initializer[:]
        model.graph.initializer.extend(copies)
        for node in model.graph.node:
            node.input[:] = [renamed.get(name, name) for name in node.input]
        for value in model.graph.input:  # old files list their weights among the inputs
            if value.name in dropped:
                del value.type.tensor_type.shape.dim[:]
                for length in shapes[value.name]:
                    value.type.tensor_type.shape.dim.add().dim_value = length
