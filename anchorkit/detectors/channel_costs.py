"""What detectors cost that differ in their channels: the layout after a cut, and all parameters as a search's cost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anchorkit.anchors import AnchorLayout, Configuration, Level
from anchorkit.costs import Cost, cost_of
from anchorkit.detectors.base import Detector
from anchorkit.detectors.channel_groups import CoupledChannels
from anchorkit.errors import InputError
from anchorkit.pruning import prune


def parameter_cost(detector: Detector) -> Cost:
    """Parameters of the whole network, as a cost for a search; it is called ``parameters``.

    A layout knows the parameters of the head (``"head_parameters"``). Those of the trunk differ between detectors whose
    channels were cut, and fall where a level without anchors takes parts of the trunk with it. They are counted once
    for each set of levels that keep anchors, in a pruned copy.

    Args:
        detector: its layout is that of the configurations.

    Example:
        >>> import anchorkit as ak
        >>> from anchorkit.detectors import parameter_cost
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> kept = detector.layout.configuration(keep=range(10))
        >>> parameter_cost(detector).compute(kept) == ak.prune(detector, kept).parameters
        True
    """
    trunks: dict[tuple[bool, ...], int] = {}

    def parameters(kept: Configuration) -> int:
        used = tuple(count > 0 for count in kept.per_level)
        if used not in trunks:
            whole = detector.layout.configuration(keep=[a.index for a in detector.layout.anchors if used[a.level]])
            trunks[used] = prune(detector, whole).parameters - int(cost_of(whole, "head_parameters"))
        return trunks[used] + int(cost_of(kept, "head_parameters"))

    return Cost("parameters", "Parameters", "parameters", "parameters", parameters)


def layout_after(layout: AnchorLayout, before: CoupledChannels, after: CoupledChannels) -> AnchorLayout:
    """A layout with what its network costs after a cut.

    Multiplications are counted before and after. What the layout says must be what is counted before: per level the
    convolutions that make its outputs, per part of the trunk those of the module with its name.

    Args:
        layout: of the whole detector.
        before: its channels.
        after: those of the cut one.

    Raises:
        InputError: the layout says otherwise, or a level has costs that do not depend on the number of its anchors.
    """
    macs = [
        np.array([call.factor * len(call.rows) * len(call.columns) for call in channels.calls])
        for channels in (before, after)
    ]
    heads = np.isin(np.arange(len(before.calls)), list(before.last)) & [bool(call.weight) for call in before.calls]
    levels = tuple(_level(level, layout, before, after, heads) for level in layout.levels)
    rest = [int(each[~heads].sum()) for each in macs]
    if layout.trunk_macs not in (None, rest[0]):
        raise _otherwise(layout, "trunk_macs", layout.trunk_macs, rest[0])
    parts = []
    for part in layout.trunk_parts:
        inside = np.array([f".{part.name}." in f".{call.weight}" for call in before.calls]) & ~heads
        if int(macs[0][inside].sum()) != part.macs:
            raise _otherwise(layout, f"macs of {part.name} in trunk_parts", part.macs, int(macs[0][inside].sum()))
        parts.append(replace(part, macs=int(macs[1][inside].sum())))
    trunk = None if layout.trunk_macs is None else rest[1]
    return replace(layout, levels=levels, trunk_macs=trunk, trunk_parts=tuple(parts))


def _level(
    level: Level, layout: AnchorLayout, before: CoupledChannels, after: CoupledChannels, heads: np.ndarray
) -> Level:
    """A level with the costs of its last convolutions after the cut."""
    anchors, others = len(level.anchors), [each for each in layout.levels if each.anchors and each is not level]
    if not anchors:
        return level
    if level.head_macs_fixed or any(each.cells == level.cells for each in others):
        raise _otherwise(layout, f"head_macs_fixed of level {level.name}", level.head_macs_fixed, 0)
    own = [number for number in np.flatnonzero(heads).tolist() if before.calls[number].positions == level.cells]
    # Weights in all these convolutions: multiply-adds per cell.
    weights = [
        sum(
            channels.calls[number].factor
            // level.cells
            * len(channels.calls[number].rows)
            * len(channels.calls[number].columns)
            for number in own
        )
        for channels in (before, after)
    ]
    if weights[0] != anchors * level.head_macs_per_anchor:
        raise _otherwise(
            layout, f"head_macs_per_anchor of level {level.name}", level.head_macs_per_anchor, weights[0] // anchors
        )
    fewer = (weights[0] - weights[1]) // anchors
    return replace(
        level,
        head_macs_per_anchor=level.head_macs_per_anchor - fewer,
        head_params_per_anchor=level.head_params_per_anchor - fewer,
    )


def _otherwise(layout: AnchorLayout, what: str, said: object, counted: int) -> InputError:
    return InputError(
        f"cut_channels: the layout of {layout.detector} says {what} is {said}, counted are {counted}; mend the layout, "
        "or write measured_layout() of your detector, which gives the layout of a cut one"
    )
