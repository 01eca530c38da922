"""The channel explorer: costs follow at once and are those of the real cut; AP only when asked."""

from __future__ import annotations

from typing import Any

import pytest

import anchorkit as ak
from anchorkit.channels import ChannelStatistics, channel_pruning, gather_statistics
from anchorkit.datasets import Dataset
from anchorkit.detectors import Detector
from anchorkit.widgets import ChannelExplorer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return ak.load_dataset("shapes", train=4, val=24, test=4, progress=False)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return ak.load_detector("tiny_ssd", weights="shapes")


@pytest.fixture(scope="module")
def statistics(detector: Detector, data: Dataset) -> ChannelStatistics:
    return gather_statistics(detector, data.train)


@pytest.fixture
def explorer(detector: Detector, statistics: ChannelStatistics, data: Dataset) -> ChannelExplorer:
    return ChannelExplorer(detector, statistics, data.val)


@pytest.mark.parametrize(
    "asked",
    [{"ratio": 0.3}, {"flops": 0.5}, {"flops": 0.5, "importance": "l1"}, {"ratio": 0.5, "importance": "random"}],
)
def test_costs_are_those_of_the_cut_without_making_it(
    explorer: ChannelExplorer, statistics: ChannelStatistics, asked: dict[str, Any]
) -> None:
    explorer.set(**asked)
    done = channel_pruning(explorer.statistics.detector, statistics, **explorer.selected)
    assert explorer.macs == done.macs
    assert explorer.parameters == done.parameters
    assert explorer.widths["kept"].tolist() == done.frame["kept"].tolist()
    assert explorer.measured.empty


def test_ap_is_measured_on_demand_and_once(
    explorer: ChannelExplorer, detector: Detector, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer.set(ratio=0.2, importance="l1", fold=False)
    small = ak.prune_channels(detector, explorer.statistics, **explorer.selected, progress=False)
    evaluator = ak.Evaluator(ak.collect_predictions(small, data.val, progress=False), data.val.ground_truth)
    assert explorer.measure() == evaluator.accuracy(evaluator.full)
    assert "accuracy" in explorer.numbers().index
    monkeypatch.setattr("anchorkit.predictions.collect_predictions", None)
    assert explorer.measure() == evaluator.accuracy(evaluator.full)
    explorer.set(fold=True)
    assert "accuracy" not in explorer.numbers().index  # another choice
    row = explorer.measured.iloc[0]
    assert (row["ratio"], row["importance"], row["fold"]) == (0.2, "l1", False)
    assert (row["macs"], row["parameters"]) == (explorer.macs[1], explorer.parameters[1])


def test_ratio_0_is_the_whole_detector(explorer: ChannelExplorer) -> None:
    explorer.set(ratio=0)
    assert explorer.macs[0] == explorer.macs[1]
    assert explorer.measure() == explorer.numbers().loc["accuracy", "before"]


def test_the_controls_do_what_code_does(explorer: ChannelExplorer) -> None:
    assert explorer.box is explorer.box
    explorer.slider.value = 30
    assert explorer.ratio == 0.3
    before = explorer.macs[1]
    explorer.way.value = "flops"  # goes on from there
    assert explorer.flops == pytest.approx(0.55, abs=0.01)
    assert explorer.macs[1] <= explorer.flops * explorer.macs[0] < 1.03 * before
    explorer.slider.value = 60
    assert explorer.selected == {"flops": 0.6, "importance": "nuclear", "fold": True, "seed": 0}
    explorer.score.value = "l1"
    explorer.folding.value = False
    assert (explorer.importance, explorer.fold) == ("l1", False)
    explorer.button.click()
    assert explorer.wait(60)
    assert len(explorer.measured) == 1
    assert explorer.progress.value == 24
    assert "<td>60 % of the FLOPs stay</td><td>l1, no fold</td>" in explorer._table.value
    assert "<svg" in explorer._picture.svg


def test_without_a_browser_it_leaves_a_picture(explorer: ChannelExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anchorkit.widgets.explorer.is_live", lambda: False)
    bundle = explorer._repr_mimebundle_()
    assert "20 % of the channels go" in bundle["image/svg+xml"]
    assert "text/html" not in bundle


def test_bad_input(explorer: ChannelExplorer, detector: Detector, statistics: ChannelStatistics, data: Dataset) -> None:
    for asked, message in (
        ({"ratio": 1.0}, "ratio is 1.0"),
        ({"flops": 0.0}, "flops is 0.0"),
        ({"ratio": 0.1, "flops": 0.5}, "not both"),
        ({"importance": "taylor"}, "importance is 'taylor'; use one of nuclear"),
    ):
        was = explorer.selected, explorer.macs
        with pytest.raises(ak.InputError, match=message):
            explorer.set(**asked)  # type: ignore[arg-type]
        assert (explorer.selected, explorer.macs) == was
    small = ak.prune_channels(detector, statistics, ratio=0.1, progress=False)
    with pytest.raises(ak.InputError, match="the statistics are of another detector"):
        ChannelExplorer(small, statistics, data.val)


def test_an_error_is_shown_beside_the_button(explorer: ChannelExplorer) -> None:
    assert explorer.box
    explorer.way.value = "flops"
    explorer.slider.value = 5
    was = explorer.selected
    explorer.slider.min = 0
    explorer.slider.value = 0  # no network is left
    assert "flops is 0.0" in explorer._said.value
    assert explorer.selected == was
