"""Where the raw predictions of a file end, if it goes on with a selection of boxes (NMS, the best rows)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anchorkit.errors import InputError
from anchorkit.onnx.graph import Graph, custom_operators, ending_with, inputs_of
from anchorkit.onnx.provenance import Labels

_SELECTING = ("NonMaxSuppression", "TopK", "GatherND", "NonZero", "Loop", "If")
_PASSED = ("Cast", "Gather", "Identity", "Mul", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")


def without_custom_operators(graph: Graph) -> tuple[Graph, list[str]]:
    """The graph before a selection of boxes that only one runtime knows (EfficientNMS_TRT), and what was left out.

    Raises:
        InputError: there is another custom operator.
    """
    found = custom_operators(graph)
    if not found:
        return graph, []
    first = found[0]
    ends = [name for name in first.input[:2] if name in graph.image_dependent]
    if "NMS" in first.op_type and ends:
        return Graph(ending_with(graph.model, ends, graph.source), graph.source), [ends_early(first, ends)]
    where = f"{first.domain}.{first.op_type}" if first.domain else first.op_type
    raise InputError(
        f"{graph.source}: the operator {where} is not part of ONNX, so it cannot be run here; name the tensors before "
        f"it with outputs= (it reads {', '.join(inputs_of(first)[:3])})"
    )


def before_selection(labels: Labels, named: bool) -> tuple[Graph, list[str]]:
    """The graph that ends before what labels cannot pass.

    Raises:
        InputError: nothing before it can be boxes and scores.
    """
    graph, blocked = labels.graph, labels.blocked
    first = blocked[0]
    selecting = [error for error in blocked if error.node.op_type in _SELECTING]
    selecting.sort(key=lambda error: error.node.op_type != "NonMaxSuppression")
    cells = sum(head.height * head.width for head in labels.heads)
    for error in selecting if not named else []:
        ends = [name for name in error.node.input[:2] if name in labels.of and labels.of[name].size >= cells // 2]
        if error.node.op_type != "NonMaxSuppression":
            ends = _last_labelled(labels, cells // 2)
        ends = list(dict.fromkeys(_before_best_class(labels, name) for name in ends))
        ends = [name for name in ends if name and labels.of[name].ndim > 1]
        joint = len(ends) == 1 and min(labels.of[ends[0]].shape[-2:]) > 5  # boxes and scores in one
        if len(ends) > 1 or (joint and error.node.op_type != "NonMaxSuppression"):
            return Graph(ending_with(graph.model, ends, graph.source), graph.source), ends
    where = first.node.name or first.node.output[0]
    if first.node.op_type.startswith("QLinear"):
        raise InputError(
            f"{graph.source}: it is quantized by operators of their own ({first.node.op_type} {where}); quantize in "
            "the QDQ format"
        )
    if first.node.domain == "com.microsoft.nchwc":
        raise InputError(
            f"{graph.source}: onnxruntime optimized it for one kind of processor ({first.node.op_type} {where}); "
            "give the file that it was made from"
        )
    if first.node.op_type in ("Cos", "Sin"):
        raise InputError(
            f"{graph.source}: its boxes are rotated ({first.node.op_type} {where}), and the kit evaluates upright "
            "boxes only; name the tensors before the rotation with outputs=, if there are upright ones"
        )
    if selecting:
        raise InputError(
            f"{graph.source}: boxes are selected inside the file ({selecting[0].node.op_type} "
            f"{selecting[0].node.name or selecting[0].node.output[0]}), and the raw boxes and scores before it were "
            "not found; name them with outputs=, or export without NMS"
        )
    raise InputError(
        f"{graph.source}: not an anchor-based detector: at {first.node.op_type} ({where}), {first.why}; a network "
        "whose boxes and scores come from single cells is needed, or name such tensors with outputs="
    )


def ends_early(node: Any, ends: Sequence[str]) -> str:
    return (
        f"behind its raw predictions the file goes on with {node.op_type}, which is left out: the cut file ends with "
        f"{' and '.join(ends)}"
    )


def _last_labelled(labels: Labels, least: int) -> list[str]:
    """The tensors with at least `least` elements that labels reach and that nodes read which labels do not pass.

    What only a TopK reads is left out if there are others: it says which rows are the best.
    """
    stuck = [
        node
        for node in labels.graph.nodes
        if node.op_type not in ("Shape", "Size") and any(name and name not in labels.of for name in node.output)
    ]
    names = {
        name: node.op_type == "TopK"
        for node in sorted(stuck, key=lambda node: node.op_type != "TopK")
        for name in inputs_of(node)
        if name in labels.of and labels.of[name].size >= least
    }
    reached = [name for name in labels.graph.outputs if name in labels.of and labels.of[name].size >= least]
    names.update((name, False) for name in reached)
    others = [name for name, selects in names.items() if not selects]
    return others if any(labels.of[name].ndim > 2 for name in others) else list(names)


def _before_best_class(labels: Labels, name: str) -> str:
    """What a tensor that NMS reads was before the best class was taken, and before the boxes of each class were moved;
    "" for the numbers of the classes. It is the tensor itself if nothing of this is found.
    """
    graph = labels.graph
    now: str = name
    while (node := graph.producer.get(now)) is not None and now in labels.of:
        made: list[str] = [one for one in node.input if one in labels.of and not _is_mask(graph, one)]
        if node.op_type == "ArgMax":
            return ""
        if node.op_type == "ReduceMax" and made:
            return made[0]
        if node.op_type == "Add" and len(made) == 2:
            moving = [not _before_best_class(labels, one) for one in made]
            return made[moving.index(False)] if sum(moving) == 1 else name
        if node.op_type not in _PASSED or len(made) != 1:
            return name
        now = made[0]
    return name


def _is_mask(graph: Graph, name: str) -> bool:
    """Whether a tensor only says which numbers are above a threshold."""
    node = graph.producer.get(name)
    while node is not None and node.op_type in ("Cast", "Identity"):
        node = graph.producer.get(node.input[0])
    return node is not None and node.op_type in ("And", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not")
