"""The detector that ships: as good as its card says, and the search finds what its data never needed."""

from __future__ import annotations

import json

import pytest

import anchorkit as ak
from anchorkit.bundled import data_dir
from anchorkit.datasets import Dataset, never_needed

CARD = json.loads((data_dir() / "detectors" / "tiny_ssd-shapes" / "card.json").read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    # An image does not depend on how many are drawn: these are the default set's validation images.
    return ak.load_dataset("shapes", train=1, test=1, cache=tmp_path_factory.mktemp("cache"), progress=False)


@pytest.fixture(scope="module")
def evaluator(data: Dataset) -> ak.Evaluator:
    detector = ak.load_detector("tiny_ssd", weights="shapes")
    return ak.Evaluator(ak.collect_predictions(detector, data.val, progress=False), data.val.ground_truth)


def test_it_is_good() -> None:
    assert CARD["stats"]["test"]["AP"] >= 0.5


def test_it_reaches_the_accuracy_on_its_card(evaluator: ak.Evaluator) -> None:
    # Another processor rounds the pixels of the drawn images and the convolutions differently.
    assert evaluator.accuracy(evaluator.full) == pytest.approx(CARD["stats"]["val"]["AP"], abs=0.003)


def test_the_search_finds_the_planted_redundancy(data: Dataset, evaluator: ak.Evaluator) -> None:
    planted = never_needed(evaluator.layout, data.val.ground_truth)
    assert len(planted) >= 6
    full = evaluator.accuracy(evaluator.full)
    result = ak.search(evaluator, cost="head_flops", threshold=full - 0.002, progress=False)
    chosen = result.cheapest(max_loss=0.0)
    assert evaluator.accuracy(chosen) >= full
    assert not set(planted) & set(chosen.ids)
    # It goes on to anchors that objects do match, but that their neighbours cover.
    assert len(chosen) < len(evaluator.layout) - len(planted)
