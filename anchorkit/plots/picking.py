"""Marks that can be picked: the part of an interactive chart that the chart itself has to know.

A mark with a pick becomes a link in the SVG, whose label is the text for pointing at it and for screen readers. The
links lead nowhere: `to_pickable_svg` turns them into ``<a data-pick="...">``, which `anchorkit.widgets.Picture`
listens to. Charts for reading alone are drawn without.
"""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import quote, unquote

import altair as alt
import pandas as pd

from anchorkit.plots.export import AnyChart, to_svg

_LINK = re.compile(r'<a xlink:href="[^"]*#anchorkit-(pick|mark|corner)=([^"]*)"[^>]*>')


def with_picks(rows: pd.DataFrame, picks: pd.Series[Any], labels: pd.Series[Any]) -> pd.DataFrame:
    """Rows of a mark with what `pick_channels` needs.

    Args:
        rows: the mark's data.
        picks: what each row answers when it is picked; any text.
        labels: what each row says of itself; line breaks are kept.
    """
    return rows.assign(pick_link=_links("pick", picks), pick_label=[str(label) for label in labels])


def with_marks(rows: pd.DataFrame, picks: pd.Series[Any]) -> pd.DataFrame:
    """Rows of a mark that changes its looks with what is picked by this name, and cannot be picked itself."""
    return rows.assign(pick_link=_links("mark", picks), pick_label="")


def pick_channels() -> dict[str, Any]:
    """Encodings that make a mark pickable; its data comes from `with_picks` or `with_marks`."""
    return {"href": alt.Href("pick_link:N"), "description": alt.Description("pick_label:N")}


def corners(x: alt.X, y: alt.Y, low: tuple[float, float], high: tuple[float, float]) -> alt.Chart:
    """Two invisible marks at (x, y) `low` and `high`, between which a `Picture` places its pointer.

    Args:
        x: channel of the field ``x``.
        y: channel of the field ``y``.
        low: where the pointer's (0, 0) is, in the data's units.
        high: where its (1, 1) is.
    """
    rows = pd.DataFrame({"x": [low[0], high[0]], "y": [low[1], high[1]]})
    rows = rows.assign(pick_link=_links("corner", pd.Series([0, 1])), pick_label="")
    marks: alt.Chart = alt.Chart(rows).mark_circle(size=4, opacity=0.001).encode(x=x, y=y, **pick_channels())
    return marks


def to_pickable_svg(chart: AnyChart) -> str:
    """The chart as SVG text in which marks with a pick are ``<a data-pick="...">`` elements and lead nowhere."""

    def link(match: re.Match[str]) -> str:
        name = html.escape(unquote(html.unescape(match.group(2))), quote=True)
        return f'<a data-{match.group(1)}="{name}">'

    return _LINK.sub(link, to_svg(chart))


def _links(kind: str, names: pd.Series[Any]) -> list[str]:
    return [f"#anchorkit-{kind}={quote(str(name), safe='')}" for name in names]
