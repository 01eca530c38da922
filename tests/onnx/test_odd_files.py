"""What exporters add to a detector: more outputs, more columns, selections of boxes; old and open forms of a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from anchorkit.errors import InputError
from anchorkit.onnx import load_onnx
from anchorkit.onnx.constants import Constants
from anchorkit.onnx.graph import Graph as GraphOfFile
from anchorkit.onnx.graph import session
from tests.onnx import graphs
from tests.onnx.conftest import Load
from tests.onnx.graphs import SIZE, STRIDES, Graph, cells
from tests.onnx.properties import check_cuts

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)


def value(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def raw_heads_too() -> Any:
    """YOLOv5's first exports: the rows, then what each head said, which the rows are computed from."""
    model = graphs.yolov5()
    model.graph.output.extend(value(node.input[0]) for node in model.graph.node if node.op_type == "Sigmoid")
    return model


def initializers_as_inputs() -> Any:
    """Before IR version 4, every constant was an input too."""
    model = graphs.yolov5()
    model.ir_version = 3
    model.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in model.graph.initializer
    )
    return model


def minus_one() -> Any:
    """An open batch as PaddlePaddle writes it."""
    model = graphs.yolov5()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    return model


def unordered() -> Any:
    model = graphs.yolov5()
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node][::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def priors_too() -> Any:
    """An output that is the same for all images."""
    model = graphs.yolov5()
    model.graph.initializer.append(numpy_helper.from_array(np.ones((5, 4), np.float32), "boxes_of_cells"))
    model.graph.node.append(helper.make_node("Identity", ["boxes_of_cells"], ["priors"]))
    model.graph.output.append(value("priors"))
    return model


def functions() -> Any:
    """Operators that the file itself defines, as torch 2.1 to 2.4 wrote them."""
    model = graphs.yolov5()
    inner = [helper.make_node("Sigmoid", ["x"], ["y"])]
    own = helper.make_function("pkg.torch", "aten_sigmoid", ["x"], ["y"], inner, [helper.make_opsetid("", 17)])
    model.functions.append(own)
    model.opset_import.append(helper.make_opsetid("pkg.torch", 1))
    for node in model.graph.node:
        if node.op_type == "Sigmoid":
            node.op_type, node.domain = "aten_sigmoid", "pkg.torch"
    return model


@pytest.mark.parametrize("model", [raw_heads_too, initializers_as_inputs, minus_one, unordered, priors_too, functions])
def test_forms_of_a_file(load: Load, model: Callable[[], Any]) -> None:
    detector = load(model(), categories=3)
    assert len(detector.layout) == 9
    assert detector.understanding.shapes[0] == pytest.approx((10, 13))
    check_cuts(detector, 10, checked=10)
    assert detector.pruned(detector.layout.configuration(keep=[1, 4])).check.difference == 0


def points(g: Graph, classes: int = 3, landmarks: int = 0, coefficients: int = 0) -> tuple[str, list[str]]:
    """YOLOv8 without its distributions: boxes (1, 4, B), then scores, landmarks with visibility, weights of masks."""
    features = g.trunk()

    def head(filters: int, *kinds: str) -> str:
        rows = [g.op("Reshape", g.conv(feature, 16, filters), g.ints(1, filters, -1)) for feature in features]
        x = g.op("Concat", *rows, axis=2)
        for kind in kinds:
            x = g.op(kind, x)
        return x

    grid = np.concatenate([cells(stride, offset=0.5).reshape(-1, 2) for stride in STRIDES]).T[None]
    middle = g.constant(grid.astype(np.float32))
    step = g.constant(np.concatenate([np.full((1, 1, (SIZE // s) ** 2), s, np.float32) for s in STRIDES], axis=2))
    low, high = g.split(head(4, "Exp"), (2, 2), 1)
    boxes = g.op("Mul", g.op("Concat", g.op("Sub", middle, low), g.op("Add", middle, high), axis=1), step)
    columns = [head(classes, "Sigmoid")]
    for _ in range(landmarks):
        columns += [g.op("Mul", g.op("Add", head(2), middle), step), head(1, "Sigmoid")]
    return boxes, columns + ([head(coefficients)] if coefficients else [])


@pytest.mark.parametrize("said", [None, 2])
def test_landmarks_and_masks_are_no_classes(load: Load, said: int | None) -> None:
    for landmarks, coefficients in ((3, 0), (0, 6)):
        g = Graph()
        boxes, columns = points(g, 2, landmarks, coefficients)
        detector = load(g.model(g.op("Concat", boxes, *columns, axis=1)), categories=said)
        found = detector.understanding
        assert found.columns == {"box": [0, 1, 2, 3], "objectness": None, "classes": [4, 5], "background": None}
        check_cuts(detector, 6)


def test_landmarks_before_the_class_are_no_box(load: Load) -> None:
    """YOLOv5-face has its landmarks, x y x y, between objectness and class."""
    g = Graph()
    boxes, columns = points(g, 1, landmarks=2)
    first, second = g.split(boxes, (2, 2), 1)
    middle = g.op("Div", g.op("Add", first, second), g.constant(2.0))
    sides = g.op("Sub", second, first)
    rows = [middle, sides, columns[0], columns[1], columns[3], columns[2]]  # centre, sides, objectness, x y x y, class
    detector = load(g.model(g.op("Concat", *rows, axis=1)), categories=1)
    found = detector.understanding
    assert (found.box_format, found.columns["box"]) == ("cxcywh", [0, 1, 2, 3])
    assert (found.columns["objectness"], found.columns["classes"]) == (4, [9])


def best_rows(moved: bool) -> Callable[[Graph, str, str], str]:
    def selecting(g: Graph, boxes: str, scores: str) -> str:
        """Ends with the best rows; `moved`: with NMS of boxes that are moved by class, of those above a threshold."""
        best, named = g.op("ReduceMax", scores, axes=[2], keepdims=0), g.op("ArgMax", scores, axis=2, keepdims=0)
        if moved:
            mask = g.op("Cast", g.op("Greater", best, g.constant(0.25)), to=TensorProto.FLOAT)
            best = g.op("Mul", best, mask)
            offset = g.unsqueeze(g.op("Mul", g.op("Cast", named, to=TensorProto.FLOAT), g.constant(4096.0)), 2)
            limits = [g.ints(9), g.constant(np.float32([0.45])), g.constant(np.float32([0.25]))]
            return g.op("NonMaxSuppression", g.op("Add", boxes, offset), g.unsqueeze(best, 1), *limits)
        _, places = g.ops("TopK", 2, best, g.ints(9), axis=1)
        index = g.unsqueeze(places, 2)
        own = g.op("GatherElements", boxes, g.op("Expand", index, g.ints(1, 9, 4)), axis=1)
        return g.op(
            "Concat", own, g.op("GatherElements", scores, g.op("Expand", index, g.ints(1, 9, 3)), axis=1), axis=2
        )

    return selecting


@pytest.mark.parametrize("moved", [False, True])
def test_raw_rows_are_found_before_a_selection(load: Load, moved: bool) -> None:
    """YOLOv10's best rows, and the NMS inside the exports of Ultralytics and YOLOv7."""
    g = Graph()
    boxes, [scores] = points(g)
    boxes, scores = (g.op("Transpose", x, perm=[0, 2, 1]) for x in (boxes, scores))
    model = g.model(best_rows(moved)(g, boxes, scores))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64 if moved else TensorProto.FLOAT
    detector = load(model, categories=3, preset="ultralytics")
    assert {output.name: output.role for output in detector.understanding.outputs} == {boxes: "boxes", scores: "scores"}
    assert detector.understanding.columns["classes"] == [0, 1, 2]
    assert detector.postprocess.nms_iou == pytest.approx(0.45)
    check_cuts(detector, 6)


def test_a_quantized_sum_of_distances(load: Load) -> None:
    """The fixed weights 0, 1, 2 ... of distribution focal loss, in eight bits."""
    model = graphs.yolov8()
    tensor = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [1, 16, 1, 1])
    numbers = np.round(numpy_helper.to_array(tensor) * 127 / 15).astype(np.int8)
    for name, array in (("sum", numbers), ("scale", np.float32(15 / 127)), ("zero", np.int8(0))):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["sum", "scale", "zero"], [tensor.name]))
    model.graph.initializer.remove(tensor)
    detector = load(model, categories=3)
    assert [len(level.anchors) for level in detector.layout.levels] == [1, 1, 1]
    check_cuts(detector, 6)


def test_each_constant_of_a_cut_has_a_name_of_its_own() -> None:
    """A computed constant and a stored one that come from the same tensor, as in torch's newer exports of open size."""
    constants = Constants(GraphOfFile(graphs.yolov5(), "here"), {}, {"indices": np.arange(4)}, None)
    computed = constants.shifted("indices", [np.array([1, 2])], np.zeros(2, np.int64))
    assert computed != constants.new(np.array([7]), "indices")


def rotated() -> Any:
    g = Graph()
    boxes, [scores] = points(g)
    angles = g.part(scores, 0, 1, 1)
    return g.model(g.op("Concat", g.op("Mul", boxes, g.op("Cos", angles)), scores, axis=1))


def distributions() -> Any:
    g = Graph()
    found = [g.rows(g.conv(feature, 16, 3 + 4 * 8), 35) for feature in g.trunk()]
    return g.model(g.op("Concat", *found, axis=1))


def classes_and_boxes() -> Any:
    g = Graph()
    heads = [(g.conv(feature, 16, 9), g.conv(feature, 16, 12)) for feature in g.trunk()]
    return g.model(*(classes for classes, _ in heads), *(boxes for _, boxes in heads))


def quantized_dynamically() -> Any:
    model = graphs.yolov5()
    node = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    node.op_type = "ConvInteger"
    return model


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (rotated, ["rotated", "outputs="]),
        (distributions, ["35 columns", "decodes its boxes"]),
        (classes_and_boxes, ["bare convolutions with 9 and 12 channels", "anchors_per_cell="]),
        (quantized_dynamically, ["ConvInteger", "QDQ"]),
    ],
)
def test_refused_with_what_to_do(load: Load, model: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        load(model(), categories=3)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_pixels_stay_pixels_where_the_file_takes_them(load: Load) -> None:
    model = graphs.yolov5()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    for node in model.graph.node:
        node.input[:] = ["pixels" if name == "images" else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT))
    detector = load(model, categories=3, resize="stretch")
    ready = detector.with_preprocess(preset="ultralytics")
    assert (ready.preprocess.scale, ready.preprocess.resize) == ((1, 1, 1), "letterbox")
    assert ready.prepare(IMAGE)[0].max() > 200


def decode(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and anchors of `IMAGE`, by someone who has the file and its JSON, and nothing of the kit."""
    from PIL import Image

    facts = json.loads(path.with_suffix(".json").read_text())
    (height, width), way = facts["input"]["size"], facts["preprocess"]
    pixels = np.asarray(Image.fromarray(IMAGE).resize((width, height), Image.Resampling.BILINEAR), np.float32)
    pixels = (pixels - np.float32(way["mean"])) / np.float32(way["scale"])
    made = session(onnx.load(path), threads=1)
    names = [output["name"] for output in facts["outputs"]]
    values = made.run(names, {facts["input"]["name"]: pixels.transpose(2, 0, 1)[None]})
    tables, roles, done = {}, {}, dict.fromkeys(names, 0)
    for output, found in zip(facts["outputs"], values, strict=True):
        axis, name = output["column_axis"], output["name"]
        if not found.size:  # all anchors of its level are gone
            continue
        parts = [found.take(part, axis) for part in output["channels"]] if output["channels"] else [found]
        tables[name] = np.concatenate([np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis]) for x in parts])
        roles[name] = output["role"]
    boxes, scores, anchors = [], [], []
    for run in facts["row_order"]:
        level = facts["levels"][facts["anchors"][run["anchors"][0]]["level"]]
        here = {name: tables[name][done[name] : done[name] + run["rows"]] for name in run["outputs"]}
        for name in here:
            done[name] += run["rows"]
        box = next(here[name] for name in here if "boxes" in roles[name])[:, facts["columns"]["box"]].astype(float)
        score = next(here[name] for name in here if "scores" in roles[name])
        turns, number = len(run["anchors"]), np.arange(run["rows"])
        by_cell = run["order"] == "cell by cell"
        anchor = np.array(run["anchors"])[number % turns if by_cell else number // (run["rows"] // turns)]
        cell = number // turns if by_cell else number % (run["rows"] // turns)
        activated = score if facts["applied"]["activation"] else 1 / (1 + np.exp(-score))
        if not facts["applied"]["decoding"]:  # as decode= said: darknet's way
            shape = np.array([(one["width"], one["height"]) for one in facts["anchors"]])[anchor]
            corner = np.stack([cell % level["width"], cell // level["width"]], 1)
            centre = (1 / (1 + np.exp(-box[:, :2])) + corner) * level["stride"][::-1]
            box = np.concatenate([centre, shape * np.exp(box[:, 2:])], 1)
        if facts["box_format"] in ("cxcywh", None):
            box = np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], 1)
        if facts["box_unit"] == "0..1":
            box = box * (width, height, width, height)
        box = box / np.tile((width / IMAGE.shape[1], height / IMAGE.shape[0]), 2)
        boxes.append(np.clip(box, 0, (IMAGE.shape[1], IMAGE.shape[0]) * 2))
        objectness = facts["columns"]["objectness"]
        times = activated[:, [objectness]] if objectness is not None else 1
        scores.append(activated[:, facts["columns"]["classes"]] * times)
        anchors.append(anchor)
    return np.concatenate(boxes), np.concatenate(scores), np.concatenate(anchors)


@pytest.mark.parametrize("kind", ["yolov5", "retinaface", "bare"])
def test_the_json_is_enough_to_decode(load: Load, tmp_path: Path, kind: str) -> None:
    said: dict[str, Any] = {"decode": "yolov3", "activation": "sigmoid", "anchors_per_cell": 3, "shapes": graphs.SHAPES}
    detector = load(getattr(graphs, kind)(), preset="darknet", categories=1 if kind == "retinaface" else 3,
                    **(said if kind == "bare" else {}))  # fmt: skip
    small = detector.pruned(detector.layout.configuration(keep=[0, 1, 5]))
    path = small.save(tmp_path / "small.onnx")
    raw = load_onnx(path).raw_predictions([IMAGE])[0]
    boxes, scores, anchors = decode(path)
    assert np.array_equal(anchors, raw.anchor)
    assert np.allclose(boxes, raw.boxes, atol=1e-3)
    assert np.allclose(scores, raw.scores, atol=1e-6)
