"""The shapes of predicted boxes in one plot, made to be touched (paper Fig. 1, alive)."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import at_most, require, thin_outlines
from anchorkit.plots.labels import label_places
from anchorkit.plots.marks import aspect_mark, haloed
from anchorkit.plots.picking import pick_channels, with_marks, with_picks
from anchorkit.plots.shapes import (
    REGION,
    check_shapes,
    object_grid,
    octaves,
    powers_of_two,
    side_axes,
    trim_marginals,
    with_sides,
)
from anchorkit.plots.theme import GHOST, aspect, level_color, level_shades, readable

_CONTOUR_ROWS, _LIVE_CONTOUR_ROWS = 1500, 1000
_CELL_SHADES = (0xEE, 0xF1, 0xF4), (0xC2, 0xC9, 0xD1)
"""Red, green and blue of cells with no object and with the most."""
_MANY = 12
"""With more anchors than this, their names would hide the shapes: they show once one is picked."""


def shape_map(
    contours: pd.DataFrame,
    marginals: pd.DataFrame,
    anchors: pd.DataFrame,
    *,
    objects: pd.DataFrame | None = None,
    log: bool = True,
    size: int = 330,
    title: str = "",
    pickable: bool = False,
) -> AnyChart:
    """The widths and heights of the boxes that anchors predict, in one plot, with the annotated objects behind.

    Filled regions hold the shares of boxes named in ``mass``; the mark in the anchor's own proportions shows the
    anchor's own shape; the curves on the sides are the distributions of width and height alone. Outlines are thinned to
    about 1,500 corners altogether, in a pickable chart to 1,000.

    Args:
        contours: ``anchor_id``, ``mass`` (0..1), ``path``, ``order``, ``width``, ``height`` (input pixels): closed
            outlines, as `anchorkit.analysis.redundancy.density_contours` gives them.
        marginals: ``anchor_id``, ``side`` (``"width"`` or ``"height"``), ``value`` (input pixels), ``density``.
        anchors: ``anchor_id``, ``level``, ``width``, ``height``; only the anchors in it are drawn. If there, ``guest``
            (bool: an anchor of another level, drawn in a pickable chart only, without curves) and ``label`` (what it
            says of itself when it is pointed at).
        objects: ``width`` and ``height`` of the annotated objects in input pixels, any number of rows.
        log: logarithmic axes; otherwise linear ones.
        size: side of the plot in pixels.
        title: above the plot.
        pickable: for `anchorkit.widgets.Picture`: outlines and marks answer ``anchor_id``; the curves change their
            looks with it, and the names by ``name anchor_id``.

    Raises:
        InputError: a column is missing, there is no anchor, or the anchors are too many for one chart.
    """
    check_shapes(contours, marginals, anchors)
    own = _looks(anchors, pickable)
    corners = _LIVE_CONTOUR_ROWS if pickable else _CONTOUR_ROWS
    outlines = thin_outlines(contours[contours["anchor_id"].isin(own["anchor_id"])], corners)
    home = own.loc[~own["guest"], "anchor_id"]
    curves = trim_marginals(marginals[marginals["anchor_id"].isin(home)])
    if not log:  # a share per octave becomes one per pixel
        curves = curves.assign(density=curves["density"] / curves["value"] / np.log(2))
    low, high = octaves(pd.concat([outlines[outlines["anchor_id"].isin(home)], own[~own["guest"]]]), log)
    # Scales and axes as dictionaries: Altair copies its objects, with all that is not set in them, again and again.
    domain = {"domain": [2**low if log else 0, 2**high], "nice": False}
    scale: dict[str, Any] = {"type": "log", "base": 2, **domain} if log else domain
    axis: dict[str, Any] = {"values": powers_of_two(low, high), "format": "d"} if log else {"tickCount": 6}
    axis["labelLimit"] = 0  # looking whether labels have to be cut takes longer than drawing them
    x, y = side_axes("width", "height", scale, axis)
    # Colours as data, not by a scale: layers would have to agree on one.
    paint: dict[str, Any] = {"color": alt.Color("color:N", scale=None), "fill": alt.Fill("color:N", scale=None)}
    colors = own.set_index("anchor_id")["color"]
    layers: list[Any] = []
    cells = _object_cells(objects, low, high)
    if len(cells):
        left, foot = side_axes("x", "y", scale, axis)
        behind = alt.Chart(cells).mark_rect(clip=True, aria=False)
        layers.append(behind.encode(x=left, x2="x2:Q", y=foot, y2="y2:Q", color=paint["color"]))
    ends = [2**low, 2**high]
    diagonal = alt.Chart(pd.DataFrame({"width": ends, "height": ends}))
    layers.append(diagonal.mark_line(color=GHOST, strokeWidth=1, strokeDash=[4, 4], clip=True).encode(x=x, y=y))
    layers.append(_regions(outlines, own, pickable).encode(x=x, y=y, **paint))
    marks, names = own, own if pickable or len(own) <= _MANY else own.iloc[:0]
    if pickable:
        marks = with_picks(own, own["anchor_id"], own["label"])
        names = with_marks(own, "name " + own["anchor_id"])
    points = alt.Chart(marks[_fields(marks, ["anchor_id", "width", "height", "shape", "color"])])
    points = points.mark_point(filled=True, size=120, opacity=1, stroke="#ffffff", strokeWidth=1.2, clip=True)
    points = points.encode(x=x, y=y, color=paint["color"], shape=aspect_mark(legend=None))
    layers.append(points.encode(**pick_channels() if pickable else {"tooltip": ["anchor_id:N"]}))
    layers += _names(names, x, y, pickable, (low, high), size, log)
    at_most(len(outlines) + len(curves) + len(cells) + 3 * len(own), "shape_map")
    curves = curves.assign(color=curves["anchor_id"].map(colors))
    fields = ["anchor_id", "side", "value", "density", "color"]
    channels = {"color": paint["color"], "order": alt.Order("value:Q"), "detail": alt.Detail("anchor_id:N")}
    if pickable:
        curves, channels = with_marks(curves, curves["anchor_id"]), channels | pick_channels()
    fields = _fields(curves, fields)
    heading = alt.TitleParams(title, offset=6)
    return with_sides(alt.layer(*layers), size, curves, fields, scale, heading, **channels)


def many_names(anchors: int) -> bool:
    """Whether so many anchors are in a `shape_map` that their names only show once one is picked."""
    return anchors > _MANY


def _looks(anchors: pd.DataFrame, pickable: bool) -> pd.DataFrame:
    """The anchors with their colours, marks and names; large ones first, so that small ones lie on top."""
    own = anchors.assign(
        guest=anchors.get("guest", False),
        label=anchors.get("label", anchors["anchor_id"]),
        ratio=anchors["width"] / anchors["height"],
        area=anchors["width"] * anchors["height"],
        shape=[aspect(w, h) for w, h in zip(anchors["width"], anchors["height"], strict=True)],
    )
    own = own if pickable else own[~own["guest"]]
    own = own.sort_values(["ratio", "area"], kind="stable")
    home = own[~own["guest"]]
    colors = {name: level_color(int(level)) for name, level in zip(own["anchor_id"], own["level"], strict=True)}
    one_level = len(set(home["level"])) == 1
    if one_level:
        colors |= dict(zip(home["anchor_id"], level_shades(int(home["level"].iloc[0]), len(home)), strict=True))
    own = own.assign(
        color=own["anchor_id"].map(colors),
        ink=[readable(colors[name]) for name in own["anchor_id"]],
        name=[
            name if guest or not one_level else name.split("/")[-1]
            for name, guest in zip(own["anchor_id"], own["guest"], strict=True)
        ],
    )
    return own.sort_values("area", ascending=False, kind="stable").round({"width": 2, "height": 2})


def _object_cells(objects: pd.DataFrame | None, low: float, high: float) -> pd.DataFrame:
    """The annotated objects, counted; what lies outside of the plot is left out."""
    if objects is None:
        return pd.DataFrame()
    sides = require(objects, ("width", "height"), "objects", empty=True)[["width", "height"]].to_numpy(float)
    sides = sides[(sides > 2**low).all(1) & (sides < 2**high).all(1)]
    if not len(sides):
        return pd.DataFrame()
    cells = object_grid(sides, np.floor(3 * low) / 3, np.ceil(3 * high) / 3)
    shares = cells["objects"] / cells["objects"].max()
    shades = [[round(a + (b - a) * share) for a, b in zip(*_CELL_SHADES, strict=True)] for share in shares]
    return cells.assign(color=["#{:02x}{:02x}{:02x}".format(*shade) for shade in shades])


def _fields(rows: pd.DataFrame, names: list[str]) -> list[str]:
    return names + [name for name in ("pick_link", "pick_label") if name in rows]


def _regions(outlines: pd.DataFrame, own: pd.DataFrame, pickable: bool) -> alt.Chart:
    # Outlines are drawn in the order of the data: large regions first, or small ones could not be pointed at.
    rows = outlines.assign(place=-outlines["anchor_id"].astype(str).map(_extents(outlines)).astype(float))
    by = ["place", "anchor_id", "mass", "path", "order"]
    rows = rows.sort_values(by, ascending=[True, True, False, True, True], kind="stable")
    rows = rows[["anchor_id", "mass", "path", "order", "width", "height"]].round({"width": 2, "height": 2})
    rows = rows.assign(color=rows["anchor_id"].map(own.set_index("anchor_id")["color"]))
    if pickable:
        labels = rows["anchor_id"].map(dict(zip(own["anchor_id"], own["label"], strict=True)))
        rows = with_picks(rows, rows["anchor_id"], labels)
        # A line takes them from its first corner; in all of them they would be most of what is drawn from.
        rest = rows.duplicated(["anchor_id", "mass", "path"])
        rows = rows.assign(**{name: rows[name].mask(rest, None) for name in ("pick_link", "pick_label")})
    channels: dict[str, Any] = pick_channels() if pickable else {}
    detail = [alt.Detail(f"{name}:N") for name in ("anchor_id", "mass", "path")]
    regions: alt.Chart = alt.Chart(rows).mark_line(**REGION).encode(detail=detail, order="order:Q", **channels)
    return regions


def _extents(outlines: pd.DataFrame) -> pd.Series[float]:
    """How large each anchor's region is, by its sides in octaves."""
    sides = outlines[["width", "height"]].astype(float).groupby(outlines["anchor_id"].astype(str))
    extents: pd.Series[float] = np.log2(sides.max() / sides.min()).prod(axis=1)
    return extents


