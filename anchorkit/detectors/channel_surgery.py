"""Channel surgery: a detector without some of its channels is an ordinary detector.

`cut_channels` cuts atoms of `coupled_channels` out of every tensor that has them. How many outputs each convolution
keeps stands in ``detector.options["channels"]``: with it, `built` makes the same structure again for loading, fresh
weights and anchor surgery.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anchorkit.anchors import Configuration
from anchorkit.detectors.architectures import BUILDERS
from anchorkit.detectors.base import Detector, structure
from anchorkit.detectors.channel_costs import layout_after
from anchorkit.detectors.channel_groups import ChannelGroup, CoupledChannels
from anchorkit.detectors.coupling import coupled_channels
from anchorkit.errors import InputError
from anchorkit.suggest import did_you_mean

CHANNELS = "channels"
"""The option that says how many outputs the cut layers keep."""

Widths = Mapping[str, int | Sequence[int]]
"""For each layer that was cut how many of its outputs are kept; for one with several groups, those of each group."""


def cut_channels(
    detector: Detector, keep: Mapping[str, Sequence[int]], *, channels: CoupledChannels | None = None
) -> Detector:
    """A detector that keeps only some channels, with the weights of `detector`.

    Args:
        detector: it is left as it is.
        keep: for each group of `coupled_channels` that is cut, the numbers of the atoms that stay; other groups stay
            whole.
        channels: what `coupled_channels` found, where that is at hand.

    Returns:
        An ordinary detector: pruned of anchors, pruned again, trained, saved and exported like any other. If all atoms
        stay, a copy.

    Raises:
        InputError: a group is unknown, an atom out of range, no atom of a group stays, or the network's code takes
            channels by fixed numbers.

    Example:
        >>> import anchorkit as ak
        >>> from anchorkit.detectors import cut_channels
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> small = cut_channels(detector, {"backbone.stages.0.0": range(8)})
        >>> small.options
        {'channels': {'backbone.stages.0.0': 8}}
    """
    channels = channels or coupled_channels(detector)
    gone = {name: atoms for name, atoms in _gone(channels, keep).items() if len(atoms)}
    small = copy.copy(detector)
    small.module = copy.deepcopy(detector.module)
    small.options = dict(detector.options)
    if gone:
        _cut(small.module, channels, gone)
        small.options[CHANNELS] = {**detector.options.get(CHANNELS, {}), **_widths(channels, gone)}
        small.anchor_surgery = prune_narrow
        after = _check_structure(small, channels, gone)
        small.layout = small.measured_layout() or layout_after(detector.layout, channels, after)
    return small


def masked_channels(
    detector: Detector, keep: Mapping[str, Sequence[int]], *, channels: CoupledChannels | None = None
) -> Detector:
    """A detector of the same size in which the channels that `cut_channels` would cut are zero: for comparison.

    Args:
        detector: it is left as it is.
        keep: see `cut_channels`.
        channels: see `cut_channels`.

    Raises:
        InputError: a group or an atom is unknown.
    """
    channels = channels or coupled_channels(detector)
    masked = copy.copy(detector)
    masked.module = copy.deepcopy(detector.module)
    tensors = _tensors(masked.module)
    with torch.no_grad():
        for name, atoms in _gone(channels, keep).items():
            for place in channels[name].places if len(atoms) else ():
                at = torch.from_numpy(place.channels[atoms].reshape(-1)).to(tensors[place.tensor].device)
                tensors[place.tensor].index_fill_(place.dim, at, 0)
    return masked


def built(architecture: str, categories: Any, **known: Any) -> Detector:
    """Build a detector of a registered family, with its channels cut if the options say so.

    Args:
        architecture: name of the family.
        categories: object classes.
        known: the arguments of the family's `Builder`, and `channels`: see `Widths`.

    Raises:
        InputError: as the builder, or the channels do not fit the network.
    """
    widths = known.pop(CHANNELS, None) or {}
    if not isinstance(widths, Mapping):
        raise InputError(f"channels: {widths!r} is not a number of outputs for each layer that was cut, by its path")
    detector = BUILDERS[architecture](categories, **known)
    if not widths:
        return detector
    before = _inputs(detector.module)
    small = narrowed(detector, widths)
    with torch.no_grad():  # fresh weights are drawn for the whole number of inputs: fewer would say less in each layer
        for path, count in _inputs(small.module).items():
            small.module.get_parameter(f"{path}.weight").mul_((before[path] / count) ** 0.5)
    return small


def _inputs(module: nn.Module) -> dict[str, int]:
    """How many inputs each output of a convolution or linear layer sums over, by the layer's path."""
    found = {}
    for path, layer in module.named_modules():
        weight = getattr(layer, "weight", None)
        if isinstance(weight, Tensor) and weight.ndim > 1:
            found[path] = weight.shape[0 if isinstance(layer, nn.modules.conv._ConvTransposeNd) else 1]
    return found


