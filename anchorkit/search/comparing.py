"""Comparing searches: how good each is after a number of evaluations, and how far from the optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from anchorkit.errors import InputError
from anchorkit.search.frontier import accuracy_within, hypervolume, unbeaten
from anchorkit.search.result import SearchResult


def hypervolume_curve(result: SearchResult, points: int = 100) -> pd.DataFrame:
    """How good a search's frontier was after each number of configurations.

    Args:
        result: of `anchorkit.search`; what is below its threshold does not count.
        points: the most rows, spread evenly over the logarithm of the number of configurations.

    Returns:
        ``tried`` (configurations so far, rising, the last row is all of them) and ``hypervolume`` (0..1, see
        `anchorkit.search.frontier.hypervolume`).

    Examples:
        >>> import anchorkit as ak
        >>> from anchorkit.search.comparing import hypervolume_curve
        >>> from anchorkit.search.toy import toy_evaluator
        >>> result = ak.search(toy_evaluator(), cost="boxes", progress=False)
        >>> hypervolume_curve(result, points=3).round(3)
           tried  hypervolume
        0      1        0.000
        1      6        0.133
        2     38        0.395
    """
    rows = result.evaluated
    full_cost = float(rows[result.cost].iloc[0])
    accuracy, cost = rows["accuracy"].to_numpy(dtype=float), rows[result.cost].to_numpy(dtype=float)
    counts = np.unique(np.geomspace(1, len(rows), min(points, len(rows))).round().astype(int))
    values, best = [], pd.DataFrame({"accuracy": [0.0], "cost": [full_cost]})
    for before, count in zip([0, *counts[:-1]], counts, strict=True):
        new = pd.DataFrame({"accuracy": accuracy[before:count], "cost": cost[before:count]})
        new = new[new["accuracy"] >= (result.threshold or 0.0)]
        # Only what is not beaten can matter later.
        best = pd.concat([best, new])
        best = best.iloc[unbeaten(best["accuracy"], best["cost"])]
        values.append(hypervolume(best["accuracy"].tolist(), best["cost"].tolist(), full_cost))
    return pd.DataFrame({"tried": counts, "hypervolume": values})


@dataclass(frozen=True)
class Distance:
    """How far a frontier is from a better one.

    Attributes:
        hypervolume: share of the better one's hypervolume that is missing, 0..1; below 0 if it is not the better one.
        accuracy: the largest accuracy, 0..1, that the better one has more at equal cost.
        at: the cost where that is.
        missed: configurations of the better one that have more accuracy than anything as cheap here.
        of: configurations of the better one.
    """

    hypervolume: float
    accuracy: float
    at: float
    missed: int
    of: int


def distance(found: SearchResult, better: SearchResult) -> Distance:
    """How far a search stayed behind a better one, such as `anchorkit.search.exhaustive_search`.

    Only what is at least as accurate as the threshold of `found` is compared, at costs that `found` has an answer to.

    Args:
        found: the search to judge.
        better: another one of the same evaluator and cost.

    Raises:
        InputError: the two are about different costs or anchors, or `found` has nothing.

    Examples:
        >>> import anchorkit as ak
        >>> from anchorkit.search.comparing import distance
        >>> from anchorkit.search.toy import toy_evaluator
        >>> best = ak.exhaustive_search(toy_evaluator(), cost="boxes", progress=False)
        >>> few = ak.search(toy_evaluator(), cost="boxes", budget=5, progress=False)
        >>> found = distance(few, best)
        >>> found.missed, found.of, round(found.accuracy, 3)
        (7, 8, 0.0)
    """
    if (found.cost, found.layout) != (better.cost, better.layout):
        raise InputError(f"distance: one search is about {found.cost} of {found.layout.detector}, the other is not")
    if found.frontier.empty:
        raise InputError("distance: the search found nothing")
    least = found.threshold or 0.0
    full_cost = float(found.baseline[found.cost])
    rows = better.frontier[better.frontier["accuracy"] >= least]
    costs, accuracies = rows[found.cost].tolist(), rows["accuracy"].tolist()
    reached = accuracy_within(found.frontier["accuracy"].tolist(), found.frontier[found.cost].tolist(), costs)
    gaps = np.nan_to_num(np.asarray(accuracies) - reached, nan=0.0)
    whole = hypervolume(accuracies, costs, full_cost)
    worst = int(gaps.argmax()) if len(gaps) else 0
    return Distance(
        hypervolume=1.0 - found.hypervolume() / whole if whole > 0 else 0.0,
        accuracy=max(float(gaps[worst]), 0.0) if len(gaps) else 0.0,
        at=float(costs[worst]) if costs else full_cost,
        missed=int((~(reached >= np.asarray(accuracies))).sum()),
        of=len(rows),
    )
