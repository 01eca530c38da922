"""A chart of the reasons of a change in accuracy: the errors of a detector by kind, before and after."""

from __future__ import annotations

import altair as alt
import pandas as pd

from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import require, signed
from anchorkit.plots.marks import names_axis, ring_and_dot
from anchorkit.plots.theme import GHOST, INK, QUIET, SEARCH_COLOR, STAGE_COLORS


def error_changes(changes: pd.DataFrame, *, width: int = 300) -> AnyChart:
    """The AP50 that correcting each kind of error would give back, before and after; the kind that grew most on top.

    Args:
        changes: ``error`` (its name), ``dap_before`` and ``dap_after`` (AP50 that correcting it gives back, 0..1),
            ``count_before`` and ``count_after``: what
            `anchorkit.analysis.diagnosis.compare` gives, with the index as a column.
        width: width of the plot in pixels.

    Raises:
        InputError: a column is missing or there are no rows.
    """
    require(changes, ("error", "dap_before", "dap_after", "count_before", "count_after"), "changes")
    data = pd.DataFrame(
        {
            "error": changes["error"].astype(str),
            "before": 100 * changes["dap_before"].astype(float),
            "after": 100 * changes["dap_after"].astype(float),
            "counts": [
                f"{int(was):,} \N{RIGHTWARDS ARROW} {int(now):,}"
                for was, now in zip(changes["count_before"], changes["count_after"], strict=True)
            ],
        }
    )
    data = data.assign(change=(data["after"] - data["before"]).round(2) + 0.0)
    data = data.sort_values("change", ascending=False, kind="stable").round(3)
    data["label"] = [signed(value, 2) for value in data["change"]]
    data["color"] = [
        SEARCH_COLOR if value > 0 else STAGE_COLORS["retrained"] if value < 0 else GHOST for value in data["change"]
    ]
    y = names_axis("error", data["error"], 160)
    most = max(float(data[["before", "after"]].to_numpy().max()), 0.1)
    scale = alt.Scale(domain=[0, 1.04 * most], nice=False)
    before = alt.X("before:Q", title="AP50 that mending gives back (points)", scale=scale, axis=alt.Axis(tickCount=5))
    channels = {"before": before, "after": alt.X("after:Q", scale=scale), "y": y}
    tooltip = ["error:N", "before:Q", "after:Q", "counts:N"]
    chart = alt.Chart(data)
    return alt.layer(
        *ring_and_dot(data, channels, alt.Color("color:N", scale=None), tooltip),
        chart.mark_text(align="right", color=INK).encode(x=alt.value(width + 50), y=y, text="label:N"),
        chart.mark_text(align="left", color=QUIET).encode(x=alt.value(width + 62), y=y, text="counts:N"),
    ).properties(
        width=width,
        height=alt.Step(26),
        title=alt.TitleParams(
            "Errors by kind: before (ring) and after (dot)", subtitle="right: change in points, and how many"
        ),
    )
