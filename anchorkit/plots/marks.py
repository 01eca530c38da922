"""What charts draw alike: titles of axes, marks, rules, and texts that can be read on lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from anchorkit.plots.theme import ASPECT_SHAPES, ASPECTS, INK, QUIET

STAGE_SHAPES = {"full": "diamond", "pruned": "circle", "fine-tuned": "triangle-up", "retrained": "square"}
"""Mark of each stage of a configuration's life; `anchorkit.plots.theme.STAGE_COLORS` are its colours."""

UNPRUNED: dict[str, Any] = {"shape": "diamond", "filled": True, "size": 190, "color": INK, "opacity": 1}
"""The mark of the unpruned detector, for ``mark_point``."""

RULE: dict[str, Any] = {"color": INK, "strokeDash": [5, 4], "strokeWidth": 1.2, "opacity": 0.7}
"""A rule across a chart to hold the rest against, for ``mark_rule``."""

CLEAR: dict[str, Any] = {"fill": "#ffffff", "fillOpacity": 0.0}
"""What can be picked and not be seen, for ``mark_rect``."""


def accuracy_title(metric: str = "AP") -> str:
    """The title of an axis of accuracies in points."""
    return "AP 0.50:0.95 (points)" if metric == "AP" else f"{metric} (points)"


def cost_axis(title: str | None, values: Iterable[float], width: int, padding: float = 14) -> alt.X:
    """The channel of the field ``x`` for costs. The axis never begins below 0, because no cost is negative.

    Args:
        title: of the axis.
        values: all costs that are drawn, in the unit of the axis.
        width: of the plot in pixels.
        padding: pixels beside the outermost marks; fewer on the left where there is 0.

    Examples:
        >>> cost_axis("Head FLOPs (M)", [0.4, 14.0], width=400).to_dict()["scale"]["domain"]
        [0, 14.511828]
    """
    known = np.array([*values], np.float64)
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    room = padding * (high - low) / max(width - 2 * padding, 1) or 0.1 * high or 1.0
    domain = [max(round(low - room, 6), 0), round(high + room, 6)]
    # Numbers need no cutting, and looking takes a while.
    axis = alt.Axis(tickCount=7, labelLimit=0)
    return alt.X("x:Q", title=title, scale=alt.Scale(domain=domain, nice=False, zero=False), axis=axis)


def names_axis(field: str, names: Iterable[str], limit: int) -> alt.Y:
    """Names one below the other, in this order; `limit` is the most pixels for one."""
    axis = alt.Axis(ticks=False, domain=False, labelColor=INK, labelLimit=limit)
    return alt.Y(f"{field}:N", sort=list(names), title=None, axis=axis)


def aspect_mark(**options: Any) -> alt.Shape:
    """The mark in the proportions that the field ``shape`` names."""
    scale = alt.Scale(domain=list(ASPECTS), range=[ASPECT_SHAPES[name] for name in ASPECTS])
    return alt.Shape("shape:N", scale=scale, **options)


def haloed(text: alt.Chart, color: str | alt.Color, halo: float = 4, **look: Any) -> list[Any]:
    """A text with a white edge below it, so that it reads on lines.

    Args:
        text: a chart with the place and the text, but no mark.
        color: of the text, or its channel.
        halo: width of the edge in pixels.
        **look: of the text mark, such as ``dy`` and ``fontSize``.
    """
    edge = text.mark_text(**look, stroke="#ffffff", strokeWidth=halo, strokeJoin="round")
    if isinstance(color, str):
        return [edge, text.mark_text(**look, color=color)]
    return [edge, text.mark_text(**look).encode(color=color)]


def ringed(row: alt.Chart, color: str, tooltip: Sequence[Any] | None = None, **look: Any) -> list[Any]:
    """A ring around each point of a chart that has its place, and the field ``label`` beside it."""
    ring = row.mark_point(size=330, stroke=INK, strokeWidth=2.2, filled=False, opacity=1)
    return [
        ring if tooltip is None else ring.encode(tooltip=tooltip),
        *haloed(row.encode(text="label:N"), color, **look),
    ]


def ring_and_dot(data: pd.DataFrame, channels: Mapping[str, Any], color: Any, tooltip: Sequence[str]) -> list[Any]:
    """A ring where something was, a dot where it is now, and a line between them.

    Args:
        data: with the fields of the channels and ``after``.
        channels: ``before``, ``after`` (along x) and ``y``.
        color: channel or condition of the colour.
        tooltip: fields that hovering shows.
    """
    chart = alt.Chart(data).encode(y=channels["y"])
    before, after = chart.encode(x=channels["before"]), chart.encode(x=channels["after"])
    return [
        before.mark_rule(strokeWidth=3).encode(x2="after:Q", color=color),
        before.mark_point(filled=False, size=70, stroke=QUIET, strokeWidth=1.6).encode(tooltip=tooltip),
        after.mark_circle(size=110, opacity=1).encode(color=color, tooltip=tooltip),
    ]


def staircase(rows: pd.DataFrame, cost: str, accuracy: str) -> pd.DataFrame:
    """The rows that are more accurate than all cheaper ones, cheapest first; the columns' names are given."""
    ordered = rows.sort_values([cost, accuracy], ascending=[True, False], kind="stable")
    reached = ordered[accuracy].astype(float)
    return ordered[reached > reached.cummax().shift(fill_value=-1.0)]
