"""Files that several tests load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx

from anchorkit.onnx import OnnxDetector, load_onnx

Load = Callable[..., OnnxDetector]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a model as if it were a file."""

    def loading(model: Any, **said: Any) -> OnnxDetector:
        path = tmp_path / "detector.onnx"
        onnx.save(model, path)
        return load_onnx(path, **said)

    return loading
