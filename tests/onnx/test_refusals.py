"""Files that are no anchor-based detectors are refused in one line that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from anchorkit.errors import InputError
from anchorkit.onnx import load_onnx
from tests.onnx import graphs
from tests.onnx.conftest import Load
from tests.onnx.graphs import Graph


def classifier() -> Any:
    g = Graph()
    x = g.op("Flatten", g.op("GlobalAveragePool", g.trunk()[-1]))
    return g.model(g.op("Softmax", g.op("Gemm", x, g.constant(g.rng.standard_normal((16, 10))))))


def detr() -> Any:
    g = Graph()
    x = g.op("Transpose", g.op("Reshape", g.conv(g.trunk()[-1], 16, 8), g.ints(1, 8, -1)), perm=[0, 2, 1])
    attention = g.op("Softmax", g.op("MatMul", x, g.op("Transpose", x, perm=[0, 2, 1])), axis=-1)
    x = g.op("MatMul", attention, x)
    return g.model(*(g.op("MatMul", x, g.constant(g.rng.standard_normal((8, columns)))) for columns in (4, 5)))


def segmentation() -> Any:
    g = Graph()
    x = g.conv(g.trunk()[0], 16, 21)
    return g.model(g.op("Resize", x, "", g.constant(np.float32([1, 1, 8, 8])), mode="linear"))


def with_masks() -> Any:
    model = graphs.yolov5()
    feature = next(node.output[0] for node in model.graph.node[5:] if node.op_type == "Relu")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((8, 16, 1, 1), np.float32), "masks.weight"))
    model.graph.node.append(helper.make_node("Conv", [feature, "masks.weight"], ["masks"]))
    model.graph.output.append(helper.make_tensor_value_info("masks", TensorProto.FLOAT, None))
    return model


def ending(node: Any, opset: Any = None) -> Any:
    """A YOLO that goes on with a node."""
    model = graphs.yolov5()
    node.input[0] = model.graph.output[0].name
    model.graph.node.append(node)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None))
    if opset is not None:
        model.opset_import.append(opset)
    return model


def custom_operator() -> Any:
    return ending(helper.make_node("Sparkle", [""], ["sparkles"], domain="acme"), helper.make_opsetid("acme", 1))


def two_inputs() -> Any:
    model = ending(helper.make_node("Add", ["", "second"], ["sum"]))
    model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1]))
    return model


def eight_at_a_time() -> Any:
    model = graphs.yolov5()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 8
    return model


def best_scores() -> Any:
    g = Graph()
    y = g.op("Transpose", g.op("Reshape", g.conv(g.trunk()[0], 16, 8), g.ints(1, 8, -1)), perm=[0, 2, 1])
    return g.model(g.ops("TopK", 2, g.op("Flatten", g.part(y, 4, 5, 2)), g.ints(10), axis=1)[0])


def boxes_moved_by_class() -> Any:
    """The end of YOLOv7's exports for onnxruntime: classes are kept apart by moving their boxes."""
    model = graphs.retinaface(classes=3)
    boxes, scores = (value.name for value in model.graph.output[:2])
    g = Graph()
    best, named = g.op("ReduceMax", scores, axes=[2], keepdims=1), g.op("ArgMax", scores, axis=2)
    moved = g.op("Add", boxes, g.op("Mul", g.op("Cast", named, to=TensorProto.FLOAT), g.constant(4096.0, "far")))
    limits = [g.constant(np.array([9]), "most"), g.constant(np.float32([0.5]), "iou")]
    chosen = g.op("NonMaxSuppression", moved, g.op("Transpose", best, perm=[0, 2, 1]), *limits)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in g.nodes]
    for node in nodes:
        node.name = f"nms/{node.name}"
        node.output[:] = [f"nms/{name}" for name in node.output]
        node.input[:] = [
            f"nms/{name}" if any(name in one.output for one in g.nodes) and name not in (boxes, scores) else name
            for name in node.input
        ]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(g.constants)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(f"nms/{chosen}", TensorProto.INT64, None))
    return model


def cells_that_differ() -> Any:
    g = Graph()
    x = g.conv(g.trunk()[0], 16, 16)
    left = g.op("Slice", x, g.ints(0, 0), g.ints(8, 4), g.ints(1, 3))
    right = g.op("Slice", x, g.ints(8, 4), g.ints(16, 8), g.ints(1, 3))
    y = g.op("Reshape", g.op("Concat", left, right, axis=3), g.ints(1, 8, -1))
    return g.model(g.op("Transpose", y, perm=[0, 2, 1]))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (classifier, ["GlobalAveragePool", "outputs="]),
        (detr, ["MatMul", "single cells"]),
        (segmentation, ["Resize", "outputs="]),
        (with_masks, ["masks", "segmentation", "leave it out with outputs="]),
        (custom_operator, ["acme.Sparkle", "outputs="]),
        (two_inputs, ["2 inputs", "second"]),
        (eight_at_a_time, ["8 images at a time"]),
        (best_scores, ["TopK", "outputs="]),
        (cells_that_differ, ["differ in the filters"]),
        (graphs.bare, ["anchors_per_cell="]),
    ],
)
def test_refused_in_one_line(load: Load, model: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        load(model())
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_boxes_that_were_moved_by_class(load: Load) -> None:
    model = boxes_moved_by_class()
    moved, scores = next(node.input[:2] for node in model.graph.node if node.op_type == "NonMaxSuppression")
    detector = load(model)  # it goes back to where they are not moved
    assert [output.role for output in detector.understanding.outputs] == ["boxes", "scores"]
    assert len(detector.understanding.columns["classes"]) == 3
    with pytest.raises(InputError, match="depend on the scores .*outputs="):
        load(model, outputs=[moved, scores])


def test_a_wrong_number_of_classes(load: Load) -> None:
    with pytest.raises(InputError, match="categories: 7 classes were given, and the file has scores of"):
        load(graphs.yolov5(), categories=7)


def test_missing_weights(tmp_path: Path) -> None:
    path = tmp_path / "split.onnx"
    onnx.save(graphs.yolov5(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InputError, match="its weights are in another file, which is missing"):
        load_onnx(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    with pytest.raises(InputError, match="no such file"):
        load_onnx(path)
    path.write_text("no model")
    with pytest.raises(InputError, match="not an ONNX file"):
        load_onnx(path)


def test_an_output_that_does_not_exist(load: Load) -> None:
    with pytest.raises(InputError, match="no tensor 'nothing'"):
        load(graphs.yolov5(), outputs=["nothing"])


def test_masks_can_be_left_out(load: Load) -> None:
    model = with_masks()
    detector = load(model, outputs=[model.graph.output[0].name])
    assert len(detector.layout) == 9
