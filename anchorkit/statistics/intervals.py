"""Intervals of changes in AP from bootstrap draws, and bounds that hold for any point of a family.

Pointwise intervals are percentile intervals: the change of AP against the full detector is nearly without bias and
nearly symmetric, because both are evaluated on the same draws, and in simulations with known truth the percentile
interval covers as well as the basic and the BCa interval do (docs/statistics.md has the figures); it is the simplest of
them.

A frontier is a choice of the best of many configurations, so part of its accuracy is luck (selection bias). The
simultaneous lower bounds hold for *all* points of a family at once, so they hold for any point picked afterwards: each
lies c standard errors below its point, and c is the quantile of the largest of all standardized deviations in a draw
(max-t; Westfall and Young 1993, *Resampling-based multiple testing*; Romano and Wolf 2005).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from anchorkit.errors import InputError

Floats = npt.NDArray[np.float64]


class LowerBounds(NamedTuple):
    """Lower bounds that hold together.

    Attributes:
        least: float64 (n,), the bound of each point, 0..1 like accuracies.
        width: c, how many standard errors each bound lies below its point; 1.64 would do for a single one at 95 %.
        standard_error: float64 (n,).
    """

    least: Floats
    width: float
    standard_error: Floats

    def first(self, n: int) -> LowerBounds:
        """The bounds of the first n points."""
        return LowerBounds(self.least[:n], self.width, self.standard_error[:n])


def check_share(value: float, what: str) -> float:
    """A confidence or share, above 0 and below 1.

    Raises:
        InputError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < 1:
        hint = f"; {value:g} may mean {value / 100:g}" if isinstance(value, int | float) and 1 < value < 100 else ""
        raise InputError(f"{what} is {value!r}; a number above 0 and below 1 is needed{hint}")
    return float(value)


def check_margin(value: float) -> float:
    """A loss of AP that is still accepted, 0..1.

    Raises:
        InputError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < 1:
        raise InputError(f"margin is {value!r}: accuracies are 0..1, so half a point is 0.005")
    return float(value)


def percentile_interval(changes: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """The percentile interval of each change, for one that was picked beforehand.

    Args:
        changes: float64 (draws, n), see `anchorkit.evaluation.bootstrapping.Bootstrap.changes`.
        confidence: share of cases in which the interval holds the truth, both sides together.

    Returns:
        Its ends: float64 (n,) each.

    Examples:
        >>> import numpy as np
        >>> from anchorkit.statistics import percentile_interval
        >>> changes = np.linspace(-0.01, 0.01, 101)[:, None]  # 101 draws of one point
        >>> low, high = percentile_interval(changes, confidence=0.9)
        >>> low.round(4).tolist(), high.round(4).tolist()
        ([-0.009], [0.009])
    """
    tail = (1 - check_share(confidence, "confidence")) / 2
    low, high = np.quantile(changes, [tail, 1 - tail], axis=0)
    return low, high


def interval_words(low: float, high: float | None = None, confidence: float = 0.95) -> str:
    """A confidence interval of a change in AP, in points, as every page, lesson and command prints it.

    Args:
        low: its lower end, 0..1 like accuracies.
        high: its upper end; None for a lower bound alone.
        confidence: 0..1.

    Examples:
        >>> from anchorkit.statistics import interval_words
        >>> interval_words(-0.0102, 0.0034)
        '95 % interval -1.02 to +0.34'
        >>> interval_words(-0.0045)
        'with 95 % confidence no worse than -0.45'
    """
    sure = f"{100 * check_share(confidence, 'confidence'):g} %"
    if high is None:
        return f"with {sure} confidence no worse than {in_points(low)}"
    return f"{sure} interval {in_points(low)} to {in_points(high)}"


def in_points(change: float) -> str:
    """A change of AP (0..1) in points, with its sign; no change is 0."""
    text = f"{100 * change:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text


def share_within(changes: Floats, margin: float) -> Floats:
    """float64 (n,): the share of draws in which each change is no loss of more than `margin` (0..1).

    Examples:
        >>> import numpy as np
        >>> from anchorkit.statistics import share_within
        >>> share_within(np.array([[-0.02], [-0.001], [0.0], [0.003]]), margin=0.005).tolist()
        [0.75]
    """
    found: Floats = (changes >= -check_margin(margin)).mean(axis=0)
    return found


def simultaneous_bounds(change: Floats, changes: Floats, confidence: float = 0.95) -> LowerBounds:
    """Lower bounds of all changes of a family, which all hold at once in a share `confidence` of cases.

    Args:
        change: float64 (n,), on the images as they are.
        changes: float64 (draws, n), in the draws.
        confidence: 0..1.

    Examples:
        >>> import numpy as np
        >>> from anchorkit.statistics import simultaneous_bounds
        >>> draws = np.random.default_rng(0).normal(0.0, 0.004, (1000, 2))  # two points, no change
        >>> simultaneous_bounds(np.zeros(2), draws).least.round(3).tolist()
        [-0.008, -0.008]
    """
    confidence = check_share(confidence, "confidence")
    error = changes.std(axis=0, ddof=1) if len(changes) > 1 else np.zeros(changes.shape[1])
    # What is the same in every draw (the full detector itself) has no error.
    varies = error > 0
    if not varies.any():
        return LowerBounds(change.copy(), 0.0, error)
    below = (change[varies] - changes[:, varies]) / error[varies]
    width = max(float(np.quantile(below.max(axis=1), confidence)), 0.0)
    return LowerBounds(change - width * error, width, error)
