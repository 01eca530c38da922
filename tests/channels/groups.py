"""Groups of coupled channels by hand, for tests that need no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from anchorkit.channels import ChannelStatistics
from anchorkit.detectors.channel_groups import ChannelGroup, LayerChannels, Reader
from anchorkit.errors import InputError


def one_each(layer: str, atoms: int) -> LayerChannels:
    return LayerChannels(layer, np.arange(atoms)[:, None])


def group(name: str, atoms: int, *, each: int = 1, stride: int = 8, part: str = "trunk", **known: Any) -> ChannelGroup:
    """`each` channels go together: a norm group, say."""
    channels = np.arange(atoms * each).reshape(atoms, each)
    known = {"norms": (), "readers": (), "places": (), **known}
    return ChannelGroup(
        name=name, layers=(LayerChannels(name, channels),), stride=stride, part=part, macs=1, parameters=1, **known
    )


@dataclass(frozen=True)
class Costs:
    """Stands for `CoupledChannels`: every channel costs as much as its group says, and something is fixed."""

    groups: tuple[ChannelGroup, ...]
    price: Mapping[str, int]
    fixed_macs: int = 0
    detector: str = "made up"

    def __getitem__(self, name: str) -> ChannelGroup:
        for each in self.groups:
            if each.name == name:
                return each
        raise InputError(f"no group {name!r}")

    def macs(self, kept: Mapping[str, int] | None = None) -> int:
        kept = kept or {}
        return self.fixed_macs + sum(self.price[g.name] * kept.get(g.name, g.atoms) for g in self.groups)


class Chain(nn.Module):
    """Two convolutions: `first` makes the group's channels, `second` reads them."""

    def __init__(self, inputs: int, channels: int, outputs: int, kernel: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, outputs, kernel, padding=kernel // 2)

    def statistics(self, maps: np.ndarray, atoms: int | None = None) -> ChannelStatistics:
        """Of made-up maps (channels, cells) that `second` reads."""
        count = len(maps)
        atoms = atoms or count
        channels = np.arange(count).reshape(atoms, -1)
        reader = Reader("second", channels, depthwise=False, maps=(0,))
        only = group("first", atoms, each=count // atoms, readers=(reader,), norms=(LayerChannels("norm", channels),))
        detector: Any = SimpleNamespace(module=self, name="chain")
        coupled: Any = Costs((only,), {"first": 1})
        return ChannelStatistics(detector, coupled, 1, {0: maps @ maps.T}, {})


def chain(channels: int, outputs: int = 5, kernel: int = 3, seed: int = 0) -> Chain:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Chain(4, channels, outputs, kernel)
