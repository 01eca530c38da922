"""Charts of accuracy against cost: the frontier (paper Fig. 2), recovery by training (Fig. 3), before and after."""

from __future__ import annotations

import itertools
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from anchorkit.costs import Cost, cost_facts
from anchorkit.errors import InputError
from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import require, sample, unit
from anchorkit.plots.marks import STAGE_SHAPES, accuracy_title, cost_axis, ringed, staircase
from anchorkit.plots.picking import corners, pick_channels, with_picks
from anchorkit.plots.plane import Plane, baseline_mark, baseline_rule, free_place, hovering
from anchorkit.plots.theme import GHOST, INK, OTHER_COLORS, SEARCH_COLOR, STAGE_COLORS, ordered_colors

_TICKS: dict[str, Any] = {"tickCount": 7, "labelLimit": 0}  # numbers need no cutting, and looking takes a while
_RANDOM_ROWS = 800
_BINS = (48, 30)
_NARROW = 400
"""Of a chart that is narrower, in pixels, the unpruned detector's label says its name and no figures."""
_NAMED = 400
"""Points up to which hovering lists the anchors that are kept."""
_FRONTIER, _RANDOM, _BEATEN = "frontier of the search", "random pruning", "tried, and beaten"


def frontier(
    frontier: pd.DataFrame,
    cost: str | Cost = "head_flops",
    *,
    full: pd.DataFrame | pd.Series[Any] | Mapping[str, Any] | None = None,
    random: pd.DataFrame | None = None,
    evaluated: pd.DataFrame | None = None,
    chosen: pd.DataFrame | None = None,
    others: Mapping[str, pd.DataFrame] | None = None,
    most: float | None = None,
    least: float | None = None,
    by: str | None = None,
    metric: str = "AP",
    width: int = 640,
    height: int = 380,
    pickable: bool = False,
) -> AnyChart:
    """Accuracy against cost of the best configurations (paper Fig. 2).

    The line is a staircase: with a given budget one gets the best configuration at or left of it, not a mixture of two.

    Args:
        frontier: columns ``accuracy`` (0..1) and `cost`; ``n_anchors`` if there is shown on hovering.
        cost: the cost column on the x axis, by its name or as an `anchorkit.costs.Cost`.
        full: the unpruned detector: one row with ``accuracy`` and `cost` (as a frame, a Series or a dict); marked,
            with a rule at its accuracy.
        random: configurations pruned at random, same columns; a cloud of at most 800, sampled with a fixed seed.
        evaluated: every configuration tried, same columns; counted in a grid, as there may be very many.
        chosen: configurations to mark, same columns and, if there, ``label``; otherwise A, B, C ... from the left
            to the right of the frame's rows.
        others: further frontiers by name, same columns.
        most: the most that the cost may be; the chart shades what costs more.
        least: the least accuracy (0..1); the chart shades what has less.
        by: a column of a joint frontier with the detector of each point, ``"channels"``: numbers (the share of channels
            removed) or names. It gives the points an ordered colour; `evaluated` is then drawn as a thin line per
            detector, the frontier of its anchors alone.
        metric: what the accuracies are, such as ``"AP50"``.
        width: width of the plot in pixels.
        height: height of the plot in pixels.
        pickable: let `anchorkit.widgets.Picture` pick points of the frontier, by their index label in `frontier`, and
            place its pointer: `pointer_on_frontier` says where.

    Raises:
        InputError: a frame lacks a column or has no rows.

    Examples:
        >>> import pandas as pd
        >>> from anchorkit import plots
        >>> rows = pd.DataFrame({"accuracy": [0.50, 0.48, 0.45], "boxes": [240, 112, 80]})
        >>> chart = plots.frontier(rows, "boxes", full={"accuracy": 0.50, "boxes": 320})
        >>> chart.title.text
        'Accuracy against cost'
    """
    facts = cost_facts(cost)
    cost = facts.name
    need = ("accuracy", cost)
    require(frontier, need if by is None else (*need, by), "frontier")
    frames: dict[str, pd.DataFrame] = {}
    for name, frame in {"random": random, "evaluated": evaluated, "chosen": chosen, **(others or {})}.items():
        if frame is not None:
            named = need if by is None or name != "evaluated" else (*need, by)
            frames[name] = require(frame, named, name, empty=True)
    base = None if full is None else require(as_frame(full, "full"), need, "full").iloc[:1]
    shown = [frontier, *([] if base is None else [base]), *(frames[name] for name in frames if name not in _CLOUDS)]
    low, high = _accuracy_range(shown, frames)
    # What lies below the chart needs no room beside it.
    drawn = [*shown, *(frame[100 * frame["accuracy"] >= low] for frame in frames.values())]
    costs = pd.concat([frame[cost] for frame in drawn]).astype(float)
    scale = unit(facts, costs)
    x = cost_axis(scale.title, costs / scale.divisor, width)
    y = alt.Y("y:Q", title=accuracy_title(metric), scale=alt.Scale(domain=[low, high], nice=False), axis=_TICKS)
    plane = Plane(cost, scale, base, x, y)
    shades = None if by is None else _Shades.of(by, frontier, evaluated)
    own = SEARCH_COLOR if shades is None else INK
    colors = {_FRONTIER: own} | dict(zip(others or {}, itertools.cycle(OTHER_COLORS), strict=False))
    for key, name, shade in (("random", _RANDOM, "#7b8794"), ("evaluated", _BEATEN, "#f3b58b")):
        if key in frames and (shades is None or key == "random"):
            colors[name] = shade
    hues = alt.Scale(domain=list(colors), range=list(colors.values()))
    columns = max(1, min(4, width // (7 * max(map(len, colors)) + 34)))
    legend = alt.Legend(orient="top", columns=columns, symbolType="circle", symbolOpacity=1)
    color = alt.Color("series:N", title=None, scale=hues, legend=legend if len(colors) > 1 else None)
    # Limits beyond the axes have nothing to shade.
    within = _cost_range(shown, cost)
    edge = None if most is None or not within[0] <= most < within[1] else most / scale.divisor
    floor = None if least is None or not low < 100 * least < high else 100 * least
    layers: list[Any] = _outside(edge, floor, x, y, width, height)
    notes: list[str] = []
    if "evaluated" in frames and shades is not None:
        layers += shades.lines(frames["evaluated"], plane, low)
    elif "evaluated" in frames:
        layers += _beaten(frames["evaluated"], frontier, plane, (low, high), color)
    if "random" in frames:
        cloud = plane.rows(frames["random"], _RANDOM)
        below = int((cloud["y"] < low).sum())
        if below:
            notes.append(f"{below} of {len(cloud)} random configurations lie below the axis")
        cloud = sample(cloud[cloud["y"] >= low], _RANDOM_ROWS)
        mark = alt.Chart(cloud).mark_circle(size=34, opacity=0.45, aria=False)
        layers.append(mark.encode(x=x, y=y, color=color, tooltip=hovering(cloud)))
    if base is not None:
        layers.append(baseline_rule(base, y))
    for name, frame in {**{name: frames[name] for name in others or {}}, _FRONTIER: frontier}.items():
        line = plane.rows(frame.sort_values(cost), name)
        chart = alt.Chart(line).encode(x=x, y=y, color=color)
        size = 28 if len(line) > 60 else 64 if name == _FRONTIER else 40
        layers.append(chart.mark_line(interpolate="step-after", strokeWidth=2.5))
        if name == _FRONTIER and shades is not None:
            layers.append(shades.points(frame.sort_values(cost), line, plane, size + 40))
        else:
            layers.append(chart.mark_circle(size=size, opacity=1).encode(tooltip=hovering(line)))
    if base is not None:
        short = width < _NARROW
        dy = free_place(frontier, base, cost, width, (low, high), height, floor, 80 if short else 210)
        layers += baseline_mark(base, plane, dy, metric, short)
    if "chosen" in frames and len(frames["chosen"]):
        layers += _chosen(frames["chosen"], plane)
    if pickable:
        layers.append(_pick_targets(plane.rows(frontier, _FRONTIER), frontier.index, metric, x, y))
        layers.append(corners(x, y, (within[0] / scale.divisor, low), (within[1] / scale.divisor, high)))
    heading = alt.TitleParams("Accuracy against cost", subtitle=notes or alt.Undefined)
    return alt.layer(*layers).properties(width=width, height=height, title=heading)


def pointer_on_frontier(
    frontier: pd.DataFrame, cost: str, full: Mapping[str, Any] | None, at: Mapping[str, Any]
) -> dict[str, float]:
    """The place of a configuration on a pickable `frontier` chart of the same frames, without drawing it again.

    Args:
        frontier: as for `frontier`.
        cost: as for `frontier`.
        full: as for `frontier`.
        at: the configuration's ``accuracy`` (0..1) and `cost`.

    Returns:
        ``x`` and ``y`` for `anchorkit.widgets.Picture.pointer`; a little outside of 0..1 where it leaves the chart.

    Examples:
        >>> import pandas as pd
        >>> from anchorkit import plots
        >>> rows = pd.DataFrame({"accuracy": [0.50, 0.48, 0.45], "boxes": [240, 112, 80]})
        >>> plots.pointer_on_frontier(rows, "boxes", None, {"accuracy": 0.50, "boxes": 240})["x"]
        1.0
    """
    shown = [frontier, *([] if full is None else [as_frame(full, "full")])]
    low, high = _accuracy_range(shown, {})
    left, right = _cost_range(shown, cost)
    x = (float(at[cost]) - left) / max(right - left, 1e-9)
    y = (100 * float(at["accuracy"]) - low) / (high - low)
    return {"x": min(max(x, -0.04), 1.04), "y": min(max(y, -0.04), 1.04)}


def recovery(points: pd.DataFrame, cost: str | Cost = "head_flops", *, width: int = 640, height: int = 380) -> AnyChart:
    """What training gives back to pruned configurations (paper Fig. 3).

    Args:
        points: one row per configuration and stage: ``point`` (its label, such as A), ``stage`` (``"full"``,
            ``"pruned"``, ``"fine-tuned"``, ``"retrained"``), ``accuracy`` (0..1) and `cost`. A row of stage
            ``"full"`` is drawn as a rule.
        cost: the cost column on the x axis, by its name or as an `anchorkit.costs.Cost`.
        width: width of the plot in pixels.
        height: height of the plot in pixels.

    Raises:
        InputError: a column is missing, a stage is unknown, or there is no row but that of the full detector.

    Examples:
        >>> import pandas as pd
        >>> from anchorkit import plots
        >>> points = pd.DataFrame({
        ...     "point": ["full", "A", "A"], "stage": ["full", "pruned", "retrained"],
        ...     "accuracy": [0.50, 0.44, 0.49], "head_flops": [4e9, 2e9, 2e9],
        ... })
        >>> plots.recovery(points).title
        'What training gives back'
    """
    facts = cost_facts(cost)
    cost = facts.name
    require(points, ("point", "stage", "accuracy", cost), "points")
    unknown = sorted(set(points["stage"]) - set(STAGE_COLORS))
    if unknown:
        raise InputError(f"points: unknown stage {unknown[0]!r}; use {', '.join(STAGE_COLORS)}")
    full = points[points["stage"] == "full"].iloc[:1]
    rest = points[points["stage"] != "full"]
    require(rest, (), "points other than the full detector")
    scale = unit(facts, points[cost])
    top, bottom = 100 * points["accuracy"].max(), 100 * points["accuracy"].min()
    pad = max(0.12 * (top - bottom), 0.4)
    x = cost_axis(scale.title, points[cost].astype(float) / scale.divisor, width, padding=34)
    y_scale = alt.Scale(domain=[bottom - 1.6 * pad, top + pad], nice=False)
    y, y_low = (alt.Y(f"{name}:Q", title=accuracy_title(), scale=y_scale) for name in ("y", "low"))
    plane = Plane(cost, scale, full if len(full) else None, x, y)
    data = plane.rows(rest, "")
    data["point"], data["stage"] = rest["point"].astype(str).to_numpy(), rest["stage"].to_numpy()
    stages = [stage for stage in STAGE_COLORS if stage in set(rest["stage"])]
    colors, shapes = (
        alt.Scale(domain=stages, range=[look[stage] for stage in stages]) for look in (STAGE_COLORS, STAGE_SHAPES)
    )
    legend = alt.Legend(orient="top", title=None)
    layers: list[Any] = [baseline_rule(full, y), *baseline_mark(full, plane)] if len(full) else []
    spans = data.groupby("point", sort=False).agg(x=("x", "first"), low=("y", "min"), high=("y", "max")).reset_index()
    layers.append(alt.Chart(spans).mark_rule(color=GHOST, strokeWidth=1.5).encode(x=x, y=y_low, y2=alt.Y2("high:Q")))
    layers.append(
        alt.Chart(data)
        .mark_point(filled=True, size=150, opacity=1, stroke="#ffffff", strokeWidth=1)
        .encode(
            x=x,
            y=y,
            color=alt.Color("stage:N", scale=colors, legend=legend),
            shape=alt.Shape("stage:N", scale=shapes, legend=legend),
            tooltip=[alt.Tooltip("point:N"), alt.Tooltip("stage:N"), *hovering(data)],
        )
    )
    names = alt.Chart(spans).mark_text(baseline="top", dy=13, fontSize=15, fontWeight=600)
    layers.append(names.encode(x=x, y=y_low, text="point:N"))
    return alt.layer(*layers).properties(width=width, height=height, title="What training gives back")


_CLOUDS = ("random", "evaluated")


@dataclass(frozen=True)
class _Shades:
    """An ordered colour for each detector of a joint frontier.

    Attributes:
        by: the column that names the detector.
        names: what the legend calls the values, in order.
        colors: theirs, in order.
        title: of the legend.
    """

    by: str
    names: Mapping[Any, str]
    colors: Sequence[str]
    title: str

    @classmethod
    def of(cls, by: str, frontier: pd.DataFrame, evaluated: pd.DataFrame | None) -> _Shades:
        found = frontier[by] if evaluated is None else evaluated[by]
        values = list(dict.fromkeys([*found, *frontier[by]]))
        if numbers := all(isinstance(value, int | float) for value in values):
            values.sort()
        names = {value: f"{100 * value:g} %" if numbers else str(value) for value in values}
        return cls(by, names, ordered_colors(len(values)), f"{by} removed" if numbers else by)

    def points(self, frame: pd.DataFrame, line: pd.DataFrame, plane: Plane, size: float) -> alt.Chart:
        """The points of the joint frontier; `line` is `Plane.rows` of the frame."""
        rows = line.assign(**{self.title: [self.names[value] for value in frame[self.by]]})
        if "anchors" in frame and len(frame) <= _NAMED:
            rows["anchors"] = frame["anchors"].to_numpy()
        legend = alt.Legend(orient="top", columns=min(len(self.names), 8), symbolType="circle", symbolStrokeWidth=0)
        scale = alt.Scale(domain=list(self.names.values()), range=list(self.colors))
        fill = alt.Fill(f"{self.title}:N", sort=None, scale=scale, legend=legend)
        mark = plane.chart(rows).mark_point(size=size, opacity=1, stroke="#ffffff", strokeWidth=0.8)
        chart: alt.Chart = mark.encode(fill=fill, tooltip=hovering(rows))
        return chart

    def lines(self, evaluated: pd.DataFrame, plane: Plane, low: float) -> list[alt.Chart]:
        """The frontier of each detector's anchors alone, as far as it is on the chart."""
        layers, colors = [], dict(zip(self.names, self.colors, strict=True))
        for value, own in evaluated.groupby(self.by, sort=False):
            best = staircase(own, plane.cost, "accuracy")
            rows = plane.rows(best[100 * best["accuracy"] >= low], self.names[value])
            look: dict[str, Any] = {"interpolate": "step-after", "strokeWidth": 1.3, "opacity": 0.65, "aria": False}
            # Not by a channel: Vega-Lite would take the points' legend for this one, which is none.
            layers.append(plane.chart(rows).mark_line(color=colors[value], **look))
        return layers


def as_frame(row: pd.DataFrame | pd.Series[Any] | Mapping[str, Any], name: str) -> pd.DataFrame:
    """One row as a frame, however it is given.

    Raises:
        InputError: it is no frame, Series or dict.
    """
    if isinstance(row, pd.DataFrame):
        return row
    if isinstance(row, pd.Series | Mapping):
        return pd.DataFrame([dict(row)])
    raise InputError(f"{name}: one row is needed (a DataFrame, a Series or a dict), not {type(row).__name__}")


def _accuracy_range(shown: Sequence[pd.DataFrame], frames: Mapping[str, pd.DataFrame]) -> tuple[float, float]:
    """The y axis in points: the frontier fills most of it; the clouds may take a third more below, no further."""
    accuracy = 100 * pd.concat([frame["accuracy"] for frame in shown]).astype(float)
    top, bottom = float(accuracy.max()), float(accuracy.min())
    span = max(top - bottom, 1.0)
    clouds = [100 * float(frames[name]["accuracy"].min()) for name in _CLOUDS if len(frames.get(name, ()))]
    low = max(min([bottom, *clouds]), bottom - max(0.5 * span, 2.0))
    return max(low - 0.06 * span, min(0.0, low)), top + 0.12 * max(top - low, 1.0)


def _cost_range(shown: Sequence[pd.DataFrame], cost: str) -> tuple[float, float]:
    costs = pd.concat([frame[cost] for frame in shown]).astype(float)
    return float(costs.min()), float(costs.max())


def _outside(most: float | None, least: float | None, x: alt.X, y: alt.Y, width: int, height: int) -> list[Any]:
    """Shaded: what costs more than `most`, and what is less accurate than `least`, both in the units of the axes."""
    shade: dict[str, Any] = {"color": INK, "opacity": 0.06, "aria": False}
    edge: dict[str, Any] = {"color": INK, "strokeWidth": 1.2, "strokeDash": [2, 3], "aria": False}
    layers: list[Any] = []
    if most is not None:
        chart = alt.Chart(pd.DataFrame({"x": [most]})).encode(x=x, y=alt.value(0), y2=alt.value(height))
        layers += [chart.mark_rect(**shade).encode(x2=alt.value(width)), chart.mark_rule(**edge)]
    if least is not None:
        chart = alt.Chart(pd.DataFrame({"y": [least]})).encode(y=y, x=alt.value(0), x2=alt.value(width))
        layers += [chart.mark_rect(**shade).encode(y2=alt.value(height)), chart.mark_rule(**edge)]
    return layers


def _pick_targets(points: pd.DataFrame, picks: pd.Index[Any], metric: str, x: alt.X, y: alt.Y) -> alt.Chart:
    """Clear marks over the points, large enough to hit and, where there are many, small enough to tell apart."""
    said = [metric + " " + points["AP"] + ", " + points["cost"]]
    for name in ("against unpruned", "anchors kept"):
        if name in points:
            said.append(name + ": " + points[name].astype(str))
    labels = pd.Series(["\n".join(parts) for parts in zip(*said, strict=True)], index=points.index)
    target: alt.Chart = (
        alt.Chart(with_picks(points, pd.Series(picks, index=points.index), labels))
        .mark_circle(size=260 if len(points) <= 60 else 110, color="#ffffff", opacity=0.01)
        .encode(x=x, y=y, **pick_channels())
    )
    return target


def _beaten(
    evaluated: pd.DataFrame, best: pd.DataFrame, plane: Plane, heights: tuple[float, float], color: alt.Color
) -> list[Any]:
    """The beaten configurations, counted in a grid of 48 x 30 cells: the more, the darker."""
    taken = set(zip(best[plane.cost], best["accuracy"], strict=True))
    mask = [pair not in taken for pair in zip(evaluated[plane.cost], evaluated["accuracy"], strict=True)]
    beaten = evaluated.loc[mask].astype({plane.cost: float, "accuracy": float})
    if beaten.empty:
        return []
    tried = pd.DataFrame({"x": beaten[plane.cost] / plane.scale.divisor, "y": 100 * beaten["accuracy"]})
    left, right = float(tried["x"].min()), float(tried["x"].max())
    ends = ((left, right if right > left else left + 1.0), heights)
    cells = [np.linspace(*end, n + 1) for end, n in zip(ends, _BINS, strict=True)]
    tried = tried[tried["y"].between(*heights)]
    column, row = (
        np.clip(np.searchsorted(edge, tried[side], side="right") - 1, 0, len(edge) - 2)
        for edge, side in zip(cells, ("x", "y"), strict=True)
    )
    # A mark is at the mean of its cell's configurations, so that none lies above the frontier.
    grid = tried.groupby([column, row]).agg(x=("x", "mean"), y=("y", "mean"), configurations=("x", "size"))
    grid = grid.assign(series=_BEATEN).round(5).reset_index(drop=True)
    opacity = alt.Opacity("configurations:Q", scale=alt.Scale(type="log", range=[0.3, 0.95]), legend=None)
    marks = plane.chart(grid).mark_square(size=75, aria=False)
    return [marks.encode(color=color, opacity=opacity, tooltip="configurations:Q")]


def _chosen(chosen: pd.DataFrame, plane: Plane) -> list[Any]:
    rows = plane.rows(chosen, "chosen")
    labels = chosen["label"].astype(str) if "label" in chosen else pd.Series(list(string.ascii_uppercase))
    rows["label"] = labels.reset_index(drop=True).reindex(rows.index).fillna("")
    tooltip = [alt.Tooltip("label:N"), *hovering(rows)]
    return ringed(plane.chart(rows), INK, tooltip, fontSize=15, fontWeight=700, dy=24, dx=6, align="left")
