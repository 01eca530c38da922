"""Charts that take results apart: training over its steps, costs over levels, changes over measures and classes."""

from __future__ import annotations

import math
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from anchorkit.errors import InputError
from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import change, measures, points, require, signed, unit
from anchorkit.plots.marks import accuracy_title, names_axis, ring_and_dot
from anchorkit.plots.theme import GHOST, INK, QUIET, SEARCH_COLOR, STAGE_COLORS, level_color

_LOSS_ROWS = 600
_CLASSES = 20
# What a training may do beside learning its task: the axis title and the factor of each column.
_BESIDE_THE_LOSS = {
    "penalty": (["Sparsity", "penalty"], 1),
    "small_scales": (["Scales below", "0.01 (%)"], 100),
    "distilling": (["Distance to", "the teacher"], 1),
}


def training_curve(history: pd.DataFrame, *, width: int = 640) -> AnyChart:
    """The loss and, below it, the accuracy on validation images, over the steps of a training.

    Between them, if the history has them: the penalty of a sparse training, the share of small scales, and the distance
    to a teacher's attention. Of more than 600 steps, equal stretches are averaged.

    Args:
        history: ``step``, ``loss`` and, if there, ``val_AP`` (0..1; empty where nothing was measured), ``epoch``,
            ``penalty``, ``small_scales`` (0..1) and ``distilling``, as `anchorkit.training.History` has them.
        width: width of the plot in pixels.

    Raises:
        InputError: a column is missing, or no loss is a finite number.

    Examples:
        >>> import pandas as pd
        >>> from anchorkit import plots
        >>> history = pd.DataFrame({"step": [0, 100, 200], "loss": [3.0, 1.5, 1.2], "val_AP": [None, None, 0.2]})
        >>> len(plots.training_curve(history).vconcat)
        2
    """
    require(history, ("step", "loss"), "history")
    loss = history[["step", "loss"]].astype(float).replace([np.inf, -np.inf], np.nan).dropna()
    require(loss, (), "history: the loss")
    if len(loss) > _LOSS_ROWS:
        stretch = np.arange(len(loss)) * _LOSS_ROWS // len(loss)
        loss = loss.groupby(stretch).mean()
    smooth = loss.assign(loss=loss["loss"].rolling(max(len(loss) // 30, 1), min_periods=1, center=True).mean())
    domain = [float(history["step"].min()), float(history["step"].max())]
    steps = alt.Scale(domain=domain, nice=False)
    x = alt.X("step:Q", title="Step", scale=steps, axis=alt.Axis(tickCount=8, format=",d"))
    y = alt.Y("loss:Q", title="Training loss", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    raw = alt.Chart(loss.round(4)).mark_line(color=GHOST, strokeWidth=1, opacity=0.7).encode(x=x, y=y)
    even = alt.Chart(smooth.round(4)).mark_line(color=INK, strokeWidth=2.2).encode(x=x, y=y)
    panels: list[Any] = [alt.layer(raw, even).properties(width=width, height=190)]
    for column, (name, factor) in _BESIDE_THE_LOSS.items():
        if column in history and history[column].notna().any():
            data = history[["step", column]].astype(float).dropna()
            data = data.iloc[:: math.ceil(len(data) / _LOSS_ROWS)].assign(value=(factor * data[column]).round(4))
            y = alt.Y("value:Q", title=name, scale=alt.Scale(domainMin=0), axis=alt.Axis(tickCount=3))
            line = alt.Chart(data[["step", "value"]]).mark_line(color=INK, strokeWidth=2.2)
            line = line.encode(x=x.title(None), y=y, tooltip=["step:Q", "value:Q"])
            panels.append(line.properties(width=width, height=90))
    if "val_AP" in history and history["val_AP"].notna().any():
        measured = history[history["val_AP"].notna()]
        if len(measured) > _LOSS_ROWS:
            measured = measured.iloc[np.linspace(0, len(measured) - 1, _LOSS_ROWS).astype(int)]
        data = measured[["step", "val_AP"]].astype(float).rename(columns={"val_AP": "AP"})
        data = data.assign(AP=100 * data["AP"]).round(3)
        ap = alt.Y("AP:Q", title=accuracy_title(), axis=alt.Axis(tickCount=5))
        color = STAGE_COLORS["retrained"]
        chart = alt.Chart(data)
        last = alt.Chart(data.tail(1).assign(label=f"{data['AP'].iloc[-1]:.1f}"))
        panels.append(
            alt.layer(
                chart.mark_line(color=color, strokeWidth=2).encode(x=x, y=ap),
                chart.mark_circle(color=color, size=60, opacity=1).encode(x=x, y=ap, tooltip=["step:Q", "AP:Q"]),
                last.mark_text(dy=-13, align="right", fontWeight=600, color=color).encode(x=x, y=ap, text="label:N"),
            ).properties(width=width, height=190)
        )
    return alt.vconcat(*panels).properties(title="Training")


def level_costs(levels: pd.DataFrame, full: pd.DataFrame | None = None, *, cost: str = "head_flops") -> AnyChart:
    """What each level costs: filled bars for the kept anchors, outlines for the unpruned detector.

    Args:
        levels: ``name``, ``anchors`` and `cost` of each level, in their order (as `anchorkit.costs.level_costs` gives).
        full: the same for the unpruned detector.
        cost: ``"head_flops"`` or ``"boxes"``.

    Raises:
        InputError: a column is missing or there are no rows.

    Examples:
        >>> import pandas as pd
        >>> from anchorkit import plots
        >>> from anchorkit.costs import level_costs
        >>> from anchorkit.search.toy import toy_evaluator
        >>> levels = pd.DataFrame(level_costs(toy_evaluator().layout.full))
        >>> plots.level_costs(levels, cost="boxes").title
        'What each level costs'
    """
    need = ("name", "anchors", cost)
    require(levels, need, "levels")
    whole = levels if full is None else require(full, need, "full")
    scale = unit(cost, whole[cost])
    names = [_level_label(position, name) for position, name in enumerate(whole["name"])]
    before = dict(zip(whole["name"], zip(whole["anchors"], whole[cost], strict=True), strict=True))
    rows = []
    for position, row in enumerate(levels.to_dict("records")):
        was, most = before.get(row["name"], (row["anchors"], row[cost]))
        count = f"{row['anchors']} of {was} anchors" if full is not None else f"{row['anchors']} anchors"
        rows.append(
            {
                "level": _level_label(position, row["name"]),
                "value": float(row[cost]) / scale.divisor,
                "full": float(most) / scale.divisor,
                "label": f"{scale.text(row[cost])}, {count}",
                "color": level_color(position),
            }
        )
    data = pd.DataFrame(rows)
    along = alt.Scale(domain=[0, float(data["full"].max())], nice=False)
    x = alt.X("value:Q", title=scale.title, scale=along, axis=alt.Axis(tickCount=6))
    chart = alt.Chart(data).encode(y=names_axis("level", names, 200))
    layers: list[Any] = []
    if full is not None:
        outline = chart.mark_bar(filled=False, stroke=GHOST, strokeDash=[3, 3], height=18, yOffset=9)
        layers.append(outline.encode(x=alt.X("full:Q", scale=along)))
    bars = chart.mark_bar(height=18, yOffset=9)
    layers.append(bars.encode(x=x, color=alt.Color("color:N", scale=None), tooltip=["level:N", "label:N"]))
    layers.append(chart.mark_text(align="left", dy=-13, color=QUIET).encode(x=alt.value(1), text="label:N"))
    return alt.layer(*layers).properties(width=560, height=alt.Step(50), title="What each level costs")


def _level_label(position: int, name: str) -> str:
    return name if name == f"L{position}" else f"L{position} · {name}"


def before_after(table: pd.DataFrame) -> AnyChart:
    """Configurations side by side: a bar per measure, with the change against the first row.

    Args:
        table: one row per configuration, the unpruned detector first: ``name`` and at least one of ``n_anchors``,
            the costs of `anchorkit.costs.COSTS` and ``accuracy`` (0..1).

    Raises:
        InputError: ``name`` or every measure is missing, or a measure has no value in the first row.

    Examples:
        >>> import pandas as pd
        >>> from anchorkit import plots
        >>> table = pd.DataFrame({"name": ["unpruned", "pruned"], "boxes": [240, 112], "accuracy": [0.50, 0.48]})
        >>> len(plots.before_after(table).hconcat)
        2
    """
    require(table, ("name",), "table")
    titles = measures()
    there = [name for name in titles if name in table.columns and table[name].notna().any()]
    if not there:
        raise InputError(f"table: the frame has none of the measures {', '.join(titles)}")
    names = [str(name) for name in table["name"]]
    panels = []
    for position, measure in enumerate(there):
        values = [float(value) for value in table[measure]]
        scale = unit(measure, [value for value in values if math.isfinite(value)])
        if not math.isfinite(values[0]):
            raise InputError(f"table: {measure} has no value in the first row, that of the unpruned detector")
        accuracy = measure == "accuracy"
        rows = []
        for name, value in zip(names, values, strict=True):
            text = points(value) if accuracy else scale.text(value)
            if name != names[0]:
                text += f"  ({signed(100 * (value - values[0])) if accuracy else change(values[0], value)})"
            rows.append({"name": name, "value": value if math.isfinite(value) else 0.0, "text": text})
        y = names_axis("name", names, 220) if position == 0 else alt.Y("name:N", sort=names, title=None, axis=None)
        base = alt.Chart(pd.DataFrame(rows)).encode(y=y)
        x = alt.X("value:Q", title=None, axis=None, scale=alt.Scale(domain=[0, max(values)]))
        color = alt.condition(alt.datum.name == names[0], alt.value(GHOST), alt.value(SEARCH_COLOR))
        bars = base.mark_bar(height=12, yOffset=7, cornerRadiusEnd=2).encode(x=x, color=color)
        texts = base.mark_text(align="left", baseline="middle", dy=-8, fontSize=13)
        title = alt.TitleParams(titles[measure], fontSize=14, offset=6, frame="group", anchor="start")
        panel = alt.layer(bars, texts.encode(x=alt.value(0), text="text:N"))
        panels.append(panel.properties(width=150, height=alt.Step(44), title=title))
    return alt.hconcat(*panels, spacing=26)


def class_changes(changes: pd.DataFrame, *, width: int = 520) -> AnyChart:
    """AP of each class before and after, those that lose most on top.

    Of more than 40 classes the 20 that lose most and the 20 that gain most are shown, and a note says so.

    Args:
        changes: ``category`` (name), ``before`` and ``after`` (AP, 0..1; a negative one means no ground truth and is
            left out, with a note).
        width: width of the plot in pixels.

    Raises:
        InputError: a column is missing, or no class has an AP.

    Examples:
        >>> import pandas as pd
        >>> from anchorkit import plots
        >>> changes = pd.DataFrame({"category": ["cup", "plate"], "before": [0.4, 0.5], "after": [0.38, 0.52]})
        >>> plots.class_changes(changes).title
        'AP of each class: before (ring) and after (dot)'
    """
    require(changes, ("category", "before", "after"), "changes")
    known = changes[(changes["before"] >= 0) & (changes["after"] >= 0)]
    require(known, (), "changes: the classes with ground truth")
    notes = []
    if len(known) < len(changes):
        notes.append(f"{len(changes) - len(known)} classes have no ground truth")
    data = 100 * known[["before", "after"]].astype(float)
    data.insert(0, "category", known["category"].astype(str))
    data = data.assign(change=data["after"] - data["before"]).sort_values("change", kind="stable")
    if len(data) > 2 * _CLASSES:
        notes.append(f"the {_CLASSES} classes that lose most and the {_CLASSES} that gain most, of {len(data)}")
        data = pd.concat([data.head(_CLASSES), data.tail(_CLASSES)])
    data["label"] = data["change"].map(signed)
    data = data.round(3)
    y = names_axis("category", data["category"], 200)
    scale = alt.Scale(zero=False, padding=20)
    after = alt.X("after:Q", title=accuracy_title(), scale=scale)
    channels = {"before": alt.X("before:Q", scale=scale), "after": after, "y": y}
    color = alt.condition(alt.datum.change < 0, alt.value(SEARCH_COLOR), alt.value(STAGE_COLORS["retrained"]))
    text = alt.Chart(data).mark_text(align="left", color=INK).encode(x=alt.value(width + 10), y=y, text="label:N")
    title = "AP of each class: before (ring) and after (dot)"
    return alt.layer(
        *ring_and_dot(data, channels, color, ["category:N", "before:Q", "after:Q", "change:Q"]), text
    ).properties(width=width, height=alt.Step(26), title=alt.TitleParams(title, subtitle=notes) if notes else title)
