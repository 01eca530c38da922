"""Charts of widths and heights: the boxes that each anchor predicts (paper Fig. 1), and the annotated objects."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from anchorkit.errors import InputError
from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import ANCHOR_COLUMNS, at_most, require, thin_outlines
from anchorkit.plots.theme import (
    ASPECT_SHAPES,
    ASPECTS,
    GHOST,
    aspect,
    level_color,
    level_scale,
    level_shades,
    readable,
)

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
    require(anchors, ANCHOR_COLUMNS, "anchors")
    require(contours, ("anchor_id", "mass", "path", "order", "width", "height"), "contours", empty=True)
    require(marginals, ("anchor_id", "side", "value", "density"), "marginals", empty=True)
    ids = set(anchors["anchor_id"])
    keys = ["anchor_id", "mass", "path"]
    outlines = contours[contours["anchor_id"].isin(ids)]
    if len(outlines):
        outlines = thin_outlines(outlines, _CONTOUR_ROWS, keys)
    sides = trim_marginals(marginals[marginals["anchor_id"].isin(ids)])
    at_most(len(outlines) + len(sides) + len(anchors), "box_shapes")
    domains = _domains(anchors, outlines)
    panels = []
    for level, group in anchors.groupby("level", sort=True):
        panels.append(_shape_panel(int(str(level)), group, outlines, sides, domains, size))
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
    every = (
        sides
        if anchors is None
        else np.vstack([sides, require(anchors, ANCHOR_COLUMNS, "anchors")[["width", "height"]]])
    )
    low, high = math.floor(3 * np.log2(every.min())) / 3, (math.floor(3 * np.log2(every.max())) + 1) / 3
    grid = object_grid(sides, low, high)
    scale = alt.Scale(type="log", base=2, domain=[2**low, 2**high], nice=False)
    x = alt.X("x:Q", title="Width (input pixels)", scale=scale, axis=alt.Axis(values=powers_of_two(low, high)))
    y = alt.Y("y:Q", title="Height (input pixels)", scale=scale, axis=alt.Axis(values=powers_of_two(low, high)))
    layers: list[Any] = [
        alt.Chart(grid)
        .mark_rect()
        .encode(
            x=x,
            x2="x2:Q",
            y=y,
            y2="y2:Q",
            color=alt.Color(
                "objects:Q",
                title="objects",
                scale=alt.Scale(range=["#eef1f4", "#aab4bf", "#4a5461"]),
                legend=alt.Legend(gradientLength=120),
            ),
            tooltip=["objects:Q"],
        )
    ]
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
            shape=alt.Shape(
                "shape:N",
                title="anchor's shape",
                scale=alt.Scale(domain=list(ASPECTS), range=[ASPECT_SHAPES[name] for name in ASPECTS]),
            ),
            tooltip=["anchor_id:N"],
        )
    )
    return marks


def _shape_panel(
    level: int,
    anchors: pd.DataFrame,
    outlines: pd.DataFrame,
    sides: pd.DataFrame,
    domains: dict[int, tuple[float, float]],
    size: int,
) -> alt.VConcatChart:
    order = anchors.assign(ratio=anchors["width"] / anchors["height"], area=anchors["width"] * anchors["height"])
    order = order.sort_values(["ratio", "area"], kind="stable")
    names = list(order["anchor_id"])
    colors = level_shades(level, len(names))
    shades = alt.Scale(domain=names, range=colors)
    low, high = domains[level]
    scale = alt.Scale(type="log", base=2, domain=[2**low, 2**high], nice=False)
    ticks = alt.Axis(values=powers_of_two(low, high), format="d")
    x = alt.X("width:Q", title="Width (input pixels)", scale=scale, axis=ticks)
    y = alt.Y("height:Q", title="Height (input pixels)", scale=scale, axis=ticks)
    stroke = alt.Color("anchor_id:N", scale=shades, legend=None)
    mine = outlines[outlines["anchor_id"].isin(names)]
    regions = (
        alt.Chart(mine[["anchor_id", "mass", "path", "order", "width", "height"]].round({"width": 2, "height": 2}))
        .mark_line(interpolate="linear-closed", strokeWidth=1.2, fillOpacity=0.16, clip=True)
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
            shape=alt.Shape(
                "shape:N", legend=None, scale=alt.Scale(domain=list(ASPECTS), range=[ASPECT_SHAPES[n] for n in ASPECTS])
            ),
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
        labels.append(text.mark_text(dy=dy, fontSize=13, stroke="#ffffff", strokeWidth=3.5, strokeJoin="round"))
        labels.append(text.mark_text(dy=dy, fontSize=13).encode(color=alt.Color("ink:N", scale=None)))
    main = alt.layer(regions, marks, *labels).properties(width=size, height=size)
    side = sides[sides["anchor_id"].isin(names)]
    density = alt.Scale(domain=[0, max(float(side["density"].max()) if len(side) else 1.0, 1e-9)], nice=False)
    curve: dict[str, Any] = {"strokeWidth": 1.8, "clip": True, "interpolate": "monotone", "aria": False}
    top = (
        alt.Chart(side[side["side"] == "width"][["anchor_id", "value", "density"]])
        .mark_line(**curve)
        .encode(
            x=alt.X("value:Q", scale=scale, axis=None),
            y=alt.Y("density:Q", scale=density, axis=None),
            color=stroke,
            order="value:Q",
        )
        .properties(
            width=size, height=46, title=alt.TitleParams(f"Level {level}", color=readable(level_color(level)), offset=4)
        )
    )
    right = (
        alt.Chart(side[side["side"] == "height"][["anchor_id", "value", "density"]])
        .mark_line(**curve, orient="horizontal")
        .encode(
            x=alt.X("density:Q", scale=density, axis=None),
            y=alt.Y("value:Q", scale=scale, axis=None),
            color=stroke,
            order="value:Q",
        )
        .properties(width=46, height=size)
    )
    return alt.vconcat(top, alt.hconcat(main, right, spacing=4), spacing=4)


def trim_marginals(marginals: pd.DataFrame) -> pd.DataFrame:
    """The marginals without their empty tails; every second value goes as long as they are too many."""
    ordered = marginals.sort_values(["anchor_id", "side", "value"], kind="stable")
    new = ordered[["anchor_id", "side"]].ne(ordered[["anchor_id", "side"]].shift()).any(axis=1).to_numpy()
    parts = []
    for rows in np.split(np.arange(len(ordered)), np.flatnonzero(new)[1:]):
        filled = np.flatnonzero(ordered["density"].to_numpy()[rows] > 0)
        if len(filled):
            parts.append(rows[max(filled[0] - 1, 0) : filled[-1] + 2])
    while sum(map(len, parts)) > _MARGINAL_ROWS and max(map(len, parts)) > 4:
        parts = [part[::2] for part in parts]
    if not parts:
        return marginals.iloc[:0]
    return ordered.iloc[np.concatenate(parts)].round({"value": 2, "density": 5})


def _domains(anchors: pd.DataFrame, outlines: pd.DataFrame) -> dict[int, tuple[float, float]]:
    """log2 of the ends of each level's axes: the same for width and height, so that squares lie on the diagonal."""
    domains = {}
    for level, group in anchors.groupby("level"):
        mine = outlines[outlines["anchor_id"].isin(set(group["anchor_id"]))]
        sides = np.concatenate([frame[["width", "height"]].to_numpy(float).ravel() for frame in (group, mine)])
        low, high = float(np.log2(sides.min())), float(np.log2(sides.max()))
        room = max(0.3, (2.2 - (high - low)) / 2)
        domains[int(str(level))] = (low - room, high + room)
    return domains


def _mass_note(outlines: pd.DataFrame) -> list[str]:
    shares = " and ".join(f"{100 * mass:.0f} %" for mass in sorted(set(outlines["mass"])))
    note = "mark: the anchor's own shape; at the sides: widths and heights alone"
    return [f"filled: the smallest regions that hold {shares} of its boxes", note] if shares else [note]


def powers_of_two(low: float, high: float) -> list[int]:
    """Ticks of an axis whose ends are 2**low and 2**high."""
    return [2**power for power in range(max(math.ceil(low), 0), math.floor(high) + 1)]
