"""Boxes on an image as a chart: every box can be pointed at and picked."""

from __future__ import annotations

import base64
import io
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from PIL import Image

from anchorkit.errors import InputError
from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import at_most, require
from anchorkit.plots.images import check_image, text_on
from anchorkit.plots.marks import CLEAR
from anchorkit.plots.picking import pick_channels, with_picks

STYLES = ("found", "false alarm", "missed")
"""How a box is drawn: solid; dashed; dotted."""

_LINES = {"found": (2.8, [1, 0]), "false alarm": (1.8, [6, 4]), "missed": (2.2, [2, 3])}
_MARKER = "#ffd43b"  # as with a highlighter: look here
_FONT = 12
_PLATE = _FONT + 6


def boxes_on_image(
    image: np.ndarray,
    boxes: pd.DataFrame,
    *,
    title: str = "",
    width: int = 440,
    height: int = 400,
    pickable: bool = False,
) -> AnyChart:
    """An image with boxes and their labels, as large as fits.

    Args:
        image: uint8 (H, W, 3), RGB.
        boxes: ``x1``, ``y1``, ``x2``, ``y2`` (pixels of the image; parts outside are cut off), ``color``
            (``#rrggbb``), ``style`` (one of `STYLES`), ``label`` (a text on a plate in the box's colour; empty for
            none), ``marked`` (bool: drawn as with a highlighter); to be pickable also ``pick`` and ``note`` (what the
            box says of itself). May have no rows.
        title: above the image.
        width: most pixels across.
        height: most pixels down.
        pickable: let `anchorkit.widgets.Picture` pick boxes by ``pick``.

    Raises:
        InputError: the image is no uint8 (H, W, 3), a column is missing, a style is unknown, or there are more than
            3,000 boxes.
    """
    pixels = check_image(image)
    columns = ("x1", "y1", "x2", "y2", "color", "style", "label", "marked", *(("pick", "note") if pickable else ()))
    require(boxes, columns, "boxes", empty=True)
    at_most(len(boxes), "boxes")
    unknown = set(boxes["style"]) - set(STYLES)
    if unknown:
        raise InputError(f"boxes: unknown style {min(unknown)!r}; use {', '.join(STYLES)}")
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    across, down = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)

    def x(name: str) -> alt.X:
        return alt.X(f"{name}:Q", axis=None, scale=alt.Scale(domain=[0, across], nice=False))

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", axis=None, scale=alt.Scale(domain=[0, down], reverse=True, nice=False))

    middle = alt.Chart(pd.DataFrame({"x": [across / 2], "y": [down / 2]}))
    photo = middle.mark_image(url=_data_url(pixels, across, down), width=across, height=down, aria=False)
    layers: list[Any] = [photo.encode(x=x("x"), y=y("y"))]
    if len(boxes):
        # Channels as objects, and one table for several layers: both save Altair work, and the picture is drawn often.
        data = _in_view(boxes, scale, across, down)
        corners = {"x": x("x1"), "x2": alt.X2("x2:Q"), "y": y("y1"), "y2": alt.Y2("y2:Q")}
        outline: dict[str, Any] = {"filled": False, "clip": True, "aria": False}
        glow = alt.Chart().mark_rect(**outline, stroke=_MARKER, strokeWidth=10)
        # A white hairline around the coloured line keeps the box visible on any ground.
        hairline = alt.Chart().mark_rect(**outline, stroke="#ffffff")
        outlines: list[Any] = [
            glow.encode(strokeOpacity=alt.StrokeOpacity("glow:Q", scale=None), **corners),
            hairline.encode(strokeWidth=alt.StrokeWidth("hairline:Q", scale=None), **corners),
        ]
        for style, (broad, dash) in _LINES.items():
            if style in set(data["style"]):  # Vega-Lite gives rectangles no dashes by data: a layer for each style
                line = alt.Chart().transform_filter(f"datum.style === '{style}'")
                line = line.mark_rect(**outline, strokeWidth=broad, strokeDash=dash)
                outlines.append(line.encode(stroke=alt.Stroke("color:N", scale=None), **corners))
        layers.append(alt.layer(*outlines, data=data))
        labelled = data[data["label"] != ""]
        if len(labelled):
            layers.append(_labels(_placed(labelled, across, down), x, y))
        if pickable:  # above the labels, which must not hide a small box from the mouse
            targets = alt.Chart(with_picks(data[["x1", "x2", "y1", "y2"]], data["pick"], data["note"]))
            layers.append(targets.mark_rect(**CLEAR, clip=True).encode(**corners, **pick_channels()))
    heading = alt.TitleParams(title, fontSize=15, offset=8)
    chart: AnyChart = alt.layer(*layers, width=across, height=down, title=heading)
    return chart


