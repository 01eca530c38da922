"""Charts of whole sets of anchors: every anchor drawn (paper Fig. 4), and which anchor could replace which."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from anchorkit.errors import InputError
from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import ANCHOR_COLUMNS, MAX_ROWS, at_most, level_of, require
from anchorkit.plots.marks import CLEAR
from anchorkit.plots.picking import pick_channels, with_marks, with_picks
from anchorkit.plots.theme import GHOST, INK, QUIET, level_color, readable

_ALL = "all others"
_DROPPED = "#6f7781"
"""The size of an anchor that is dropped."""


def anchor_board(board: pd.DataFrame, *, width: int = 860, pickable: bool = False) -> AnyChart:
    """Every anchor drawn to one scale, one row per level (paper Fig. 4): filled if kept, a dashed outline if dropped.

    Args:
        board: ``anchor_id``, ``level``, ``width``, ``height`` (input pixels), ``kept`` (bool); if there, ``ringed``
            (bool: drawn with a ring around).
        width: width of the board in pixels; the anchors are scaled so that the widest row fills it.
        pickable: draw every anchor as kept, for `anchorkit.widgets.Picture` to pick (anchors by ``anchor_id``, levels
            as ``level 0``, ...) and to show as dropped or ringed.

    Raises:
        InputError: a column is missing or there are no rows.

    Examples:
        >>> from anchorkit import plots
        >>> from anchorkit.analysis.redundancy import anchor_frame
        >>> from anchorkit.search.toy import toy_evaluator
        >>> kept = toy_evaluator().layout.configuration(keep=["L0/16x16", "L1/32x32"])
        >>> plots.anchor_board(anchor_frame(kept)).title.text
        '2 of 6 anchors kept'
    """
    require(board, (*ANCHOR_COLUMNS, "kept"), "board")
    at_most(len(board), "board")
    data, heads, height = _place(board, width)

    def x(name: str) -> alt.X:
        return alt.X(f"{name}:Q", axis=None, scale=alt.Scale(domain=[0, width], nice=False))

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", axis=None, scale=alt.Scale(domain=[0, height], reverse=True, nice=False))

    tooltip = [alt.Tooltip("anchor_id:N"), alt.Tooltip("size:N"), alt.Tooltip("state:N")]
    # Colours as data, not by a scale: a board beside another chart must not end up in that one's colours.
    color = alt.Color("color:N", scale=None)
    kept, dropped = data[data["kept"]], data[~data["kept"]]
    boxes = {"x": x("x"), "x2": "x2:Q", "y": y("y"), "y2": "y2:Q", "tooltip": tooltip}
    layers: list[Any] = [
        alt.Chart(heads).mark_rule(color="#e6e9ed").encode(y=y("rule"), x=alt.value(0), x2=alt.value(width)),
        alt.Chart(heads)
        .mark_text(align="left", baseline="middle", fontSize=14, fontWeight=600)
        .encode(x=alt.value(0), y=y("middle"), text="name:N", color=alt.Color("ink:N", scale=None)),
    ]
    if pickable:  # what is kept changes by every click, and the picture's looks with it, not the chart
        kept = with_marks(data, data["anchor_id"])
        boxes |= pick_channels()
    else:
        counts = alt.Chart(heads).mark_text(align="left", baseline="middle", dy=18, color=QUIET)
        layers.append(counts.encode(x=alt.value(0), y=y("middle"), text="count:N"))
        if len(dropped):
            outline: dict[str, Any] = {"filled": False, "stroke": GHOST, "strokeDash": [3, 3], "strokeWidth": 1.4}
            layers.append(alt.Chart(dropped).mark_rect(**outline).encode(**boxes))
    if len(kept):
        layers.append(alt.Chart(kept).mark_rect(fillOpacity=0.82, strokeWidth=1).encode(color=color, **boxes))
    sizes = alt.Chart(kept if pickable else data).mark_text(baseline="top", fontSize=13)
    ink = alt.value(INK) if pickable else alt.condition("datum.kept", alt.value(INK), alt.value(_DROPPED))
    picks = pick_channels() if pickable else {}
    layers.append(sizes.encode(x=x("center"), y=y("foot"), text="size:N", color=ink, **picks))
    slots = {"x": x("left"), "x2": "right:Q", "y": y("top"), "y2": "bottom:Q"}
    if not pickable and data["ringed"].any():
        ring = alt.Chart(data[data["ringed"]])
        layers.append(ring.mark_rect(filled=False, stroke=INK, strokeWidth=2.4, cornerRadius=5).encode(**slots))
    if pickable:
        anchors = with_picks(data, data["anchor_id"], data["anchor_id"])
        levels = with_picks(heads, "level " + heads["level"].astype(str), heads["name"])
        ends = {"x": alt.value(0), "x2": alt.value(80), "y": y("top"), "y2": "bottom:Q"}
        for rows, place in ((anchors, slots), (levels, ends)):
            layers.append(alt.Chart(rows).mark_rect(**CLEAR, cornerRadius=5).encode(**place, **picks))
        return alt.layer(*layers).properties(width=width, height=height)
    title = f"{int(board['kept'].sum())} of {len(board)} anchors kept"
    heading = alt.TitleParams(title, subtitle="width x height in input pixels; dashed: dropped")
    return alt.layer(*layers).properties(width=width, height=height, title=heading)


def coverage_matrix(coverage: pd.DataFrame, *, pickable: bool = False) -> AnyChart:
    """Who covers whom: how much of each anchor's boxes falls where another anchor also puts its boxes.

    A row is an anchor, a column one that might replace it; ``all others`` is the rightmost column. Of more than
    3,000 cells the smallest shares are left out, which look the same as nothing.

    Args:
        coverage: ``anchor_id``, ``by_id`` (an anchor id or ``"all others"``), ``share`` (0..1; NaN where the anchor
            has no boxes: such a row stays white, and a note names the anchor).
        pickable: for `anchorkit.widgets.Picture`: rows answer ``anchor_id``, cells ``anchor_id|by_id`` (in large
            matrices the empty ones answer as their row does); a frame around a row is there to be shown by the name
            ``frame anchor_id``.

    Raises:
        InputError: a column is missing, there are no rows, or a share is not within 0..1.
    """
    require(coverage, ("anchor_id", "by_id", "share"), "coverage")
    if not (coverage["share"].between(0, 1) | coverage["share"].isna()).all():
        raise InputError("coverage: a share is not within 0..1")
    rows = list(dict.fromkeys(coverage["anchor_id"]))
    by = [name for name in dict.fromkeys(coverage["by_id"]) if name != _ALL]
    columns = [*(name for name in rows if name in by), *(name for name in by if name not in rows)]
    if _ALL in set(coverage["by_id"]):
        columns.append(_ALL)
    known = coverage[coverage["share"].notna()]
    without = [name for name in rows if name not in set(known["anchor_id"])]
    cells = known[known["anchor_id"] != known["by_id"]]
    cells = cells.nlargest(MAX_ROWS - len(rows), "share") if len(cells) > MAX_ROWS - len(rows) else cells
    data = cells[["anchor_id", "by_id"]].assign(percent=(100 * cells["share"]).round().astype(int))
    few = max(len(rows), len(columns)) <= 20
    if pickable and not few:  # most cells say nothing, and what can be pointed at takes the longest to draw
        data = data[data["percent"] > 0]
    step = 26 if few else 28 if len(rows) <= 36 and not pickable else 19
    label = _label_color([*rows, *columns])
    axis = {"labelColor": label, "ticks": False, "domain": False, "labelLimit": 0}
    titles = (None, None) if pickable else ("... is covered by the boxes of", "Share of the boxes of anchor ...")
    across = {"labelAngle": -90, **axis}
    x = alt.X("by_id:N", sort=columns, title=titles[0], scale={"domain": columns}, axis=across)
    y = alt.Y("anchor_id:N", sort=rows, title=titles[1], scale={"domain": rows}, axis=axis)
    color = alt.Color(
        "percent:Q",
        title="covered (%)",
        scale={"domain": [0, 100], "range": ["#f4f6f9", "#c8d8f2", "#7fa6e3", "#2f62bd", "#0b2a63"]},
        # On top: beside some thirty columns it would not fit on a notebook's page.
        legend={"orient": "top", "gradientLength": 200, "values": [0, 25, 50, 75, 100]},
    )
    layers: list[Any] = []
    channels: dict[str, Any] = {"tooltip": ["anchor_id", "by_id", "percent"]}
    if pickable:
        channels = pick_channels()
        whole = pd.DataFrame({"anchor_id": rows})
        whole = with_picks(whole, whole["anchor_id"], whole["anchor_id"])
        ends = {"x": alt.value(-86), "x2": alt.value("width"), "y": y}  # from the left end of the labels on
        layers.append(alt.Chart(whole).mark_rect(**CLEAR).encode(**ends, **channels))
        says = data["anchor_id"] + ": " + data["percent"].astype(str) + " % covered by " + data["by_id"]
        data = with_picks(data, data["anchor_id"] + "|" + data["by_id"], says)
    # Cells of an interactive chart are named by their labels, for screen readers too; a still one is read as a table.
    heat = alt.Chart(data).mark_rect(stroke="#ffffff", strokeWidth=1, aria=pickable)
    layers.append(heat.encode(x=x, y=y, color=color, **channels))
    own = pd.DataFrame({"anchor_id": rows, "by_id": rows})
    own = own[own["by_id"].isin(columns)]
    layers.append(alt.Chart(own).mark_rect(color="#d5dae0", stroke="#ffffff").encode(x=x, y=y))
    if step >= 26:
        # Numbers where they matter: those from half covered on, and smaller ones where there is room to look closer.
        for part, ink in (
            (data[data["percent"].between(10 if few else 50, 64)], INK),
            (data[data["percent"] >= 65], "#ffffff"),
        ):
            texts = alt.Chart(with_marks(part, part["anchor_id"]) if pickable else part)
            text = texts.mark_text(fontSize=13, color=ink).encode(x=x, y=y, text="percent:Q")
            layers.append(text.encode(**channels) if pickable else text)
    if pickable:
        frames = with_marks(whole, "frame " + whole["anchor_id"])
        outline = alt.Chart(frames).mark_rect(**CLEAR, stroke="#ffffff", strokeOpacity=0.0)
        layers.append(outline.encode(**ends, **channels))
    note = [f"no boxes, so nothing to say: {', '.join(without)}"] if without else []
    if pickable:  # beside another picture there is no room for titles of the axes
        note.insert(0, "% of the boxes of the row's anchor, covered by the column's")
    title = alt.TitleParams("Which anchors could stand in for which", subtitle=note)
    return alt.layer(*layers).properties(width=alt.Step(step), height=alt.Step(step), title=title)


def _place(board: pd.DataFrame, width: int) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """The place of each anchor: rectangles side by side on the row's base line, the size below."""
    narrow = width < 600
    head, slot, gap, foot = (88.0, 52.0, 8.0, 20.0) if narrow else (120.0, 58.0, 12.0, 20.0)
    levels = [group for _, group in board.groupby("level", sort=True)]
    scale = 1.0
    for _ in range(30):  # slots have a least width, so the fitting scale is found by shrinking
        widest = max(float(np.maximum(group["width"] * scale, slot).sum()) + gap * len(group) for group in levels)
        # Once every anchor is as narrow as its slot, smaller ones would take as much room.
        if head + widest <= width or float(board["width"].max()) * scale <= slot:
            break
        scale *= 0.9
    rows, heads, top = [], [], 0.0
    for group in levels:
        tallest = max(float(group["height"].max()) * scale, 26.0)
        floor = top + 14 + tallest
        left = head
        for anchor in group.to_dict("records"):
            w, h = float(anchor["width"]) * scale, float(anchor["height"]) * scale
            half = max(w, slot) / 2
            center = left + half
            rows.append(
                {
                    "anchor_id": anchor["anchor_id"],
                    "level": int(anchor["level"]),
                    "kept": bool(anchor["kept"]),
                    "ringed": bool(anchor.get("ringed", False)),
                    "left": center - half - 4,
                    "right": center + half + 4,
                    "top": top + 6,
                    "bottom": floor + foot + 2,
                    "state": "kept" if anchor["kept"] else "dropped",
                    "color": level_color(int(anchor["level"])),
                    "size": str(anchor["anchor_id"]).split("/")[-1],
                    "x": center - w / 2,
                    "x2": center + w / 2,
                    "y": floor - h,
                    "y2": floor,
                    "center": center,
                    "foot": floor + 5,
                }
            )
            left += max(w, slot) + gap
        level = int(group["level"].iloc[0])
        heads.append(
            {
                "level": level,
                "name": f"Level {level}",
                "ink": readable(level_color(level)),
                "count": f"{int(group['kept'].sum())} of {len(group)} kept",
                "middle": top + 14 + tallest / 2,
                "top": top + 6,
                "bottom": floor + foot + 2,
                "rule": floor + foot + 6,
            }
        )
        top = floor + foot + 6
    return pd.DataFrame(rows).round(2), pd.DataFrame(heads).round(2), round(top + 4, 1)


def _label_color(ids: list[str]) -> Any:
    """Axis labels in the colour of their level."""
    tests = [
        {"test": f"indexof(datum.label, 'L{level}/') === 0", "value": readable(level_color(level))}
        for level in sorted({level_of(name) for name in ids if name != _ALL})
    ]
    return {"condition": tests, "value": INK}
