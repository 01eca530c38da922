"""What charts of accuracy against cost share: the plane, and the unpruned detector in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from anchorkit.plots.frames import Unit, change
from anchorkit.plots.marks import RULE, UNPRUNED, haloed
from anchorkit.plots.theme import INK


@dataclass(frozen=True)
class Plane:
    """Where configurations are drawn.

    Attributes:
        cost: the column along x.
        scale: how it is written.
        base: the unpruned detector, which hovering compares with.
        x: channel of the field ``x``, in the scale's unit.
        y: channel of the field ``y``, in points.
    """

    cost: str
    scale: Unit
    base: pd.DataFrame | None
    x: alt.X
    y: alt.Y

    def rows(self, frame: pd.DataFrame, series: str) -> pd.DataFrame:
        """What a mark needs: x, y, its series and the texts that hovering shows."""
        values = frame[self.cost].astype(float)
        y = 100 * frame["accuracy"].astype(float)
        rows = pd.DataFrame({"x": values / self.scale.divisor, "y": y, "series": series})
        rows["AP"] = y.map("{:.1f}".format)
        rows["cost"] = values.map(self.scale.text)
        if self.base is not None and frame is not self.base:  # it has nothing to be compared with
            full = float(self.base[self.cost].iloc[0])
            rows["against unpruned"] = [change(full, value) for value in values]
        if "n_anchors" in frame:
            rows["anchors kept"] = frame["n_anchors"].astype(int)
        return rows.round({"x": 6, "y": 4}).reset_index(drop=True)

    def chart(self, rows: pd.DataFrame) -> alt.Chart:
        """A chart of `rows` without a mark."""
        return alt.Chart(rows).encode(x=self.x, y=self.y)


def hovering(rows: pd.DataFrame) -> list[alt.Tooltip]:
    """What a mark says when it is pointed at, of `Plane.rows`."""
    names = ("channels removed", "channels", "AP", "cost", "against unpruned", "anchors kept", "anchors")
    return [alt.Tooltip(name) for name in names if name in rows.columns]


def baseline_rule(base: pd.DataFrame, y: alt.Y) -> alt.Chart:
    """A rule at the unpruned detector's accuracy."""
    row = pd.DataFrame({"y": [round(100 * float(base["accuracy"].iloc[0]), 4)]})
    rule: alt.Chart = alt.Chart(row).mark_rule(**RULE).encode(y=y)
    return rule


def baseline_mark(
    base: pd.DataFrame, plane: Plane, dy: float = -19, metric: str = "AP", short: bool = False
) -> list[Any]:
    """The unpruned detector: a diamond and, `dy` pixels below it, its figures, or its name alone if that is `short`."""
    row = plane.rows(base, "unpruned")
    figures = f": {metric} " + row["AP"] + ", " + row["cost"] + plane.scale.noun
    row["label"] = "unpruned" if short else "unpruned" + figures
    chart = plane.chart(row)
    text = haloed(chart.encode(text="label:N"), INK, align="right", baseline="middle", dx=6, dy=dy)
    return [chart.mark_point(**UNPRUNED).encode(tooltip=hovering(row)), *text]


def free_place(
    frontier: pd.DataFrame,
    base: pd.DataFrame,
    cost: str,
    width: int,
    ends: tuple[float, float],
    height: int,
    floor: float | None,
    wide: int,
) -> float:
    """How far below (negative: above) the unpruned detector its label crosses no line of the frontier, in pixels.

    Where it crosses one everywhere, the place that is farthest from them.

    Args:
        frontier: the staircase to keep clear of.
        base: the unpruned detector.
        cost: the cost on the x axis.
        width: width of the plot in pixels.
        ends: ends of the y axis in points.
        height: height of the plot in pixels.
        floor: a rule across the chart to keep clear of, in points.
        wide: about how wide the label is, in pixels; it ends at the detector's own mark.
    """
    at, own = float(base[cost].iloc[0]), 100 * float(base["accuracy"].iloc[0])
    pixels = height / (ends[1] - ends[0])  # a point of accuracy
    costs = frontier[cost].astype(float).to_numpy()
    accuracies = frontier["accuracy"].astype(float).to_numpy()[None]
    span = max(max(costs.max(), at) - min(costs.min(), at), 1e-9)
    under = np.linspace(at - wide * span / width, at, 40)
    reached = np.where(costs[None] <= under[:, None], accuracies, -np.inf).max(axis=1)
    steps = (own - 100 * reached[np.isfinite(reached)]) * pixels
    # A step up is a line as well: from the lowest to the highest that the label passes.
    rise = np.arange(steps.min(), steps.max(), 4.0) if len(steps) else steps
    steps = np.concatenate([steps, rise, [0.0]])
    if floor is not None:
        steps = np.append(steps, (own - floor) * pixels)
    lowest = (own - ends[0]) * pixels - 12
    places = [dy for dy in (-19.0, -27.0, -35.0, 21.0, 29.0, 37.0, 45.0) if dy <= lowest]
    places = [dy for dy in places if own - dy / pixels < ends[1] + 8 / pixels] or [-19.0]
    clear = {dy: float(np.abs(steps - dy).min()) for dy in places}
    return next((dy for dy in places if clear[dy] >= 14), max(places, key=lambda dy: clear[dy]))
