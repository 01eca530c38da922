"""Which channels of a network go together, and which cannot go (DCODP, Neural Processing Letters 57:21, algorithm 1).

A channel cannot be cut alone: residual sums, depthwise convolutions and shared heads tie it to channels of other
layers. One pass of the network on the meta device finds what is tied (`channel_labels`). An *atom* is a set of
channels that go together; a *group* is the atoms over the same layers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from anchorkit.detectors.base import Detector, evaluation_mode
from anchorkit.detectors.channel_groups import (
    ChannelGroup,
    Counts,
    CoupledChannels,
    Fixed,
    LayerChannels,
    Place,
    Reader,
)
from anchorkit.detectors.channel_labels import OUTPUT, LabelPass
from anchorkit.detectors.channel_rules import RULES
from anchorkit.errors import InputError

PYRAMID_NAMES = frozenset(("fpn", "laterals", "outputs", "neck", "pyramid"))
HEAD_NAMES = frozenset(("head", "heads", "rpn", "roi_heads"))


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
    # Inference mode would hide the operations; a caller may be in it.
    with torch.inference_mode(False), evaluation_mode(detector.module):
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
    except Exception as error:  # the network's own code may raise anything
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"coupled_channels: the network of {detector.name} does not run on torch's meta device"
            f"{watch.here}: {reason or type(error).__name__}"
        ) from error
    return watch, {names[id(tensor)]: tensor for tensor in copies if id(tensor) in names}


class _Finder:
    """Makes groups of what a pass has seen.

    Args:
        detector: whose network ran.
        watch: the pass.
        tensors: the network's tensors by their name in the detector's module.
    """

    def __init__(self, detector: Detector, watch: LabelPass, tensors: Mapping[str, torch.Tensor]) -> None:
        self.detector, self.watch, self.tensors, self.calls = detector, watch, tensors, watch.calls
        if not any(call.weight for call in self.calls):
            raise InputError(f"coupled_channels: the network of {detector.name} has no convolutions")
        # Components: sets of labels that are tied, by number.
        self.of_label, self.reasons = watch.links.components()
        self.of_place = {place: self.of_label[labels] for place, labels in watch.places.items()}
        self.rows = [self._components(call.rows) for call in self.calls]
        self.inputs = [self._components(call.inputs) for call in self.calls]
        self.makes = self._makes()
        self.group_of = np.full(len(self.of_label) + 1, -1)  # the last for no label: -1
        self.size_of = np.ones(0, np.int64)

    def _components(self, labels: np.ndarray) -> np.ndarray:
        return np.where(labels >= 0, self.of_label[labels], -1)

    def _makes(self) -> dict[str, int]:
        """The dimension of the weights that makes a layer's outputs, by their name."""
        makes: dict[str, int] = {}
        for call in self.calls:
            first = call.rows[call.rows >= 0][:1]
            for dim in (0, 1):
                labels = self.watch.places.get((call.weight, dim))
                if labels is not None and (np.isin(first, labels).any() if len(first) else dim == 0):
                    makes.setdefault(call.weight, dim)
        return makes

    def found(self) -> CoupledChannels:
        """The groups, and what is fixed."""
        alone: set[int] = set()
        members: list[tuple[tuple[tuple[int, int], ...], list[int]]] = []
        for signature, components in self._members().items():
            if len(components) == 1:
                alone.update(components)
            else:
                self.group_of[components] = len(members)
                members.append((signature, components))
        self.size_of = np.array([len(components) for _, components in members])
        made = [self._groups_in(rows) if call.weight else () for call, rows in zip(self.calls, self.rows, strict=True)]
        read = [
            self._groups_in(inputs) if call.weight else () for call, inputs in zip(self.calls, self.inputs, strict=True)
        ]
        groups: list[ChannelGroup] = []
        names: dict[str, int] = {}
        for number, (signature, components) in enumerate(members):
            by, to = ([at for at, groups_ in enumerate(of) if number in groups_] for of in (made, read))
            group = self._group(signature, np.array(components), by, to)
            names[group.name] = names.get(group.name, 0) + 1
            many = names[group.name]
            groups.append(group if many == 1 else replace(group, name=f"{group.name}#{many}"))
        return CoupledChannels(
            detector=self.detector.name,
            groups=tuple(groups),
            fixed=tuple(self._fixed(alone)),
            calls=tuple(self.calls),
            products=tuple(
                (call.factor, (self._counts(rows), self._counts(self._components(call.columns))))
                for call, rows in zip(self.calls, self.rows, strict=True)
            ),
            tensors=tuple(self._sizes()),
            last=frozenset(self.watch.last),
            outputs={_owner(name): self.tensors[name].shape[dim] for name, dim in self.makes.items()},
            of_place=self.of_place,
            free=frozenset(np.flatnonzero(self.group_of >= 0).tolist()) | alone,
        )

    def _groups_in(self, components: np.ndarray) -> Sequence[int]:
        return [group for group in np.unique(self.group_of[components]).tolist() if group >= 0]

    def _counts(self, components: np.ndarray) -> Counts:
        groups, counts = np.unique(self.group_of[components], return_counts=True)
        return {
            group: count if group < 0 else count // int(self.size_of[group])
            for group, count in zip(groups.tolist(), counts.tolist(), strict=True)
        }

    def _sizes(self) -> list[tuple[int, tuple[Counts, ...]]]:
        """See `CoupledChannels.tensors`."""
        return [
            (1, tuple(self._counts(self.of_place[name, dim]) for dim in range(tensor.ndim)))
            if name in self.tensors
            else (tensor.numel(), ())
            for name, tensor in self.detector.module.named_parameters()
        ]

    def _members(self) -> dict[tuple[tuple[int, int], ...], list[int]]:
        """The atoms of each group: components by the places that they are in, in order of execution."""
        rows = np.concatenate([rows for call, rows in zip(self.calls, self.rows, strict=True) if call.weight])
        found, first = np.unique(rows, return_index=True)
        order = [component for component in found[np.argsort(first)].tolist() if component >= 0]
        signatures: dict[int, list[tuple[int, int]]] = {
            component: [] for component in order if component not in self.reasons
        }
        for number, components in enumerate(self.of_place.values()):
            found, counts = np.unique(components, return_counts=True)
            for component, count in zip(found.tolist(), counts.tolist(), strict=True):
                if component in signatures:
                    signatures[component].append((number, count))
        members: dict[tuple[tuple[int, int], ...], list[int]] = {}
        for component, signature in signatures.items():
            members.setdefault(tuple(signature), []).append(component)
        return members

    def _group(
        self, signature: Sequence[tuple[int, int]], components: np.ndarray, made: list[int], read: list[int]
    ) -> ChannelGroup:
        """A group.

        Args:
            signature: numbers of the places that each atom is in, and how often.
            components: its atoms.
            made: numbers of the calls that make its channels.
            read: numbers of the calls that read them.
        """
        all_places = list(self.of_place)
        at = [all_places[number] for number, _ in signature]
        places = {place: Place(*place, _indices(self.of_place[place], components)) for place in at}
        layers = list(dict.fromkeys(self.calls[number].weight for number in made))
        readers: dict[str, Reader] = {}
        for number in read:
            call, layer = self.calls[number], _owner(self.calls[number].weight)
            earlier = readers[layer].maps if layer in readers else ()
            maps = tuple(dict.fromkeys((*earlier, call.map)))
            readers[layer] = Reader(layer, _indices(self.inputs[number], components), call.groups > 1, maps)
        norms = [name for name, _ in at if name in self.watch.norms or self._frozen(name)]
        tensors = dict.fromkeys(name for name, _ in at)
        return ChannelGroup(
            name=_owner(layers[0]),
            layers=tuple(LayerChannels(_owner(name), places[name, self.makes[name]].channels) for name in layers),
            norms=tuple(LayerChannels(_owner(name), places[name, 0].channels) for name in norms),
            readers=tuple(readers.values()),
            places=tuple(places.values()),
            stride=int(self.calls[made[0]].stride),
            part=self._part(layers, made, read),
            macs=sum(call.factor * len(call.rows) * len(call.columns) for call in map(self.calls.__getitem__, made)),
            parameters=sum(self.tensors[name].numel() for name in tensors),
        )

    def _frozen(self, name: str) -> bool:
        """Whether a tensor is the scale of a frozen batch norm, which is computed element by element."""
        owner = self.detector.module.get_submodule(_owner(name))
        return name.endswith(".weight") and "norm" in type(owner).__name__.lower() and hasattr(owner, "running_var")

    def _part(self, layers: Sequence[str], made: Sequence[int], read: Sequence[int]) -> str:
        """See `ChannelGroup.part`; a layer that is only read beside enlarged maps belongs to their pyramid."""
        path = layers[0].split(".")
        if path[0] != "backbone" if hasattr(self.detector.module, "backbone") else not HEAD_NAMES.isdisjoint(path):
            return "head"
        calls = [self.calls[number] for number in made]
        if calls[0].enlarged < calls[0].stride:
            return "aggregation"
        beside = bool(read) and all(self.calls[number].enlarged < math.inf for number in read)
        enlarged = any(call.enlarged < math.inf for call in calls) or not self.watch.enlarged.isdisjoint(made)
        return "pyramid" if enlarged or beside or not PYRAMID_NAMES.isdisjoint(path) else "trunk"

    def _fixed(self, alone: set[int]) -> list[Fixed]:
        """Layers with outputs that cannot go, and why."""
        found: dict[tuple[str, str], set[int]] = {}
        for number, (call, rows) in enumerate(zip(self.calls, self.rows, strict=True)):
            for channel, component in enumerate(rows.tolist() if call.weight else ()):
                reason = self.reasons.get(component)
                if component in alone:
                    reason = "all its channels go together, and one must stay"
                elif component < 0:
                    reason = "a single channel, or one of weights that are computed"
                if number in self.watch.last and reason is not None:
                    reason = OUTPUT
                if reason is not None:
                    found.setdefault((_owner(call.weight), reason), set()).add(channel)
        return [Fixed(layer, len(channels), reason) for (layer, reason), channels in found.items()]


def _indices(components: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(atoms, k): where each of the wanted components is."""
    order = np.argsort(components, kind="stable")
    first = np.searchsorted(components[order], wanted)
    count = int(np.searchsorted(components[order], wanted[:1], side="right")[0] - first[0])
    indices: np.ndarray = order[first[:, None] + np.arange(count)]
    return indices


def _owner(tensor: str) -> str:
    return tensor.rpartition(".")[0]
