"""Real detectors beside the checkout, and one from the package index."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

import anchorkit as ak
from anchorkit.datasets import load_dataset
from anchorkit.onnx import load_onnx
from tests.onnx import graphs
from tests.onnx.properties import check_cuts

YOLO_FASTEST = ((12, 18), (37, 49), (52, 132), (115, 73), (119, 199), (242, 238))
FACES = ((10, 10), (16, 16), (24, 24), (32, 32), (48, 48), (64, 64), (96, 96), (128, 128), (192, 192), (256, 240))


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "shapes", "box_format", "activation"),
    [("yolo-fastest-1.1", YOLO_FASTEST, "cxcywh", "sigmoid"), ("version-RFB-320", FACES, "xyxy", "softmax")],
)
def test_cuts_of_real_files(
    real_data: Path, name: str, shapes: tuple[tuple[int, int], ...], box_format: str, activation: str
) -> None:
    detector = load_onnx(real_data / "detectors" / f"{name}.onnx")
    found = detector.understanding
    assert np.allclose(found.shapes, shapes, atol=1e-3)
    assert (found.box_format, found.activation) == (box_format, activation)
    check_cuts(detector)


@pytest.mark.real
@pytest.mark.parametrize("per_channel", [False, True])
def test_cuts_of_a_real_quantized_file(real_data: Path, tmp_path: Path, per_channel: bool) -> None:
    import onnx

    model = onnx.load(real_data / "detectors" / "yolo-fastest-1.1.onnx")
    path = tmp_path / "int8.onnx"
    onnx.save(graphs.quantized(model, tmp_path, per_channel), path)
    detector = load_onnx(path, categories=80)
    check_cuts(detector, 50, optimized=False, checked=1)


@pytest.mark.real
def test_accuracy_of_a_real_file_and_of_its_cuts(real_data: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the subset has no validation images
        split = load_dataset(real_data / "coco_subset").train
    detector = load_onnx(
        real_data / "detectors" / "yolo-fastest-1.1.onnx", preset="darknet", categories=split.categories
    )
    predictions = ak.collect_predictions(detector, split, progress=False)
    evaluator = ak.Evaluator(predictions, split.ground_truth)
    full = evaluator.stats(detector.layout.full)
    assert full["AP"] == pytest.approx(0.1175, abs=5e-4)
    assert full["AP50"] == pytest.approx(0.266, abs=5e-4)
    some = split.subset(60)
    few = ak.Evaluator(ak.collect_predictions(detector, some, progress=False), some.ground_truth)
    for keep in ([0, 3, 4, 5], [2, 5], [1], [3, 4, 5], [0, 1, 2]):
        kept = detector.layout.configuration(keep=keep)
        cut = load_onnx(detector.pruned(kept).save(tmp_path / "cut.onnx"))
        found = ak.Evaluator(ak.collect_predictions(cut, some, progress=False), some.ground_truth)
        assert found.accuracy(cut.layout.full) == few.accuracy(kept)


def test_levels_of_a_yolov8() -> None:
    spec = importlib.util.find_spec("nudenet")
    if spec is None or spec.origin is None:
        pytest.skip("nudenet is not installed")
    detector = load_onnx(Path(spec.origin).parent / "320n.onnx")
    assert [(level.height, len(level.anchors)) for level in detector.layout.levels] == [(40, 1), (20, 1), (10, 1)]
    assert len(detector.categories) == 18
    assert detector.preprocess == ak.onnx.PRESETS["ultralytics"]
    check_cuts(detector, 7, checked=1)
    without = detector.pruned(detector.layout.configuration(keep=[0]))
    assert without.bytes < 0.6 * detector.bytes
    dims = without.model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param for dim in dims] == ["batch", "", "height", "width"]