def _data_url(pixels: np.ndarray, across: int, down: int) -> str:
    """The image as it travels: as JPEG, no larger than it is shown on a sharp screen."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((round(1.25 * across), round(1.25 * down)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _in_view(boxes: pd.DataFrame, scale: float, across: int, down: int) -> pd.DataFrame:
    """Boxes in pixels of the chart, cut at its border; small ones last, so that they lie on top and can be picked."""
    data = boxes.copy()
    for low, high, end in (("x1", "x2", across), ("y1", "y2", down)):
        for name in (low, high):
            data[name] = (data[name].astype(float) * scale).clip(1, end - 1).round(1)
    data["hairline"] = data["style"].map({style: width + 1.8 for style, (width, _) in _LINES.items()})
    data["glow"] = np.where(data["marked"], 0.85, 0.0)
    area = (data["x2"] - data["x1"]) * (data["y2"] - data["y1"])
    return data.iloc[np.argsort(-area.to_numpy(), kind="stable")]


def _placed(data: pd.DataFrame, across: int, down: int) -> pd.DataFrame:
    """Where the labels go: above the box or, where that is taken or outside, inside it, below it, or further down."""
    taken: list[tuple[float, float, float]] = []
    rows = []
    # What is marked chooses first.
    for box in data.iloc[np.argsort(~data["marked"].to_numpy(bool), kind="stable")].to_dict("records"):
        wide = min(_FONT * sum(_wide(c) for c in box["label"]) + 8, across)
        left = min(max(box["x1"] - 1, 0), across - wide)
        places = [box["y1"] - _PLATE, box["y1"], box["y2"], box["y2"] - _PLATE]
        places += [box["y1"] + step * _PLATE for step in (1, 2, -2, 3, -3)]
        inside = [top for top in places if 0 <= top <= down - _PLATE] or [0.0]
        free = (
            top
            for top in inside
            if not any(left < b and a < left + wide and abs(top - other) < _PLATE for a, b, other in taken)
        )
        top = next(free, inside[0])
        taken.append((left, left + wide, top))
        rows.append(
            {
                "left": round(left, 1),
                "right": round(left + wide, 1),
                "top": round(top, 1),
                "bottom": round(top + _PLATE, 1),
                "text_x": round(left + 4, 1),
                "middle": round(top + _PLATE / 2, 1),
                "label": box["label"],
                "color": box["color"],
                "ink": text_on(box["color"]),
            }
        )
    return pd.DataFrame(rows)


def _wide(letter: str) -> float:
    """About how wide a letter is, as a share of the size of a bold font."""
    return 0.42 if letter in " /.:,ijltfr" else 0.65 if letter.islower() else 0.7


def _labels(rows: pd.DataFrame, x: Any, y: Any) -> AnyChart:
    text = alt.Chart().mark_text(align="left", baseline="middle", fontSize=_FONT, fontWeight=600, aria=False)
    text = text.encode(x=x("text_x"), y=y("middle"), text=alt.Text("label:N"), color=alt.Color("ink:N", scale=None))
    plate = alt.Chart().mark_rect(aria=False).encode(x=x("left"), x2=alt.X2("right:Q"), y=y("top"))
    plate = plate.encode(y2=alt.Y2("bottom:Q"), color=alt.Color("color:N", scale=None))
    labels: AnyChart = alt.layer(plate, text, data=rows)
    return labels
