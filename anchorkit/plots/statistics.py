"""Charts of what is luck: a frontier with its intervals, and what is left of it on images that did not choose it."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import MAX_ROWS, at_most, change, require, unit
from anchorkit.plots.theme import INK, OTHER_COLORS, QUIET, SEARCH_COLOR, STAGE_COLORS, readable

SAFE_COLOR = STAGE_COLORS["retrained"]
_BAND = "#f6c4a5"
_FEW = 40
_SAFE, _NOT_SHOWN = "safe to remove", "not shown to be safe"
_IN_SAMPLE, _CROSS_FITTED = "on the images of the search", "on images it has not seen"


def frontier_intervals(
    points: pd.DataFrame,
    cost: str = "head_flops",
    *,
    margin: float = 0.005,
    confidence: float = 0.95,
    full: float | None = None,
    metric: str = "AP",
    width: int = 640,
    height: int = 380,
) -> AnyChart:
    """What each point of a frontier changes against the unpruned detector, and how sure that is.

    Args:
        points: as from `anchorkit.frontier_changes`: `cost`, ``change``, ``low``, ``high`` and ``least`` (0..1),
            ``safe`` (bool); ``n_anchors`` if there is shown on hovering.
        cost: name of the cost column on the x axis.
        margin: the loss that does not matter, 0..1; a rule.
        confidence: of the intervals and bounds, 0..1, for the legend's words.
        full: the unpruned detector's cost, for what is saved.
        metric: what the accuracies are.
        width: width of the plot in pixels.
        height: height of the plot in pixels.

    Raises:
        InputError: a column is missing, or there are no rows or more than 1,000.
    """
    require(points, (cost, "change", "low", "high", "least", "safe"), "points")
    at_most(3 * len(points), "points")
    ordered = points.sort_values(cost)
    scale = unit(cost, [*points[cost], *([] if full is None else [full])])
    rows = pd.DataFrame({"x": ordered[cost].astype(float) / scale.divisor})
    for name in ("change", "low", "high", "least"):
        rows[name] = (100 * ordered[name].astype(float)).round(4)
    rows["cost"] = [scale.text(value) for value in ordered[cost]]
    rows["told"] = ordered["safe"].astype(bool).map({True: _SAFE, False: _NOT_SHOWN})
    if full is not None:
        rows["against unpruned"] = [change(full, value) for value in ordered[cost].astype(float)]
    if "n_anchors" in ordered:
        rows["anchors kept"] = ordered["n_anchors"].astype(int)
    rows = rows.reset_index(drop=True)

    # Deep losses at the cheap end would press the interesting part flat.
    low = max(float(rows["least"].min()), -100 * margin - 3 * (float(rows["high"].max()) + 100 * margin))
    top = float(rows["high"].max())
    pad = 0.06 * (top - low)
    y_scale = alt.Scale(domain=[round(low - pad, 4), round(top + pad, 4)], nice=False, clamp=True)
    x = alt.X("x:Q", title=scale.title, scale=alt.Scale(zero=False, padding=14), axis=alt.Axis(tickCount=7))

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", title=f"Change of {metric} against unpruned (points)", scale=y_scale)

    percent = f"{100 * confidence:g} %"
    interval, bound = f"{percent} interval of one point", f"{percent} bound for all at once"
    base = alt.Chart(rows)
    kinds = alt.Scale(domain=[_SAFE, _NOT_SHOWN, interval, bound], range=[SAFE_COLOR, SEARCH_COLOR, _BAND, INK])
    legend = alt.Legend(orient="top", columns=2, labelLimit=360, symbolOpacity=1, symbolType="circle")
    color = alt.Color("kind:N", title=None, scale=kinds, legend=legend)
    of_interval, of_bound = (base.transform_calculate(kind=f"'{kind}'") for kind in (interval, bound))
    ends = {"x": x, "y": y("low"), "y2": "high:Q", "color": color}
    layers: list[Any] = []
    if len(rows) <= _FEW:
        # Between two points there is nothing to be had: an interval stands at its point.
        layers.append(of_interval.mark_rule(strokeWidth=5, clip=True).encode(**ends))
        layers.append(
            of_bound.mark_tick(orient="horizontal", thickness=2, size=11, clip=True).encode(
                x=x, y=y("least"), color=color
            )
        )
    else:
        layers.append(of_interval.mark_area(interpolate="step-after", opacity=0.6, clip=True).encode(**ends))
        layers.append(
            of_bound.mark_line(interpolate="step-after", strokeWidth=1.6, strokeDash=[2, 3], clip=True).encode(
                x=x, y=y("least"), color=color
            )
        )
    layers += _rules({"unpruned": 0.0, f"margin, {100 * margin:g}": -100 * margin}, y, width)
    layers += [
        base.mark_line(interpolate="step-after", color=SEARCH_COLOR, strokeWidth=1.4, opacity=0.8, clip=True).encode(
            x=x, y=y("change")
        ),
        base.mark_circle(size=64 if len(rows) <= 60 else 34, opacity=1, clip=True).encode(
            x=x,
            y=y("change"),
            color=alt.Color("told:N", title=None, scale=kinds, legend=legend),
            tooltip=[alt.Tooltip(name) for name in _told_of(rows)],
        ),
    ]
    if full is not None:
        own = pd.DataFrame({"x": [full / scale.divisor], "change": [0.0]})
        diamond = alt.Chart(own).mark_point(shape="diamond", filled=True, size=190, color=INK, opacity=1)
        layers.append(diamond.encode(x=x, y=y("change")))
    safe = rows[rows["told"] == _SAFE].head(1)
    if len(safe):
        saved = f"cheapest safe: {safe['cost'].iloc[0]}"
        if full is not None:
            saved += f" ({safe['against unpruned'].iloc[0]})"
        layers += _marked(safe.assign(label=saved), x, y("change"))
    return alt.layer(*layers).properties(width=width, height=height, title="What these images show")


def optimism(
    budgets: pd.DataFrame,
    cost: str = "head_flops",
    *,
    confidence: float = 0.95,
    metric: str = "AP",
    width: int = 640,
    height: int = 380,
) -> AnyChart:
    """How much of a frontier is luck: in-sample against cross-fitted, with the mean distance in words.

    Args:
        budgets: as from `anchorkit.statistics.CrossFit.budgets`: `cost` (what may be spent); ``in_sample`` and
            ``cross_fitted``, changes of AP against the unpruned detector (0..1), with the intervals
            ``in_sample_low``, ``in_sample_high``, ``low`` and ``high``.
        cost: name of the cost column on the x axis.
        confidence: of the intervals, 0..1.
        metric: what the accuracies are.
        width: width of the plot in pixels.
        height: height of the plot in pixels.

    Raises:
        InputError: a column is missing, or there are no rows or more than 1,000.
    """
    sides = {
        _IN_SAMPLE: ("in_sample", "in_sample_low", "in_sample_high"),
        _CROSS_FITTED: ("cross_fitted", "low", "high"),
    }
    require(budgets, (cost, *(name for names in sides.values() for name in names)), "budgets")
    at_most(3 * len(budgets), "budgets")
    ordered = budgets.sort_values(cost)
    scale = unit(cost, ordered[cost])
    parts = []
    for side, names in sides.items():
        part = (100 * ordered[list(names)].astype(float)).round(4).set_axis(["change", "low", "high"], axis=1)
        parts.append(part.assign(x=ordered[cost].astype(float) / scale.divisor, side=side))
    rows = pd.concat(parts, ignore_index=True)
    rows["cost"] = [scale.text(value * scale.divisor) for value in rows["x"]]
    assert len(rows) <= MAX_ROWS
    distance = 100 * float((ordered["in_sample"] - ordered["cross_fitted"]).mean())
    x = alt.X("x:Q", title=scale.title, scale=alt.Scale(zero=False, padding=14), axis=alt.Axis(tickCount=7))
    top, bottom = float(rows["high"].max()), float(rows["low"].min())
    y_scale = alt.Scale(
        domain=[round(bottom - 0.06 * (top - bottom), 4), round(top + 0.06 * (top - bottom), 4)], nice=False
    )

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", title=f"Change of {metric} against unpruned (points)", scale=y_scale)

    color = alt.Color(
        "side:N",
        title=None,
        scale=alt.Scale(domain=list(sides), range=[SEARCH_COLOR, OTHER_COLORS[0]]),
        legend=alt.Legend(orient="top", columns=2, labelLimit=360, symbolOpacity=1),
    )
    base = alt.Chart(rows)
    layers: list[Any] = [
        base.mark_area(interpolate="step-after", opacity=0.16).encode(x=x, y=y("low"), y2="high:Q", color=color),
        *_rules({"unpruned": 0.0}, y, width),
        # The first is wider, so that it shows where the second lies on it.
        *(
            base.transform_filter(alt.datum.side == side)
            .mark_line(interpolate="step-after", strokeWidth=stroke)
            .encode(x=x, y=y("change"), color=color)
            for side, stroke in ((_IN_SAMPLE, 4.5), (_CROSS_FITTED, 2.0))
        ),
        base.mark_circle(size=50, opacity=1).encode(
            x=x, y=y("change"), color=color, tooltip=[alt.Tooltip("cost"), alt.Tooltip("change"), alt.Tooltip("side")]
        ),
    ]
    told = f"{distance:.2f} points of the frontier are luck (mean distance of the lines); bands: {100 * confidence:g} %"
    title = alt.TitleParams("How much of it is luck", subtitle=[told])
    return alt.layer(*layers).properties(width=width, height=height, title=title)


def _told_of(rows: pd.DataFrame) -> list[str]:
    wanted = ("cost", "against unpruned", "anchors kept", "change", "low", "high", "least")
    return [name for name in wanted if name in rows.columns]


def _rules(named: dict[str, float], y: Any, width: int) -> list[Any]:
    """Rules across the chart with their names beside it."""
    data = pd.DataFrame({"name": list(named), "at": list(named.values())})
    chart = alt.Chart(data)
    return [
        chart.mark_rule(color=INK, strokeDash=[5, 4], strokeWidth=1.2, opacity=0.7).encode(y=y("at")),
        chart.mark_text(align="left", baseline="middle", dx=5, color=QUIET).encode(
            x=alt.value(width), y=y("at"), text="name:N"
        ),
    ]


def _marked(row: pd.DataFrame, x: alt.X, y: alt.Y) -> list[Any]:
    """A ring around a point, and its label above it to the right."""
    text: dict[str, Any] = {"align": "left", "baseline": "bottom", "dx": 4, "dy": -14, "fontWeight": 600}
    chart = alt.Chart(row)
    return [
        chart.mark_point(size=330, stroke=INK, strokeWidth=2.2, filled=False, opacity=1).encode(x=x, y=y),
        chart.mark_text(**text, stroke="#ffffff", strokeWidth=4, strokeJoin="round").encode(x=x, y=y, text="label:N"),
        chart.mark_text(**text, color=readable(SAFE_COLOR)).encode(x=x, y=y, text="label:N"),
    ]
