"""Which channels of a network go together, and which cannot go (DCODP, Neural Processing Letters 57:21, algorithm 1).

A channel cannot be cut alone: residual sums, depthwise convolutions and shared heads tie it to channels of other
layers. One pass of the network on the meta device finds what is tied (`channel_labels`). An *atom* is a set of
channels that go together; a *group* is the atoms over the same layers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from anchorkit.detectors.base import Detector, evaluation_mode
from anchorkit.detectors.channel_labels import OUTPUT, Call, LabelPass
from anchorkit.detectors.channel_rules import RULES
from anchorkit.errors import InputError
from anchorkit.suggest import did_you_mean

PYRAMID_NAMES = frozenset(("fpn", "laterals", "outputs", "neck", "pyramid"))
HEAD_NAMES = frozenset(("head", "heads", "rpn", "roi_heads"))


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
        part: ``"trunk"``, ``"pyramid"`` or ``"head"``.
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
class _Product:
    """A call's multiply-adds: ``factor`` times the rows that stay times the columns that stay."""

    factor: int
    rows: Mapping[int, int]
    columns: Mapping[int, int]


@dataclass(frozen=True, eq=False)
class CoupledChannels:
    """What `coupled_channels` found.

    Attributes:
        detector: the detector's name.
        groups: in order of execution.
        fixed: what cannot go, in order of execution.
        calls: the multiplications of the pass, in order of execution.
        outputs: outputs of each layer that makes channels, by its path.
        of_place: for each dimension of each tensor, by (name, dimension): the set of tied channels of every index.
        free: the sets that are atoms.

    Example:
        >>> import anchorkit as ak
        >>> channels = ak.coupled_channels(ak.load_detector("tiny_ssd", weights="shapes"))
        >>> channels
        CoupledChannels(tiny_ssd: 11 groups, 696 channels can go one by one)
        >>> channels.groups[0].name, channels.groups[0].atoms
        ('backbone.stages.0.0', 16)
        >>> channels.macs({"backbone.stages.0.0": 12}) < channels.macs()
        True
    """

    detector: str
    groups: tuple[ChannelGroup, ...]
    fixed: tuple[Fixed, ...]
    calls: tuple[Call, ...] = field(repr=False)
    _products: tuple[_Product, ...] = field(repr=False)
    _tensors: tuple[tuple[int, tuple[Mapping[int, int], ...]], ...] = field(repr=False)
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
        stay = self._stay(kept)
        return sum(call.factor * _size(call.rows, stay) * _size(call.columns, stay) for call in self._products)

    def parameters(self, kept: Mapping[str, int] | None = None) -> int:
        """Trainable parameters of the network; see `macs`."""
        stay, total = self._stay(kept), 0
        for size, dims in self._tensors:
            for dim in dims:
                size *= _size(dim, stay)
            total += size
        return total

    def _stay(self, kept: Mapping[str, int] | None) -> list[int]:
        stay = [group.atoms for group in self.groups]
        for name, count in (kept or {}).items():
            group = self[name]
            if not 1 <= count <= group.atoms:
                raise InputError(f"{name}: {count} of {group.atoms} channels cannot stay; 1 to {group.atoms} can")
            stay[self._number[name]] = int(count)
        return stay


def coupled_channels(detector: Detector) -> CoupledChannels:
    """Find which channels of which layers go together, and which cannot go.

    The network runs once on the meta device, at the layout's input size: nothing is computed. Operations that cannot
    be followed fix what they touch, and `CoupledChannels.fixed` says so.

    Args:
        detector: any that has a `network` that runs on the meta device: whose Python does not read values of tensors.

    Raises:
        InputError: the network does not run there, or has no convolutions.

    Example:
        >>> import anchorkit as ak
        >>> channels = ak.coupled_channels(ak.load_detector("tiny_ssd", weights="shapes"))
        >>> channels.frame[["group", "channels", "stride", "part"]].head(2)
                         group  channels  stride   part
        0  backbone.stages.0.0        16       2  trunk
        1  backbone.stages.0.3        32       4  trunk
        >>> channels.fixed[0].reason
        'makes the output of the detector'
    """
    watch, shadow = _watched(detector)
    return _Finder(detector, watch, shadow).found()


