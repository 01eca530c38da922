"""The Pareto frontier: which configurations no other one beats, how good a frontier is, and where it bends.

The paper calls a configuration Pareto-optimal "when no other node that uses fewer or equal resources achieves higher
accuracy". Read to the letter, that would keep a configuration beside a cheaper one of the same accuracy. Here, one
configuration *beats* another if it costs no more, is no less accurate, and differs in at least one of the two; so a
frontier never holds two configurations of equal accuracy, and of two that tie in both the one found first stays.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt


class Measured(Protocol):
    """Anything with an accuracy and a cost."""

    @property
    def accuracy(self) -> float: ...  # 0..1, the higher the better

    @property
    def cost(self) -> float: ...  # the lower the better


M = TypeVar("M", bound=Measured)

_COST, _ACCURACY = attrgetter("cost"), attrgetter("accuracy")


class Frontier(Generic[M]):
    """The running set P of Algorithm 1: of all configurations offered so far, those that none of the others beats.

    Members are kept by rising cost. As no member beats another, their accuracies rise along with it, so that asking
    and adding take a binary search. One list holds all there is, and one assignment changes it: an interrupt finds a
    frontier at any time.

    Examples:
        >>> from types import SimpleNamespace
        >>> from anchorkit.search.frontier import Frontier
        >>> frontier = Frontier()
        >>> frontier.add(SimpleNamespace(accuracy=0.50, cost=300))
        True
        >>> frontier.add(SimpleNamespace(accuracy=0.45, cost=100))
        True
        >>> frontier.add(SimpleNamespace(accuracy=0.44, cost=200))
        False
        >>> [member.cost for member in frontier.members()]
        [300, 100]
    """

    def __init__(self) -> None:
        self._members: list[M] = []

    def add(self, candidate: M) -> bool:
        """Add a candidate unless a member beats it or ties with it, and drop the members that it beats.

        Returns:
            True if the candidate is now a member.
        """
        within = bisect_right(self._members, candidate.cost, key=_COST)
        if within and self._members[within - 1].accuracy >= candidate.accuracy:
            return False
        first = bisect_left(self._members, candidate.cost, key=_COST)
        last = bisect_right(self._members, candidate.accuracy, lo=first, key=_ACCURACY)
        self._members[first:last] = [candidate]
        return True

    def members(self) -> list[M]:
        """The members, most accurate (and most expensive) first."""
        return self._members[::-1]

    def best(self) -> M:
        """The most accurate member.

        Raises:
            IndexError: there are no members.
        """
        return self._members[-1]

    def __len__(self) -> int:
        return len(self._members)


ROUNDING = 1e-12
"""Accuracies closer than this are equal: room for the rounding in "full accuracy minus a loss", nothing else."""


def reaches(accuracies: Any, least: Any) -> Any:
    """Whether accuracies are at least `least`, up to `ROUNDING`: bool, in the shape of the accuracies.

    Args:
        accuracies: an array or a pandas Series, 0..1.
        least: a number, or one per accuracy.

    Examples:
        >>> from anchorkit.search.frontier import reaches
        >>> import numpy as np
        >>> reaches(np.array([0.45, 0.44]), 0.50 - 0.05)
        array([ True, False])
    """
    return accuracies >= least - ROUNDING


def cheapest(accuracies: npt.ArrayLike, costs: npt.ArrayLike, least: float, most: float = float("inf")) -> int | None:
    """The cheapest of some configurations that is accurate enough; of equals the most accurate, of those the first.

    Args:
        accuracies: accuracy of each configuration, 0..1, in any order.
        costs: their costs, in the same order.
        least: the accuracy that it needs.
        most: the cost that it may have.

    Returns:
        Its position; None if no configuration keeps both limits.

    Examples:
        >>> from anchorkit.search.frontier import cheapest
        >>> cheapest([0.50, 0.49, 0.40], [300, 200, 100], least=0.45)
        1
    """
    accuracy, cost = np.asarray(accuracies, dtype=float), np.asarray(costs, dtype=float)
    fits = np.flatnonzero(reaches(accuracy, least) & (cost <= most))
    return int(fits[np.lexsort((-accuracy[fits], cost[fits]))[0]]) if len(fits) else None


def most_accurate(accuracies: npt.ArrayLike, *limits: tuple[npt.ArrayLike, float]) -> int | None:
    """The most accurate of some configurations within one or more budgets; of equals the first.

    Args:
        accuracies: accuracy of each configuration, 0..1, in any order.
        *limits: costs in the same order, and the most that they may be.

    Returns:
        Its position; None if no configuration is within the budgets.

    Examples:
        >>> from anchorkit.search.frontier import most_accurate
        >>> most_accurate([0.50, 0.49, 0.40], ([300, 200, 100], 250))
        1
    """
    accuracy = np.asarray(accuracies, dtype=float)
    fits = np.ones(len(accuracy), dtype=bool)
    for costs, most in limits:
        fits &= np.asarray(costs, dtype=float) <= most
    return int(np.where(fits, accuracy, -np.inf).argmax()) if fits.any() else None


def unbeaten(accuracies: npt.ArrayLike, costs: npt.ArrayLike) -> list[int]:
    """Positions of the configurations that no other one beats, most accurate first; of equals only the first.

    Args:
        accuracies: accuracy of each configuration, 0..1, in any order.
        costs: their costs, in the same order.

    Examples:
        >>> from anchorkit.search.frontier import unbeaten
        >>> unbeaten([0.40, 0.50, 0.39, 0.45], [100, 300, 150, 200])
        [1, 3, 0]
    """
    accuracy, cost = np.asarray(accuracies, dtype=float), np.asarray(costs, dtype=float)
    order = np.lexsort((cost, -accuracy))
    cheapest_before = np.minimum.accumulate(np.append(np.inf, cost[order]))[:-1]
    kept: list[int] = order[cost[order] < cheapest_before].tolist()
    return kept


def hypervolume(accuracies: Sequence[float], costs: Sequence[float], full_cost: float) -> float:
    """How much of the accuracy-cost plane a frontier dominates, 0..1; the larger the better.

    The exact area of the points (cost, accuracy) that some configuration of the frontier matches at no higher cost and
    no lower accuracy, with the reference point at accuracy 0 and the cost of the full configuration. Cost is divided
    by that of the full configuration; accuracy, 0..1 by itself, is not scaled. So 1 would be a detector without errors
    or cost, the full configuration alone scores 0, and frontiers of one detector, one kind of cost and one threshold
    can be compared (a threshold cuts the cheap end off).

    Args:
        accuracies: accuracy of each configuration, 0..1, in any order; negative ones count as 0.
        costs: their costs, in the same order; those above `full_cost` dominate nothing.
        full_cost: the cost of the configuration with every anchor.

    Examples:
        >>> from anchorkit.search.frontier import hypervolume
        >>> hypervolume([0.5, 0.4], [300, 100], full_cost=400)
        0.325
    """
    if full_cost <= 0:
        return 0.0
    area = 0.0
    best = 0.0
    points = sorted((cost, accuracy) for cost, accuracy in zip(costs, accuracies, strict=True) if cost < full_cost)
    for position, (cost, accuracy) in enumerate(points):
        best = max(best, accuracy)
        following = points[position + 1][0] if position + 1 < len(points) else full_cost
        area += (following - max(cost, 0.0)) * best if following > 0 else 0.0
    return area / full_cost


def contributions(accuracies: Sequence[float], costs: Sequence[float], full_cost: float) -> list[float]:
    """What each configuration of a frontier adds to its `hypervolume`: how much would be lost without it alone.

    Args:
        accuracies: accuracies of a frontier, falling, 0..1.
        costs: its costs, falling.
        full_cost: the cost of the configuration with every anchor.

    Examples:
        >>> from anchorkit.search.frontier import contributions
        >>> [round(share, 3) for share in contributions([0.5, 0.4], [300, 100], full_cost=400)]
        [0.025, 0.2]
    """
    right = [full_cost, *costs]
    below = [*accuracies[1:], 0.0]
    return [
        max(min(dearer, full_cost) - max(cost, 0.0), 0.0) * (accuracy - next_accuracy) / max(full_cost, 1e-300)
        for accuracy, cost, dearer, next_accuracy in zip(accuracies, costs, right, below, strict=False)
    ]


def accuracy_within(accuracies: Sequence[float], costs: Sequence[float], budgets: Sequence[float]) -> np.ndarray:
    """The best accuracy that some configurations have at each budget: the staircase under a frontier.

    Args:
        accuracies: accuracy of each configuration, 0..1, in any order.
        costs: their costs, in the same order.
        budgets: the most that may be spent.

    Returns:
        float64, one for each budget; NaN where nothing is that cheap.

    Examples:
        >>> from anchorkit.search.frontier import accuracy_within
        >>> accuracy_within([0.5, 0.4], [300, 100], budgets=[50, 100, 1000]).tolist()
        [nan, 0.4, 0.5]
    """
    cost = np.asarray(costs, dtype=float)
    order = np.argsort(cost, kind="stable")
    best = np.maximum.accumulate(np.asarray(accuracies, dtype=float)[order]) if len(order) else np.empty(0)
    reached = np.searchsorted(cost[order], np.asarray(budgets, dtype=float), side="right")
    return np.where(reached > 0, np.append(best, np.nan)[reached - 1], np.nan)


def knee(accuracies: Sequence[float], costs: Sequence[float]) -> int:
    """Index of the configuration where a frontier bends most: from there on, saving more costs ever more accuracy.

    Both axes are scaled so that the ends of the frontier (its most accurate and its cheapest member) are at 0 and 1;
    the knee is the point farthest from the chord between the two, on the side of higher accuracy and lower cost. If
    no point lies on that side, it is the most accurate one.

    Args:
        accuracies: accuracies of a frontier, falling.
        costs: its costs, falling.

    Examples:
        >>> from anchorkit.search.frontier import knee
        >>> knee([0.50, 0.49, 0.30], [300, 150, 100])
        1
    """
    if len(accuracies) < 3:
        return 0
    accuracy = np.asarray(accuracies, dtype=float)
    cost = np.asarray(costs, dtype=float)
    above = (accuracy - accuracy[-1]) / (accuracy[0] - accuracy[-1]) - (cost - cost[-1]) / (cost[0] - cost[-1])
    # The ends are exactly 0: x / x is 1 and 0 / x is 0, without rounding.
    return int(above.argmax())
