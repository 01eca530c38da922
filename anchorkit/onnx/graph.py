"""An ONNX file as a graph: ask what feeds what, run it once for the shapes of its tensors.

Image-independent tensors (weights, grids of cells, everything that is computed from a tensor's shape alone) have one
value for every image of a size. `probe` asks onnxruntime for these values and for the shape of every other tensor.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from anchorkit.errors import InputError, MissingExtraError

try:
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper
except ImportError as _error:
    raise MissingExtraError(
        f"an ONNX file needs the package {_error.name}, which is not installed: pip install 'anchorkit[onnx]'"
    ) from None

__all__ = [
    "Graph",
    "attribute",
    "custom_operators",
    "ending_with",
    "helper",
    "in_order",
    "inputs_of",
    "macs",
    "macs_per_element",
    "numpy_helper",
    "onnx",
    "onnxruntime",
    "probe",
    "session",
    "stored",
    "weight_of",
    "without_dead_code",
]

SHAPE_OF = "anchorkit/shape_of/"
_ASKED_OF_SHAPE = ("Shape", "Size")  # what they say does not depend on the pixels


class Graph:
    """The graph of an ONNX model; nothing here changes it.

    Attributes:
        model: the model.
        source: what errors call it.
        nodes: its nodes, in an order in which each follows what feeds it.
        initializers: constant tensors by name.
        producer: the node that makes a tensor, by the tensor's name.
        consumers: the nodes that read a tensor.
        image: the input that takes the image.
    """

    def __init__(self, model: Any, source: str) -> None:
        self.model, self.source = model, source
        graph = model.graph
        self.nodes: list[Any] = list(graph.node)
        self.initializers: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self.producer: dict[str, Any] = {name: node for node in self.nodes for name in node.output if name}
        self.consumers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        images = [value for value in graph.input if value.name not in self.initializers]
        if len(images) != 1:
            names = ", ".join(value.name for value in images)
            raise InputError(
                f"{source}: the file has {len(images)} inputs ({names}); it may have one, the image: make the others "
                "constants when you export it"
            )
        self.image = images[0]
        self.outputs: tuple[str, ...] = tuple(value.name for value in graph.output)

    @property
    def opset(self) -> int:
        """The version of ONNX' operators that the file uses."""
        return next(int(entry.version) for entry in self.model.opset_import if entry.domain in ("", "ai.onnx"))

    @cached_property
    def image_dependent(self) -> set[str]:
        """Names of the tensors whose values depend on the pixels."""
        found = {self.image.name}
        for node in self.nodes:
            if node.op_type not in _ASKED_OF_SHAPE and not found.isdisjoint(inputs_of(node)):
                found.update(node.output)
        return found

    @cached_property
    def types(self) -> dict[str, int]:
        """Element types of tensors, where ONNX can infer them."""
        inferred = _inferred(self.model)
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        return {value.name: value.type.tensor_type.elem_type for value in values}

    def constant(self, name: str) -> np.ndarray | None:
        """The value of an initializer or of a Constant node; None for any other tensor."""
        if name in self.initializers:
            return numpy_helper.to_array(self.initializers[name])
        node = self.producer.get(name)
        if node is None or node.op_type != "Constant":
            return None
        value = attribute(node, "value")
        if value is not None:
            return numpy_helper.to_array(value)
        for key, kind in (("value_float", np.float32), ("value_int", np.int64)):
            if attribute(node, key) is not None:
                return np.array(attribute(node, key), kind)
        for key, kind in (("value_floats", np.float32), ("value_ints", np.int64)):
            if attribute(node, key) is not None:
                return np.array(attribute(node, key), kind)
        return None

    def ancestors(self, names: Iterable[str], stop: Iterable[str] = ()) -> list[Any]:
        """The nodes that the tensors are computed by, in order; a tensor of `stop` is not looked behind."""
        wanted, ends = set(names), set(stop)
        found = []
        for node in reversed(self.nodes):
            if any(name in wanted and name not in ends for name in node.output):
                found.append(node)
                wanted.update(inputs_of(node))
        return found[::-1]

    def declared_input(self) -> tuple[int | None, int | None, int | None, int | None]:
        """The input's (batch, channels, height, width); None where the file leaves a number open."""
        dims = self.image.type.tensor_type.shape.dim
        if len(dims) != 4:
            raise InputError(
                f"{self.source}: the input {self.image.name} has {len(dims)} axes; an image (N, 3, H, W) is needed: "
                "export it so, without the part that prepares images of any size"
            )
        numbers = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims]
        if self.channels_last:
            numbers = [numbers[0], numbers[3], numbers[1], numbers[2]]
        return numbers[0], numbers[1], numbers[2], numbers[3]

    @cached_property
    def channels_last(self) -> bool:
        """Whether the input is (N, H, W, 3), as TensorFlow has it."""
        lengths = [dim.dim_value for dim in self.image.type.tensor_type.shape.dim]
        return len(lengths) == 4 and lengths[3] in (1, 3) and lengths[1] not in (1, 3)

    @cached_property
    def takes_pixels(self) -> bool:
        """Whether the input is one of whole numbers: pixels 0..255 as they are."""
        return bool(helper.tensor_dtype_to_np_dtype(self.image.type.tensor_type.elem_type).kind in "iu")

    def as_input(self, image: np.ndarray) -> np.ndarray:
        """An image (N, C, H, W) in the order of axes and in the type that the file takes."""
        kind = helper.tensor_dtype_to_np_dtype(self.image.type.tensor_type.elem_type)
        ordered = image.transpose(0, 2, 3, 1) if self.channels_last else image
        return np.ascontiguousarray(ordered.astype(kind))


