"""Charts that compare ways to choose anchors: a search and its rivals, budgets of searches, relative frontiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt
import pandas as pd

from anchorkit.costs import Cost, cost_facts
from anchorkit.errors import InputError
from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import require, sample, unit
from anchorkit.plots.marks import RULE, UNPRUNED, accuracy_title, haloed, staircase
from anchorkit.plots.theme import GHOST, INK, OTHER_COLORS, SEARCH_COLOR
from anchorkit.plots.tradeoffs import as_frame

Floats = npt.NDArray[np.float64]

_SEARCH, _BAND, _BEST = "search", "random: 5 to 95 %", "random: the best"
_SHAPES = ("square", "triangle-up", "cross", "triangle-down", "diamond", "triangle-right")
_COLORS = (*OTHER_COLORS, "#96951a")
_RANGES, _LEAST, _MOST_POINTS = 24, 4, 200
_TOOLTIP = [alt.Tooltip("series:N"), alt.Tooltip("y:Q", title="AP"), alt.Tooltip("x:Q", title="cost")]
_DASHES = ([1, 0], [7, 4], [2, 3], [9, 3, 2, 3], [4, 2])


def rivals(
    frontier: pd.DataFrame,
    others: Mapping[str, pd.DataFrame],
    cost: str | Cost = "head_flops",
    *,
    random: pd.DataFrame | None = None,
    full: pd.DataFrame | pd.Series[Any] | Mapping[str, Any] | None = None,
    metric: str = "AP",
    width: int = 640,
    height: int = 400,
) -> AnyChart:
    """Accuracy against cost of a search beside other ways to prune (paper Fig. 2 and section 3.4).

    Every line is a staircase: the best accuracy at no higher cost.

    Args:
        frontier: the search's; columns ``accuracy`` (0..1) and `cost`.
        others: configurations of each rival by its name, same columns; points (200 at most), the best a thin line.
        cost: the cost column on the x axis, by its name or as an `anchorkit.costs.Cost`.
        random: configurations pruned at random, same columns: a band that holds the middle 90 % of those that cost
            alike, and a dotted line for the best.
        full: the unpruned detector: one row with ``accuracy`` and `cost`; marked, with a rule at its accuracy.
        metric: what the accuracies are, such as ``"AP50"``.
        width: width of the plot in pixels.
        height: height of the plot in pixels.

    Raises:
        InputError: a frame lacks a column or has no rows, or there are more than six rivals.

    Examples:
        >>> import pandas as pd
        >>> from anchorkit import plots
        >>> rows = pd.DataFrame({"accuracy": [0.50, 0.48, 0.45], "boxes": [240, 112, 80]})
        >>> others = {"by hand": pd.DataFrame({"accuracy": [0.46], "boxes": [160]})}
        >>> plots.rivals(rows, others, "boxes").width
        640
    """
    facts = cost_facts(cost)
    cost = facts.name
    need = ("accuracy", cost)
    require(frontier, need, "frontier")
    if len(others) > len(_SHAPES):
        raise InputError(f"others: {len(others)} rivals; at most {len(_SHAPES)} can be told apart")
    frames = {name: require(frame, need, name) for name, frame in others.items()}
    shown = [frontier, *frames.values(), *([] if full is None else [as_frame(full, "full")])]
    if random is not None:
        shown.append(require(random, need, "random"))
    scale = unit(facts, pd.concat([frame[cost] for frame in shown]))
    top = 100 * float(pd.concat([frame["accuracy"] for frame in shown]).max())
    names = [_SEARCH, *frames, *([] if random is None else [_BAND, _BEST])]
    colors = [SEARCH_COLOR, *_COLORS[: len(frames)], *([] if random is None else [GHOST, INK])]
    columns = max(1, min(4, width // (8 * max(map(len, names)) + 34)))
    color = alt.Color(
        "series:N",
        title=None,
        scale=alt.Scale(domain=names, range=colors),
        legend=alt.Legend(orient="top", columns=columns, symbolOpacity=1),
    )
    x = alt.X("x:Q", title=scale.title, scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(tickCount=7))
    title = accuracy_title(metric)
    y = alt.Y("y:Q", title=title, scale=alt.Scale(domain=[0, 1.06 * top], nice=False), axis=alt.Axis(tickCount=7))

    def points(frame: pd.DataFrame, series: str) -> pd.DataFrame:
        values = {"x": frame[cost].astype(float) / scale.divisor, "y": 100 * frame["accuracy"].astype(float)}
        return pd.DataFrame(values | {"series": series}).round({"x": 6, "y": 4}).reset_index(drop=True)

    def line(rows: pd.DataFrame, **look: Any) -> Any:
        stairs = alt.Chart(staircase(rows, "x", "y")).encode(x=x, y=y, color=color)
        return stairs.mark_line(interpolate="step-after", **look)

    layers: list[Any] = []
    if random is not None:
        band = alt.Chart(_bands(points(random, _BAND))).mark_rect(opacity=0.4)
        layers.append(band.encode(x=x, x2="x2:Q", y=alt.Y("low:Q", title=title), y2="high:Q", color=color))
        layers.append(line(points(random, _BEST), strokeWidth=1.5, strokeDash=[2, 2]))
    if full is not None:
        base = alt.Chart(points(require(as_frame(full, "full"), need, "full").iloc[:1], "")).encode(y=y)
        layers += [base.mark_rule(**RULE), base.mark_point(**UNPRUNED).encode(x=x, tooltip=_TOOLTIP)]
    for shape, (name, frame) in zip(_SHAPES, frames.items(), strict=False):
        rows = points(frame, name)
        mark = alt.Chart(sample(rows, _MOST_POINTS)).mark_point(filled=True, size=58, shape=shape, opacity=1)
        layers.append(line(rows, strokeWidth=1.4, opacity=0.6))
        layers.append(mark.encode(x=x, y=y, color=color, tooltip=_TOOLTIP))
    layers.append(line(points(frontier, _SEARCH), strokeWidth=3).encode(tooltip=_TOOLTIP))
    return alt.layer(*layers).properties(width=width, height=height, title="A search and its rivals")


def budget_curves(curves: pd.DataFrame, *, width: int = 560, height: int = 300) -> AnyChart:
    """How good the frontier is after so many evaluations, for each strategy; a panel for each data set.

    Args:
        curves: ``strategy``, ``tried`` (configurations so far, above 0) and ``share`` (hypervolume of what was found so
            far, as a share of the best that is known, 0..1); ``data`` for panels; ``done`` (bool) on a row marks where
            a search ended by itself.
        width: width of a panel in pixels.
        height: height of a panel in pixels.

    Raises:
        InputError: a column is missing, there are no rows, or there are more than six strategies.
    """
    require(curves, ("strategy", "tried", "share"), "curves")
    names = list(dict.fromkeys(curves["strategy"]))
    palette = ["#1c7ed6", "#0b8a5f", SEARCH_COLOR, "#6741d9", "#846358", "#96951a"]
    if len(names) > len(palette):
        raise InputError(f"curves: {len(names)} strategies; at most {len(palette)} can be told apart")
    data = curves.assign(missing=100 * curves["share"].astype(float))
    color = alt.Color("strategy:N", title=None, scale=alt.Scale(domain=names, range=palette[: len(names)]), legend=None)
    low = max(0.0, float(data["missing"].quantile(0.02)))
    panels = []
    sets = list(dict.fromkeys(data["data"])) if "data" in data else [None]
    for name in sets:
        rows = (data if name is None else data[data["data"] == name])[["strategy", "tried", "missing"]].round(4)
        most = float(rows["tried"].max())
        x = alt.X(
            "tried:Q",
            title="Configurations evaluated",
            scale=alt.Scale(type="log", domain=[float(rows["tried"].min()), 2.1 * most], nice=False),
            axis=alt.Axis(values=[v for k in range(6) for v in (10**k, 3 * 10**k) if v <= most], format=","),
        )
        y = alt.Y(
            "missing:Q",
            title="Hypervolume (% of the best known)",
            scale=alt.Scale(domain=[10 * np.floor(low / 10), 101.5], nice=False, clamp=True),
        )
        base = alt.Chart(rows)
        ends = rows.sort_values("tried").groupby("strategy", sort=False).tail(1)
        first = rows["tried"].min()
        place = np.log(ends["tried"].to_numpy(dtype=float) / first) / np.log(2.1 * most / first)
        room = 9 * max(map(len, names)) / width
        ends = ends.assign(at=_apart(ends["missing"].to_numpy(), place, 0.06 * (101.5 - low), room))
        label = alt.Chart(ends).encode(x=x, y="at:Q", text="strategy:N")
        layers = alt.layer(
            base.mark_line(strokeWidth=2.6, clip=True, interpolate="step-after").encode(x=x, y=y, color=color),
            alt.Chart(ends).mark_circle(size=70, opacity=1).encode(x=x, y=y, color=color, tooltip=list(rows.columns)),
            *haloed(label, color, align="left", dx=9, dy=11, fontSize=13),
        )
        panels.append(layers.properties(width=width, height=height, title=str(name) if name is not None else ""))
    if sets == [None]:
        return panels[0].properties(title="What a budget buys")
    return alt.vconcat(*panels, spacing=28, title="What a budget buys")


def relative_frontiers(
    frontiers: Mapping[str, pd.DataFrame],
    full: Mapping[str, pd.DataFrame | pd.Series[Any] | Mapping[str, Any]],
    cost: str | Cost = "head_flops",
    *,
    width: int = 600,
    height: int = 380,
) -> AnyChart:
    """Frontiers of different detectors, each relative to its own unpruned one (paper Fig. 6).

    Args:
        frontiers: by the detector's name, columns ``accuracy`` (0..1) and `cost`.
        full: the unpruned detector of each name: one row with the same columns.
        cost: the cost column, by its name or as an `anchorkit.costs.Cost`.
        width: width of the plot in pixels.
        height: height of the plot in pixels.

    Raises:
        InputError: a frame lacks a column or has no rows, a name has no unpruned detector, or there are more than five.
    """
    facts = cost_facts(cost)
    cost = facts.name
    if len(frontiers) > 1 + len(OTHER_COLORS) or not frontiers:
        raise InputError(f"frontiers: {len(frontiers)}; one to {1 + len(OTHER_COLORS)} can be told apart")
    rows = []
    for name, frame in frontiers.items():
        require(frame, ("accuracy", cost), name)
        if name not in full:
            raise InputError(f"full: there is no unpruned detector for {name!r}")
        own = require(as_frame(full[name], name), ("accuracy", cost), name).iloc[0]
        rows.append(
            pd.DataFrame(
                {
                    "x": 100 * frame[cost].astype(float) / float(own[cost]),
                    "y": 100 * frame["accuracy"].astype(float) / float(own["accuracy"]),
                    "detector": name,
                }
            ).sort_values("x")
        )
    data = pd.concat(rows, ignore_index=True).round(3)
    names = list(frontiers)
    columns = max(1, width // (8 * max(map(len, names)) + 60))
    color = alt.Color(
        "detector:N",
        title=None,
        scale=alt.Scale(domain=names, range=[SEARCH_COLOR, *OTHER_COLORS][: len(names)]),
        legend=alt.Legend(orient="top", columns=columns, symbolType="stroke", symbolSize=500, symbolStrokeWidth=3),
    )
    dashes = [_DASHES[number % len(_DASHES)] for number in range(len(names))]
    dash = alt.StrokeDash("detector:N", scale=alt.Scale(domain=names, range=dashes), legend=None)
    title = unit(facts, [1.0]).title.split(" (")[0]
    x = alt.X("x:Q", title=f"{title} (% of the unpruned detector's)", scale=alt.Scale(zero=True, nice=True))
    low, high = float(data["y"].min()), max(float(data["y"].max()), 100.0)
    y = alt.Y(
        "y:Q",
        title="Accuracy (% of the unpruned detector's)",
        scale=alt.Scale(domain=[max(low - 0.04 * (high - low), 0.0), high + 0.06 * (high - low)], nice=False),
    )
    base = alt.Chart(data)
    rule = alt.Chart(pd.DataFrame({"y": [100.0]}))
    return alt.layer(
        rule.mark_rule(**RULE).encode(y=y),
        base.mark_line(interpolate="step-after", strokeWidth=2.6).encode(x=x, y=y, color=color, strokeDash=dash),
        base.mark_circle(size=30, opacity=1).encode(x=x, y=y, color=color, tooltip=["detector:N", "x:Q", "y:Q"]),
        alt.Chart(pd.DataFrame({"x": [100.0], "y": [100.0]})).mark_point(**UNPRUNED).encode(x=x, y=y),
    ).properties(width=width, height=height, title="Frontiers relative to the unpruned detectors")


def _bands(rows: pd.DataFrame) -> pd.DataFrame:
    """For each of 24 ranges of the cost where the middle 90 % of its configurations lie; those of few are left out."""
    edges = np.linspace(0.0, float(rows["x"].max()) * (1 + 1e-9), _RANGES + 1)
    grouped = rows["y"].groupby(np.searchsorted(edges, rows["x"], side="right") - 1)
    bands = pd.DataFrame({"low": grouped.quantile(0.05), "high": grouped.quantile(0.95), "n": grouped.size()})
    bands = bands.assign(x=edges[bands.index], x2=edges[bands.index + 1], series=_BAND)
    return bands[bands["n"] >= _LEAST].round(5).reset_index(drop=True)


def _apart(values: Floats, places: Floats, least: float, room: float) -> Floats:
    """Heights for labels: of two that begin within `room` of each other the lower is at least `least` below."""
    placed = values.astype(float).copy()
    order = np.argsort(-placed, kind="stable")
    for number, below in enumerate(order):
        for above in order[:number]:
            if abs(places[above] - places[below]) < room:
                placed[below] = min(placed[below], placed[above] - least)
    return placed
