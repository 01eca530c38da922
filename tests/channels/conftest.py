"""A detector, a few images, and what they say about its channels."""

from __future__ import annotations

import pytest

import anchorkit as ak
from anchorkit.channels import ChannelStatistics, gather_statistics
from anchorkit.datasets import Dataset
from anchorkit.detectors import Detector


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return ak.load_dataset("shapes", train=64, val=200, test=1, cache=tmp_path_factory.mktemp("c"), progress=False)


@pytest.fixture(scope="session")
def detector() -> Detector:
    return ak.load_detector("tiny_ssd", weights="shapes")


@pytest.fixture(scope="session")
def statistics(detector: Detector, data: Dataset) -> ChannelStatistics:
    return gather_statistics(detector, data.train, images=64)
