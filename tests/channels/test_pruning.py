"""`prune_channels` as a whole: sizes, accuracy without training, what it reports, bad input."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import anchorkit as ak
from anchorkit.channels import ChannelStatistics, channel_pruning, gather_statistics
from anchorkit.costs import cost_of
from anchorkit.datasets import Dataset
from anchorkit.detectors import Detector, parameter_cost, to_tensor


def evaluator_of(detector: Detector, data: Dataset) -> ak.Evaluator:
    """On 200 validation images."""
    table = ak.collect_predictions(detector, data.val, progress=False)
    return ak.Evaluator(table, data.val.ground_truth)


def points_of(detector: Detector, data: Dataset) -> float:
    """AP in points."""
    evaluator = evaluator_of(detector, data)
    return 100 * evaluator.accuracy(evaluator.full)


@pytest.mark.parametrize(
    ("ratio", "parameters", "macs"),
    [(0.05, 666_215, None), (0.1, 610_056, None), (0.2, 506_375, 77_276_313), (0.5, 242_128, 33_632_640)],
)
def test_sizes(
    detector: Detector, statistics: ChannelStatistics, ratio: float, parameters: int, macs: int | None
) -> None:
    done = channel_pruning(detector, statistics, ratio=ratio, importance="l1", fold=False)
    assert done.parameters == (716_600, parameters)
    assert done.detector.parameters == parameters
    assert cost_of(done.detector.layout.full, "total_flops") == done.macs[1]
    assert macs is None or done.macs[1] == macs
    assert all(done.frame["kept"] == done.frame["channels"] - (ratio * done.frame["channels"] + 1e-9).astype(int))


def test_a_fifth_of_the_channels_without_training(
    detector: Detector, data: Dataset, statistics: ChannelStatistics
) -> None:
    """Folding is worth more than the score, and both together more than either (measured: 64.5; 51, 60.1, 61.2)."""
    found = {
        name: points_of(ak.prune_channels(detector, statistics, ratio=0.2, importance=name, progress=False), data)
        for name in ("random", "nuclear", "surgeon")
    }
    assert found["nuclear"] == pytest.approx(60.5, abs=1)
    assert found["random"] == pytest.approx(52, abs=4)
    assert found["surgeon"] >= found["nuclear"]


def test_anchors_and_channels_together_save_more_than_either(
    detector: Detector, data: Dataset, statistics: ChannelStatistics
) -> None:
    """One ratio; `benchmarks/channels.py` has four (85.1 M)."""
    slim = ak.prune_channels(detector, statistics, ratio=0.1, importance="surgeon", progress=False)
    pairs = [(0.0, evaluator_of(detector, data)), (0.1, evaluator_of(slim, data))]
    full = pairs[0][1].accuracy(pairs[0][1].full)
    both = ak.joint_search(pairs, threshold=full - 0.02, progress=False)
    chosen = both.cheapest(max_loss=0.02)
    assert chosen.channels == 0.1
    assert chosen.cost <= 86e6
    assert both.results[0].frontier["total_flops"].min() > 100e6  # anchors alone
    assert both.results[1].baseline["total_flops"] > 93e6  # channels alone
    assert ak.prune(slim, chosen.configuration).parameters < slim.parameters


def test_together_by_parameters_and_by_latency(
    detector: Detector, data: Dataset, statistics: ChannelStatistics
) -> None:
    """A cost per point, of one name: what each detector has, or measures itself."""
    slim = ak.prune_channels(detector, statistics, ratio=0.3, importance="l1", progress=False)
    few = replace(data, val=data.val.subset(4))
    pairs = [(each, evaluator_of(each, few)) for each in (detector, slim)]
    by_size = ak.joint_search(pairs, [parameter_cost(each) for each, _ in pairs], budget=12, progress=False)
    assert by_size.cost == "parameters"
    assert by_size.baseline["parameters"] == detector.parameters
    assert by_size.results[1].baseline["parameters"] == slim.parameters
    for row, configuration, origin in zip(
        by_size.frontier.itertuples(), by_size.configurations, by_size.origins, strict=True
    ):
        assert row.parameters == ak.prune(pairs[origin][0], configuration).parameters
    images = [few.val.image(image_id) for image_id in few.val.image_ids]
    whole = ak.MeasuredLatency(detector, images, repeats=2, warmup=0)
    both = [whole, ak.MeasuredLatency(slim, images, repeats=2, warmup=0, beside=whole)]
    with pytest.warns(UserWarning, match="the cost latency_ms is measured"):
        by_time = ak.joint_search(pairs, both, budget=2, progress=False)
    assert by_time.cost == "latency_ms"
    assert by_time.results[0].baseline["latency_ms"] == whole.full_ms == both[1].full_ms
    assert (by_time.evaluated["latency_ms"] > 0).all()
    assert by_time.results[1].baseline["latency_ms"] == both[1](slim.layout.full) != whole.full_ms


def test_the_fold_is_reported(detector: Detector, statistics: ChannelStatistics) -> None:
    done = channel_pruning(detector, statistics, ratio=0.2)
    readers = {reader.layer for group in statistics.channels.groups for reader in group.readers}
    assert set(done.folding["layer"]) == readers
    assert (done.folding["lost_folded"] < done.folding["lost"]).all()
    lost, folded = 100 * done.folding["lost"].mean(), 100 * done.folding["lost_folded"].mean()
    assert f"would lose {lost:.1f} % of their output, with it {folded:.1f} %" in str(done)
    assert "716,600 -> 506,375 parameters" in str(done)


def test_what_was_gained_is_said_on_standard_error(
    detector: Detector, data: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    ak.prune_channels(detector, data.train, ratio=0.2, images=2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "prune_channels: 688 -> 556 channels in 11 groups" in err


def test_nothing_to_remove_is_a_warning_and_the_same_bits(detector: Detector, statistics: ChannelStatistics) -> None:
    with pytest.warns(UserWarning, match="ratio=0.01 removes no channel"):
        same = ak.prune_channels(detector, statistics, ratio=0.01, progress=False)
    assert same.layout == detector.layout
    before, after = detector.module.state_dict(), same.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_share_of_the_multiply_adds(detector: Detector, statistics: ChannelStatistics) -> None:
    done = channel_pruning(detector, statistics, flops=0.6, importance="bn_scale")
    assert 0.57 < done.macs[1] / done.macs[0] <= 0.6
    assert cost_of(done.detector.layout.full, "total_flops") == done.macs[1]
    # The threshold is one for the groups of a stride, so some layer loses more than another.
    shares = done.frame["kept"] / done.frame["channels"]
    assert shares.groupby(done.frame["stride"]).agg(np.ptp).max() > 0.05


def test_quantiles_of_parts_as_they_are_published(detector: Detector, statistics: ChannelStatistics) -> None:
    """S3's parts are several strides with one threshold; its own are those of YOLOv4."""
    parts = {"trunk 2 + trunk 4 + trunk 8": 0.18, "trunk 16": 0.5, "trunk 32": 0.97}
    done = channel_pruning(detector, statistics, quantiles=parts, importance="bn_scale")
    part = done.frame["stride"].clip(lower=8, upper=64)  # strides of up to 8 together, those above 32 are left alone
    sums = done.frame.groupby(part)[["channels", "kept"]].sum()
    quantile = np.array([*parts.values(), 0])
    assert (sums["kept"] == sums["channels"] - (quantile * sums["channels"]).astype(int)).all()


