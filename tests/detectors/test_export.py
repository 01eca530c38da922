"""An exported detector says what the detector says: through onnxruntime, with and without NMS, and through the example."""

from __future__ import annotations

import builtins
import dataclasses
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import anchorkit as ak
from anchorkit.anchors import AnchorLayout, Level
from anchorkit.datasets import Category
from anchorkit.detectors import Detector, export, load_detector, prune, save_detector
from anchorkit.detectors.base import to_tensor
from anchorkit.detectors.onnx_nms import with_nms
from anchorkit.evaluation import Evaluator
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable
from tests.detectors import properties

BOXES, SCORES = 1e-2, 1e-4  # pixels of the input, and 0..1; on 50 images of shapes 4.6e-5 and 1.0e-6 were measured


def run(model: Path | onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


@pytest.fixture(scope="module")
def shipped() -> Detector:
    return load_detector("tiny_ssd", weights="shapes")


@pytest.fixture(scope="module")
def photos() -> Any:
    return ak.load_dataset("shapes").val.subset(50, seed=0)


@pytest.fixture(scope="module")
def raw(shipped: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped detector, without NMS."""
    return ak.export_onnx(shipped, tmp_path_factory.mktemp("raw") / "small.onnx")


def inputs(photos: Any, detector: Detector) -> np.ndarray:
    assert all(photos.image(i).shape[:2] == detector.layout.input_size for i in photos.image_ids)
    return np.stack([to_tensor(photos.image(i)).numpy() for i in photos.image_ids])


def category_ids(detector: Detector, labels: np.ndarray) -> list[int]:
    return [detector.categories[label - 1].id for label in labels.tolist()]