def ending_with(model: Any, outputs: Sequence[str], source: str) -> Any:
    """A model that gives the named tensors, without what only others need."""
    made = [name for node in model.graph.node for name in node.output if name]
    for name in outputs:
        if name not in made:
            near = difflib.get_close_matches(name, made, n=1)
            raise InputError(
                f"{source}: outputs: no tensor {name!r} in the file{f'; did you mean {near[0]}?' if near else ''}"
            )
    inferred = _inferred(model)
    known = {value.name: value for value in (*inferred.value_info, *inferred.output)}
    ending = onnx.ModelProto()
    ending.CopyFrom(model)
    del ending.graph.output[:]
    for name in outputs:
        value = known.get(name)
        if value is None or not value.type.tensor_type.HasField("shape"):
            kind = value.type.tensor_type.elem_type if value is not None else onnx.TensorProto.FLOAT
            value = helper.make_tensor_value_info(name, kind or onnx.TensorProto.FLOAT, None)
        ending.graph.output.append(value)
    return without_dead_code(ending)


def _inferred(model: Any) -> Any:
    """The graph with the types and shapes that ONNX infers; as it is if it has operators that ONNX does not know."""
    try:
        return onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError:
        return model.graph


def without_dead_code(model: Any) -> Any:
    """Remove, in place, the nodes that no output needs, and constants and shapes that no node refers to."""
    graph = model.graph
    wanted = {value.name for value in graph.output}
    alive = []
    for node in reversed(graph.node):
        if any(name in wanted for name in node.output):
            alive.append(node)
            wanted.update(inputs_of(node))
    alive.reverse()
    kept = [tensor for tensor in graph.initializer if tensor.name in wanted]
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants or value.name in wanted]
    made = {name for node in alive for name in node.output}
    shapes = [value for value in graph.value_info if value.name in made]
    notes = [note for note in graph.quantization_annotation if note.tensor_name in wanted | made]
    for field, values in (
        (graph.node, alive),
        (graph.initializer, kept),
        (graph.input, inputs),
        (graph.value_info, shapes),
        (graph.quantization_annotation, notes),
    ):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(copies)
    return model


def in_order(nodes: Iterable[Any], given: Iterable[str]) -> list[Any]:
    """Nodes in an order in which each follows what feeds it; otherwise as they stand."""
    waiting, known, ordered = list(nodes), set(given), []
    made = {name for node in waiting for name in node.output}
    while waiting:
        later = []
        for node in waiting:
            if all(name in known or name not in made for name in inputs_of(node)):
                ordered.append(node)
                known.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            return ordered + later
        waiting = later
    return ordered


