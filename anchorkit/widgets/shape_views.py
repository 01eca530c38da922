"""The two charts of the shapes explorer, for a view of a prediction table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anchorkit import plots
from anchorkit.analysis import redundancy
from anchorkit.widgets.shape_facts import ALL_OTHERS, ShapeTable

NEIGHBOURS = 4
"""So many of the anchors that cover most of another one are called its neighbours."""
LEAST_SHARE = 0.1
"""Who covers less of an anchor does not count as covering it."""
_COLUMNS = 13  # of anchors in the matrix of one level, so that it fits beside the shapes


@dataclass(frozen=True)
class View:
    """What a shapes explorer shows.

    Attributes:
        level: number of the level whose anchors are shown; None for those of all levels.
        category: id of the class whose boxes count; None for all classes.
        min_score: boxes that score less do not count.
        log: logarithmic axes.
        objects: whether the annotated objects lie behind.
    """

    level: int | None
    category: int | None
    min_score: float
    log: bool = True
    objects: bool = True


def home(table: ShapeTable, view: View) -> list[str]:
    """The anchors of the level shown."""
    return [anchor.id for anchor in table.layout.anchors if view.level in (None, anchor.level)]


def guests(table: ShapeTable, view: View) -> list[str]:
    """Anchors of other levels that are among those that cover most of one of the level's anchors."""
    frame, own = table.facts(view.category, view.min_score).coverage, home(table, view)
    near = frame[frame["anchor_id"].isin(own) & (frame["by_id"] != ALL_OTHERS) & (frame["share"] >= LEAST_SHARE)]
    near = near.sort_values("share", ascending=False, kind="stable")
    first = near.groupby("anchor_id").head(NEIGHBOURS)
    names = list(dict.fromkeys(first[~first["by_id"].isin(own)]["by_id"]))
    return sorted(names[: max(_COLUMNS - len(own), 3)], key=table.layout.index)


def shapes_chart(table: ShapeTable, view: View, *, pickable: bool) -> tuple[plots.AnyChart, list[str]]:
    """The shapes of the boxes, and the ids of the anchors that are drawn: those at home first, then the guests."""
    facts = table.facts(view.category, view.min_score)
    visitors = guests(table, view) if pickable else []
    drawn = [*home(table, view), *visitors]
    shapes = facts.shapes[facts.shapes["anchor_id"].isin(drawn)]
    anchors = facts.anchors.loc[drawn].reset_index()
    anchors["guest"] = anchors["anchor_id"].isin(visitors)
    anchors["label"] = [
        _label(name, count, covered)
        for name, count, covered in zip(anchors["anchor_id"], anchors["count"], anchors["covered"], strict=True)
    ]
    every = view.level is None
    contours = redundancy.density_contours(shapes, mass=0.5 if every else (0.5, 0.8))
    outer = contours["mass"] == contours["mass"].max()
    chart = plots.shape_map(
        contours[outer | ~contours["anchor_id"].isin(visitors)],
        redundancy.marginals(shapes),
        anchors,
        objects=table.objects(view.category) if view.objects else None,
        log=view.log,
        size=520 if every else 290,
        title="All levels" if every else f"Level {view.level}",
        pickable=pickable,
    )
    return chart, drawn


def matrix_chart(table: ShapeTable, view: View, *, pickable: bool) -> plots.AnyChart:
    """Who covers whom among the anchors of the level, their guests and all others together."""
    rows = home(table, view)
    columns = [*rows, *guests(table, view), ALL_OTHERS]
    frame = table.facts(view.category, view.min_score).coverage
    frame = frame[frame["anchor_id"].isin(rows) & frame["by_id"].isin(columns)]
    return plots.coverage_matrix(frame, pickable=pickable)


def percent(share: float) -> str:
    """A share (0..1) in per cent."""
    return f"{100 * share:.0f} %"


def boxes(count: int) -> str:
    """How many boxes."""
    return "1 box" if count == 1 else f"{count:,} boxes"


def _label(name: str, count: int, covered: float) -> str:
    text = f"{name}\n{boxes(count)}"
    return text if np.isnan(covered) else f"{text}\n{percent(covered)} where others put theirs"
