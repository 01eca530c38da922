"""What each score says, by hand; the surgeon against least squares tried on every channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from anchorkit.channels import ChannelStatistics
from anchorkit.channels.importance import IMPORTANCES, bn_scale, l1, nuclear, random, score, surgeon
from anchorkit.errors import InputError

from .groups import chain, group


def maps(channels: int, cells: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(1, size=(channels, cells))


def only(statistics: ChannelStatistics) -> Any:
    return statistics.channels.groups[0]


@pytest.mark.parametrize(("channels", "atoms"), [(6, 6), (6, 3)])
def test_weights_are_summed_over_an_atom(channels: int, atoms: int) -> None:
    network = chain(channels)
    statistics = network.statistics(maps(channels), atoms)
    with torch.no_grad():
        network.norm.weight.copy_(torch.linspace(-1, 1, channels))
    scale = network.norm.weight.detach().abs().numpy().reshape(atoms, -1).sum(1)
    np.testing.assert_allclose(bn_scale(only(statistics), statistics), scale, rtol=1e-6)
    filters = network.first.weight.detach().abs().sum((1, 2, 3)).numpy().reshape(atoms, -1).sum(1)
    np.testing.assert_allclose(l1(only(statistics), statistics), filters, rtol=1e-6)


def test_the_nuclear_score_is_the_mean_over_the_distinct_maps() -> None:
    from anchorkit.detectors.channel_groups import Reader

    channels = np.arange(3)[:, None]
    readers = (
        Reader("a", channels, False, (0,)),
        Reader("b", channels, False, (0, 1)),  # reads the map of a too: it counts once
    )
    drops = {0: np.array([1.0, 2, 3]), 1: np.array([3.0, 2, 7])}
    statistics = replace(chain(3).statistics(maps(3)), drops=drops)
    np.testing.assert_array_equal(nuclear(group("g", 3, readers=readers), statistics), [2, 2, 5])


def losses_by_hand(features: np.ndarray, weights: np.ndarray, gone: list[int]) -> float:
    """What of the output (weights @ features) the other channels cannot make up for, as a share of its square."""
    kept = [i for i in range(len(features)) if i not in gone]
    shares = np.linalg.lstsq(features[kept].T, features[gone].T, rcond=None)[0]
    missing = features[gone] - shares.T @ features[kept]
    return float(np.sum((weights[:, gone] @ missing) ** 2) / np.sum((weights @ features) ** 2))


@pytest.mark.parametrize("atoms", [7, 4])
def test_the_surgeon_takes_what_costs_least_each_time(atoms: int) -> None:
    each = 1 if atoms == 7 else 2
    network, features = chain(atoms * each, kernel=1), maps(atoms * each)
    statistics = network.statistics(features, atoms)
    order = np.argsort(surgeon(only(statistics), statistics))
    weights = network.second.weight.detach().double().numpy()[:, :, 0, 0]
    # Greedy, with the weights as folding left them: losses add up.
    left, folded = list(range(atoms)), weights.copy()
    channels = np.arange(atoms * each).reshape(atoms, each)
    for expected in order[:-1]:
        here = [c for atom in left for c in channels[atom]]
        size = np.sum((weights @ features) ** 2)
        costs, results = [], []
        for atom in left:
            gone = [here.index(c) for c in channels[atom]]
            kept = [i for i in range(len(here)) if i not in gone]
            shares = np.linalg.lstsq(features[here][kept].T, features[here][gone].T, rcond=None)[0]
            missing = features[here][gone] - shares.T @ features[here][kept]
            costs.append(np.sum((folded[:, gone] @ missing) ** 2) / size)
            results.append(folded[:, kept] + folded[:, gone] @ shares.T)
        assert left[int(np.argmin(costs))] == expected
        folded = results[int(np.argmin(costs))]
        left.remove(expected)


def test_the_surgeon_and_the_fold_agree_on_what_is_lost() -> None:
    network, features = chain(6, kernel=1), maps(6)
    statistics = network.statistics(features)
    scores = surgeon(only(statistics), statistics)
    gone = np.argsort(scores)[:3].tolist()
    weights = network.second.weight.detach().double().numpy()[:, :, 0, 0]
    assert np.sort(scores)[2] == pytest.approx(losses_by_hand(features, weights, gone), rel=1e-3)


def test_of_twins_the_surgeon_takes_one_and_the_nuclear_norm_both() -> None:
    from anchorkit.channels import nuclear_drops

    features = maps(8)
    features[5] = features[2]
    statistics = chain(8).statistics(features)
    order = np.argsort(surgeon(only(statistics), statistics))
    assert order[0] in (2, 5)
    assert order[1] not in (2, 5)
    assert set(np.argsort(nuclear_drops(features))[:2]) == {2, 5}


def test_dead_channels_go_first_in_every_order_that_looks_at_maps(statistics: ChannelStatistics) -> None:
    features = maps(6)
    features[3] = 0
    made_up = chain(6).statistics(features)
    assert np.argmin(surgeon(only(made_up), made_up)) == 3


def test_random_is_drawn_by_group_and_seed() -> None:
    statistics = chain(6).statistics(maps(6))
    first = random(group("a", 6), statistics)
    assert (first == random(group("a", 6), statistics)).all()
    assert (first != random(group("b", 6), statistics)).all()
    assert (score("random", statistics, seed=1)["first"] != score("random", statistics)["first"]).all()


def test_a_function_of_your_own() -> None:
    statistics = chain(6).statistics(maps(6))
    found = score(lambda group, statistics: range(group.atoms), statistics)
    np.testing.assert_array_equal(found["first"], np.arange(6))


def test_every_score_of_a_real_detector_is_finite(statistics: ChannelStatistics) -> None:
    for name in IMPORTANCES:
        scores = score(name, statistics)
        assert [len(scores[group.name]) for group in statistics.channels.groups] == [
            group.atoms for group in statistics.channels.groups
        ]


def test_bad_input() -> None:
    statistics = chain(6).statistics(maps(6))
    with pytest.raises(InputError, match=r"unknown importance 'nuclea': did you mean nuclear\?"):
        score("nuclea", statistics)
    with pytest.raises(InputError, match="'bn_scale': the group bare has no norm with a scale; use 'nuclear'"):
        bn_scale(group("bare", 6), statistics)

    def two(group: Any, statistics: Any) -> list[float]:
        return [1.0, 2.0]

    with pytest.raises(InputError, match=r"importance 'two': shape \(2,\) for the group first; return 6 finite scores"):
        score(two, statistics)
    with pytest.raises(InputError, match="values that are not finite for the group first"):
        score(lambda group, statistics: np.full(6, np.nan), statistics)
