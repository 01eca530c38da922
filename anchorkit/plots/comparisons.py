"""Charts that lay runs beside one another: their frontiers, and what each setting did to an outcome."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from anchorkit.costs import Cost, cost_facts
from anchorkit.errors import InputError
from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import at_most, require, unit
from anchorkit.plots.marks import accuracy_title, cost_axis, staircase
from anchorkit.plots.theme import GHOST, INK, LEVEL_COLORS, QUIET, SEARCH_COLOR

MOST_COLORS = len(LEVEL_COLORS)
"""More groups than this cannot be told apart by colour; choose a setting with fewer values."""
_DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4], [12, 4], [1, 3])


def run_frontiers(
    frame: pd.DataFrame, cost: str | Cost = "head_flops", *, by: str = "run", width: int = 640, height: int = 380
) -> AnyChart:
    """The frontiers of several runs over one another, coloured by run or by a setting.

    Of each run, only configurations that none of its others beats are drawn. Where frontiers coincide, dashes let
    the one below show through.

    Args:
        frame: one row per configuration: ``run``, ``accuracy`` (0..1), `cost` and `by`.
        cost: the cost column on the x axis, by its name or as an `anchorkit.costs.Cost`.
        by: the column that gives the colour, such as ``"run"`` or ``"param.strategy"``; at most 7 values.
        width: width of the plot in pixels.
        height: height of the plot in pixels.

    Raises:
        InputError: a column is missing, there are no rows, or `by` has too many values.

    Examples:
        >>> import pandas as pd
        >>> from anchorkit import plots
        >>> rows = pd.DataFrame({"accuracy": [0.50, 0.48, 0.45], "boxes": [240, 112, 80]})
        >>> plots.run_frontiers(rows.assign(run="first"), "boxes").title
        'Frontiers of 1 runs'
    """
    facts = cost_facts(cost)
    cost = facts.name
    require(frame, ("run", "accuracy", cost, by), "run_frontiers")
    names = list(dict.fromkeys(frame[by].astype(str)))
    if len(names) > MOST_COLORS:
        raise InputError(f"run_frontiers: {by} has {len(names)} values, more than {MOST_COLORS} colours; choose runs")
    scale = unit(facts, frame[cost])
    lines = pd.concat([staircase(rows, cost, "accuracy") for _, rows in frame.groupby("run", sort=False)])
    at_most(len(lines), "run_frontiers")
    data = pd.DataFrame(
        {
            "run": lines["run"].astype(str),
            "group": lines[by].astype(str),
            "x": (lines[cost] / scale.divisor).astype(float).round(6),
            "y": (100 * lines["accuracy"]).astype(float).round(3),
        }
    )
    x = cost_axis(scale.title, data["x"], width)
    y = alt.Y("y:Q", title=accuracy_title(), scale=alt.Scale(zero=False, padding=10), axis=alt.Axis(tickCount=7))
    title = None if by == "run" else by.removeprefix("param.").replace("_", " ")
    # Long names one below the other; short ones side by side.
    columns = 1 if max(map(len, names)) > 24 else max(1, min(len(names), width // 130))
    legend = alt.Legend(orient="top", columns=columns, symbolType="stroke", symbolStrokeWidth=3, labelLimit=width)
    hues = alt.Scale(domain=names, range=[SEARCH_COLOR, LEVEL_COLORS[0], *LEVEL_COLORS[2:]][: len(names)])
    color, plain = (alt.Color("group:N", title=title, scale=hues, legend=shown) for shown in (legend, None))
    dashes = alt.Scale(domain=names, range=list(_DASHES[: len(names)]))
    dash = alt.StrokeDash("group:N", title=title, scale=dashes, legend=legend)
    tooltip = [alt.Tooltip("run:N"), alt.Tooltip("y:Q", title="AP (points)"), alt.Tooltip("x:Q", title=scale.title)]
    base = alt.Chart(data).encode(x=x, y=y, detail="run:N")
    return alt.layer(
        base.mark_line(interpolate="step-after", strokeWidth=2.5, opacity=0.9).encode(color=color, strokeDash=dash),
        base.mark_circle(size=26, opacity=0.9).encode(color=plain, tooltip=tooltip),
    ).properties(width=width, height=height, title=f"Frontiers of {frame['run'].nunique()} runs")


def setting_effects(
    frame: pd.DataFrame,
    effects: pd.DataFrame,
    outcome: str,
    *,
    title: str | None = None,
    columns: int = 3,
    width: int = 190,
    height: int = 210,
) -> AnyChart:
    """What each setting did to an outcome: a panel a setting, a dot a run, a bar at the mean of each value.

    All panels have one scale, so a setting that matters is one whose bars lie apart. The line above a panel says which
    share of the runs' variance the setting explains, and how much any setting would by chance.

    Args:
        frame: one row per run: `outcome` and one column per setting.
        effects: of each setting to be shown ``parameter``, ``explained`` and ``by_chance`` (0..1), as from
            `anchorkit.runs.compare.main_effects`; panels are in this order.
        outcome: the column with the outcome.
        title: what the outcome is called on the axis; by default the column's name.
        columns: panels in a row.
        width: width of a panel in pixels.
        height: height of a panel in pixels.

    Raises:
        InputError: a column is missing, or there are no rows.
    """
    require(effects, ("parameter", "explained", "by_chance"), "effects")
    require(frame, (outcome, *effects["parameter"]), "setting_effects")
    at_most(len(frame) * len(effects), "setting_effects")
    low, high = float(frame[outcome].min()), float(frame[outcome].max())
    pad = 0.08 * (high - low) or 1.0
    scale = alt.Scale(domain=[low - pad, high + pad], nice=False, zero=False)
    panels = []
    for place, effect in enumerate(effects.to_dict("records")):
        first = place % columns == 0
        name = (title or outcome.replace("_", " ")) if first else None
        y = alt.Y("y:Q", scale=scale, title=name, axis=alt.Axis(tickCount=5, labels=first))
        panels.append(_panel(frame, effect, frame[outcome], y, width).properties(width=width, height=height))
    rows = [alt.hconcat(*panels[start : start + columns], spacing=26) for start in range(0, len(panels), columns)]
    chart: AnyChart = alt.vconcat(*rows, spacing=26, title="Which setting mattered")
    return chart


def _panel(frame: pd.DataFrame, effect: dict[Any, Any], outcome: pd.Series[Any], y: alt.Y, width: int) -> AnyChart:
    name = str(effect["parameter"])
    values = _in_order(frame[name])
    texts = frame[name].astype(str)
    # Dots of one value side by side, in a fixed order, so that none hides another.
    place = texts.groupby(texts).cumcount()
    count = texts.map(texts.value_counts())
    data = pd.DataFrame(
        {
            "value": texts,
            "y": outcome.astype(float).round(6),
            "shift": (((place + 0.5) / count - 0.5) * 0.6).round(4),
        }
    )
    means = data.groupby("value", sort=False)["y"].mean().round(6).reset_index()
    angle = -40 if sum(map(len, values)) * 8 > width else 0
    x = alt.X("value:N", sort=values, title=None, axis=alt.Axis(labelAngle=angle, labelColor=INK, labelLimit=140))
    offset = alt.XOffset("shift:Q", scale=alt.Scale(domain=[-0.5, 0.5]))
    said = f"explains {100 * effect['explained']:.0f} % (by chance {100 * effect['by_chance']:.0f} %)"
    heading = alt.TitleParams(name.replace("_", " "), subtitle=said, fontSize=15, subtitleColor=QUIET, offset=8)
    return alt.layer(
        alt.Chart(data).mark_circle(size=46, color=GHOST, opacity=0.9).encode(x=x, y=y, xOffset=offset),
        alt.Chart(means).mark_tick(color=SEARCH_COLOR, thickness=4, size=0.55 * width / len(values)).encode(x=x, y=y),
        title=heading,
    )


def _in_order(values: pd.Series[Any]) -> Sequence[str]:
    """The values as texts: numbers by size, all else as they come."""
    distinct = list(dict.fromkeys(values))
    with contextlib.suppress(TypeError, ValueError):
        distinct.sort(key=float)
    return [str(value) for value in distinct]
