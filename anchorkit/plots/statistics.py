"""Charts of selection bias: a frontier with its intervals, and what remains of it on images that did not choose it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import altair as alt
import pandas as pd

from anchorkit.costs import Cost, cost_facts
from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import at_most, change, require, unit
from anchorkit.plots.marks import RULE, UNPRUNED, cost_axis, ringed
from anchorkit.plots.theme import INK, OTHER_COLORS, QUIET, SEARCH_COLOR, STAGE_COLORS, readable

SAFE_COLOR = STAGE_COLORS["retrained"]
_BAND = "#f6c4a5"
_FEW = 40
_SAFE, _NOT_SHOWN = "safe to remove", "not shown to be safe"
_IN_SAMPLE, _CROSS_FITTED, _LUCK = "on the images of the search", "on images it has not seen", "luck"


def frontier_intervals(
    points: pd.DataFrame,
    cost: str | Cost = "head_flops",
    *,
    margin: float = 0.005,
    confidence: float = 0.95,
    full: float | None = None,
    metric: str = "AP",
    width: int = 640,
    height: int = 380,
) -> AnyChart:
    """The change of AP at each point of a frontier against the unpruned detector, with its interval.

    Args:
        points: as from `anchorkit.frontier_changes`: `cost`, ``change``, ``low``, ``high`` and ``least`` (0..1),
            ``safe`` (bool); ``n_anchors`` if there is shown on hovering.
        cost: the cost column on the x axis, by its name or as an `anchorkit.costs.Cost`.
        margin: the loss that does not matter, 0..1; drawn as a rule.
        confidence: of the intervals and bounds, 0..1, for the legend's words.
        full: the unpruned detector's cost, for what is saved.
        metric: what the accuracies are.
        width: width of the plot in pixels.
        height: height of the plot in pixels.

    Raises:
        InputError: a column is missing, or there are no rows or more than 1,000.
    """
    facts = cost_facts(cost)
    cost = facts.name
    require(points, (cost, "change", "low", "high", "least", "safe"), "points")
    at_most(3 * len(points), "points")
    ordered = points.sort_values(cost)
    scale = unit(facts, [*points[cost], *([] if full is None else [full])])
    rows = pd.DataFrame({"x": ordered[cost].astype(float) / scale.divisor})
    for name in ("change", "low", "high", "least"):
        rows[name] = (100 * ordered[name].astype(float)).round(4)
    rows["cost"] = [scale.text(value) for value in ordered[cost]]
    rows["statement"] = ordered["safe"].astype(bool).map({True: _SAFE, False: _NOT_SHOWN})
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
    x = cost_axis(scale.title, rows["x"], width)

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", title=f"Change of {metric} against unpruned (points)", scale=y_scale)

    percent = f"{100 * confidence:g} %"
    interval, bound = f"{percent} interval of one point", f"{percent} bound for all at once"
    base = alt.Chart(rows)
    kinds = alt.Scale(domain=[_SAFE, _NOT_SHOWN, interval, bound], range=[SAFE_COLOR, SEARCH_COLOR, _BAND, INK])
    legend = alt.Legend(orient="top", columns=2, labelLimit=360, symbolOpacity=1, symbolType="circle")
    color = alt.Color("kind:N", title=None, scale=kinds, legend=legend)
    of_interval, of_bound = (
        base.transform_calculate(kind=f"'{kind}'").encode(x=x, color=color) for kind in (interval, bound)
    )
    of_interval, of_bound = of_interval.encode(y=y("low"), y2="high:Q"), of_bound.encode(y=y("least"))
    layers: list[Any] = []
    if len(rows) <= _FEW:
        # Nothing lies between two points, so an interval is drawn at its point.
        layers.append(of_interval.mark_rule(strokeWidth=5, clip=True))
        layers.append(of_bound.mark_tick(orient="horizontal", thickness=2, size=11, clip=True))
    else:
        layers.append(of_interval.mark_area(interpolate="step-after", opacity=0.6, clip=True))
        layers.append(of_bound.mark_line(interpolate="step-after", strokeWidth=1.6, strokeDash=[2, 3], clip=True))
    layers += _rules({"unpruned": 0.0, f"margin, {100 * margin:g}": -100 * margin}, y, width)
    changes = base.encode(x=x, y=y("change"))
    statement = alt.Color("statement:N", title=None, scale=kinds, legend=legend)
    told = ("cost", "against unpruned", "anchors kept", "change", "low", "high", "least")
    tooltip = [alt.Tooltip(name) for name in told if name in rows]
    dots = changes.mark_circle(size=64 if len(rows) <= 60 else 34, opacity=1, clip=True)
    layers += [
        changes.mark_line(interpolate="step-after", color=SEARCH_COLOR, strokeWidth=1.4, opacity=0.8, clip=True),
        dots.encode(color=statement, tooltip=tooltip),
    ]
    if full is not None:
        own = pd.DataFrame({"x": [full / scale.divisor], "change": [0.0]})
        layers.append(alt.Chart(own).mark_point(**UNPRUNED).encode(x=x, y=y("change")))
    safe = rows[rows["statement"] == _SAFE].head(1)
    if len(safe):
        saved = f"cheapest safe: {safe['cost'].iloc[0]}"
        if full is not None:
            saved += f" ({safe['against unpruned'].iloc[0]})"
        marked = alt.Chart(safe.assign(label=saved)).encode(x=x, y=y("change"))
        text: dict[str, Any] = {"align": "left", "baseline": "bottom", "dx": 4, "dy": -14, "fontWeight": 600}
        layers += ringed(marked, readable(SAFE_COLOR), **text)
    return alt.layer(*layers).properties(width=width, height=height, title="What these images show")


def optimism(
    budgets: pd.DataFrame,
    cost: str | Cost = "head_flops",
    *,
    interval: tuple[float, float] | None = None,
    confidence: float = 0.95,
    metric: str = "AP",
    width: int = 640,
    height: int = 300,
) -> AnyChart:
    """How much of a frontier is luck: in-sample and cross-fitted changes of AP, and below them their difference.

    The difference has its own interval, far narrower than those of the two lines, as both are evaluated on the same
    images.

    Args:
        budgets: as from `anchorkit.statistics.CrossFit.budgets`: `cost` (what may be spent); ``in_sample`` and
            ``cross_fitted``, changes of AP against the unpruned detector (0..1); ``luck``, the former less the latter,
            with ``luck_low`` and ``luck_high``.
        cost: the cost column on the x axis, by its name or as an `anchorkit.costs.Cost`.
        interval: of the mean difference, 0..1, as `CrossFit.optimism_interval`; None leaves it out.
        confidence: of the intervals, 0..1.
        metric: what the accuracies are.
        width: width of the plot in pixels.
        height: height of the upper plot in pixels; the lower one has half of it.

    Raises:
        InputError: a column is missing, or there are no rows or more than 1,000.
    """
    facts = cost_facts(cost)
    cost = facts.name
    names = {"in_sample": "shown", "cross_fitted": "kept", "luck": "luck", "luck_low": "low", "luck_high": "high"}
    require(budgets, (cost, *names), "budgets")
    at_most(3 * len(budgets), "budgets")
    ordered = budgets.sort_values(cost)
    scale = unit(facts, ordered[cost])
    rows = (100 * ordered[list(names)].astype(float)).round(4).rename(columns=names)
    rows = rows.assign(x=ordered[cost].astype(float) / scale.divisor, cost=[scale.text(v) for v in ordered[cost]])

    def x(title: str | None) -> alt.X:
        return cost_axis(title, rows["x"], width)

    def y(name: str, title: str, columns: Sequence[str]) -> alt.Y:
        values = [0.0, *(v for column in columns for v in rows[column])]
        pad = 0.08 * (max(values) - min(values)) or 0.1
        domain = [round(min(values) - pad, 4), round(max(values) + pad, 4)]
        return alt.Y(f"{name}:Q", title=title, scale=alt.Scale(domain=domain, nice=False), axis=alt.Axis(tickCount=5))

    change_of = partial(y, title=f"Change of {metric} (points)", columns=("shown", "kept"))
    distance = partial(y, title="Luck (points)", columns=("low", "high"))
    color = alt.Color(
        "side:N",
        title=None,
        scale=alt.Scale(domain=[_IN_SAMPLE, _CROSS_FITTED, _LUCK], range=[SEARCH_COLOR, OTHER_COLORS[0], _BAND]),
        legend=alt.Legend(orient="top", columns=3, labelLimit=360, symbolOpacity=1, symbolType="circle"),
    )
    base = alt.Chart(rows)
    tooltip = [alt.Tooltip(name) for name in ("cost", "shown", "kept", "luck", "low", "high")]
    upper: list[Any] = [
        base.transform_calculate(side=f"'{_LUCK}'")
        .mark_area(interpolate="step-after", opacity=0.55)
        .encode(x=x(None), y=change_of("kept"), y2="shown:Q", color=color),
        *_rules({"unpruned": 0.0}, change_of, width),
    ]
    # The first is wider, so that it shows where the second lies on it.
    for side, name, stroke in ((_IN_SAMPLE, "shown", 4.5), (_CROSS_FITTED, "kept", 2.0)):
        own = base.transform_calculate(side=f"'{side}'")
        own = own.encode(x=x(None), y=change_of(name), color=color, tooltip=tooltip)
        upper += [own.mark_line(interpolate="step-after", strokeWidth=stroke), own.mark_circle(size=50, opacity=1)]
    mean = float(rows["luck"].mean())
    below = base.encode(x=x(scale.title))
    band = below.mark_area(interpolate="step-after", opacity=0.55, color=_BAND).encode(y=distance("low"), y2="high:Q")
    line = below.mark_line(interpolate="step-after", strokeWidth=2.5, color=INK, point={"color": INK, "size": 40})
    lower: list[Any] = [
        band,
        *_rules({"none": 0.0, f"mean {mean:.2f}": mean}, distance, width),
        line.encode(y=distance("luck"), tooltip=tooltip),
    ]
    subtitle = f"{mean:.2f} points of the frontier are luck: the mean distance of the two lines"
    percent = f"{100 * confidence:g} %"
    if interval is not None:
        subtitle += f" ({percent} interval {100 * interval[0]:.2f} to {100 * interval[1]:.2f})"
    title = alt.TitleParams("How much of it is luck", subtitle=[subtitle])
    heading = alt.TitleParams(f"The distance by itself, with its {percent} interval", fontSize=13, anchor="start")
    return alt.vconcat(
        alt.layer(*upper).properties(width=width, height=height),
        alt.layer(*lower).properties(width=width, height=height // 2, title=heading),
        title=title,
    )


def _rules(named: dict[str, float], y: Any, width: int) -> list[Any]:
    """Rules across the chart with their names beside it."""
    data = pd.DataFrame({"name": list(named), "at": list(named.values())})
    chart = alt.Chart(data).encode(y=y("at"))
    names = chart.mark_text(align="left", baseline="middle", dx=5, color=QUIET)
    return [chart.mark_rule(**RULE), names.encode(x=alt.value(width), text="name:N")]