def inputs_of(node: Any) -> list[str]:
    """Names of the tensors that a node reads, those that the graphs inside it read from outside included."""
    names = [name for name in node.input if name]
    for entry in node.attribute:
        for inner in [entry.g] if entry.HasField("g") else list(entry.graphs):
            made = {name for inside in inner.node for name in inside.output} | {value.name for value in inner.input}
            made |= {tensor.name for tensor in inner.initializer}
            names += [name for inside in inner.node for name in inputs_of(inside) if name not in made]
            names += [value.name for value in inner.output if value.name not in made]
    return names


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """An attribute of a node."""
    for entry in node.attribute:
        if entry.name == name:
            value = helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def session(model: Any, optimized: bool = True, threads: int = 0) -> Any:
    """An onnxruntime session on the CPU, which says nothing.

    Raises:
        InputError: onnxruntime cannot run the file; the message names a custom operator if there is one.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def custom_operators(graph: Graph) -> list[Any]:
    """The nodes that neither ONNX nor onnxruntime defines."""
    return [
        node
        for node in graph.nodes
        if not node.domain.startswith("com.microsoft") and not onnx.defs.has(node.op_type, node.domain)
    ]


def probe(
    graph: Graph, size: tuple[int, int, int, int], values: Iterable[str]
) -> tuple[dict[str, tuple[int, ...]], dict[str, np.ndarray]]:
    """Run the model once on an empty image.

    Args:
        graph: the model.
        size: of the input, (N, C, H, W).
        values: image-independent tensors to ask for.

    Returns:
        The shape of every image-dependent tensor, and the values asked for, by name.

    Raises:
        InputError: onnxruntime cannot run the file.
    """
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:], model.graph.value_info[:]
    asked = list(dict.fromkeys(values))
    measured = [name for node in graph.nodes for name in node.output if name in graph.image_dependent and name]
    for name in measured:
        model.graph.node.append(helper.make_node("Shape", [name], [SHAPE_OF + name]))
    names = [SHAPE_OF + name for name in measured]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in (*names, *asked))
    image = graph.as_input(np.zeros(size))
    try:
        found = session(model, optimized=False).run([*names, *asked], {graph.image.name: image})
    except Exception as error:  # onnxruntime's errors have no common base
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{graph.source}: onnxruntime cannot run it on an input of {'x'.join(map(str, size))}: {reason}"
        ) from None
    shapes = {name: tuple(map(int, shape)) for name, shape in zip(measured, found, strict=False)}
    shapes[graph.image.name] = image.shape
    return shapes, dict(zip(asked, found[len(names) :], strict=True))


def macs(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> dict[int, int]:
    """Multiply-adds of each node that multiplies by weights, by its position in `Graph.nodes`."""
    counts: dict[int, int] = {}
    for position, node in enumerate(graph.nodes):
        per_element = macs_per_element(graph, node, shapes)
        if per_element:
            counts[position] = per_element * int(np.prod(shapes[node.output[0]]))
    return counts


def macs_per_element(graph: Graph, node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    """Multiply-adds for one element of a node's output; 0 for operators that are no product of matrices."""
    if node.output[0] not in shapes:
        return 0
    if node.op_type in ("Conv", "QLinearConv"):
        weight = weight_of(graph, node)
        return 0 if weight is None else int(np.prod(weight.shape[1:]))
    if node.op_type == "ConvTranspose":
        weight = weight_of(graph, node)
        if weight is None:
            return 0
        outputs = int(np.prod(shapes[node.output[0]]))
        return int(weight.size * np.prod(shapes[node.input[0]][2:]) * shapes[node.input[0]][0]) // outputs
    if node.op_type in ("Gemm", "MatMul") and node.input[0] in shapes:
        inner = shapes[node.input[0]]
        return inner[0] if attribute(node, "transA") else inner[-1]
    return 0


def weight_of(graph: Graph, node: Any) -> np.ndarray | None:
    """The weights of a convolution as they are stored; None if the graph computes them."""
    found = stored(graph, node.input[3 if node.op_type == "QLinearConv" else 1])
    return None if found is None else graph.constant(found)


def stored(graph: Graph, name: str) -> str | None:
    """The constant behind a tensor: itself, or what a DequantizeLinear, Cast or Identity makes it of."""
    while graph.constant(name) is None:
        node = graph.producer.get(name)
        if node is None or node.op_type not in ("DequantizeLinear", "Cast", "Identity", "QuantizeLinear"):
            return None
        name = node.input[0]
    return name
