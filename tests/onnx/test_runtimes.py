"""Cut files in other runtimes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.onnx import graphs
from tests.onnx.conftest import Load
from tests.onnx.properties import noise, run


@pytest.mark.parametrize("model", [graphs.yolov5, graphs.retinaface, graphs.yolov8, graphs.shared_heads])
def test_openvino_agrees(load: Load, model: Callable[[], Any], tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    detector = load(model())
    kept = detector.layout.configuration(keep=[1, len(detector.layout) - 1])
    path = detector.pruned(kept).save(tmp_path / "cut.onnx")
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    image = noise(detector)
    expected = run(detector.pruned(kept).model, image)
    found = compiled([image])
    for number, values in enumerate(expected.values()):
        assert np.allclose(found[number], values, rtol=1e-4, atol=1e-3 * max(1.0, np.abs(values).max() / 64))


def test_ncnn_agrees(load: Load, tmp_path: Path) -> None:
    ncnn = pytest.importorskip("ncnn")
    pnnx = Path(sys.executable).with_name("pnnx")
    if not pnnx.exists():
        pytest.skip("pnnx is not installed")
    detector = load(graphs.bare(), anchors_per_cell=3)
    small = detector.pruned(detector.layout.configuration(keep=[0, 2, 4, 8]))
    small.save(tmp_path / "cut.onnx")
    subprocess.run(
        [pnnx, "cut.onnx", "inputshape=[1,3,64,64]", "fp16=0"], cwd=tmp_path, capture_output=True, check=True
    )
    net = ncnn.Net()
    net.load_param(str(tmp_path / "cut.ncnn.param"))
    net.load_model(str(tmp_path / "cut.ncnn.bin"))
    image = noise(detector)
    with net.create_extractor() as extractor:
        extractor.input("in0", ncnn.Mat(image[0]))
        for number, values in enumerate(run(small.model, image).values()):
            code, found = extractor.extract(f"out{number}")
            assert code == 0
            assert np.allclose(np.array(found), values[0], atol=1e-3)
