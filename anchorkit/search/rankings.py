"""Pruning by a ranking: anchors are put in order once, and then cut one after the other.

Pruning of filters usually works like this (Li et al., "Pruning filters for efficient convnets", 2016). Section 2.2 of
the paper names the weakness: where two anchors detect the same objects, either may go, but not both, and a ranking
cannot express that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.costs import Cost, CostFunction
from anchorkit.errors import InputError
from anchorkit.search.measuring import AccuracyOf
from anchorkit.search.rivals import measure_all


class RawScores(Protocol):
    """What `score_mass` needs of a prediction table."""

    @property
    def layout(self) -> AnchorLayout: ...

    @property
    def anchor(self) -> np.ndarray[Any, Any]: ...  # (N,), index of the anchor

    @property
    def score(self) -> np.ndarray[Any, Any]: ...  # (N,), 0..1


def score_mass(predictions: RawScores) -> np.ndarray[Any, Any]:
    """How much each anchor says: the sum of the scores of its raw predictions.

    Args:
        predictions: a `anchorkit.PredictionTable`, or anything with its ``layout``, ``anchor`` and ``score``.

    Returns:
        float64, one for each anchor of the layout.

    Examples:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> from anchorkit.search import score_mass
        >>> from anchorkit.search.toy import toy_evaluator
        >>> rows = {"anchor": np.array([0, 0, 3]), "score": np.array([0.5, 0.25, 0.9])}
        >>> score_mass(SimpleNamespace(layout=toy_evaluator().layout, **rows)).tolist()
        [0.75, 0.0, 0.0, 0.9, 0.0, 0.0]
    """
    weights = np.asarray(predictions.score, dtype=float)
    return np.bincount(predictions.anchor, weights=weights, minlength=len(predictions.layout))


def prune_by_ranking(
    evaluator: AccuracyOf,
    cost: str | Cost | CostFunction = "head_flops",
    ranking: Iterable[int | str] | None = None,
    *,
    worth: Sequence[float] | np.ndarray[Any, Any] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Cut anchors one after the other in a given order, and measure every configuration on the way.

    Args:
        evaluator: answers for accuracies.
        cost: as for `anchorkit.search`.
        ranking: every anchor once (indices or ids), the one to remove first in front.
        worth: instead of `ranking` a number for each anchor, such as `score_mass`: the least is removed first, of
            equals the first.
        progress: show a progress bar on standard error.

    Returns:
        One row per configuration, from one anchor less to one anchor left, with the columns of
        `SearchResult.evaluated`.

    Raises:
        InputError: not exactly one of `ranking` and `worth` is given, an anchor is unknown, missing or named twice, or
            a number is missing or is none.

    Examples:
        >>> from anchorkit.search import prune_by_ranking
        >>> from anchorkit.search.toy import toy_evaluator
        >>> toy = toy_evaluator()
        >>> prune_by_ranking(toy, cost="boxes", worth=toy.worth, progress=False)[["accuracy", "boxes"]]
           accuracy  boxes
        0      0.50    176
        1      0.49    160
        2      0.47     96
        3      0.45     80
        4      0.25     16
    """
    layout = evaluator.layout
    if (ranking is None) == (worth is None):
        raise InputError("prune_by_ranking: give either the ranking or the worth of each anchor")
    if worth is not None:
        values = np.asarray(worth, dtype=float)
        if values.shape != (len(layout),) or not np.isfinite(values).all():
            raise InputError(f"worth: {len(layout)} numbers are needed, one for each anchor of {layout.detector}")
        order = np.argsort(values, kind="stable").tolist()
    else:
        order = [layout.index(anchor) for anchor in ranking or ()]
        if sorted(order) != list(range(len(layout))):
            raise InputError(f"ranking: every one of the {len(layout)} anchors of {layout.detector} is needed, once")
    found: list[Configuration] = []
    configuration = layout.full
    for anchor in order[:-1]:
        configuration = configuration.without([anchor])
        found.append(configuration)
    return measure_all(evaluator, cost, found, "ranking", progress)
