"""A detector without the channels it needs least: look at images, score, choose, fold, cut."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from anchorkit.channels.choosing import Keep, keep_by_flops, keep_by_quantiles, keep_by_ratio
from anchorkit.channels.folding import fold as fold_into_readers
from anchorkit.channels.importance import Importance, as_importance, comparable, score
from anchorkit.channels.statistics import ChannelStatistics, gather_statistics
from anchorkit.datasets import Split
from anchorkit.detectors import Detector
from anchorkit.detectors.channel_surgery import cut_channels
from anchorkit.errors import InputError


@dataclass(frozen=True, eq=False)
class ChannelPruning:
    """What `channel_pruning` did.

    Attributes:
        detector: the smaller detector.
        keep: by the group's name the atoms that stay.
        frame: one row per group: ``group``, ``stride``, ``part``, ``channels`` and ``kept``, before and after.
        folding: what the fold gained, one row per reader (`anchorkit.channels.folding.fold`); empty without fold.
        macs: multiply-adds of the whole network, before and after.
        parameters: parameters, before and after.
    """

    detector: Detector
    keep: Keep
    frame: pd.DataFrame
    folding: pd.DataFrame
    macs: tuple[int, int]
    parameters: tuple[int, int]

    def __str__(self) -> str:
        before, after = int(self.frame["channels"].sum()), int(self.frame["kept"].sum())
        text = (
            f"{before:,} -> {after:,} channels in {len(self.frame)} groups, "
            f"{self.parameters[0]:,} -> {self.parameters[1]:,} parameters, "
            f"{self.macs[0]:,} -> {self.macs[1]:,} multiply-adds"
        )
        if len(self.folding):
            lost, folded = (100 * self.folding[name].mean() for name in ("lost", "lost_folded"))
            text += (
                f"; without the fold the layers behind would lose {lost:.1f} % of their output, with it {folded:.1f} %"
            )
        return text


def prune_channels(
    detector: Detector,
    data: Split | ChannelStatistics,
    *,
    ratio: float | Mapping[str, float] | None = None,
    flops: float | None = None,
    quantiles: Mapping[str, float] | None = None,
    importance: str | Importance = "nuclear",
    fold: bool = True,
    images: int = 64,
    multiple_of: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> Detector:
    """A smaller detector without the channels that its layers need least.

    It is an ordinary detector: save it, prune its anchors, train it (a few epochs of its family's recipe) or export it
    like any other. Without training it loses least with folding, which puts what the removed channels carried into the
    layers that read them. See docs/channels.md.

    Args:
        detector: the detector; it is left as it is.
        data: training images; or the `anchorkit.channels.gather_statistics` of this detector, to try several ratios
            after one look at the images.
        ratio: share of the channels of every group that go, 0 <= ratio < 1; or a ratio by the group's name
            (`coupled_channels` lists the groups), and other groups stay whole. At least one channel stays.
        flops: instead of a ratio, the share of the multiply-adds that stays at most: above 0, at most 1. Groups of one
            stride and part share a threshold.
        quantiles: instead of a ratio, the share of the scores that goes from each stride and part, such as
            ``{"trunk 8": 0.2, "trunk 16 + trunk 32": 0.5}``; see `anchorkit.channels.choosing.keep_by_quantiles`.
        importance: ``"nuclear"``, ``"surgeon"``, ``"bn_scale"``, ``"l1"``, ``"random"``, or a function
            ``(group, statistics)`` that returns a score for each of the group's atoms; see
            `anchorkit.channels.importance`.
        fold: put what the removed channels carried into the next layers' weights.
        images: number of images to look at.
        multiple_of: what stays of a group is rounded up to a multiple of this. Some hardware computes 64 channels
            faster than 61.
        seed: of the draw of images, and of ``"random"``.
        progress: show a progress bar, and in the end what was gained, on standard error.

    Raises:
        InputError: not exactly one of `ratio`, `flops` and `quantiles` is given, one is out of range, a group, a part
            or an importance is unknown, the importance needs a norm that a group lacks, no channels can be pruned,
            there is no image, or a feature is not finite.

    Example:
        >>> import anchorkit as ak
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> data = ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        >>> small = ak.prune_channels(detector, data.train, ratio=0.2, images=4, progress=False)
        >>> detector.parameters, small.parameters
        (716600, 506375)
    """
    done = channel_pruning(
        detector,
        data,
        ratio=ratio,
        flops=flops,
        quantiles=quantiles,
        importance=importance,
        fold=fold,
        images=images,
        multiple_of=multiple_of,
        seed=seed,
        progress=progress,
    )
    if progress:
        print(f"prune_channels: {done}", file=sys.stderr)
    return done.detector


def channel_pruning(
    detector: Detector,
    data: Split | ChannelStatistics,
    *,
    ratio: float | Mapping[str, float] | None = None,
    flops: float | None = None,
    quantiles: Mapping[str, float] | None = None,
    importance: str | Importance = "nuclear",
    fold: bool = True,
    images: int = 64,
    multiple_of: int = 1,
    seed: int = 0,
    progress: bool = False,
) -> ChannelPruning:
    """As `prune_channels`, and what was kept and what the fold gained.

    Example:
        >>> import anchorkit as ak
        >>> from anchorkit.channels import channel_pruning
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> data = ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        >>> done = channel_pruning(detector, data.train, ratio=0.2, images=4)
        >>> done.macs
        (112419072, 77276313)
        >>> done.folding.columns.to_list()
        ['layer', 'gone', 'lost', 'lost_folded']
    """
    given = {"ratio": ratio, "flops": flops, "quantiles": quantiles}
    asked = [f"{name}={value}" for name, value in given.items() if value is not None]
    if len(asked) != 1:
        raise InputError(
            "prune_channels: give ratio= (share of the channels that go), flops= (share that stays) or quantiles="
        )
    importance_of = as_importance(importance)
    if isinstance(data, ChannelStatistics):
        if data.detector is not detector:
            raise InputError(f"prune_channels: the statistics belong to another detector ({data.detector.name})")
        statistics = data
    else:
        nuclear = importance_of is as_importance("nuclear") or not isinstance(importance, str)
        statistics = gather_statistics(detector, data, images, nuclear=nuclear, seed=seed, progress=progress)
    channels = statistics.channels
    scores = score(importance, statistics, seed)
    if ratio is not None:
        keep = keep_by_ratio(channels, scores, ratio, multiple_of)
    elif flops is not None:
        keep = keep_by_flops(channels, comparable(importance, scores), flops, multiple_of)
    else:
        keep = keep_by_quantiles(channels, comparable(importance, scores), quantiles or {}, multiple_of)
    if all(len(keep[name]) == channels[name].atoms for name in keep):
        warnings.warn(f"prune_channels: {asked[0]} removes no channel; the detector stays whole", stacklevel=3)
    source = detector
    folding = pd.DataFrame(columns=["layer", "gone", "lost", "lost_folded"])
    if fold:
        source = copy.deepcopy(detector)
        folding = fold_into_readers(source, statistics, keep)
    small = cut_channels(source, keep)
    counts = {name: len(atoms) for name, atoms in keep.items()}
    frame: Any = pd.DataFrame(
        [
            (
                group.name,
                group.stride,
                group.part,
                group.channels,
                counts.get(group.name, group.atoms) * (group.channels // group.atoms),
            )
            for group in channels.groups
        ],
        columns=["group", "stride", "part", "channels", "kept"],
    )
    macs = channels.macs(), channels.macs(counts)
    return ChannelPruning(small, keep, frame, folding, macs, (detector.parameters, small.parameters))
