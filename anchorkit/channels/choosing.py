"""Which channels go, given their scores: a ratio of every group, a ratio per group, or a share of the multiply-adds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from anchorkit.detectors.channel_groups import ChannelGroup, CoupledChannels
from anchorkit.errors import InputError

Scores = Mapping[str, npt.NDArray[np.float64]]
Keep = dict[str, list[int]]
"""By the group's name the atoms that stay, rising."""


def keep_by_ratio(
    channels: CoupledChannels, scores: Scores, ratio: float | Mapping[str, float], multiple_of: int = 1
) -> Keep:
    """Of each group, all but the lowest floor(ratio x atoms) atoms; at least one stays.

    Args:
        channels: the groups.
        scores: for each group float64 (atoms,). Of equal scores the first go first.
        ratio: 0 <= ratio < 1, of every group; or by the group's name, and groups without one stay whole.
        multiple_of: channels that stay, rounded up to a multiple of this; not beyond the group's width.

    Raises:
        InputError: a ratio is out of range, a group is unknown, or `multiple_of` is below 1.
    """
    _check_multiple(multiple_of)
    ratios = ratio if isinstance(ratio, Mapping) else {group.name: ratio for group in channels.groups}
    keep = {}
    for name, value in ratios.items():
        group = channels[name]
        if not 0 <= value < 1:
            of = f" of {name}" if isinstance(ratio, Mapping) else ""
            raise InputError(f"ratio{of} is {value}; the share of channels that go must be 0 or more and below 1")
        gone = int(value * group.atoms + 1e-9)  # 0.29 x 100 is 28.999999999999996
        keep[name] = _best(scores[name], _rounded(group, group.atoms - gone, multiple_of))
    return keep


def keep_by_flops(channels: CoupledChannels, scores: Scores, flops: float, multiple_of: int = 1) -> Keep:
    """The same quantile of the scores goes from each scale and part of the network, as much as the share asks for.

    Groups of one stride and one part (trunk, pyramid, head) share a threshold, so that a layer may lose more than
    another; this is the group channel pruning of Chu et al. (arXiv 2306.01526), with the groups found from the network
    and one quantile for all of them. A group keeps at least a hundredth of its channels, and at least one.

    Args:
        channels: the groups.
        scores: for each group float64 (atoms,), comparable within a stride and part.
        flops: share of the network's multiply-adds that stays at most, above 0 and at most 1.
        multiple_of: as in `keep_by_ratio`.

    Raises:
        InputError: the share is out of range, or below what the network needs with its groups at their narrowest.
    """
    _check_multiple(multiple_of)
    if not 0 < flops <= 1:
        raise InputError(f"flops is {flops}; the share of the multiply-adds that stays must be above 0 and at most 1")
    pools: dict[tuple[int, str], list[ChannelGroup]] = defaultdict(list)
    for group in channels.groups:
        pools[group.stride, group.part].append(group)
    # For each pool the group of every atom, by rising score.
    orders = []
    for pool in pools.values():
        owners = np.repeat(np.arange(len(pool)), [group.atoms for group in pool])
        orders.append((pool, owners[np.argsort(np.concatenate([scores[group.name] for group in pool]), kind="stable")]))

    def widths(quantile: float) -> dict[str, int]:
        found = {}
        for pool, order in orders:
            gone = np.bincount(order[: int(quantile * len(order) + 1e-9)], minlength=len(pool))
            for group, lost in zip(pool, gone, strict=True):
                found[group.name] = _rounded(group, group.atoms - int(lost), multiple_of)
        return found

    full = channels.macs()
    least = channels.macs(widths(1))
    if least > flops * full:
        raise InputError(
            f"flops is {flops}; {channels.detector} needs {least / full:.3f} of its multiply-adds with every group at "
            "its narrowest; ask for more"
        )
    low, high = 0.0, 1.0  # `high` always meets the share
    for _ in range(20):
        middle = (low + high) / 2
        if channels.macs(widths(middle)) <= flops * full:
            high = middle
        else:
            low = middle
    if channels.macs(widths(0)) <= flops * full:
        high = 0.0
    return {name: _best(scores[name], count) for name, count in widths(high).items()}


def _rounded(group: ChannelGroup, atoms: int, multiple_of: int) -> int:
    """How many atoms stay if about `atoms` should."""
    each = group.channels // group.atoms
    atoms = max(atoms, 1, group.atoms // 100)
    channels = -(-atoms * each // multiple_of) * multiple_of
    return min(group.atoms, -(-channels // each))


def _best(scores: npt.NDArray[np.float64], count: int) -> list[int]:
    """The `count` highest, rising; of equal ones the last."""
    return sorted(np.argsort(scores, kind="stable")[len(scores) - count :].tolist())


def _check_multiple(multiple_of: int) -> None:
    if multiple_of < 1:
        raise InputError(f"multiple_of is {multiple_of}; 1 or more is needed")
