"""Graphs as exporters write them: what is understood, and that cuts keep every bit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from anchorkit.costs import costs
from anchorkit.onnx import load_onnx
from anchorkit.onnx.graph import Graph, macs, probe
from tests.onnx import graphs
from tests.onnx.conftest import Load
from tests.onnx.properties import check_cuts, noise, run, subsets

FLAT = tuple((float(width), float(height)) for width, height in chain(*graphs.SHAPES))
SQUARE = tuple((scale * stride,) * 2 for stride in graphs.STRIDES for scale in (2.0, 3.0, 4.0))
CELLS = tuple((float(stride),) * 2 for stride in graphs.STRIDES)
FACES = tuple((scale * stride,) * 2 for stride in graphs.STRIDES for scale in (2.0, 4.0))


@pytest.mark.parametrize("how", ["split", "slice", "scatter"])
def test_yolov5(load: Load, how: str) -> None:
    detector = load(graphs.yolov5(how=how), categories=3)
    found = detector.understanding
    assert np.allclose(found.shapes, FLAT)
    assert (found.box_format, found.box_unit, found.activation, found.sure) == ("cxcywh", "pixels", "sigmoid", "sure")
    assert found.columns == {"box": [0, 1, 2, 3], "objectness": 4, "classes": [5, 6, 7], "background": None}
    assert detector.layout.ids[:2] == ("L0/10x13", "L0/16x30")
    assert found.filters[1] == {"model.24.m.0.weight": tuple(range(8, 16))}
    check_cuts(detector, 20)


@pytest.mark.parametrize("opset", range(12, 19))
def test_every_opset(load: Load, opset: int) -> None:
    detector = load(graphs.yolov5(opset=opset, shapes=(graphs.SHAPES[0][:2], *graphs.SHAPES[1:])), categories=3)
    assert [len(level.anchors) for level in detector.layout.levels] == [2, 3, 3]
    assert detector.understanding.opset == opset
    check_cuts(detector)


@pytest.mark.parametrize(
    ("model", "classes", "shapes", "box_format", "unit", "activation", "columns"),
    [
        (graphs.retinaface, 1, FACES, "xyxy", "0..1", "softmax", (None, 0, [1])),
        (graphs.yolox, 3, CELLS, "cxcywh", "pixels", "sigmoid", (4, None, [5, 6, 7])),
        (graphs.yolov8, 3, (None,) * 3, "cxcywh", "pixels", "sigmoid", (None, None, [4, 5, 6])),
        (graphs.tensorflow_ssd, 3, SQUARE, "yxyx", "0..1", "sigmoid", (None, 0, [1, 2, 3])),
        (graphs.shared_heads, 3, SQUARE, "xyxy", "pixels", "sigmoid", (None, None, [0, 1, 2])),
        (graphs.scrfd, 1, (None,) * 6, None, None, "sigmoid", (None, None, [0])),
    ],
)  # fmt: skip
def test_other_kinds(
    load: Load,
    model: Callable[[], Any],
    classes: int,
    shapes: Any,
    box_format: str,
    unit: str,
    activation: str,
    columns: tuple[Any, Any, list[int]],
) -> None:
    # Random weights do not say which of two classes is the background.
    detector = load(model(), categories=classes, background="first" if model is graphs.retinaface else None)
    found = detector.understanding
    for measured, expected in zip(found.shapes, shapes, strict=True):
        assert measured == expected or measured == pytest.approx(expected, abs=1e-3)
    assert (found.box_format, found.box_unit, found.activation) == (box_format, unit, activation)
    said = found.columns
    assert (said["objectness"], said["background"], said["classes"]) == columns
    assert detector.layout.shared_head == (model is graphs.shared_heads)
    check_cuts(detector, 16)


def test_levels_without_shapes_have_ids_by_number_and_say_so(load: Load) -> None:
    layout = load(graphs.yolov8(), categories=3).layout
    assert layout.ids == ("L0/a0", "L1/a0", "L2/a0")
    assert [level.shapes_known for level in layout.levels] == [False] * 3
    assert type(layout).from_dict(layout.to_dict()) == layout


def test_costs_are_those_of_the_cut_file(load: Load) -> None:
    for model in (graphs.yolov5(), graphs.shared_heads(), graphs.yolov8()):
        detector = load(model, categories=3)
        size = (1, 3, *detector.layout.input_size)
        for kept in subsets(detector, 12):
            cut = Graph(detector.analysis.cut(kept.mask)[0], "cut")
            shapes, _ = probe(cut, size, [])
            assert sum(macs(cut, shapes).values()) == costs(kept)["total_flops"]


@pytest.mark.parametrize("per_channel", [False, True])
def test_quantized_files_stay_quantized_and_keep_every_bit(load: Load, tmp_path: Path, per_channel: bool) -> None:
    detector = load(graphs.quantized(graphs.yolov5(), tmp_path, per_channel), categories=3)
    assert np.allclose(detector.understanding.shapes, FLAT, rtol=0.05)
    check_cuts(detector, optimized=False)
    small = detector.pruned(detector.layout.configuration(keep=[0, 4]))
    assert small.check is not None
    assert small.check.difference == 0
    assert small.check.optimized is not None
    assert any(tensor.data_type == onnx.TensorProto.INT8 for tensor in small.model.graph.initializer)
    assert small.bytes < detector.bytes


def test_half_precision(load: Load) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    detector = load(convert_float_to_float16(graphs.yolov5()), categories=3)
    assert np.allclose(detector.understanding.shapes, FLAT)
    check_cuts(detector, 8)
    [raw] = detector.with_preprocess(preset="ultralytics").raw_predictions([np.zeros((20, 30, 3), np.uint8)])
    assert raw.boxes.dtype == raw.scores.dtype == np.float32


def test_bare_heads_are_asked_for_the_anchors_per_cell_and_cut_by_channels(load: Load) -> None:
    detector = load(
        graphs.bare(), categories=3, anchors_per_cell=3, decode="yolov5", shapes=graphs.SHAPES, activation="sigmoid"
    )
    whole = run(detector.model, noise(detector))
    kept = detector.layout.configuration(keep=[1, 2, 3])
    small = detector.pruned(kept)
    found = run(small.model, noise(detector))
    names = [value.name for value in detector.model.graph.output]
    assert np.array_equal(found[names[0]], whole[names[0]][:, 8:])
    assert np.array_equal(found[names[1]], whole[names[1]][:, :8])
    assert found[names[2]].size == 0
    # Decoding outside the file says what the same network says that decodes inside.
    images = [np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)]
    inside = load(graphs.yolov5(), categories=3, preset="darknet").raw_predictions(images)[0]
    outside = detector.with_preprocess(preset="darknet").raw_predictions(images)[0]
    for anchor in range(9):
        assert np.allclose(outside.boxes[outside.anchor == anchor], inside.boxes[inside.anchor == anchor], atol=1e-3)
        assert np.allclose(outside.scores[outside.anchor == anchor], inside.scores[inside.anchor == anchor], atol=1e-6)


def test_what_had_to_be_said_is_saved_beside_the_file(load: Load, tmp_path: Path) -> None:
    """Uneven levels too: the cut file has other numbers of anchors per cell than the whole one."""
    whole = load(
        graphs.bare(),
        categories=3,
        preset="darknet",
        anchors_per_cell=3,
        decode="yolov5",
        shapes=graphs.SHAPES,
        activation="sigmoid",
    )
    images = [np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)]
    for detector in (whole, whole.pruned(whole.layout.configuration(keep=[1, 2, 3]))):
        [before] = detector.raw_predictions(images)
        [after] = load_onnx(detector.save(tmp_path / "again.onnx")).raw_predictions(images)
        assert np.array_equal(before.anchor, after.anchor)
        assert np.array_equal(before.boxes, after.boxes)
        assert np.array_equal(before.scores, after.scores)


def test_heads_with_an_axis_of_anchors(load: Load) -> None:
    detector = load(graphs.bare(split=True), categories=3)
    assert [len(level.anchors) for level in detector.layout.levels] == [3, 3, 3]
    check_cuts(detector, 10)


def test_class_filters_that_anchors_share_stay_while_one_of_them_is_kept(load: Load) -> None:
    detector = load(graphs.shared_classes(), categories=5, anchors_per_cell=3)
    assert [level.head_macs_fixed for level in detector.layout.levels] == [5 * 16] * 2
    assert [level.head_macs_per_anchor for level in detector.layout.levels] == [5 * 16] * 2
    whole = run(detector.model, noise(detector))
    small = detector.pruned(detector.layout.configuration(keep=[1, 3, 4, 5]))
    name = detector.model.graph.output[0].name
    channels = [4, 5, 6, 7, 13, 15, 16, 17, 18, 19]
    assert np.array_equal(run(small.model, noise(detector))[name], whole[name][..., channels])


def test_a_file_with_nms_inside_is_cut_before_it(load: Load) -> None:
    detector = load(graphs.tensorflow_ssd(nms=True), categories=3)
    assert detector.layout.ids == load(graphs.tensorflow_ssd()).layout.ids
    assert (detector.postprocess.nms_iou, detector.postprocess.score_threshold) == (0.5, 0.05)
    assert "NonMaxSuppression" in detector.understanding.notes[0]
    check_cuts(detector, 12)


def test_an_input_of_bytes_with_the_channels_last(load: Load) -> None:
    model = graphs.tensorflow_ssd()
    image = onnx.helper.make_tensor_value_info("bytes", onnx.TensorProto.UINT8, [1, 64, 64, 3])
    model.graph.input[0].CopyFrom(image)
    first = [
        onnx.helper.make_node("Cast", ["bytes"], ["floats"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Transpose", ["floats"], ["images"], perm=[0, 3, 1, 2]),
    ]
    nodes = [*first, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    detector = load(model, categories=3, resize="stretch")
    assert detector.layout.input_size == (64, 64)
    check_cuts(detector, 8)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    plain = load(graphs.tensorflow_ssd(), categories=3, resize="stretch", mean=0, scale=1)
    [one], [other] = detector.raw_predictions([pixels]), plain.raw_predictions([pixels])
    assert np.array_equal(one.boxes, other.boxes)


def test_nms_that_only_one_runtime_knows_is_left_out(load: Load) -> None:
    model = graphs.tensorflow_ssd()
    boxes, scores = (value.name for value in model.graph.output)
    names = ["num", "boxes_", "scores_", "classes_"]
    model.graph.node.append(
        onnx.helper.make_node(
            "EfficientNMS_TRT", [boxes, scores], names, domain="TRT", iou_threshold=0.6, score_threshold=0.3
        )
    )
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in names)
    detector = load(model, categories=3)
    assert [value.name for value in detector.model.graph.output] == [boxes, scores]
    assert (detector.postprocess.nms_iou, detector.postprocess.score_threshold) == (0.6, 0.3)


def test_open_batch_and_size_stay_open(load: Load, tmp_path: Path) -> None:
    import torch
    from torch import nn

    class Network(nn.Module):
        """The head of early YOLOv5, which computes its grids from the size of the image and writes into slices."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.trunk = nn.ModuleList([nn.Conv2d(3 if not n else 8, 8, 3, 2, 1) for n in range(5)])
            self.heads = nn.ModuleList([nn.Conv2d(8, 24, 1) for _ in range(3)])
            self.register_buffer("shapes", torch.tensor(graphs.SHAPES).float())

        def forward(self, x: Any) -> Any:
            found = []
            for number, layer in enumerate(self.trunk):
                x = torch.relu(layer(x))
                if number < 2:
                    continue
                level = number - 2
                batch, _, height, width = x.shape
                y = self.heads[level](x).view(batch, 3, 8, height, width).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
                rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
                grid = torch.stack((columns, rows), 2).expand(1, 3, height, width, 2).float() - 0.5
                y[..., 0:2] = (y[..., 0:2] * 2 + grid) * 8 * 2**level
                y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * self.shapes[level].view(1, 3, 1, 1, 2)  # type: ignore[index]
                found.append(y.view(batch, -1, 8))
            return torch.cat(found, 1)

    path = tmp_path / "open.onnx"
    axes = {"images": {0: "n", 2: "h", 3: "w"}, "boxes": {0: "n", 1: "rows"}}
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Network(), (torch.zeros(1, 3, 64, 64),), path, dynamo=False, opset_version=12, dynamic_axes=axes,
            input_names=["images"], output_names=["boxes"],
        )  # fmt: skip
    model = onnx.load(path)
    detector = load(model, categories=3, input_size=(64, 64))
    assert np.allclose(detector.understanding.shapes, FLAT)
    check_cuts(detector, 8)
    larger = load(model, categories=3, input_size=(96, 128))
    image = np.random.default_rng(0).random((2, 3, 96, 128), np.float32)
    whole = run(model, image)["boxes"]
    [reading] = larger.analysis.readings
    for keep in ([0], [8], [0, 1, 2], [0, 4, 8], [1, 2, 6, 7]):
        small, _ = detector.analysis.cut(detector.layout.configuration(keep=keep).mask)
        assert np.array_equal(run(small, image)["boxes"], whole[:, np.isin(reading.anchor, keep)])
        assert [dim.dim_param for dim in small.graph.input[0].type.tensor_type.shape.dim] == ["n", "", "h", "w"]
