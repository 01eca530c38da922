"""Small detectors and images for the detectors' tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import anchorkit as ak
from anchorkit.datasets import Category, Dataset
from anchorkit.detectors import Detector, load_detector
from anchorkit.detectors.architectures import BUILDERS


@pytest.fixture(scope="module")
def detector() -> Detector:
    """A tiny_ssd whose random weights give spread-out scores and boxes."""
    made = load_detector("tiny_ssd", categories=[Category(3, "cat"), Category(7, "dog")], size=(96, 128), seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.module.head.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return made


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Three noise images of different sizes."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in ((120, 90, 3), (96, 128, 3), (60, 200, 3))]


@pytest.fixture(scope="module")
def example(repository: Path) -> Iterator[ModuleType]:
    """The module examples/own_detector.py."""
    spec = importlib.util.spec_from_file_location("own_detector", repository / "examples" / "own_detector.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del BUILDERS["own_detector"]  # other tests go through all detectors of the kit


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A handful of images of shapes."""
    return ak.load_dataset("shapes", train=1, val=6, test=1, cache=tmp_path_factory.mktemp("cache"), progress=False)