def narrowed(detector: Detector, widths: Widths) -> Detector:
    """A detector whose groups keep their first channels, as many as `widths` says; its module is cut in place.

    Raises:
        InputError: a layer is unknown, has fewer channels, or layers that go together would keep different numbers.
    """
    channels = coupled_channels(detector)
    gone = _gone(channels, _first(channels, widths))
    small = copy.copy(detector)
    _cut(small.module, channels, gone)
    small.options = {**detector.options, CHANNELS: dict(widths)}
    small.anchor_surgery = prune_narrow
    small.layout = small.measured_layout() or layout_after(detector.layout, channels, coupled_channels(small))
    return small


def same_structure(detector: Detector, *, whole: bool = False) -> Detector:
    """A detector of the same structure with fresh weights.

    Args:
        detector: whose structure is taken.
        whole: with all channels.

    Raises:
        InputError: its family is not registered.
    """
    if detector.architecture not in BUILDERS:
        raise InputError(
            f"no builder is known for {detector.architecture!r}; register it first: register_detector(name, build)"
        )
    options = {name: value for name, value in detector.options.items() if not (whole and name == CHANNELS)}
    made = built(
        detector.architecture,
        detector.categories,
        postprocess=detector.postprocess,
        name=detector.name,
        **structure(detector.layout),
        **options,
    )
    made.module.to(detector.device).train(detector.module.training)
    return made


def prune_narrow(detector: Detector, configuration: Configuration) -> Detector:
    """`anchorkit.prune` for a detector whose channels are cut.

    A family cuts anchors out of its own widths: so they are given back, empty, and taken away again.
    """
    small = widened(detector, same_structure(detector, whole=True)).pruned(configuration)
    present = {path for path, _ in small.module.named_modules()}
    widths = {layer: width for layer, width in detector.options[CHANNELS].items() if layer in present}
    return narrowed(small, widths) if widths else small