def _watched(detector: Detector) -> tuple[LabelPass, dict[str, torch.Tensor]]:
    """A pass of the detector's network, and the network's tensors by their name in the detector's module."""
    with evaluation_mode(detector.module):
        network = detector.channel_network()
        of_module: dict[int, str] = {}
        for name, tensor in [*detector.module.named_parameters(), *detector.module.named_buffers()]:
            of_module.setdefault(id(tensor), name)
        own = [*network.parameters(), *network.buffers()]
        missing = [p for p in network.parameters() if id(p) not in of_module]
        if missing:
            raise InputError(
                f"coupled_channels: network() of {detector.name} has {len(missing)} weights that are not those of its "
                "module; it must share them"
            )
        shadow = copy.deepcopy(network).to("meta").eval()
    copies = [*shadow.parameters(), *shadow.buffers()]
    pairs = zip(own, copies, strict=True)
    names = {id(theirs): of_module[id(ours)] for ours, theirs in pairs if id(ours) in of_module}
    watch = LabelPass(shadow, names, RULES)
    try:
        watch.run(torch.empty(1, 3, *detector.layout.input_size, device="meta"))
    except InputError:
        raise
    except Exception as error:  # whatever the network's own code raises
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"coupled_channels: the network of {detector.name} does not run on torch's meta device"
            f"{watch.here}: {reason or type(error).__name__}"
        ) from error
    return watch, {names[id(tensor)]: tensor for tensor in copies if id(tensor) in names}


