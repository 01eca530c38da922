"""What a configuration costs: boxes, multiply-adds, parameters.

Everything here is integer arithmetic on the layout, no measuring. FLOPs are multiply-adds, as in the anchor-pruning
paper. The head of a level with anchors costs ``height * width * (head_macs_fixed + A * head_macs_per_anchor)`` for A
kept anchors; a level without anchors has no head and costs nothing. A part of the trunk that only empty levels need
(the last stages of an SSD, a branch of a feature pyramid) disappears too (paper section 3.8): a saving in
``total_flops``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from anchorkit.anchors import Configuration, Level
from anchorkit.errors import InputError

__all__ = ["COSTS", "Cost", "CostFunction", "as_cost", "cost_facts", "cost_of", "costs", "known_costs", "level_costs"]

CostFunction = Callable[[Configuration], float]
"""A cost of your own: takes a configuration and returns a finite number, the lower the better."""

FLOPS = "multiply-adds"
"""The unit of FLOPs; charts and tables shorten its numbers to thousands, millions and billions."""

# Columns of every search table: a cost of one of these names would hide them.
_RESERVED = ("accuracy", "n_anchors", "anchors", "order", "parent")


@dataclass(frozen=True)
class Cost:
    """A cost: how it is computed, and its names in tables, charts and sentences.

    Attributes:
        name: the name of its column, a Python identifier such as ``"head_flops"``.
        title: the heading of a column or axis, such as ``"Head FLOPs"``.
        words: the name within a sentence, such as ``"head FLOPs"``.
        unit: such as ``"multiply-adds"`` or ``"ms"``; empty if it has no unit.
        compute: takes a configuration and returns a finite number, the lower the better. It raises `InputError` if
            the layout lacks a value for it. A callable that measures has an attribute ``measured`` that is
            True; a search then warns.

    Examples:
        >>> from anchorkit.costs import Cost
        >>> from anchorkit.search.toy import toy_evaluator
        >>> memory = Cost("memory", "Head memory", "head memory", "bytes", lambda kept: 4.0 * len(kept))
        >>> memory.compute(toy_evaluator().layout.full)
        24.0
    """

    name: str
    title: str = field(repr=False)
    words: str = field(repr=False)
    unit: str = field(repr=False)
    compute: CostFunction = field(repr=False)


def as_cost(cost: str | Cost | CostFunction) -> Cost:
    """The cost of a name or a callable; its `compute` checks that the result is a finite number.

    Args:
        cost: a name of `COSTS`, a `Cost`, or a callable that takes a configuration and returns a finite number. A plain
            callable is named by its ``__name__``, or ``"cost"`` if that is not an identifier.

    Raises:
        InputError: the name is unknown or clashes with another column, or (on the call) the callable's result is not
            a finite number.

    Examples:
        >>> from anchorkit.costs import as_cost
        >>> as_cost("total_flops").title
        'Total FLOPs'
        >>> def anchors_squared(kept):
        ...     return len(kept) ** 2
        >>> as_cost(anchors_squared).words
        'anchors squared'
    """
    if isinstance(cost, str):
        if cost not in COSTS:
            raise InputError(f"unknown cost {cost!r}: use one of {', '.join(COSTS)}, or a callable")
        return COSTS[cost]
    if isinstance(cost, Cost):
        if is_named(cost):
            return cost
        if not cost.name.isidentifier():
            raise InputError(f"the name of a cost is {cost.name!r}; a column's name is needed, such as head_flops")
    elif callable(cost):
        name = getattr(cost, "__name__", "cost")
        cost = _bare(name if name.isidentifier() else "cost", cost)  # a lambda calls itself "<lambda>"
    else:
        raise InputError(f"cost is {cost!r}: use one of {', '.join(COSTS)}, or a callable")
    if cost.name in COSTS or cost.name in _RESERVED:
        raise InputError(f"a cost may not be called {cost.name!r}, the name of another column; rename it")
    return replace(cost, compute=_checked(cost.name, cost.compute))


def cost_facts(cost: str | Cost) -> Cost:
    """The names of a cost, for charts and tables; for a name that `COSTS` lacks, the name itself in words.

    Examples:
        >>> from anchorkit.costs import cost_facts
        >>> cost_facts("boxes").title, cost_facts("latency_ms").title
        ('Boxes per image', 'latency ms')
    """
    if isinstance(cost, Cost):
        return cost
    return COSTS.get(cost) or _bare(cost, _not_known(cost))


def is_named(cost: Cost) -> bool:
    """Whether a cost is one of `COSTS`: computed from the layout alone, and a column of every table."""
    return COSTS.get(cost.name) is cost


def cost_of(configuration: Configuration, cost: str) -> float:
    """One cost of a configuration.

    Args:
        configuration: the anchors to keep.
        cost: ``"boxes"``: boxes predicted per image; ``"head_flops"``: multiply-adds of the detection head;
            ``"total_flops"``: multiply-adds of the whole network; ``"head_parameters"``: parameters of the head.

    Raises:
        InputError: the cost is unknown, or is ``"total_flops"`` and the layout has no cost of the trunk.

    Examples:
        >>> from anchorkit.costs import cost_of
        >>> from anchorkit.search.toy import toy_evaluator
        >>> full = toy_evaluator().layout.full
        >>> cost_of(full, "boxes"), cost_of(full.without([0]), "boxes")
        (240, 176)
    """
    if cost not in COSTS:
        raise InputError(f"unknown cost {cost!r}: use one of {', '.join(COSTS)}")
    return COSTS[cost].compute(configuration)


def costs(configuration: Configuration) -> dict[str, float | None]:
    """All costs of a configuration by name, and ``n_anchors``; ``total_flops`` is None if the trunk is unknown.

    Examples:
        >>> from anchorkit.costs import costs
        >>> from anchorkit.search.toy import toy_evaluator
        >>> costs(toy_evaluator().layout.configuration(keep=["L0/16x16"]))
        {'n_anchors': 1, 'boxes': 64, 'head_flops': 6400, 'total_flops': None, 'head_parameters': 50}
    """
    return {"n_anchors": len(configuration), **{name: _or_none(cost, configuration) for name, cost in COSTS.items()}}


def known_costs(configuration: Configuration) -> dict[str, float]:
    """The costs of `COSTS` that can be computed for the layout, by name, in that order.

    Examples:
        >>> from anchorkit.costs import known_costs
        >>> from anchorkit.search.toy import toy_evaluator
        >>> known_costs(toy_evaluator().layout.full)
        {'boxes': 240, 'head_flops': 24000, 'head_parameters': 300}
    """
    return {name: value for name, cost in COSTS.items() if (value := _or_none(cost, configuration)) is not None}


def level_costs(configuration: Configuration) -> list[dict[str, Any]]:
    """The costs of each level.

    Returns:
        One dictionary per level, in order, empty levels too: ``name``, ``height`` and ``width`` of the feature map,
        ``anchors`` (number kept), ``boxes``, ``head_flops``.

    Examples:
        >>> from anchorkit.costs import level_costs
        >>> from anchorkit.search.toy import toy_evaluator
        >>> [level['boxes'] for level in level_costs(toy_evaluator().layout.full)]
        [192, 48]
    """
    return [
        {
            "name": level.name,
            "height": level.height,
            "width": level.width,
            "anchors": count,
            "boxes": level.cells * count,
            "head_flops": _level_flops(level, count),
        }
        for level, count in _levels(configuration)
    ]


def _checked(name: str, function: CostFunction) -> CostFunction:
    def compute(configuration: Configuration) -> float:
        value: Any = function(configuration)
        try:
            number = value if isinstance(value, int) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise InputError(f"cost {name}: {value!r} for {configuration}; a finite number is needed")
        return number

    return compute


def _bare(name: str, compute: CostFunction) -> Cost:
    words = name.replace("_", " ")
    return Cost(name, words, words, "", compute)


def _not_known(name: str) -> CostFunction:
    def compute(configuration: Configuration) -> float:
        raise InputError(f"cost {name}: only its name is known here; give the callable that computes it as cost=")

    return compute


def _or_none(cost: Cost, configuration: Configuration) -> float | None:
    try:
        return cost.compute(configuration)
    except InputError:
        return None


def _levels(configuration: Configuration) -> list[tuple[Level, int]]:
    return list(zip(configuration.layout.levels, configuration.per_level, strict=True))


def _level_flops(level: Level, count: int) -> int:
    return level.cells * (level.head_macs_fixed + count * level.head_macs_per_anchor) if count else 0


def _boxes(configuration: Configuration) -> int:
    return sum([level.cells * count for level, count in _levels(configuration)])


def _head_flops(configuration: Configuration) -> int:
    return sum([_level_flops(level, count) for level, count in _levels(configuration)])


def _total_flops(configuration: Configuration) -> int:
    layout = configuration.layout
    if layout.trunk_macs is None:
        raise InputError(
            f"total_flops: the layout of {layout.detector} does not say what its trunk costs; "
            "set trunk_macs in the layout, or use head_flops"
        )
    gone = sum([macs for needed, macs in layout._trunk_part_masks if not configuration.mask & needed])
    return layout.trunk_macs - gone + _head_flops(configuration)


def _head_parameters(configuration: Configuration) -> int:
    layout = configuration.layout
    kept = [(level, count) for level, count in _levels(configuration) if count]
    if not layout.shared_head:
        return sum([level.head_params_fixed + count * level.head_params_per_anchor for level, count in kept])
    # One head serves all levels: it needs the filters of every position that is kept on any level, once.
    positions = sum([configuration.mask & position != 0 for position in layout._position_masks])
    fixed = max((level.head_params_fixed for level, _ in kept), default=0)
    per_anchor = max((level.head_params_per_anchor for level, _ in kept), default=0)
    return fixed + positions * per_anchor


_ALL = (
    Cost("boxes", "Boxes per image", "boxes", "boxes", _boxes),
    Cost("head_flops", "Head FLOPs", "head FLOPs", FLOPS, _head_flops),
    Cost("total_flops", "Total FLOPs", "total FLOPs", FLOPS, _total_flops),
    Cost("head_parameters", "Head parameters", "head parameters", "parameters", _head_parameters),
)

COSTS: dict[str, Cost] = {cost.name: cost for cost in _ALL}
"""The costs that are computed from the layout, by name. A new one is one more entry of this table."""