def _names(
    own: pd.DataFrame, x: alt.X, y: alt.Y, pickable: bool, ends: tuple[float, float], size: int, log: bool
) -> list[alt.Chart]:
    """Each anchor's name beside its mark; guests choose their places last."""
    if own.empty:
        return []
    own = own.sort_values("guest", kind="stable")
    low, high = ends
    at = own[["width", "height"]].to_numpy(float)
    share = (np.log2(at) - low) / (high - low) if log else at / 2**high  # 0..1 along the axes
    pixels = np.column_stack([share[:, 0], 1 - share[:, 1]]) * size
    places = label_places(pixels, list(own["name"]), size, size) / size
    share = np.column_stack([places[:, 0], 1 - places[:, 1]])
    # Vega-Lite moves texts by a mark's own offset only, so they get data of their own.
    sides = 2 ** (low + share * (high - low)) if log else share * 2**high
    rows = own[_fields(own, ["name", "ink"])].assign(width=sides[:, 0].round(3), height=sides[:, 1].round(3))
    text = alt.Chart(rows).encode(x=x, y=y, text="name:N")
    if pickable:
        text = text.encode(**pick_channels())
    names = haloed(text, alt.Color("ink:N", scale=None), 3.5, fontSize=13, clip=True, baseline="middle")
    return names[1:] if pickable else names  # the page sees to a halo
