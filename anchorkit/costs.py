"""What a configuration costs: boxes, multiply-adds, parameters.

Everything here is integer arithmetic on the layout, no measuring. FLOPs are multiply-adds, as in the anchor-pruning
paper. A level with anchors costs, in its head, ``height * width * (head_macs_fixed + A * head_macs_per_anchor)`` for A
kept anchors; a level without anchors has no head and costs nothing. A part of the trunk that only empty levels need
(the last stages of an SSD, a branch of a feature pyramid) disappears too (paper section 3.8): a saving in
``total_flops``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from anchorkit.anchors import Configuration, Level
from anchorkit.errors import InputError

__all__ = [
    "COSTS",
    "CostFunction",
    "cost_function",
    "cost_of",
    "costs",
    "known_costs",
    "level_costs",
]

COSTS = ("boxes", "head_flops", "total_flops", "head_parameters")

CostFunction = Callable[[Configuration], float]

# Columns that the tables of a search have anyway: a callable of one of these names would hide them.
_RESERVED = ("accuracy", "n_anchors", "anchors", "order", "parent")


def cost_of(configuration: Configuration, cost: str) -> int:
    """One cost of a configuration.

    Args:
        configuration: the anchors that are kept.
        cost: ``"boxes"``: boxes predicted per image; ``"head_flops"``: multiply-adds of the detection head;
            ``"total_flops"``: multiply-adds of the whole network; ``"head_parameters"``: parameters of the head.

    Raises:
        InputError: the cost is unknown, or is ``"total_flops"`` and the layout does not say what the trunk costs.
    """
    levels = _levels(configuration)
    if cost == "boxes":
        return _boxes(levels)
    if cost == "head_flops":
        return _head_flops(levels)
    if cost == "total_flops":
        total = _total_flops(configuration, levels)
        if total is None:
            raise InputError(
                f"total_flops: the layout of {configuration.layout.detector} does not say what its trunk costs; "
                "set trunk_macs in the layout, or use head_flops"
            )
        return total
    if cost == "head_parameters":
        return _head_parameters(configuration, levels)
    raise InputError(f"unknown cost {cost!r}: use one of {', '.join(COSTS)}")


def costs(configuration: Configuration) -> dict[str, int | None]:
    """All costs of a configuration by name, and ``n_anchors``; ``total_flops`` is None if the trunk is unknown."""
    levels = _levels(configuration)
    return {
        "n_anchors": len(configuration),
        "boxes": _boxes(levels),
        "head_flops": _head_flops(levels),
        "total_flops": _total_flops(configuration, levels),
        "head_parameters": _head_parameters(configuration, levels),
    }


def known_costs(configuration: Configuration) -> dict[str, int]:
    """The costs of `COSTS` that the layout allows to compute, by name, in that order."""
    everything = costs(configuration)
    return {name: value for name in COSTS if (value := everything[name]) is not None}


def level_costs(configuration: Configuration) -> list[dict[str, Any]]:
    """What each level costs.

    Returns:
        One dictionary a level, in order, empty levels too: ``name``, ``height`` and ``width`` of the feature map,
        ``anchors`` (number kept), ``boxes``, ``head_flops``.
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


def cost_in_words(cost: str) -> str:
    """A cost within a sentence: ``head FLOPs`` for ``"head_flops"``."""
    return {"head_flops": "head FLOPs", "total_flops": "total FLOPs"}.get(cost, cost.replace("_", " "))


def cost_function(cost: str | CostFunction) -> tuple[str, CostFunction]:
    """A cost's name and the function that computes it.

    Args:
        cost: a name of `COSTS`, or a callable that takes a configuration and returns a finite number, for example a
            measured latency. A callable's name is its ``__name__``; one without a usable name is called ``"cost"``.
            One that measures says so by an attribute ``measured`` that is True; a search then warns.

    Raises:
        InputError: the name is unknown or clashes with another column, or (on the call) the callable's answer is not a
            finite number.
    """
    if isinstance(cost, str):
        name = cost
        if name not in COSTS:
            raise InputError(f"unknown cost {name!r}: use one of {', '.join(COSTS)}, or a callable")
        return name, lambda configuration: cost_of(configuration, name)
    if not callable(cost):
        raise InputError(f"cost is {cost!r}: use one of {', '.join(COSTS)}, or a callable")
    name = getattr(cost, "__name__", "cost")
    if not name.isidentifier():  # a lambda calls itself "<lambda>"
        name = "cost"
    if name in COSTS or name in _RESERVED:
        raise InputError(f"a callable cost may not be called {name!r}, which is a column of its own; rename it")
    return name, _checked(name, cost)


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


def _levels(configuration: Configuration) -> list[tuple[Level, int]]:
    return list(zip(configuration.layout.levels, configuration.per_level, strict=True))


def _boxes(levels: list[tuple[Level, int]]) -> int:
    return sum([level.cells * count for level, count in levels])


def _level_flops(level: Level, count: int) -> int:
    return level.cells * (level.head_macs_fixed + count * level.head_macs_per_anchor) if count else 0


def _head_flops(levels: list[tuple[Level, int]]) -> int:
    return sum([_level_flops(level, count) for level, count in levels])


def _total_flops(configuration: Configuration, levels: list[tuple[Level, int]]) -> int | None:
    trunk = configuration.layout.trunk_macs
    if trunk is None:
        return None
    gone = sum([macs for needed, macs in configuration.layout._trunk_part_masks if not configuration.mask & needed])
    return trunk - gone + _head_flops(levels)


def _head_parameters(configuration: Configuration, levels: list[tuple[Level, int]]) -> int:
    layout = configuration.layout
    kept = [(level, count) for level, count in levels if count]
    if not layout.shared_head:
        return sum([level.head_params_fixed + count * level.head_params_per_anchor for level, count in kept])
    # One head serves all levels: it needs the filters of every position that is kept on any level, once.
    positions = sum([configuration.mask & position != 0 for position in layout._position_masks])
    fixed = max((level.head_params_fixed for level, _ in kept), default=0)
    per_anchor = max((level.head_params_per_anchor for level, _ in kept), default=0)
    return fixed + positions * per_anchor
