"""The example of a detector of one's own keeps all the promises that the kit's detectors keep."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import anchorkit as ak
from anchorkit import testing
from anchorkit.costs import costs
from anchorkit.datasets import Dataset
from anchorkit.detectors import Detector
from tests.detectors import properties

IMAGES = properties.noise_images((120, 90), (128, 128), (60, 200))


@pytest.fixture(scope="module")
def detector(example: ModuleType, data: Dataset) -> Detector:
    return properties.spread_example(example.build(data.categories))


def test_the_whole_way(detector: Detector, data: Dataset, tmp_path: Path) -> None:
    predictions = ak.collect_predictions(detector, data.val, progress=False)
    assert len(predictions) > 100
    evaluator = ak.Evaluator(predictions, data.val.ground_truth)
    result = ak.search(evaluator, cost="head_flops", threshold=0.0, progress=False)
    chosen = result.cheapest(max_loss=0.99)
    small = ak.prune(detector, chosen)
    again = ak.load_detector(ak.save_detector(small, tmp_path / "small"))
    retold = ak.Evaluator(ak.collect_predictions(again, data.val, progress=False), data.val.ground_truth)
    assert retold.accuracy(again.layout.full) == pytest.approx(evaluator.accuracy(chosen), abs=1e-6)
    assert costs(again.layout.full) == costs(chosen)
    assert again.parameters < detector.parameters


def test_raw_predictions_keep_their_promise(detector: Detector) -> None:
    testing.check_raw_predictions(detector, IMAGES)


def test_the_network_gives_raw_predictions(detector: Detector) -> None:
    testing.check_network(detector, IMAGES[0])


# Six anchors: 63 configurations, so most of them are seen.
@settings(max_examples=40)
@given(data=st.data())
def test_pruned_predictions_are_the_kept_ones_at_the_costs_foretold(detector: Detector, data: st.DataObject) -> None:
    configuration = data.draw(properties.configurations(detector.layout))
    small = testing.check_pruning(detector, configuration, IMAGES[:1])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        scores, _ = small.network()(torch.zeros(1, 3, *small.layout.input_size))
    counted = counter.get_flop_counts()
    heads = [sum(operators.values()) for name, operators in counted.items() if re.fullmatch(r"Yolo\.heads\.\d", name)]
    assert costs(configuration) == {
        "n_anchors": len(configuration),
        "boxes": scores.shape[1],
        "head_flops": sum(heads) // 2,
        "total_flops": counter.get_total_flops() // 2,
        "head_parameters": sum(parameter.numel() for parameter in small.module.heads.parameters()),
    }


@settings(max_examples=5)
@given(data=st.data())
def test_accuracy_is_what_the_evaluator_said(detector: Detector, data: st.DataObject) -> None:
    configuration = data.draw(properties.configurations(detector.layout))
    testing.check_accuracy(detector, configuration, properties.split_of(detector, IMAGES))


def test_it_is_saved_and_loaded(detector: Detector, tmp_path: Path) -> None:
    testing.check_saving(detector, IMAGES[:1], tmp_path)


def test_an_untrained_copy_has_the_same_structure(detector: Detector) -> None:
    small = ak.prune(detector, detector.layout.configuration(keep=[1, 3]))
    fresh = ak.untrained(small, seed=1)
    assert fresh.layout == small.layout
    assert not torch.equal(fresh.module.heads["0"].weight, small.module.heads["0"].weight)


def test_a_detector_without_surgery_says_so(detector: Detector) -> None:
    bare = Detector("bare", detector.module, detector.layout, detector.categories, detector.postprocess)
    with pytest.raises(ak.InputError, match=r"does not implement pruned\(\); override it"):
        ak.prune(bare, bare.layout.configuration(keep=[0]))
    with pytest.raises(ak.InputError, match=r"does not implement network\(\)"):
        bare.network()


def test_the_script_runs(
    example: ModuleType, data: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ak, "load_dataset", lambda *_, **__: data, raising=False)
    example.main()
    assert "own_detector-pruned" in capsys.readouterr().out
