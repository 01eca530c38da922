"""Folding: exact where channels depend on each other, and honest about what is lost elsewhere."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from anchorkit.channels import ChannelStatistics, Importance, channel_pruning, gather_statistics
from anchorkit.channels.folding import coefficients, fold
from anchorkit.channels.importance import surgeon
from anchorkit.datasets import Dataset
from anchorkit.detectors import Detector
from anchorkit.detectors.coupling import coupled_channels
from anchorkit.errors import InputError

from .groups import chain


@pytest.mark.parametrize("transposed", [False, True])
def test_dependent_channels_are_made_up_for_exactly_with_padding_too(transposed: bool) -> None:
    network, rng = chain(6), np.random.default_rng(0)
    if transposed:
        network.second = torch.nn.ConvTranspose2d(6, 5, 3, stride=2, padding=1)  # type: ignore[assignment]
    features = rng.gamma(1, size=(6, 10, 10)).astype(np.float32)
    features[4] = 2 * features[1] - 0.5 * features[3]
    statistics = network.statistics(features.reshape(6, -1).astype(np.float64))
    small = copy.deepcopy(statistics.detector)
    told = fold(small, statistics, {"first": [0, 1, 2, 3, 5]})
    before = network.second(torch.from_numpy(features)[None])
    features[4] = 0  # cut
    after = small.module.second(torch.from_numpy(features)[None])
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    assert told["lost"][0] > 0.001
    assert told["lost_folded"][0] < 1e-12


def test_what_is_lost_is_what_the_outputs_differ_by() -> None:
    network, features = chain(8, kernel=1), np.random.default_rng(1).gamma(1, size=(8, 200))
    statistics = network.statistics(features)
    small = copy.deepcopy(statistics.detector)
    keep = [0, 2, 3, 6, 7]
    told = fold(small, statistics, {"first": keep}).iloc[0]
    whole = network.second.weight.detach().double().numpy()[:, :, 0, 0]
    folded = small.module.second.weight.detach().double().numpy()[:, :, 0, 0]
    size = np.sum((whole @ features) ** 2)
    cut = np.sum((whole @ features - whole[:, keep] @ features[keep]) ** 2) / size
    left = np.sum((whole @ features - folded[:, keep] @ features[keep]) ** 2) / size
    assert (told["layer"], told["gone"]) == ("second", 3)
    assert told["lost"] == pytest.approx(cut, rel=1e-5)
    assert told["lost_folded"] == pytest.approx(left, rel=1e-4)
    assert left < 0.9 * cut
    # No other weights of the kept channels leave less.
    best = np.linalg.lstsq(features[keep].T, (whole @ features).T, rcond=None)[0].T
    np.testing.assert_allclose(folded[:, keep], best, rtol=1e-4, atol=1e-5)


def test_dead_channels_take_over_nothing() -> None:
    features = np.random.default_rng(2).gamma(1, size=(5, 50))
    features[[1, 3]] = 0
    shares = coefficients(features @ features.T, np.array([0, 1, 2]), np.array([3, 4]))
    assert np.abs(shares[1]).max() < 1e-9
    assert np.abs(shares[:, 0]).max() < 1e-9
    assert np.isfinite(shares).all()


def test_depthwise_readers_are_left_as_they_are() -> None:
    network, features = chain(4, outputs=4, kernel=1), np.random.default_rng(3).gamma(1, size=(4, 30))
    statistics = network.statistics(features)
    [only] = statistics.channels.groups
    [reader] = only.readers
    depthwise = dataclasses.replace(only, readers=(dataclasses.replace(reader, depthwise=True),))
    statistics.channels.__dict__["groups"] = (depthwise,)
    before = network.second.weight.detach().clone()
    assert fold(statistics.detector, statistics, {"first": [1, 2, 3]}).empty
    assert torch.equal(network.second.weight, before)
    assert np.argsort(surgeon(depthwise, statistics)).tolist() == [0, 1, 2, 3]  # nothing to go by: in order


def test_a_flattened_map_is_folded_by_channel() -> None:
    network, rng = chain(4), np.random.default_rng(0)
    features = rng.gamma(1, size=(20, 4, 3, 3)).astype(np.float32)
    features[:, 2] = features[:, 0] + 3 * features[:, 1]
    network.second = torch.nn.Linear(36, 5)  # type: ignore[assignment]
    maps = features.transpose(1, 0, 2, 3).reshape(4, -1).astype(np.float64)
    statistics = network.statistics(maps)
    [only] = statistics.channels.groups
    reader = dataclasses.replace(only.readers[0], channels=np.arange(36).reshape(4, 9))
    statistics.channels.__dict__["groups"] = (dataclasses.replace(only, readers=(reader,)),)
    before = network.second(torch.from_numpy(features).flatten(1))
    fold(statistics.detector, statistics, {"first": [0, 1, 3]})
    features[:, 2] = 0
    torch.testing.assert_close(network.second(torch.from_numpy(features).flatten(1)), before, rtol=1e-5, atol=1e-5)


def test_a_reader_without_weights_of_its_own_is_refused() -> None:
    network = chain(4)
    statistics = network.statistics(np.eye(4))
    network.second = torch.nn.Identity()  # type: ignore[assignment]
    with pytest.raises(InputError, match="second: Identity reads channels, but has no tensor `weight`"):
        fold(statistics.detector, statistics, {"first": [0, 1, 2]})


def test_a_twin_takes_over_in_a_real_detector(detector: Detector, data: Dataset) -> None:
    """The golden test: channel 5 becomes a copy of channel 9 in every tensor, and goes."""
    twin = copy.deepcopy(detector)
    group = coupled_channels(detector)["backbone.stages.1.0"]
    read = {reader.layer for reader in group.readers}
    state = twin.module.state_dict()
    with torch.no_grad():
        for place in group.places:
            if place.tensor.rpartition(".")[0] not in read:
                state[place.tensor].select(place.dim, 5).copy_(state[place.tensor].select(place.dim, 9).clone())
    statistics = gather_statistics(twin, data.train, images=64, nuclear=False)
    kept = np.delete(np.arange(group.atoms), 5)
    [reader] = statistics.channels[group.name].readers
    shares = coefficients(statistics.gram(reader), kept, np.array([5]))[:, 0]
    place = kept.tolist().index(9)
    assert shares[place] == pytest.approx(1, abs=1e-12)
    assert np.abs(np.delete(shares, place)).max() < 1e-12
    small = channel_pruning(twin, statistics, ratio={group.name: 1.5 / group.atoms}, importance=_drops(5)).detector
    images = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for ours, theirs in zip(small.network()(images), twin.network()(images), strict=True):
            scale = float(theirs.abs().max())
            torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6 * scale)


def _drops(atom: int) -> Importance:
    return lambda group, statistics: np.arange(group.atoms) != atom


def test_folding_leaves_other_readers_and_the_detector_itself_alone(
    detector: Detector, statistics: ChannelStatistics
) -> None:
    before = {name: value.clone() for name, value in detector.module.state_dict().items()}
    small = copy.deepcopy(detector)
    told = fold(small, statistics, {"backbone.stages.3.0": range(40)})
    assert set(told["layer"]) == {
        "backbone.stages.4.0",
        "head.classification.levels.3",
        "head.regression.levels.3",
    }
    after, full = small.module.state_dict(), detector.module.state_dict()
    assert all(torch.equal(full[name], before[name]) for name in before)
    assert {name for name in after if not torch.equal(after[name], before[name])} == {
        f"{layer}.weight" for layer in told["layer"]
    }