@torch.no_grad()
def widened(detector: Detector, wide: Detector) -> Detector:
    """Put the weights of a detector with channels cut into one with all of them, the others zero, in place.

    Args:
        detector: with `channels` among its options.
        wide: the same without.

    Returns:
        `wide`, which predicts what `detector` does.
    """
    channels = coupled_channels(wide)
    keep = _first(channels, detector.options[CHANNELS])
    index: dict[str, dict[int, Tensor]] = {}
    for name, atoms in _gone(channels, keep).items():
        for place in channels[name].places if len(atoms) else ():
            dims = index.setdefault(place.tensor, {})
            size = _tensors(wide.module)[place.tensor].shape[place.dim]
            stays = dims.setdefault(place.dim, torch.ones(size, dtype=torch.bool))
            stays[torch.from_numpy(place.channels[atoms].reshape(-1))] = False
    theirs = _tensors(detector.module)
    for name, tensor in _tensors(wide.module).items():
        tensor.zero_()
        at = [index.get(name, {}).get(dim, torch.ones(size, dtype=torch.bool)) for dim, size in enumerate(tensor.shape)]
        values = theirs[name].to(tensor.device)
        if not at:
            tensor.copy_(values)
        elif [int(mask.sum()) for mask in at] == list(values.shape):  # else of a layer that nothing runs
            tensor[torch.meshgrid(*[mask.nonzero().flatten() for mask in at], indexing="ij")] = values
    return wide


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _gone(channels: CoupledChannels, keep: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """The atoms that go, by group.

    Raises:
        InputError: a group or an atom is unknown, or no atom stays.
    """
    gone = {}
    for name, atoms in keep.items():
        group, stay = channels[name], np.unique(np.asarray(list(atoms)))
        if not len(stay):
            raise InputError(f"cut_channels: {name} keeps no channel; one of its {group.atoms} must stay")
        if stay.dtype.kind not in "iu" or stay[0] < 0 or stay[-1] >= group.atoms:
            raise InputError(
                f"cut_channels: {name} keeps {stay[0]} to {stay[-1]}; it has channels 0 to {group.atoms - 1}"
            )
        gone[name] = np.setdiff1d(np.arange(group.atoms), stay)
    return gone


@torch.no_grad()
def _cut(module: nn.Module, channels: CoupledChannels, gone: Mapping[str, np.ndarray]) -> None:
    """Cut atoms out of every tensor, in place, and make the modules say what they then are."""
    stays: dict[tuple[str, int], np.ndarray] = {}
    tensors = _tensors(module)
    for name, atoms in gone.items():
        for place in channels[name].places:
            size = tensors[place.tensor].shape[place.dim]
            mask = stays.setdefault((place.tensor, place.dim), np.ones(size, bool))
            mask[place.channels[atoms].reshape(-1)] = False
    touched = set()
    for (name, dim), mask in stays.items():
        owner_path, _, leaf = name.rpartition(".")
        owner = module.get_submodule(owner_path)
        tensor = getattr(owner, leaf)
        cut = tensor.index_select(dim, torch.from_numpy(np.flatnonzero(mask)).to(tensor.device))
        if isinstance(tensor, nn.Parameter):
            setattr(owner, leaf, nn.Parameter(cut, requires_grad=tensor.requires_grad))
        else:
            setattr(owner, leaf, cut)
        touched.add(owner_path)
    inputs = {r.layer: r for group in channels.groups if len(gone.get(group.name, ())) for r in group.readers}
    for path in touched | inputs.keys():
        _say(module.get_submodule(path))
    for part in module.modules():
        fit_idle_layers = getattr(part, "fit_idle_layers", None)
        if fit_idle_layers is not None:
            fit_idle_layers()


def _say(layer: Any) -> None:
    """Make a layer's attributes say what its weights are."""
    weight: Any = getattr(layer, "weight", None)
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        if layer.groups > 1:
            per_group = layer.out_channels // layer.groups
            layer.groups = weight.shape[0] // per_group
        layer.out_channels, layer.in_channels = weight.shape[0], weight.shape[1] * layer.groups
    elif isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        layer.in_channels, layer.out_channels = weight.shape[0], weight.shape[1] * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    elif isinstance(layer, nn.GroupNorm):
        layer.num_groups = layer.num_groups * len(weight) // layer.num_channels
        layer.num_channels = len(weight)
    elif hasattr(layer, "num_features"):
        found = next(iter(layer.state_dict().values()))
        layer.num_features = len(found)


def _widths(channels: CoupledChannels, gone: Mapping[str, np.ndarray]) -> dict[str, int | list[int]]:
    """How many outputs the layers of the groups that are cut keep."""
    of_layer = _groups_of_layers(channels)
    widths: dict[str, int | list[int]] = {}
    for layer, groups in of_layer.items():
        if any(len(gone.get(group.name, ())) for group, _ in groups):
            kept = [(group.atoms - len(gone.get(group.name, ()))) * size for group, size in groups]
            fixed = channels.outputs[layer] - sum(group.atoms * size for group, size in groups)
            widths[layer] = kept[0] + fixed if len(kept) == 1 else kept
    return widths


def _groups_of_layers(channels: CoupledChannels) -> dict[str, list[tuple[ChannelGroup, int]]]:
    """The groups that each layer makes channels of, and how many per atom."""
    found: dict[str, list[tuple[ChannelGroup, int]]] = {}
    for group in channels.groups:
        for layer in group.layers:
            found.setdefault(layer.layer, []).append((group, layer.channels.shape[1]))
    return found


def _first(channels: CoupledChannels, widths: Widths) -> dict[str, range]:
    """The first atoms of each group, as many as the widths say.

    Raises:
        InputError: the widths do not fit.
    """
    of_layer = _groups_of_layers(channels)
    counts: dict[str, dict[str, int]] = {}
    for layer, width in widths.items():
        if layer not in of_layer:
            known = layer in channels.outputs
            why = "its outputs cannot be cut" if known else did_you_mean(layer, channels.outputs)
            raise InputError(f"channels: {channels.detector} has no {layer!r} to cut; {why}")
        groups = of_layer[layer]
        each = list(width) if isinstance(width, Sequence) else [width]
        fixed = channels.outputs[layer] - sum(group.atoms * size for group, size in groups)
        if len(each) == len(groups) == 1:
            each = [each[0] - fixed]
        if len(each) != len(groups) or not all(isinstance(count, int) for count in each):
            raise InputError(f"channels: {layer} keeps {width!r}; {len(groups)} whole numbers are needed")
        for (group, size), count in zip(groups, each, strict=True):
            if count % size or not size <= count <= group.atoms * size:
                raise InputError(
                    f"channels: {layer} keeps {count + fixed} of {group.atoms * size + fixed} outputs; "
                    f"{size + fixed} to all of them" + (f" in steps of {size}" if size > 1 else "") + " can stay"
                )
            counts.setdefault(group.name, {})[layer] = count // size
    keep = {}
    for name, by_layer in counts.items():
        layers = [layer.layer for layer in channels[name].layers]
        missing = [layer for layer in layers if layer not in by_layer]
        if missing or len(set(by_layer.values())) > 1:
            found = ", ".join(f"{layer}: {by_layer.get(layer, 'all')}" for layer in layers[:4])
            raise InputError(f"channels: layers that go together keep different numbers of channels ({found})")
        keep[name] = range(next(iter(by_layer.values())))
    return keep


def _check_structure(small: Detector, before: CoupledChannels, gone: Mapping[str, np.ndarray]) -> CoupledChannels:
    """See that the cut network ties the same channels as the whole one did.

    Where its code takes channels by fixed numbers (``x[:, :32]``), it now takes others.

    Returns:
        The channels of the cut network.

    Raises:
        InputError: it does not run any more, or ties other channels.
    """
    stays = {place: np.ones(len(components), bool) for place, components in before.of_place.items()}
    for name, atoms in gone.items():
        for place in before[name].places:
            stays[place.tensor, place.dim][place.channels[atoms].reshape(-1)] = False
    try:
        after = coupled_channels(small)
    except InputError as error:
        raise InputError(f"cut_channels: {small.name} cannot be cut: {error}") from error
    # Layers that nothing runs were cut to fit; see `_cut`.
    run = [place for place in before.of_place if len(after.of_place[place]) == stays[place].sum()]
    olds = [before.of_place[place][stays[place]] for place in run]
    news = [after.of_place[place] for place in run]
    old, new = np.concatenate(olds), np.concatenate(news)
    free = np.isin(old, np.fromiter(before.free, np.int64))
    pairs = np.unique(np.stack([new[free], old[free]]), axis=1)
    mixed = len(np.unique(pairs[0])) != pairs.shape[1]
    # A channel that is the only one left has no labels in the pass.
    alone = [name for name, atoms in gone.items() if len(atoms) == before[name].atoms - 1]
    lost = ~np.isin(pairs[0], np.fromiter(after.free, np.int64))
    if mixed or (lost.any() and not alone):
        raise InputError(
            f"cut_channels: the code of {small.name} takes channels by fixed numbers, so that the cut network would "
            "mix up others; take the numbers from the tensors' shapes"
        )
    return after
