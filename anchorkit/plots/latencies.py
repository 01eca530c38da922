"""Charts of measured time."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from anchorkit.errors import InputError
from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import require
from anchorkit.plots.theme import INK, QUIET

_PARTS = {"network": "network", "postprocess": "post-processing"}
_COLORS = ("#1f5fe0", "#e8590c")
_NEEDED = ("detector", "part", "runtime", "threads", "median_ms", "q25_ms", "q75_ms")


def latency(frame: pd.DataFrame, *, width: int = 560) -> AnyChart:
    """How long an image takes: the network and the post-processing, a bar for each detector, a panel for each runtime.

    The bars are medians laid end to end; the line over them holds the middle half of all measured totals.

    Args:
        frame: ``detector``, ``part`` (``"network"``, ``"postprocess"``, ``"total"``), ``runtime``, ``threads``,
            ``median_ms``, ``q25_ms``, ``q75_ms``: `anchorkit.latency.LatencyReport.frame`.
        width: width of a panel in pixels.

    Raises:
        InputError: a column is missing, or a detector lacks one of the parts.
    """
    require(frame, _NEEDED, "latency")
    names = list(dict.fromkeys(frame["detector"]))
    scale = alt.Scale(domain=[0, 1.18 * float(frame["q75_ms"].max())], nice=False)
    panels = []
    for (runtime, thread_count), rows in frame.groupby(["runtime", "threads"], sort=False):
        threads = int(str(thread_count))
        if any(set(group["part"]) != {*_PARTS, "total"} for _, group in rows.groupby("detector")):
            raise InputError(f"latency: a detector lacks a part; each needs {', '.join(_PARTS)} and total")
        y = alt.Y("detector:N", sort=names, title=None, axis=alt.Axis(labelColor=INK, labelLimit=220, ticks=False))
        bars = rows[rows["part"].isin(_PARTS)].assign(part=lambda part: part["part"].map(_PARTS))
        totals = rows[rows["part"] == "total"].assign(label=lambda total: total["median_ms"].map("{:.2f} ms".format))
        x = alt.X("median_ms:Q", title="Time for an image (ms)", scale=scale)
        parts = alt.Scale(domain=list(_PARTS.values()), range=list(_COLORS))
        color = alt.Color("part:N", title=None, scale=parts, legend=alt.Legend(orient="top"))
        middle, end = (alt.X(f"{quartile}_ms:Q", scale=scale) for quartile in ("q25", "q75"))
        chart = alt.Chart(totals.round(4)).encode(y=y)
        layers: list[Any] = [
            alt.Chart(bars.round(4)).mark_bar(size=20).encode(x=x, y=y, color=color, order=alt.Order("part:N")),
            chart.mark_rule(strokeWidth=2, color=INK).encode(x=middle, x2="q75_ms:Q"),
            chart.mark_text(align="left", dx=8, color=INK, fontSize=13).encode(x=end, text="label:N"),
        ]
        threaded = f"{threads} thread" + ("s" if threads != 1 else "")
        title = alt.TitleParams(str(runtime), subtitle=threaded, fontSize=15, subtitleColor=QUIET)
        panels.append(alt.layer(*layers).properties(width=width, height=alt.Step(34), title=title))
    return alt.vconcat(*panels, spacing=26, title="How long one image takes")
