"""Charts of channels: how many each group keeps, and which of them score low."""

from __future__ import annotations

import altair as alt
import pandas as pd

from anchorkit.errors import InputError
from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import at_most, require
from anchorkit.plots.marks import names_axis
from anchorkit.plots.theme import GHOST, INK, LEVEL_COLORS, QUIET

_PARTS = {name: LEVEL_COLORS[place] for name, place in (("trunk", 0), ("pyramid", 2), ("aggregation", 3), ("head", 1))}
_ROW = 26
_MOST_GROUPS = 200


def channel_widths(groups: pd.DataFrame, *, width: int = 460) -> AnyChart:
    """How many channels each group of coupled channels has, as outlines, and how many stay, as bars.

    Groups are in the order of the network, coloured by their part.

    Args:
        groups: one row per group: ``group`` (its name), ``part`` (see `ChannelGroup`), ``stride``,
            ``channels`` and, if there, ``kept``: as in the frame of `anchorkit.channels.channel_pruning` or
            of `anchorkit.coupled_channels`.
        width: width of the plot in pixels.

    Raises:
        InputError: a column is missing, there are no rows, or a part is unknown.

    Examples:
        >>> import pandas as pd
        >>> from anchorkit import plots
        >>> groups = pd.DataFrame({"group": ["stem", "body"], "part": "trunk", "stride": [2, 4], "channels": [16, 32]})
        >>> plots.channel_widths(groups.assign(kept=[12, 20])).title.text
        'Channels of each group'
    """
    require(groups, ("group", "part", "stride", "channels"), "groups")
    rows = _named(groups)
    cut = "kept" in groups
    kept = groups["kept" if cut else "channels"].to_numpy()
    rows = rows.assign(before=groups["channels"].to_numpy(), kept=kept)
    rows["label"] = [f"{k} of {n}" if cut else f"{n}" for k, n in zip(rows["kept"], rows["before"], strict=True)]
    y = names_axis("name", rows["name"], 300)
    longest = float(rows["before"].max())
    scale = alt.Scale(domain=[0, longest * 1.02], nice=False)
    x, before = (
        alt.X(f"{field}:Q", title="Channels", scale=scale, axis=alt.Axis(tickCount=6, labelLimit=0))
        for field in ("kept", "before")
    )
    base = alt.Chart(rows).encode(y=y, tooltip=["group:N", "part:N", "stride:Q", "before:Q", "kept:Q"])
    outline = base.mark_bar(height=16, filled=False, stroke=GHOST, strokeDash=[4, 3]).encode(x=before)
    bars = base.mark_bar(height=16, opacity=0.9).encode(x=x, color=_part_color(rows))
    text = base.mark_text(align="left", dx=8, fontSize=12, color=INK).encode(x=alt.value(width), text="label:N")
    heading = alt.TitleParams("Channels of each group", subtitle="outline: before" if cut else alt.Undefined)
    return alt.layer(outline, bars, text).properties(width=width, height=_ROW * len(rows), title=heading)


def channel_scores(scores: pd.DataFrame, *, width: int = 460) -> AnyChart:
    """The score of every channel beside those of its group: the lowest are the most redundant.

    Scores are divided by the mean of their group. What is above four times the mean is drawn at four.

    Args:
        scores: one row per channel (or atom of channels that go together): ``group``, ``part``, ``stride``, ``score``
            (0 or more) and ``kept`` (bool).
        width: width of the plot in pixels.

    Raises:
        InputError: a column is missing, or there are no rows or too many.

    Examples:
        >>> import pandas as pd
        >>> from anchorkit import plots
        >>> rows = pd.DataFrame({"group": "stem", "part": "trunk", "stride": 2, "score": [3.0, 0.1, 1.0]})
        >>> plots.channel_scores(rows.assign(kept=[True, False, True])).title.text
        'Which channels score low'
    """
    require(scores, ("group", "part", "stride", "score", "kept"), "scores")
    at_most(len(scores), "channel_scores")
    rows = _named(scores)
    mean = scores.groupby("group")["score"].transform("mean").replace(0, 1)
    rows = rows.assign(
        x=(scores["score"] / mean).clip(upper=4).round(4).to_numpy(),
        state=["stays" if kept else "goes" for kept in scores["kept"]],
    )
    colors = alt.Scale(domain=["stays", "goes"], range=[GHOST, LEVEL_COLORS[1]])
    scale = alt.Scale(domain=[0, max(float(rows["x"].max()), 1.0) * 1.02], nice=False)
    x = alt.X("x:Q", title="Score / mean of the group", scale=scale, axis=alt.Axis(tickCount=5, labelLimit=0))
    legend = alt.Legend(orient="top", symbolType="square", symbolOpacity=1)
    ticks = alt.Chart(rows).mark_tick(thickness=1.6, height=16, opacity=0.85, aria=False)
    chart: AnyChart = ticks.encode(
        x=x,
        y=names_axis("name", dict.fromkeys(rows["name"]), 300),
        color=alt.Color("state:N", title=None, scale=colors, legend=legend),
        tooltip=["group:N", "part:N", "stride:Q", "state:N"],
    ).properties(
        width=width,
        height=_ROW * rows["name"].nunique(),
        title=alt.TitleParams("Which channels score low", subtitle="one tick per channel", subtitleColor=QUIET),
    )
    return chart


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows with their group's name and stride as one text."""
    unknown = sorted(set(frame["part"]) - set(_PARTS))
    if unknown:
        raise InputError(f"groups: unknown part {unknown[0]!r}; use {', '.join(_PARTS)}")
    if frame["group"].nunique() > _MOST_GROUPS:
        raise InputError(f"groups: more than {_MOST_GROUPS} groups are too many for one chart; choose some of them")
    rows = frame[["group", "part", "stride"]].reset_index(drop=True)
    return rows.assign(name=[f"{name}  /{stride}" for name, stride in zip(rows["group"], rows["stride"], strict=True)])


def _part_color(rows: pd.DataFrame) -> alt.Color:
    parts = [part for part in _PARTS if part in set(rows["part"])]
    legend = alt.Legend(orient="top", title=None, symbolType="square") if len(parts) > 1 else None
    return alt.Color("part:N", scale=alt.Scale(domain=parts, range=[_PARTS[part] for part in parts]), legend=legend)
