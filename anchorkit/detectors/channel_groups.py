"""What is known of the channels of a network: groups that go together, what cannot go, and what a cut would save."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from anchorkit.detectors.channel_labels import Call
from anchorkit.errors import InputError
from anchorkit.suggest import did_you_mean

Counts = Mapping[int, int]
"""How many channels of a dimension belong to each atom of which group, by its number; under -1 those of no group."""


@dataclass(frozen=True, eq=False)
class LayerChannels:
    """Which channels of a layer belong to which atom.

    Attributes:
        layer: path of the layer within the detector's module.
        channels: int64 (atoms, k), the layer's channels of each atom.
    """

    layer: str
    channels: np.ndarray


@dataclass(frozen=True, eq=False)
class Reader(LayerChannels):
    """A convolution or linear layer that reads a group; `channels` are those of its input.

    Attributes:
        depthwise: a grouped convolution, whose own outputs are in the group too.
        maps: numbers of the maps that it reads; the same number is the same map.
    """

    depthwise: bool
    maps: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Place:
    """Where a tensor of the network is cut.

    Attributes:
        tensor: its name.
        dim: along which dimension.
        channels: int64 (atoms, k), the indices of each atom.
    """

    tensor: str
    dim: int
    channels: np.ndarray


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Atoms over the same layers: any of them can go, but not all.

    Attributes:
        name: path of the first layer that makes them; with ``#2`` and so on if that has several groups.
        layers: the convolutions and linear layers that make them, in order of execution.
        norms: the normalisations with a scale for each of them.
        readers: the layers that read them.
        places: where the network's tensors are cut.
        stride: pixels of the input per cell of the first layer's map.
        part: ``"trunk"``, ``"pyramid"`` (from coarse maps to finer ones), ``"aggregation"`` (from those back to coarser
            ones, as in PAN) or ``"head"``.
        macs: multiply-adds of `layers` for one image.
        parameters: numbers in the tensors of `places`.
    """

    name: str
    layers: tuple[LayerChannels, ...]
    norms: tuple[LayerChannels, ...]
    readers: tuple[Reader, ...]
    places: tuple[Place, ...]
    stride: int
    part: str
    macs: int
    parameters: int

    @property
    def atoms(self) -> int:
        """How many atoms there are."""
        return len(self.layers[0].channels)

    @property
    def channels(self) -> int:
        """Channels of the first layer in this group."""
        return self.layers[0].channels.size


@dataclass(frozen=True)
class Fixed:
    """Channels that cannot go.

    Attributes:
        layer: what makes them.
        channels: how many.
        reason: why.
    """

    layer: str
    channels: int
    reason: str


@dataclass(frozen=True, eq=False)
class CoupledChannels:
    """What `coupled_channels` found.

    Attributes:
        detector: the detector's name.
        groups: in order of execution.
        fixed: what cannot go, in order of execution.
        calls: the multiplications of the pass, in order of execution.
        products: each call's multiply-adds: a number, times how many rows and columns stay.
        tensors: each parameter's size: a number, times how much of each dimension stays.
        last: numbers of the calls that make the network's outputs.
        outputs: outputs of each layer that makes channels, by its path.
        of_place: for each dimension of each tensor, by (name, dimension): the set of tied channels of every index.
        free: the sets that could go, even if they are all that their layers have.

    Example:
        >>> import anchorkit as ak
        >>> channels = ak.coupled_channels(ak.load_detector("tiny_ssd", weights="shapes"))
        >>> channels
        CoupledChannels(tiny_ssd: 11 groups, 688 channels can go one by one)
        >>> channels.groups[0].name, channels.groups[0].atoms
        ('backbone.stages.0.0', 16)
        >>> channels.macs({"backbone.stages.0.0": 12}) < channels.macs()
        True
    """

    detector: str
    groups: tuple[ChannelGroup, ...]
    fixed: tuple[Fixed, ...]
    calls: tuple[Call, ...] = field(repr=False)
    products: tuple[tuple[int, tuple[Counts, ...]], ...] = field(repr=False)
    tensors: tuple[tuple[int, tuple[Counts, ...]], ...] = field(repr=False)
    last: frozenset[int] = field(repr=False)
    outputs: Mapping[str, int] = field(repr=False)
    of_place: Mapping[tuple[str, int], np.ndarray] = field(repr=False)
    free: frozenset[int] = field(repr=False)

    def __repr__(self) -> str:
        atoms = sum(group.atoms for group in self.groups)
        return f"CoupledChannels({self.detector}: {len(self.groups)} groups, {atoms} channels can go one by one)"

    @cached_property
    def _number(self) -> dict[str, int]:
        return {group.name: number for number, group in enumerate(self.groups)}

    def __getitem__(self, name: str) -> ChannelGroup:
        """The group of a name.

        Raises:
            InputError: there is none.
        """
        if name not in self._number:
            raise InputError(f"{self.detector} has no channel group {name!r}; {did_you_mean(name, self._number)}")
        return self.groups[self._number[name]]

    @property
    def frame(self) -> pd.DataFrame:
        """One row per group."""
        columns = ["group", "layers", "channels", "atoms", "stride", "part", "MACs", "parameters"]
        rows = [
            (g.name, len(g.layers), g.channels, g.atoms, g.stride, g.part, g.macs, g.parameters) for g in self.groups
        ]
        return pd.DataFrame(rows, columns=columns)

    def macs(self, kept: Mapping[str, int] | None = None) -> int:
        """Multiply-adds of the network for one image of the layout's size.

        Args:
            kept: how many atoms of which group stay; those of other groups stay all.

        Raises:
            InputError: there is no such group, or it has fewer atoms.
        """
        return _total(self.products, self._stay(kept))

    def parameters(self, kept: Mapping[str, int] | None = None) -> int:
        """Trainable parameters of the network; see `macs`."""
        return _total(self.tensors, self._stay(kept))

    def _stay(self, kept: Mapping[str, int] | None) -> list[int]:
        stay = [group.atoms for group in self.groups]
        for name, count in (kept or {}).items():
            group = self[name]
            if not 1 <= count <= group.atoms:
                raise InputError(f"{name}: {count} of {group.atoms} channels cannot stay; 1 to {group.atoms} can")
            stay[self._number[name]] = int(count)
        return stay


def _total(products: Sequence[tuple[int, tuple[Counts, ...]]], stay: Sequence[int]) -> int:
    """The sum of products of sizes, if so many atoms of each group stay."""
    return sum(
        factor * math.prod(sum(n if group < 0 else n * stay[group] for group, n in dim.items()) for dim in dims)
        for factor, dims in products
    )