def test_multiples(detector: Detector, statistics: ChannelStatistics) -> None:
    done = channel_pruning(detector, statistics, ratio=0.3, multiple_of=8)
    assert (done.frame["kept"] % 8 == 0).all()
    assert done.frame["kept"].tolist() == [16, 24, 24, 48, 48, 72, 72, 72, 48, 48, 48]


def test_one_group_and_a_function_of_your_own(detector: Detector, statistics: ChannelStatistics) -> None:
    done = channel_pruning(
        detector, statistics, ratio={"backbone.stages.3.0": 0.5}, importance=lambda group, _: np.arange(group.atoms)
    )
    assert done.keep == {"backbone.stages.3.0": list(range(32, 64))}


def test_the_result_is_pruned_of_anchors_and_again_of_channels(
    detector: Detector, data: Dataset, statistics: ChannelStatistics
) -> None:
    small = ak.prune_channels(detector, statistics, ratio=0.2, progress=False)
    fewer = ak.prune(small, small.layout.configuration(keep=range(10)))
    again = ak.prune_channels(fewer, data.train, ratio=0.2, images=2, progress=False)
    assert again.parameters < fewer.parameters < small.parameters
    assert again.layout.full.ids == fewer.layout.full.ids
    [raw] = again.raw_predictions([data.val.image(data.val.image_ids[0])])
    assert np.isfinite(raw.boxes).all()


def test_norm_groups_and_a_shared_head_lose_less_with_the_fold(data: Dataset) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        full = ak.load_detector("tiny_retinanet", categories=[c.name for c in data.train.categories], size=(96, 96))
    statistics = gather_statistics(full, data.train, images=8, nuclear=False)
    images = torch.stack([to_tensor(data.train.image(i))[:, :96, :96] for i in data.train.image_ids[:2]])
    errors = []
    with torch.no_grad():
        expected = full.network()(images)
        for fold in (False, True):
            small = channel_pruning(full, statistics, ratio=0.2, importance="surgeon", fold=fold).detector
            pairs = zip(small.network()(images), expected, strict=True)
            errors.append(sum(float((ours - theirs).square().sum()) for ours, theirs in pairs))
    assert 0 < errors[1] < 0.8 * errors[0]


def test_bad_input(detector: Detector, data: Dataset, statistics: ChannelStatistics) -> None:
    def refused(message: str, *args: Any, **options: Any) -> None:
        with warnings.catch_warnings(), pytest.raises(ak.InputError, match=message) as caught:
            ak.prune_channels(*(args or (detector, statistics)), progress=False, **options)
        assert "\n" not in str(caught.value)

    refused("give ratio= .* or quantiles=")
    refused("give ratio= .* or quantiles=", ratio=0.1, flops=0.5)
    refused("ratio is 1", ratio=1)
    refused("did you mean backbone.stages.3.0", ratio={"backbone.stages.30": 0.5})
    refused("flops is 0.001; tiny_ssd needs", flops=0.001)
    refused("give ratio= .* or quantiles=", flops=0.5, quantiles={"trunk 8": 0.5})
    refused("quantiles: tiny_ssd has no part 'trunk 9'; did you mean trunk 8", quantiles={"trunk 9": 0.5})
    refused("'trunk 8' is named twice", quantiles={"trunk 8": 0.5, "trunk 4 + trunk 8": 0.5})
    refused("the quantile of trunk 8 is 1", quantiles={"trunk 8": 1})
    refused("unknown importance 'surgon': did you mean surgeon", ratio=0.1, importance="surgon")
    refused("images is 0", detector, data.train, ratio=0.1, images=0)
    refused(
        "the statistics belong to another detector",
        ak.load_detector("tiny_ssd", weights="shapes"),
        statistics,
        ratio=0.1,
    )
