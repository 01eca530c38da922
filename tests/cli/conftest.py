"""An ONNX file of the kit's own detector, from which nothing is known but the file."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def unknown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two levels, five anchors, two classes, 96 x 128 pixels; the description beside it is thrown away."""
    pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
    import warnings

    import torch

    import anchorkit as ak

    shapes = [[(12.0, 12.0), (20.0, 10.0)], [(30.0, 30.0), (40.0, 20.0), (20.0, 40.0)]]
    made = ak.load_detector("tiny_ssd", categories=2, size=(96, 128), shapes=shapes, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.module.head.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about itself
        file = ak.export_onnx(made, tmp_path_factory.mktemp("unknown") / "unknown.onnx")
    file.with_suffix(".json").unlink()
    return file
