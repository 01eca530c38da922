"""Trainings that differ only in their seed: means with intervals, and differences seed by seed.

An interval is Student's, at 95 %: it says where the mean over very many seeds lies if the trainings scatter normally.
With three seeds it is wide (4.3 standard errors to either side), which is the truth about three seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # scipy.stats says the same and takes 60 MB

from anchorkit.errors import InputError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with its interval; accuracies or differences of accuracies, 0..1.

    Attributes:
        mean: arithmetic mean.
        low: lower end of the interval; -inf for a single value, which has no spread.
        high: upper end; inf likewise.
        n: how many values.
    """

    mean: float
    low: float
    high: float
    n: int

    @property
    def sign(self) -> int:
        """1 if the whole interval lies above zero, -1 if below, 0 if the interval contains zero."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0

    def points(self, signed: bool = False) -> str:
        """For people, in points: ``25.7 (25.1 to 26.3)``; with signs, for differences."""
        form = "{:+.1f}" if signed else "{:.1f}"
        mean, low, high = (form.format(round(100 * value, 1) + 0.0) for value in (self.mean, self.low, self.high))
        return f"{mean} ({low} to {high})" if self.n > 1 else mean


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of one value per seed, with Student's interval.

    Raises:
        InputError: there are no values.

    Examples:
        >>> from anchorkit.statistics.seeds import mean_of
        >>> mean_of([0.250, 0.256, 0.262]).points()
        '25.6 (24.1 to 27.1)'
    """
    data = np.asarray(values, dtype=float)
    if len(data) == 0:
        raise InputError("a mean over seeds: there are no values")
    mean = float(data.mean())
    if len(data) == 1:
        return Mean(mean, -math.inf, math.inf, 1)
    half = float(stdtrit(len(data) - 1, 0.5 + CONFIDENCE / 2) * data.std(ddof=1) / math.sqrt(len(data)))
    return Mean(mean, mean - half, mean + half, len(data))


def difference(table: pd.DataFrame, better: tuple[str, str], worse: tuple[str, str]) -> Mean:
    """How much more accurate one treatment is than another, seed by seed.

    Args:
        table: ``treatment``, ``point``, ``seed``, ``accuracy`` (0..1).
        better: treatment and point that accuracies are taken from.
        worse: treatment and point whose accuracies are taken off.

    Raises:
        InputError: the two have no seed in common.

    Examples:
        >>> import pandas as pd
        >>> from anchorkit.statistics.seeds import difference
        >>> table = pd.DataFrame({
        ...     "treatment": ["retrain"] * 2 + ["tune"] * 2, "point": "A",
        ...     "seed": [0, 1, 0, 1], "accuracy": [0.26, 0.27, 0.25, 0.25],
        ... })
        >>> round(difference(table, ("retrain", "A"), ("tune", "A")).mean, 3)
        0.015
    """
    sides = [
        table[(table["treatment"] == treatment) & (table["point"] == point)].set_index("seed")["accuracy"]
        for treatment, point in (better, worse)
    ]
    common = sides[0].index.intersection(sides[1].index)
    if common.empty:
        raise InputError(f"{' '.join(better)} and {' '.join(worse)}: no seed in common")
    return mean_of((sides[0].loc[common] - sides[1].loc[common]).tolist())


def summary(table: pd.DataFrame, costs: Sequence[str] = ("n_anchors", "boxes", "head_flops")) -> pd.DataFrame:
    """One row per treatment and point, in the order of the table: mean accuracy with its interval, mean costs.

    Args:
        table: ``treatment``, ``point``, ``seed``, ``epochs``, ``accuracy`` (0..1) and the costs.
        costs: columns to average.

    Returns:
        Index ``treatment``, ``point``; columns ``AP (points)`` (as text, mean and interval), ``spread`` (largest minus
        smallest, in points), ``seeds``, ``epochs`` (of the longest training), and the costs.
    """
    rows = []
    for (treatment, point), group in table.groupby(["treatment", "point"], sort=False):
        accuracy = group["accuracy"]
        rows.append(
            {
                "treatment": treatment,
                "point": point,
                "AP (points)": mean_of(accuracy.tolist()).points(),
                "spread": round(100 * float(accuracy.max() - accuracy.min()), 1),
                "seeds": len(group),
                "epochs": int(group["epochs"].max()),
                **{cost: round(float(group[cost].mean())) for cost in costs},
            }
        )
    return pd.DataFrame(rows).set_index(["treatment", "point"])
