"""Top-k, NMS and cap as standard ONNX operators, put behind a network's raw predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anchorkit.postprocess import PostProcess


def with_nms(network: Any, boxes_per_level: Sequence[int], classes: int, postprocess: PostProcess) -> Any:
    """A network that gives detections, made of one that gives raw predictions.

    The steps are those of `PostProcess`. Rows are taken box by box and, for one box, class by class: ONNX' TopK and
    NonMaxSuppression break ties by the lower index, so they go to the earlier row as in the kit. NonMaxSuppression
    counts IoU in float32, the kit in float64.

    Args:
        network: an ONNX model with outputs ``boxes`` (N, B, 4) and ``scores`` (N, B, K).
        boxes_per_level: how many boxes each level with anchors has; B in all.
        classes: K.
        postprocess: what to do with the raw predictions.

    Returns:
        An ONNX model with the same input and the outputs ``boxes`` (N, M, 4), ``scores`` (N, M), ``labels`` (N, M),
        int64, counted from 1, and ``count`` (N,), int64. Best detections first; behind the last one everything is 0.
    """
    import onnx

    [opset] = [entry.version for entry in network.opset_import if not entry.domain]
    text = _graph(boxes_per_level, classes, postprocess)
    detections = onnx.parser.parse_model(f'<ir_version: {network.ir_version}, opset_import: ["": {opset}]>\n{text}')
    # The prefix keeps the names of the two graphs apart.
    prefixed = onnx.compose.add_prefix(network, "network_", rename_inputs=False)
    links = [(f"network_{name}", f"raw_{name}") for name in ("boxes", "scores")]
    return onnx.compose.merge_models(
        prefixed,
        detections,
        io_map=links,
        name=network.graph.name,
        producer_name=network.producer_name,
        producer_version=network.producer_version,
    )


def _graph(boxes_per_level: Sequence[int], classes: int, postprocess: PostProcess) -> str:
    """The graph in ONNX' text form."""
    boxes, cap = sum(boxes_per_level), postprocess.max_detections
    rows = boxes * classes
    detections = "M" if cap is None else str(min(cap, rows))
    constants: dict[str, Any] = {
        "int64 one": 1,
        "int64 per_box": classes,
        "int64[1] per_image": (-1,),
        "int64[2] flat": (0, -1),
        "int64[1] second": (1,),
        "int64[3] box_before_class": (0, 2, 1),
        "int64 nothing": 0,
        "float zero": 0.0,
        "float score_threshold": postprocess.score_threshold,
        "float nms_iou": postprocess.nms_iou,
        # No class has more among the best of an image than may be kept of the image.
        "int64 most": min(boxes, cap or boxes),
    }
    steps = _topk(boxes_per_level, classes, postprocess, constants)
    steps += """
        by_class = Transpose <perm = [0, 2, 1]> (candidates)
        kept = NonMaxSuppression (raw_boxes, by_class, most, nms_iou, score_threshold)
        kept_at = Gather <axis = 1> (kept, box_before_class)
        kept_scores = GatherND (candidates, kept_at)
        shape = Shape (candidates)
        none = ConstantOfShape (shape)
        survivors = ScatterND (none, kept_at, kept_scores)
        rows = Reshape (survivors, flat)
    """
    if cap is None:  # as many columns as the image with the most detections needs
        steps += """
        any = Greater (rows, zero)
        each = Cast <to = 7> (any)
        totals = ReduceSum <keepdims = 0> (each, second)
        fullest = ReduceMax <keepdims = 0> (totals)
        limit = Reshape (fullest, per_image)
        """
    else:
        constants["int64[1] limit"] = (min(cap, rows),)
    steps += """
        scores, at = TopK <axis = 1> (rows, limit)
        found = Greater (scores, zero)
        class = Mod (at, per_box)
        label = Add (class, one)
        labels = Where (found, label, nothing)
        box = Div (at, per_box)
        box_at = Unsqueeze (box, per_image)
        chosen = GatherND <batch_dims = 1> (raw_boxes, box_at)
        found_box = Unsqueeze (found, per_image)
        boxes = Where (found_box, chosen, zero)
        ones = Cast <to = 7> (found)
        count = ReduceSum <keepdims = 0> (ones, second)
    """
    return f"""
    detections (float[batch, {boxes}, 4] raw_boxes, float[batch, {boxes}, {classes}] raw_scores)
    => (float[batch, {detections}, 4] boxes, float[batch, {detections}] scores, int64[batch, {detections}] labels,
        int64[batch] count)
    <{", ".join(f"{name} = {_literal(value)}" for name, value in constants.items())}>
    {{ {steps} }}
    """


def _topk(boxes_per_level: Sequence[int], classes: int, postprocess: PostProcess, constants: dict[str, Any]) -> str:
    """Steps that make ``candidates`` (N, B, K): the raw scores, but 0 where they are not among the best of their scope.

    A score of 0 is at or below any threshold, so it takes no part.
    """
    boxes, topk = sum(boxes_per_level), postprocess.topk
    scopes = list(boxes_per_level) if postprocess.topk_scope == "level" else [boxes]
    width = 1 if postprocess.topk_scope == "class" else classes
    if topk is None or topk >= width * max(scopes):
        return "candidates = Identity (raw_scores)"
    constants["int64[1] topk"] = (topk,)
    if postprocess.topk_scope == "class":
        return """
        best, best_at = TopK <axis = 1> (raw_scores, topk)
        raw_shape = Shape (raw_scores)
        blank = ConstantOfShape (raw_shape)
        candidates = ScatterElements <axis = 1> (blank, best_at, best)
        """
    constants[f"int64[{len(scopes)}] sizes"] = tuple(scopes)
    parts = ", ".join(f"part{number}" for number in range(len(scopes)))
    steps = f"{parts} = Split <axis = 1> (raw_scores, sizes)"
    for number, size in enumerate(scopes):
        if size * classes <= topk:
            steps += f"\n best_part{number} = Identity (part{number})"
            continue
        constants[f"int64[3] shape{number}"] = (0, size, classes)
        steps += f"""
        flat{number} = Reshape (part{number}, flat)
        best{number}, best_at{number} = TopK <axis = 1> (flat{number}, topk)
        shape_of_flat{number} = Shape (flat{number})
        blank{number} = ConstantOfShape (shape_of_flat{number})
        best_flat{number} = ScatterElements <axis = 1> (blank{number}, best_at{number}, best{number})
        best_part{number} = Reshape (best_flat{number}, shape{number})
        """
    best_parts = ", ".join(f"best_part{number}" for number in range(len(scopes)))
    return f"{steps}\n candidates = Concat <axis = 1> ({best_parts})"


def _literal(value: int | float | tuple[int, ...]) -> str:
    """A tensor in ONNX' text form."""
    return f"{{{', '.join(map(str, value if isinstance(value, tuple) else (value,)))}}}"
