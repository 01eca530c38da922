"""Files that several tests load."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

Load = Callable[..., Any]

if find_spec("onnx") is None or find_spec("onnxruntime") is None:  # they come with the extra `onnx`
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a model as if it were a file."""
    import onnx

    from anchorkit.onnx import OnnxDetector, load_onnx

    def loading(model: Any, **said: Any) -> OnnxDetector:
        path = tmp_path / "detector.onnx"
        onnx.save(model, path)
        return load_onnx(path, **said)

    return loading
