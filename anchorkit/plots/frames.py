"""What all charts do with the frames they are given: check columns, write numbers, keep rows few."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from anchorkit.costs import COSTS, FLOPS, Cost, cost_facts
from anchorkit.errors import InputError

MAX_ROWS = 3000
"""No chart embeds more rows than this; each function says how it thins a larger frame."""

ANCHOR_COLUMNS = ("anchor_id", "level", "width", "height")


@dataclass(frozen=True)
class Unit:
    """How a cost is written.

    Attributes:
        title: the axis title, with the unit.
        divisor: what numbers are divided by.
        suffix: what follows a number: ``"k"``, ``"M"``, ``"G"`` or nothing.
        counted: what is counted or measured, such as ``"multiply-adds"``; empty if unknown.
    """

    title: str
    divisor: float
    suffix: str
    counted: str = ""

    def text(self, value: float) -> str:
        """The number with its unit, three significant digits (``4.23 G``); counts below 100,000 in full (``8,732``)."""
        scaled = value / self.divisor
        if 0 < abs(scaled) < 0.1:  # too small for the chart's unit: 6.34 k rather than 0.00634 M
            divisor, suffix = (1e6, "M") if abs(value) >= 1e6 else (1e3, "k") if abs(value) >= 1e3 else (1.0, "")
            return (
                replace(self, divisor=divisor, suffix=suffix).text(value) if divisor < self.divisor else f"{value:.3g}"
            )
        number = f"{scaled:,.0f}" if abs(scaled) >= 100 else f"{scaled:.3g}"
        return f"{number} {self.suffix}".rstrip()

    @property
    def noun(self) -> str:
        """What follows a number in a sentence: `` boxes``; nothing for multiply-adds, whose suffix says enough."""
        return f" {self.counted}" if self.counted not in ("", FLOPS) else ""


def unit(cost: str | Cost, values: Iterable[float]) -> Unit:
    """The unit in which the values of a cost read best.

    Args:
        cost: the name of a column, or an `anchorkit.costs.Cost`.
        values: those that are shown.

    Examples:
        >>> from anchorkit.plots.frames import unit
        >>> scale = unit("head_flops", [19_800_000_000])
        >>> scale.title, scale.text(19_800_000_000)
        ('Head FLOPs (billion multiply-adds)', '19.8 G')
        >>> unit("boxes", [8732]).text(8732)
        '8,732'
    """
    largest = max((abs(float(value)) for value in values), default=0.0)
    facts = cost_facts(cost)
    flops = facts.unit == FLOPS
    if largest >= 1e9:
        divisor, suffix, word = 1e9, "G", "billion"
    elif largest >= 1e6:
        divisor, suffix, word = 1e6, "M", "million"
    elif largest >= 1e5 or (flops and largest >= 1e3):
        divisor, suffix, word = 1e3, "k", "thousand"
    else:
        divisor, suffix, word = 1.0, "", ""
    # "Boxes per image" already says what is counted.
    counted = "" if facts.unit in facts.title.lower() else facts.unit
    detail = " ".join(part for part in (word, counted) if part)
    return Unit(f"{facts.title} ({detail})" if detail else facts.title, divisor, suffix, facts.unit)


def measures() -> dict[str, str]:
    """What tables and charts compare configurations by: column names and their titles, costs in the middle."""
    return {
        "n_anchors": "Anchors",
        **{name: cost.title for name, cost in COSTS.items()},
        "accuracy": "AP (points)",
    }


def points(accuracy: float) -> str:
    """An accuracy of 0..1 in points.

    Examples:
        >>> from anchorkit.plots.frames import points
        >>> points(0.2571)
        '25.7'
    """
    return f"{100 * accuracy:.1f}"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, ``+0.0`` for none.

    Examples:
        >>> from anchorkit.plots.frames import signed
        >>> signed(2.04)
        '+2.0'
    """
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def change(before: float, after: float) -> str:
    """The relative change in whole per cent; empty if there is nothing to compare with.

    Examples:
        >>> from anchorkit.plots.frames import change
        >>> change(200, 230)
        '+15 %'
    """
    if not before or not math.isfinite(before) or not math.isfinite(after):
        return ""
    percent = round(100 * (after / before - 1))
    return "±0 %" if percent == 0 else f"{percent:+d} %".replace("-", "\N{MINUS SIGN}")