class _Finder:
    """Makes groups of what a pass has seen."""

    def __init__(self, detector: Detector, watch: LabelPass, tensors: Mapping[str, torch.Tensor]) -> None:
        self.detector, self.watch, self.tensors = detector, watch, tensors
        self.calls = watch.calls
        if not any(call.weight for call in self.calls):
            raise InputError(f"coupled_channels: the network of {detector.name} has no convolutions")
        self.of_label, self.reasons = watch.links.components()
        self.of_place = {place: self.of_label[labels] for place, labels in watch.places.items()}
        # The dimension of the weights that makes each call's outputs, by their name.
        self.makes: dict[str, int] = {}
        for call in self.calls:
            for dim in (0, 1):
                labels = watch.places.get((call.weight, dim))
                if labels is not None and np.isin(call.rows, labels).any():
                    self.makes.setdefault(call.weight, dim)

    def found(self) -> CoupledChannels:
        """The groups, and what is fixed."""
        members = self._members()
        groups, alone = [], {}
        for signature, components in members.items():
            if len(components) == 1:
                alone[components[0]] = "all its channels go together, and one must stay"
                continue
            groups.append(self._group(signature, np.array(components)))
        named: dict[str, int] = {}
        renamed = []
        for group in groups:
            named[group.name] = named.get(group.name, 0) + 1
            many = named[group.name]
            renamed.append(group if many == 1 else ChannelGroup(**{**vars(group), "name": f"{group.name}#{many}"}))
        counts = self._counted(renamed)
        parameters = {name for name, _ in self.detector.module.named_parameters()}
        tensors = tuple(
            (1, tuple(counts(self.of_place[name, dim]) for dim in range(tensor.ndim)))
            for name, tensor in self.tensors.items()
            if name in parameters
        )
        unseen = sum(
            parameter.numel() for name, parameter in self.detector.module.named_parameters() if name not in self.tensors
        )
        products = tuple(
            _Product(call.factor, counts(self._components(call.rows)), counts(self._components(call.columns)))
            for call in self.calls
        )
        return CoupledChannels(
            self.detector.name,
            tuple(renamed),
            tuple(self._fixed(alone)),
            tuple(self.calls),
            products,
            (*tensors, (unseen, ())),
            {_owner(name): self.tensors[name].shape[dim] for name, dim in self.makes.items()},
            self.of_place,
            frozenset(counts.group_of),
        )

    def _components(self, labels: np.ndarray) -> np.ndarray:
        return np.where(labels >= 0, self.of_label[labels], -1)

    def _members(self) -> dict[tuple[tuple[int, int], ...], list[int]]:
        """The atoms of each group: components by what they are made of, in order of execution."""
        order: dict[int, None] = {}
        for call in self.calls:
            if call.weight:
                for component in self._components(call.rows).tolist():
                    if component >= 0 and component not in self.reasons:
                        order.setdefault(component)
        signatures: dict[int, list[tuple[int, int]]] = {component: [] for component in order}
        for number, components in enumerate(self.of_place.values()):
            found, counts = np.unique(components, return_counts=True)
            for component, count in zip(found.tolist(), counts.tolist(), strict=True):
                if component in signatures:
                    signatures[component].append((number, count))
        members: dict[tuple[tuple[int, int], ...], list[int]] = {}
        for component, signature in signatures.items():
            members.setdefault(tuple(signature), []).append(component)
        return members

    def _group(self, signature: tuple[tuple[int, int], ...], components: np.ndarray) -> ChannelGroup:
        names = list(self.of_place)
        at = [names[number] for number, _ in signature]
        places = {place: Place(*place, _indices(self.of_place[place], components)) for place in at}
        made = [call for call in self.calls if np.isin(self._components(call.rows), components).any() and call.weight]
        layers = list(dict.fromkeys(call.weight for call in made))
        readers: dict[str, Reader] = {}
        for call in self.calls:
            read = self._components(call.inputs)
            if call.weight and np.isin(read, components).any():
                layer = _owner(call.weight)
                earlier = readers[layer].maps if layer in readers else ()
                maps = tuple(dict.fromkeys((*earlier, call.map)))
                readers[layer] = Reader(layer, _indices(read, components), call.groups > 1, maps)
        norms = [name for name, dim in at if name in self.watch.norms or self._frozen(name)]
        return ChannelGroup(
            name=_owner(layers[0]),
            layers=tuple(LayerChannels(_owner(name), places[name, self.makes[name]].channels) for name in layers),
            norms=tuple(LayerChannels(_owner(name), places[name, 0].channels) for name in norms),
            readers=tuple(readers.values()),
            places=tuple(places.values()),
            stride=int(made[0].stride),
            part=self._part(made),
            macs=sum(call.factor * len(call.rows) * len(call.columns) for call in made),
            parameters=sum(self.tensors[name].numel() for name in dict.fromkeys(name for name, _ in at)),
        )

    def _frozen(self, name: str) -> bool:
        """Whether a tensor is the scale of a frozen batch norm, which is computed element by element."""
        owner = self.detector.module.get_submodule(_owner(name))
        return name.endswith(".weight") and "norm" in type(owner).__name__.lower() and hasattr(owner, "running_var")

    def _part(self, made: list[Call]) -> str:
        """Head if the first layer is in one; pyramid if a map that was or will be enlarged is among the layers'."""
        paths = [_owner(call.weight).split(".") for call in made]
        inside = hasattr(self.detector.module, "backbone")
        if paths[0][0] != "backbone" if inside else not HEAD_NAMES.isdisjoint(paths[0]):
            return "head"
        numbers = {number for number, call in enumerate(self.calls) if any(call is each for each in made)}
        enlarged = any(call.enlarged for call in made) or not numbers.isdisjoint(self.watch.enlarged)
        return "pyramid" if enlarged or not PYRAMID_NAMES.isdisjoint(paths[0]) else "trunk"

    def _fixed(self, alone: Mapping[int, str]) -> list[Fixed]:
        read = set(np.concatenate([self._components(call.inputs) for call in self.calls]).tolist())
        found: dict[tuple[str, str], set[int]] = {}
        for call in self.calls:
            if not call.weight:
                continue
            layer = _owner(call.weight)
            for channel, component in enumerate(self._components(call.rows).tolist()):
                reason = "a single channel" if component < 0 else self.reasons.get(component) or alone.get(component)
                if reason is not None:
                    reason = reason if component < 0 or component in read else OUTPUT
                    found.setdefault((layer, reason), set()).add(channel)
        return [Fixed(layer, len(channels), reason) for (layer, reason), channels in found.items()]

    def _counted(self, groups: list[ChannelGroup]) -> _Counter:
        return _Counter(
            {
                int(component): number
                for number, group in enumerate(groups)
                for component in np.unique(
                    self.of_place[group.places[0].tensor, group.places[0].dim][group.places[0].channels]
                )
            }
        )


class _Counter:
    """Counts how many of some channels each atom of a group has; those in no group count under -1."""

    def __init__(self, group_of: Mapping[int, int]) -> None:
        self.group_of = group_of

    def __call__(self, components: np.ndarray) -> dict[int, int]:
        counts: dict[int, int] = {}
        atoms: dict[int, set[int]] = {}
        for component in components.tolist():
            group = self.group_of.get(component, -1)
            counts[group] = counts.get(group, 0) + 1
            atoms.setdefault(group, set()).add(component)
        return {group: count if group < 0 else count // len(atoms[group]) for group, count in counts.items()}


def _size(dim: Mapping[int, int], stay: list[int]) -> int:
    return sum(count if group < 0 else count * stay[group] for group, count in dim.items())


def _indices(components: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(atoms, k): where each of the wanted components is."""
    order = np.argsort(components, kind="stable")
    first = np.searchsorted(components[order], wanted)
    count = np.searchsorted(components[order], wanted, side="right") - first
    return order[first[:, None] + np.arange(count[0])]


def _owner(tensor: str) -> str:
    return tensor.rpartition(".")[0]
