"""Charts of trainings repeated with several seeds, and of the sets of anchors that were trained (paper Figs. 3, 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd
from scipy.special import stdtrit  # scipy.stats says the same and takes 60 MB

from anchorkit.plots.export import AnyChart
from anchorkit.plots.frames import ANCHOR_COLUMNS, at_most, require, unit
from anchorkit.plots.marks import RULE, STAGE_SHAPES, accuracy_title, cost_axis
from anchorkit.plots.theme import GHOST, INK, OTHER_COLORS, QUIET, STAGE_COLORS, level_color

UNPRUNED = "unpruned"
_OTHER_SHAPES = ("cross", "triangle-down", "triangle-left", "triangle-right")
_CLEAR = 26  # pixels between a frame and the anchors in it, both sides together


def trainings(
    table: pd.DataFrame, cost: str = "head_flops", *, base: str = UNPRUNED, width: int = 640, height: int = 380
) -> AnyChart:
    """Accuracy against cost of trainings with several seeds: a small mark per seed, a large one for the mean.

    The dashed rule is the mean of `base`; the band around it reaches from its worst to its best seed, so that one
    sees which differences are no larger than those between trainings that differ in nothing but their seed.

    Args:
        table: ``treatment``, ``point``, ``seed``, ``accuracy`` (0..1), `cost`; one row per training.
        cost: name of the cost column on the x axis.
        base: the treatment that the others are held against.
        width: width of the plot in pixels.
        height: height of the plot in pixels.

    Raises:
        InputError: a column is missing or there are no rows.
    """
    require(table, ("treatment", "point", "seed", "accuracy", cost), "table")
    at_most(2 * len(table), "table")
    scale = unit(cost, table[cost])
    costs, accuracies = table[cost].astype(float) / scale.divisor, 100 * table["accuracy"].astype(float)
    data = table[["treatment", "point", "seed"]].astype(str).assign(x=costs.round(6), y=accuracies.round(3))
    means = data.groupby(["treatment", "point"], sort=False)[["x", "y"]].mean().round(4).reset_index()
    names = list(dict.fromkeys(data["treatment"]))
    x = cost_axis(scale.title, data["x"], width, padding=22)
    y = alt.Y("y:Q", title=accuracy_title(), scale=alt.Scale(zero=False, padding=14), axis=alt.Axis(tickCount=7))
    legend = alt.Legend(orient="top", title=None, columns=4, symbolOpacity=1)
    color = alt.Color("treatment:N", scale=alt.Scale(domain=names, range=_colors(names, base)), legend=legend)
    shape = alt.Shape("treatment:N", scale=alt.Scale(domain=names, range=_shapes(names, base)), legend=legend)
    layers, note = _band(data, base, "mean", {"y": y, "y2": "y2:Q"}, {"y": "mean:Q"})
    seeds, of_means = (alt.Chart(rows).encode(x=x, y=y, color=color) for rows in (data, means))
    small = seeds.mark_point(filled=True, size=46, opacity=0.5)
    large = of_means.mark_point(filled=True, size=170, opacity=1, stroke="#ffffff", strokeWidth=1)
    layers += [
        of_means.mark_line(strokeWidth=2.2).encode(detail="treatment:N"),
        small.encode(shape=shape, tooltip=["treatment:N", "point:N", "seed:N", "y:Q"]),
        large.encode(shape=shape, tooltip=["treatment:N", "point:N", "y:Q"]),
    ]
    subtitle = "small: one seed; large: mean over the seeds" + note
    title = alt.TitleParams("Trained again, with several seeds", subtitle=subtitle)
    return alt.layer(*layers).properties(width=width, height=height, title=title)


def training_strips(
    table: pd.DataFrame,
    cost: str = "head_flops",
    *,
    base: str = UNPRUNED,
    confidence: float = 0.95,
    width: int = 460,
    step: int = 46,
) -> AnyChart:
    """Accuracy of trainings with several seeds, a strip a treatment and point: for rivals that cost the same.

    A dot is a seed, the bar the mean, the line its interval (Student's, for one treatment by itself: what two of them
    share by seed cancels in their difference, which is known better). Its cost is beside its name.

    Args:
        table: ``treatment``, ``point``, ``seed``, ``accuracy`` (0..1), ``n_anchors``, `cost`; one row per training.
        cost: name of the cost column.
        base: the treatment that the others are held against: the dashed rule is its mean, and the band reaches from
            its worst to its best seed.
        confidence: of the intervals, 0..1.
        width: width of the plot in pixels.
        step: height of a strip in pixels.

    Raises:
        InputError: a column is missing or there are no rows.
    """
    require(table, ("treatment", "point", "seed", "accuracy", "n_anchors", cost), "table")
    at_most(2 * len(table), "table")
    unpruned = table.loc[table["treatment"] == base, cost]
    full = float(unpruned.mean()) if len(unpruned) else float(table[cost].max())
    what = cost.replace("_", " ").replace("flops", "FLOPs")
    names = list(dict.fromkeys(table["treatment"].astype(str)))
    dots, means = [], []
    for (treatment, point), group in table.groupby(["treatment", "point"], sort=False):
        accuracy = 100 * group["accuracy"].astype(float)
        anchors = f"{group['n_anchors'].mean():.0f} anchors"
        share = f"{100 * float(group[cost].mean()) / full:.0f} % of {what}"
        strip = str(treatment) if str(point) in (str(treatment), "") else f"{treatment}: {point}"
        own = {"strip": strip, "what": f"{anchors}, {share}", "treatment": str(treatment)}
        dots += [own | {"seed": str(s), "y": round(float(a), 3)} for s, a in zip(group["seed"], accuracy, strict=True)]
        half = 0.0
        if len(accuracy) > 1:
            half = float(stdtrit(len(accuracy) - 1, 0.5 + confidence / 2) * accuracy.sem())
        mean = float(accuracy.mean())
        means.append(own | {"mean": round(mean, 3), "low": round(mean - half, 3), "high": round(mean + half, 3)})
    order = [str(row["strip"]) for row in means]
    data, of_means = pd.DataFrame(dots), pd.DataFrame(means)
    # Of three seeds an interval may be wider than all there is to see.
    least, most = float(data["y"].min()), float(data["y"].max())
    pad = max(most - least, 0.5)
    x = alt.Scale(domain=[round(least - 0.35 * pad, 3), round(most + 0.35 * pad, 3)], nice=False, clamp=True)

    def along(name: str) -> alt.X:
        return alt.X(f"{name}:Q", title=accuracy_title(), scale=x, axis=alt.Axis(tickCount=7))

    y = alt.Y("strip:N", sort=order, title=None, axis=alt.Axis(labelLimit=260, labelFontSize=13, ticks=False))
    color = alt.Color("treatment:N", scale=alt.Scale(domain=names, range=_colors(names, base)), legend=None)
    layers, note = _band(data, base, "m", {"x": along("y"), "x2": "y2:Q"}, {"x": along("m")})
    strips = alt.Chart(of_means).encode(y=y)
    bars = strips.mark_tick(thickness=4, size=0.5 * step).encode(x=along("mean"), color=color)
    dots = alt.Chart(data).mark_circle(size=70, opacity=0.75, stroke="#ffffff", strokeWidth=1)
    texts = strips.mark_text(align="left", baseline="middle", dx=10, color=QUIET)
    layers += [
        strips.mark_rule(strokeWidth=2, clip=True).encode(x=along("low"), x2="high:Q", color=color),
        bars.encode(tooltip=["strip:N", "mean:Q", "low:Q", "high:Q", "what:N"]),
        dots.encode(x=along("y"), y=y, color=color, tooltip=["strip:N", "seed:N", "y:Q", "what:N"]),
        texts.encode(x=alt.value(width), text="what:N"),
    ]
    subtitle = f"dot: one seed; bar: mean; line: its {100 * confidence:g} % interval{note}"
    title = alt.TitleParams("Trained again, with several seeds", subtitle=subtitle)
    return alt.layer(*layers).properties(width=width, height=alt.Step(step), title=title)


def anchor_sets(
    sets: Mapping[str, pd.DataFrame], *, notes: Mapping[str, str] | None = None, frame: float | None = None
) -> AnyChart:
    """Sets of anchors side by side, one row per set and one column per level, all drawn to one scale (paper Fig. 4).

    Args:
        sets: by name, ``anchor_id``, ``level``, ``width``, ``height`` (input pixels) and, if there, ``kept`` (bool):
            dropped anchors are dashed outlines.
        notes: a second line under the name of a set, such as what it costs.
        frame: side of the network's input in pixels, drawn as a frame in each cell; the largest anchor's by default.

    Raises:
        InputError: there are no sets, a column is missing, or a set has no rows.
    """
    for name, board in sets.items():
        require(board, ANCHOR_COLUMNS, name)
    everything = pd.concat([board.assign(set=name) for name, board in sets.items()] or [pd.DataFrame()])
    require(everything, ("set",), "sets")
    at_most(len(everything), "sets")
    if "kept" not in everything:
        everything["kept"] = True
    everything["kept"] = everything["kept"].astype("boolean").fillna(True).astype(bool)
    everything["color"] = everything["level"].map(level_color)
    largest = float(everything[["width", "height"]].to_numpy().max())
    side = max(largest, frame or 0.0)
    levels = sorted({int(level) for level in everything["level"]})
    cell = max(72, min(150, 720 // len(levels)))
    rows: list[Any] = [
        alt.hconcat(
            _name(str(name), (notes or {}).get(str(name), ""), cell),
            *(_cell(of_set[of_set["level"] == level], side, frame or side, cell, level, row == 0) for level in levels),
            spacing=8,
        )
        for row, (name, of_set) in enumerate(everything.groupby("set", sort=False))
    ]
    title = alt.TitleParams("Sets of anchors", subtitle="to one scale, level by level; frame: the network's input")
    return alt.vconcat(*rows, spacing=10).properties(title=title)


def _band(
    data: pd.DataFrame, base: str, mean: str, band: dict[str, Any], rule: dict[str, Any]
) -> tuple[list[Any], str]:
    """From the worst to the best seed of `base`, the rule of its mean, and a note of them; nothing without it.

    Args:
        data: ``treatment`` and ``y``.
        base: the treatment.
        mean: name of the field for the mean.
        band: channels of the band, of the fields ``y`` and ``y2``.
        rule: channel of the rule, of the field `mean`.
    """
    of_base = data.loc[data["treatment"] == base, "y"]
    if of_base.empty:
        return [], ""
    chart = alt.Chart(pd.DataFrame({"y": [of_base.min()], "y2": [of_base.max()], mean: [round(of_base.mean(), 3)]}))
    layers = [
        chart.mark_rect(color=INK, opacity=0.08, aria=False).encode(**band),
        chart.mark_rule(**RULE, aria=False).encode(**rule),
    ]
    return layers, f"; dashed: mean of {base}, the band its worst to best seed"


def _name(name: str, note: str, cell: int) -> AnyChart:
    data = pd.DataFrame({"name": [name], "note": [note]})
    text: dict[str, Any] = {"align": "left", "baseline": "middle"}
    place = {"x": alt.value(0), "y": alt.value(cell / 2)}
    return alt.layer(
        alt.Chart(data).mark_text(**text, fontSize=14, fontWeight=600, dy=-9).encode(**place, text="name:N"),
        alt.Chart(data).mark_text(**text, color=QUIET, dy=11).encode(**place, text="note:N"),
    ).properties(width=170, height=cell)


def _cell(anchors: pd.DataFrame, side: float, frame: float, cell: int, level: int, first: bool) -> AnyChart:
    """The anchors of one level of one set, around one centre."""
    x, y = anchors["width"] / 2, anchors["height"] / 2
    boxes = pd.DataFrame({"x": -x, "x2": x, "y": -y, "y2": y, "id": anchors["anchor_id"].astype(str)}).round(2)
    boxes = boxes.join(anchors[["kept", "color"]])
    half = side / 2 * cell / (cell - _CLEAR / 2)
    scale = alt.Scale(domain=[-half, half], nice=False)
    channels: dict[str, Any] = {"x": alt.X("x:Q", axis=None, scale=scale), "y": alt.Y("y:Q", axis=None, scale=scale)}
    channels |= {"x2": "x2:Q", "y2": "y2:Q"}
    edge = pd.DataFrame({"x": [-frame / 2], "x2": [frame / 2], "y": [-frame / 2], "y2": [frame / 2]})
    square = alt.Chart(edge).mark_rect(filled=False, stroke="#dfe3e8", strokeWidth=1, aria=False)
    layers: list[Any] = [square.encode(**channels)]
    kept, dropped = boxes[boxes["kept"]], boxes[~boxes["kept"]]
    channels["tooltip"] = "id:N"
    if len(dropped):
        outline: dict[str, Any] = {"filled": False, "stroke": GHOST, "strokeDash": [3, 2], "strokeWidth": 1}
        layers.append(alt.Chart(dropped).mark_rect(**outline).encode(**channels))
    if len(kept):
        whole = alt.Chart(kept).mark_rect(filled=False, strokeWidth=2)
        layers.append(whole.encode(**channels, stroke=alt.Stroke("color:N", scale=None)))
    total = f"{len(kept)} of {len(boxes)}" if len(dropped) else str(len(kept))
    look: dict[str, Any] = {"fontSize": 12, "fontWeight": "normal", "color": QUIET, "anchor": "middle", "offset": 3}
    title = alt.TitleParams(f"level {level}: {total}" if first else total, **look)
    return alt.layer(*layers).properties(width=cell, height=cell, title=title)


def _colors(names: list[str], base: str) -> list[str]:
    """The stages in their own colours, what is not one of them in those that the stages leave."""
    spare = iter(OTHER_COLORS[2:] + OTHER_COLORS[:2])
    known = {**STAGE_COLORS, base: INK}
    return [known[name] if name in known else next(spare, GHOST) for name in names]


def _shapes(names: list[str], base: str) -> list[str]:
    spare = iter(_OTHER_SHAPES)
    known = {**STAGE_SHAPES, base: "diamond"}
    return [known[name] if name in known else next(spare, "circle") for name in names]
