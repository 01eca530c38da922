"""Small detectors and images for the detectors' tests."""

import numpy as np
import pytest
import torch

from anchorkit.datasets import Category
from anchorkit.detectors import Detector, load_detector


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