def require(frame: pd.DataFrame, columns: Sequence[str], name: str, *, empty: bool = False) -> pd.DataFrame:
    """The frame itself, after a check that it has the columns.

    Raises:
        InputError: `frame` is no DataFrame, lacks a column, or has no rows (unless `empty` is allowed).
    """
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"{name}: a pandas DataFrame is needed, not {type(frame).__name__}")
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        have = ", ".join(str(column) for column in frame.columns) or "none"
        raise InputError(f"{name}: the frame lacks the column {missing[0]!r} (its columns: {have})")
    if frame.empty and not empty:
        raise InputError(f"{name}: the frame has no rows")
    return frame


def at_most(rows: int, name: str) -> None:
    """Refuse what cannot be thinned without hiding something.

    Raises:
        InputError: there are more than `MAX_ROWS` rows.
    """
    if rows > MAX_ROWS:
        raise InputError(f"{name}: {rows} rows are too many for one chart (at most {MAX_ROWS}); choose some of them")


def sample(frame: pd.DataFrame, n: int) -> pd.DataFrame:
    """At most `n` rows, drawn with a fixed seed, in their old order."""
    return frame if len(frame) <= n else frame.sample(n, random_state=0).sort_index()


def level_of(anchor_id: str) -> int:
    """The level that an anchor id names: ``L2/56x28`` is of level 2.

    Raises:
        InputError: the id is not of that form.
    """
    head = str(anchor_id).split("/")[0]
    if not head.startswith("L") or not head[1:].isdecimal():
        raise InputError(f"anchor id {anchor_id!r}: an id such as L0/56x28 is needed")
    return int(head[1:])


def thin_outlines(
    contours: pd.DataFrame, rows: int, keys: Sequence[str] = ("anchor_id", "mass", "path")
) -> pd.DataFrame:
    """Closed polylines with at most `rows` corners altogether.

    Corners that lie nearly on the line between their neighbours go first (Ramer, Douglas and Peucker), measured in
    octaves, because the charts' axes are logarithmic; the tolerance starts at a hundredth and grows until it is
    enough.
    """
    if contours.empty:
        return contours
    ordered = contours.sort_values([*keys, "order"], kind="stable")
    corners = np.log2(ordered[["width", "height"]].to_numpy(float))
    paths = np.split(corners, starts(ordered[[*keys]])[1:])
    tolerance = 0.01
    while True:
        kept = np.concatenate([_corners(path, tolerance) for path in paths])
        if kept.sum() <= rows or tolerance > 1:
            return ordered[kept]
        tolerance *= 1.6


def starts(ordered: pd.DataFrame) -> np.ndarray:
    """Positions of the rows that differ from the row before them."""
    return np.flatnonzero(ordered.ne(ordered.shift()).any(axis=1))


def _corners(path: np.ndarray, tolerance: float) -> np.ndarray:
    """Which points of a polyline (N, 2) are needed to stay within `tolerance` of it."""
    keep = np.zeros(len(path), bool)
    keep[[0, -1]] = True
    if len(path) > 3 and np.allclose(path[0], path[-1]):
        # The ends of a closed outline are one point: split it at the point that is farthest away.
        far = int(np.argmax(((path - path[0]) ** 2).sum(1)))
        keep[far] = True
        todo = [(0, far), (far, len(path) - 1)]
    else:
        todo = [(0, len(path) - 1)]
    while todo:
        start, end = todo.pop()
        if end - start < 2:
            continue
        a, b, inner = path[start], path[end], path[start + 1 : end]
        length = float(np.hypot(*(b - a)))
        if length:
            offset = np.abs((b[0] - a[0]) * (inner[:, 1] - a[1]) - (b[1] - a[1]) * (inner[:, 0] - a[0])) / length
        else:
            offset = np.hypot(*(inner - a).T)
        worst = int(np.argmax(offset))
        if offset[worst] > tolerance:
            split = start + 1 + worst
            keep[split] = True
            todo += [(start, split), (split, end)]
    return keep
