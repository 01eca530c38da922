"""Which channels go, given their scores: a ratio of all groups or per group, a share of multiply-adds, or quantiles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from anchorkit.detectors.channel_groups import ChannelGroup, CoupledChannels
from anchorkit.errors import InputError
from anchorkit.suggest import did_you_mean

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

    Groups of one stride and one part (trunk, pyramid, aggregation, head) share a threshold, so that a layer may lose
    more than another; this is the group channel pruning of Chu et al. (arXiv 2306.01526), with the groups found from
    the network and one quantile for all of them. A group keeps at least a hundredth of its channels, and at least one.

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
    pools = _pooled(channels, scores)

    def widths(quantile: float) -> dict[str, int]:
        return _widths(((pool, quantile) for pool in pools.values()), multiple_of)

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


def keep_by_quantiles(
    channels: CoupledChannels, scores: Scores, quantiles: Mapping[str, float], multiple_of: int = 1
) -> Keep:
    """From each part of the network the given quantile of the scores goes, by one threshold for all its groups.

    This is how Chu et al. (arXiv 2306.01526) publish their pruning: five parts of YOLOv4, with quantiles of 0.18 to
    0.97.

    Args:
        channels: the groups.
        scores: for each group float64 (atoms,), comparable within a part.
        quantiles: 0 <= q < 1, by a part's name: its part and stride, such as ``"trunk 8"``. Several that share a
            threshold are joined by a plus: ``"trunk 2 + trunk 4 + trunk 8"``. Other parts stay whole.
        multiple_of: as in `keep_by_ratio`.

    Raises:
        InputError: a part is unknown or named twice, or a quantile is out of range.
    """
    _check_multiple(multiple_of)
    known = dict.fromkeys(_pool_of(group) for group in channels.groups)
    chosen = []
    for name, quantile in quantiles.items():
        if not 0 <= quantile < 1:
            raise InputError(f"the quantile of {name} is {quantile}; it must be 0 or more and below 1")
        parts = [part.strip() for part in name.split("+")]
        for part in parts:
            if part not in known:
                raise InputError(f"quantiles: {channels.detector} has no part {part!r}; {did_you_mean(part, known)}")
            if known[part]:
                raise InputError(f"quantiles: {part!r} is named twice, in {known[part]!r} and {name!r}")
            known[part] = name
        groups = [group for group in channels.groups if _pool_of(group) in parts]
        chosen.append((_Pool(groups, scores), quantile))
    return {name: _best(scores[name], count) for name, count in _widths(chosen, multiple_of).items()}


class _Pool:
    """Groups that share a threshold, and the group of every atom by rising score."""

    def __init__(self, groups: Sequence[ChannelGroup], scores: Scores) -> None:
        self.groups = groups
        owners = np.repeat(np.arange(len(groups)), [group.atoms for group in groups])
        self.order = owners[np.argsort(np.concatenate([scores[group.name] for group in groups]), kind="stable")]


def _pool_of(group: ChannelGroup) -> str:
    return f"{group.part} {group.stride}"


def _pooled(channels: CoupledChannels, scores: Scores) -> dict[str, _Pool]:
    """One pool for each part and stride."""
    pools: dict[str, list[ChannelGroup]] = defaultdict(list)
    for group in channels.groups:
        pools[_pool_of(group)].append(group)
    return {name: _Pool(groups, scores) for name, groups in pools.items()}


def _widths(chosen: Iterable[tuple[_Pool, float]], multiple_of: int) -> dict[str, int]:
    """By the group's name how many atoms stay if of each pool a share of the scores goes."""
    found = {}
    for pool, quantile in chosen:
        gone = np.bincount(pool.order[: int(quantile * len(pool.order) + 1e-9)], minlength=len(pool.groups))
        for group, lost in zip(pool.groups, gone, strict=True):
            found[group.name] = _rounded(group, group.atoms - int(lost), multiple_of)
    return found


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
