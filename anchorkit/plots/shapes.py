"""Charts of widths and heights: the boxes that each anchor predicts (paper Fig. 1), and the annotated objects."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from anchorkit.errors import InputError
from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import ANCHOR_COLUMNS, at_most, require, starts, thin_outlines
from anchorkit.plots.marks import aspect_mark, haloed
from anchorkit.plots.theme import GHOST, aspect, level_color, level_scale, level_shades, readable

_CONTOUR_ROWS = 1900
_MARGINAL_ROWS = 1050


def box_shapes(
    contours: pd.DataFrame, marginals: pd.DataFrame, anchors: pd.DataFrame, *, size: int = 290, columns: int = 2
) -> AnyChart:
    """The widths and heights of the boxes that each anchor predicts (paper Fig. 1), a panel per level.

    Filled regions hold the shares of boxes named in ``mass``; the mark in the anchor's own proportions shows the
    anchor's own shape; the curves on the sides are the distributions of width and height alone.

    Outlines are thinned to about 1,900 corners altogether (those that matter least to the shape go first).

    Args:
        contours: ``anchor_id``, ``mass`` (0..1), ``path``, ``order``, ``width``, ``height`` (input pixels): closed
            outlines, as `anchorkit.analysis.redundancy.density_contours` gives them.
        marginals: ``anchor_id``, ``side`` (``"width"`` or ``"height"``), ``value`` (input pixels), ``density``.
        anchors: ``anchor_id``, ``level``, ``width``, ``height``; only the anchors in it are drawn.
        size: side of a panel's plot in pixels.
        columns: panels in a row.

    Raises:
        InputError: a column is missing, there is no anchor, or the anchors are too many for one chart.
    """
    check_shapes(contours, marginals, anchors)
    ids = set(anchors["anchor_id"])
    outlines = thin_outlines(contours[contours["anchor_id"].isin(ids)], _CONTOUR_ROWS)
    sides = trim_marginals(marginals[marginals["anchor_id"].isin(ids)])
    at_most(len(outlines) + len(sides) + len(anchors), "box_shapes")
    panels = [
        _shape_panel(int(str(level)), group, outlines, sides, size)
        for level, group in anchors.groupby("level", sort=True)
    ]
    title = alt.TitleParams("Shapes of the boxes that each anchor predicts", subtitle=_mass_note(outlines))
    together = alt.concat(*panels, columns=columns, spacing=30, title=title)
    chart: AnyChart = together.resolve_scale(color="independent", fill="independent")
    return chart


def ground_truth_shapes(gt: pd.DataFrame, anchors: pd.DataFrame | None = None, *, size: int = 420) -> AnyChart:
    """The widths and heights of the annotated objects, counted in thirds of an octave, with the anchors on top.

    Args:
        gt: ``width`` and ``height`` of every object in input pixels, any number of rows.
        anchors: ``anchor_id``, ``level``, ``width``, ``height``.
        size: side of the plot in pixels.

    Raises:
        InputError: a column is missing, or there is no object with a width and a height above 0.
    """
    require(gt, ("width", "height"), "ground truth")
    sides = gt[["width", "height"]].to_numpy(float)
    sides = sides[(sides > 0).all(1) & np.isfinite(sides).all(1)]
    if not len(sides):
        raise InputError("ground truth: no object has a width and a height above 0")
    every = sides
    if anchors is not None:
        every = np.vstack([sides, require(anchors, ANCHOR_COLUMNS, "anchors")[["width", "height"]]])
    low, high = math.floor(3 * np.log2(every.min())) / 3, (math.floor(3 * np.log2(every.max())) + 1) / 3
    grid = object_grid(sides, low, high)
    scale = alt.Scale(type="log", base=2, domain=[2**low, 2**high], nice=False)
    x, y = side_axes("x", "y", scale, alt.Axis(values=powers_of_two(low, high)))
    shades = alt.Scale(range=["#eef1f4", "#aab4bf", "#4a5461"])
    color = alt.Color("objects:Q", title="objects", scale=shades, legend=alt.Legend(gradientLength=120))
    cells = alt.Chart(grid).mark_rect()
    layers: list[Any] = [cells.encode(x=x, x2="x2:Q", y=y, y2="y2:Q", color=color, tooltip=["objects:Q"])]
    diagonal = pd.DataFrame({"x": [2**low, 2**high], "y": [2**low, 2**high]})
    layers.append(alt.Chart(diagonal).mark_line(color=GHOST, strokeWidth=1, strokeDash=[4, 4]).encode(x=x, y=y))
    if anchors is not None:
        layers.append(_anchor_marks(anchors, x, y))
    together = alt.layer(*layers).properties(width=size, height=size, title="Shapes of the annotated objects")
    chart: AnyChart = together.resolve_scale(color="independent")
    return chart


def object_grid(sides: np.ndarray, low: float, high: float) -> pd.DataFrame:
    """Objects (N, 2: width, height) counted in cells of a third of an octave, from 2**low to 2**high pixels.

    Returns:
        One row per cell that is not empty: ``x``, ``x2``, ``y``, ``y2`` (its ends in pixels) and ``objects``.
    """
    bins = max(round(3 * (high - low)), 1)
    log_width, log_height = np.log2(sides).T
    counts, edges, _ = np.histogram2d(log_width, log_height, bins=bins, range=[[low, high], [low, high]])
    column, row = np.nonzero(counts)
    return pd.DataFrame(
        {
            "x": 2 ** edges[column],
            "x2": 2 ** edges[column + 1],
            "y": 2 ** edges[row],
            "y2": 2 ** edges[row + 1],
            "objects": counts[column, row].astype(int),
        }
    ).round(2)


def _anchor_marks(anchors: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    data = pd.DataFrame(
        {
            "anchor_id": anchors["anchor_id"],
            "level": anchors["level"].astype(int),
            "x": anchors["width"].astype(float).round(2),
            "y": anchors["height"].astype(float).round(2),
            "shape": [aspect(w, h) for w, h in zip(anchors["width"], anchors["height"], strict=True)],
        }
    )
    marks: alt.Chart = (
        alt.Chart(data)
        .mark_point(filled=True, size=170, opacity=1, stroke="#ffffff", strokeWidth=1.2)
        .encode(
            x=x,
            y=y,
            color=alt.Color("level:O", title="anchors of level", scale=level_scale(data["level"])),
            shape=aspect_mark(title="anchor's shape"),
            tooltip=["anchor_id:N"],
        )
    )
    return marks


def _shape_panel(
    level: int, anchors: pd.DataFrame, outlines: pd.DataFrame, sides: pd.DataFrame, size: int
) -> alt.VConcatChart:
    order = anchors.assign(ratio=anchors["width"] / anchors["height"], area=anchors["width"] * anchors["height"])
    order = order.sort_values(["ratio", "area"], kind="stable")
    names = list(order["anchor_id"])
    colors = level_shades(level, len(names))
    shades = alt.Scale(domain=names, range=colors)
    mine = outlines[outlines["anchor_id"].isin(names)]
    low, high = octaves(pd.concat([anchors, mine]))
    scale = alt.Scale(type="log", base=2, domain=[2**low, 2**high], nice=False)
    x, y = side_axes("width", "height", scale, alt.Axis(values=powers_of_two(low, high), format="d"))
    stroke = alt.Color("anchor_id:N", scale=shades, legend=None)
    regions = (
        alt.Chart(mine[["anchor_id", "mass", "path", "order", "width", "height"]].round({"width": 2, "height": 2}))
        .mark_line(**REGION)
        .encode(
            x=x,
            y=y,
            color=stroke,
            fill=alt.Fill("anchor_id:N", scale=shades, legend=None),
            detail=["mass:N", "path:N"],
            order="order:Q",
        )
    )
    own = order.assign(
        shape=[aspect(w, h) for w, h in zip(order["width"], order["height"], strict=True)],
        label=[name.split("/")[-1] for name in names],
        ink=[readable(color) for color in colors],
    )[["anchor_id", "width", "height", "shape", "label", "ink"]].round({"width": 2, "height": 2})
    marks = (
        alt.Chart(own)
        .mark_point(filled=True, size=110, opacity=1, stroke="#ffffff", strokeWidth=1.2)
        .encode(
            x=x,
            y=y,
            color=stroke,
            shape=aspect_mark(legend=None),
            tooltip=["anchor_id:N"],
        )
    )
    labels: list[Any] = []
    # Anchors of one kind are neighbours: their names alternate above and below, the smallest square's below,
    # since a larger square is often right above it.
    above = (own.groupby("shape").cumcount() + (own["shape"] == "square")) % 2 == 0
    for part, dy in ((own[above], -14), (own[~above], 16)):
        if part.empty:
            continue
        text = alt.Chart(part).encode(x=x, y=y, text="label:N")
        labels += haloed(text, alt.Color("ink:N", scale=None), 3.5, dy=dy, fontSize=13)
    main = alt.layer(regions, marks, *labels)
    side = sides[sides["anchor_id"].isin(names)]
    title = alt.TitleParams(f"Level {level}", color=readable(level_color(level)), offset=4)
    fields = ["anchor_id", "value", "density"]
    return with_sides(main, size, side, fields, scale, title, color=stroke, order="value:Q")


REGION: dict[str, Any] = {"interpolate": "linear-closed", "strokeWidth": 1.2, "fillOpacity": 0.16, "clip": True}
"""An outline with what it holds, for ``mark_line``."""


def check_shapes(contours: pd.DataFrame, marginals: pd.DataFrame, anchors: pd.DataFrame) -> None:
    """See `box_shapes` for the columns.

    Raises:
        InputError: a column is missing, or there is no anchor.
    """
    require(anchors, ANCHOR_COLUMNS, "anchors")
    require(contours, ("anchor_id", "mass", "path", "order", "width", "height"), "contours", empty=True)
    require(marginals, ("anchor_id", "side", "value", "density"), "marginals", empty=True)


def side_axes(across: str, down: str, scale: Any, axis: Any) -> tuple[alt.X, alt.Y]:
    """Channels of a field of widths and of one of heights."""
    x = alt.X(f"{across}:Q", title="Width (input pixels)", scale=scale, axis=axis)
    return x, alt.Y(f"{down}:Q", title="Height (input pixels)", scale=scale, axis=axis)


def with_sides(
    main: Any, size: int, curves: pd.DataFrame, fields: list[str], scale: Any, title: Any, **channels: Any
) -> alt.VConcatChart:
    """A square plot with the distributions of width, above it, and of height, on its right.

    Args:
        main: the plot.
        size: its side in pixels.
        curves: ``side``, ``value``, ``density`` and what else the channels need.
        fields: the columns that are drawn.
        scale: of the sides, in the plot and beside it.
        title: above all.
        **channels: what tells the curves apart.
    """
    densest = max(float(curves["density"].max()) if len(curves) else 1.0, 1e-9)
    density = alt.Scale(domain=[0, densest], nice=False)
    look: dict[str, Any] = {"strokeWidth": 1.8, "clip": True, "interpolate": "monotone", "aria": False}
    widths, heights = (
        alt.Chart(curves.loc[curves["side"] == side, fields]).encode(**channels) for side in ("width", "height")
    )
    x, y = alt.X("value:Q", scale=scale, axis=None), alt.Y("density:Q", scale=density, axis=None)
    top = widths.mark_line(**look).encode(x=x, y=y).properties(width=size, height=46, title=title)
    x, y = alt.X("density:Q", scale=density, axis=None), alt.Y("value:Q", scale=scale, axis=None)
    right = heights.mark_line(**look, orient="horizontal").encode(x=x, y=y).properties(width=46, height=size)
    below = alt.hconcat(main.properties(width=size, height=size), right, spacing=4)
    return alt.vconcat(top, below, spacing=4)


def trim_marginals(marginals: pd.DataFrame) -> pd.DataFrame:
    """The marginals without their empty tails; every second value goes as long as they are too many."""
    ordered = marginals.sort_values(["anchor_id", "side", "value"], kind="stable")
    parts = []
    for rows in np.split(np.arange(len(ordered)), starts(ordered[["anchor_id", "side"]])[1:]):
        filled = np.flatnonzero(ordered["density"].to_numpy()[rows] > 0)
        if len(filled):
            parts.append(rows[max(filled[0] - 1, 0) : filled[-1] + 2])
    while sum(map(len, parts)) > _MARGINAL_ROWS and max(map(len, parts)) > 4:
        parts = [part[::2] for part in parts]
    if not parts:
        return marginals.iloc[:0]
    return ordered.iloc[np.concatenate(parts)].round({"value": 2, "density": 5})


def octaves(shapes: pd.DataFrame, log: bool = True) -> tuple[float, float]:
    """log2 of the ends of both axes: the same for width and height, so that squares lie on the diagonal.

    Args:
        shapes: ``width`` and ``height`` of all that has to be seen.
        log: logarithmic axes; linear ones need less room.
    """
    sides = shapes[["width", "height"]].to_numpy(float)
    low, high = float(np.log2(sides.min())), float(np.log2(sides.max()))
    if not log:
        return low, high + 0.08
    room = max(0.3, (2.2 - (high - low)) / 2)
    return low - room, high + room


def _mass_note(outlines: pd.DataFrame) -> list[str]:
    shares = " and ".join(f"{100 * mass:.0f} %" for mass in sorted(set(outlines["mass"])))
    note = "mark: the anchor's own shape; at the sides: widths and heights alone"
    return [f"filled: the smallest regions that hold {shares} of its boxes", note] if shares else [note]


def powers_of_two(low: float, high: float) -> list[int]:
    """Ticks of an axis whose ends are 2**low and 2**high."""
    return [2**power for power in range(max(math.ceil(low), 0), math.floor(high) + 1)]
