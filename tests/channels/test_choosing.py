"""Which channels go: counts, ties, thresholds, multiples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorkit.channels.choosing import keep_by_flops, keep_by_ratio
from anchorkit.errors import InputError

from .groups import Costs, group


def made_up(*sizes: int, fixed: int = 0, each: int = 1) -> Any:
    groups = tuple(group(f"g{number}", size, each=each) for number, size in enumerate(sizes))
    return Costs(groups, {one.name: 10 for one in groups}, fixed)


def rising(channels: Any) -> dict[str, np.ndarray]:
    return {one.name: np.arange(one.atoms, dtype=float) for one in channels.groups}


@pytest.mark.parametrize(
    ("atoms", "ratio", "stay"), [(10, 0.3, 7), (100, 0.29, 71), (16, 0.05, 16), (3, 0.99, 1), (1, 0.9, 1), (8, 0, 8)]
)
def test_the_lowest_of_each_group_go_rounded_down(atoms: int, ratio: float, stay: int) -> None:
    channels = made_up(atoms)
    assert keep_by_ratio(channels, rising(channels), ratio) == {"g0": list(range(atoms - stay, atoms))}


def test_of_equal_scores_the_first_go() -> None:
    channels = made_up(6)
    scores = {"g0": np.array([0.0, 1, 0, 0, 1, 0])}
    assert keep_by_ratio(channels, scores, 0.5) == {"g0": [1, 4, 5]}


def test_a_ratio_per_group_leaves_the_others_whole() -> None:
    channels = made_up(10, 10)
    assert keep_by_ratio(channels, rising(channels), {"g1": 0.5}) == {"g1": [5, 6, 7, 8, 9]}


@pytest.mark.parametrize(
    ("atoms", "each", "multiple", "stay"),
    [(64, 1, 8, 48), (64, 1, 1, 45), (13, 1, 8, 13), (16, 4, 8, 12), (16, 4, 3, 12)],
)
def test_multiples_are_of_channels_and_round_up(atoms: int, each: int, multiple: int, stay: int) -> None:
    channels = made_up(atoms, each=each)
    assert len(keep_by_ratio(channels, rising(channels), 0.3, multiple)["g0"]) == stay


def test_groups_of_one_scale_and_part_share_a_threshold() -> None:
    groups = (
        group("a", 10, stride=8),
        group("b", 10, stride=8),
        group("c", 10, stride=16),
        group("d", 10, stride=16, part="head"),
    )
    channels: Any = Costs(groups, dict.fromkeys("abcd", 10))
    scores = {
        "a": np.arange(10.0),
        "b": 100 + np.arange(10.0),
        "c": 1e6 * np.arange(10.0),
        "d": 1e-6 * np.arange(10.0),
    }
    keep = keep_by_flops(channels, scores, 0.75)
    # Three tenths of each pool: six of the twenty of a and b, all of them in a; three of c and of d.
    assert [len(keep[name]) for name in "abcd"] == [4, 10, 7, 7]
    assert channels.macs({name: len(atoms) for name, atoms in keep.items()}) <= 0.75 * channels.macs()


def test_no_group_goes_as_a_whole() -> None:
    groups = (group("poor", 300), group("rich", 300))
    channels: Any = Costs(groups, {"poor": 1, "rich": 1})
    keep = keep_by_flops(channels, {"poor": np.zeros(300), "rich": np.arange(1.0, 301)}, 0.3)
    assert len(keep["poor"]) == 3  # a hundredth
    assert keep["rich"] == list(range(300 - len(keep["rich"]), 300))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.floats(0.05, 1), st.sampled_from([1, 4, 8]), st.data())
def test_the_share_is_met_or_refused_and_not_by_more_than_a_step(
    sizes: list[int], share: float, multiple: int, draw: st.DataObject
) -> None:
    channels = made_up(*sizes, fixed=draw.draw(st.integers(0, 200)))
    rng = np.random.default_rng(draw.draw(st.integers(0, 1000)))
    scores = {one.name: rng.random(one.atoms) for one in channels.groups}
    try:
        keep = keep_by_flops(channels, scores, share, multiple)
    except InputError:
        least = {one.name: min(one.atoms, multiple) for one in channels.groups}
        assert channels.macs(least) > share * channels.macs()
        return
    spent = channels.macs({name: len(atoms) for name, atoms in keep.items()})
    assert spent <= share * channels.macs()
    # One more of every group would be too much: the quantile is the smallest that will do.
    more = {one.name: min(one.atoms, len(keep[one.name]) + multiple) for one in channels.groups}
    assert channels.macs(more) >= share * channels.macs() or more == {one.name: one.atoms for one in channels.groups}


def test_a_share_of_one_removes_nothing() -> None:
    channels = made_up(5, 9)
    assert keep_by_flops(channels, rising(channels), 1.0) == {"g0": list(range(5)), "g1": list(range(9))}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c, s: keep_by_ratio(c, s, 1.0), r"ratio is 1.0; the share of channels that go must be 0 or more"),
        (lambda c, s: keep_by_ratio(c, s, -0.1), "ratio is -0.1"),
        (lambda c, s: keep_by_ratio(c, s, float("nan")), "ratio is nan"),
        (lambda c, s: keep_by_ratio(c, s, {"g0": 2}), "ratio of g0 is 2"),
        (lambda c, s: keep_by_ratio(c, s, {"g9": 0.5}), "no group 'g9'"),
        (lambda c, s: keep_by_ratio(c, s, 0.5, 0), "multiple_of is 0; 1 or more"),
        (lambda c, s: keep_by_flops(c, s, 0), "flops is 0; the share"),
        (lambda c, s: keep_by_flops(c, s, 1.2), "flops is 1.2; the share"),
        (lambda c, s: keep_by_flops(c, s, 0.2), r"flops is 0.2; made up needs 0.550 of its multiply-adds"),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    channels = made_up(10, fixed=100)
    with pytest.raises(InputError, match=message):
        call(channels, rising(channels))
