"""The shapes explorer: what boxes each anchor predicts (the paper's Fig. 1), and which anchors predict the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from html import escape
from typing import Any

import altair as alt
import ipywidgets
import numpy as np
import pandas as pd

from anchorkit import plots
from anchorkit.errors import InputError
from anchorkit.plots.shape_map import many_names
from anchorkit.plots.theme import is_dark
from anchorkit.predictions import PredictionTable
from anchorkit.widgets.background import Background
from anchorkit.widgets.explorer import Explorer, row
from anchorkit.widgets.html_parts import block
from anchorkit.widgets.picture import Picture
from anchorkit.widgets.shape_facts import ALL_OTHERS, Facts, ShapeTable
from anchorkit.widgets.shape_views import (
    LEAST_SHARE,
    NEIGHBOURS,
    View,
    boxes,
    home,
    matrix_chart,
    percent,
    shapes_chart,
)

_ALL = "all"  # stands for None in menus, where None is no choice at all
_WITH_ALL = ("level", "category")


class ShapeExplorer(Explorer):
    """Widths and heights of the boxes that each anchor predicts, beside a matrix of who covers whom.

    Show it by naming it in a notebook's last line. Pick an anchor in either picture: the anchors that cover it light
    up, and its row in the matrix is framed; pick a cell, and its two anchors light up. Code can do the same: `select`,
    `filter`; read `selected`, `covered_by`, `covers`, `coverage`, `anchors` in the next cell.

    It starts at the most redundant level: the one with the largest share of boxes where other anchors put theirs, too.

    Attributes:
        inputs: the ipywidgets of the filters by the names in `View`, once it was shown.
    """

    def __init__(
        self,
        predictions: PredictionTable,
        ground_truth: Any,
        *,
        names: Mapping[int, str] | None = None,
        min_score: float = 0.3,
    ) -> None:
        """Start with all classes and the most redundant level.

        Args:
            predictions: any prediction table.
            ground_truth: a COCO dictionary, a json path or a pycocotools ``COCO``: it knows the images' sizes.
            names: of the classes, by category id; by default those of the ground truth.
            min_score: boxes that score less do not count; 0..1.

        Raises:
            InputError: the score is not 0..1, or the ground truth does not know the images.
        """
        super().__init__()
        self._table = ShapeTable(predictions, ground_truth)
        self._layout = predictions.layout
        self._names = self._table.names if names is None else names
        self._selected: str | None = None
        self._partner: str | None = None
        self._view = View(None, None, float(min_score))
        self._view = replace(self._view, level=self.redundant_level)
        self._drawn: tuple[View, bool] | None = None
        self._marks: list[str] = []
        self._work: Background[tuple[tuple[View, bool], str]] = Background(self._show, self._failed)

    @property
    def view(self) -> View:
        """The filters and axes."""
        return self._view

    @property
    def selected(self) -> str | None:
        """Id of the picked anchor, or None."""
        return self._selected

    @property
    def partner(self) -> str | None:
        """Id of the anchor in whose column a cell was picked, or None."""
        return self._partner

    @property
    def anchors(self) -> pd.DataFrame:
        """By id: ``level``, ``width``, ``height``, ``count`` of boxes, ``covered`` (0..1) by all others together."""
        return self._facts.anchors

    @property
    def coverage(self) -> pd.DataFrame:
        """Who covers how much of whom, for the present filters: see `anchorkit.analysis.redundancy.coverage`."""
        return self._facts.coverage

    @property
    def covered_by(self) -> pd.Series[float]:
        """Which anchors cover the picked one, and the share (0..1) of its boxes, largest first."""
        return self._shares("anchor_id", "by_id")

    @property
    def covers(self) -> pd.Series[float]:
        """Which anchors the picked one covers, and the share (0..1) of their boxes, largest first."""
        return self._shares("by_id", "anchor_id")

    @property
    def levels(self) -> pd.Series[float]:
        """Share (0..1) of each level's boxes that lie where other anchors put theirs, too; NaN without boxes."""
        anchors = self.anchors.dropna(subset="covered")
        weighted = (anchors["covered"] * anchors["count"]).groupby(anchors["level"]).sum()
        shares = weighted / anchors["count"].groupby(anchors["level"]).sum()
        return shares.reindex(range(len(self._layout.levels)))

    @property
    def redundant_level(self) -> int | None:
        """The level with the largest share in `levels`; None if no anchor has boxes."""
        shares = self.levels.dropna()
        return None if shares.empty else int(str(shares.idxmax()))

    def select(self, anchor: str | None, by: str | None = None) -> None:
        """Pick an anchor, or with `by` two of them: the covered one and the one that covers; None picks nothing.

        An anchor of another level than that shown brings its own level with it.

        Raises:
            InputError: there is no such anchor.
        """
        for name in (anchor, by):
            if name is not None:
                self._layout.index(name)
        self._selected, self._partner = anchor, by if anchor is not None else None
        if anchor is not None and self._view.level is not None:
            level = self._layout.anchors[self._layout.index(anchor)].level
            self._view = replace(self._view, level=level)
        self.changed()

    def filter(self, **changes: Any) -> None:
        """Change the filters or axes: ``level``, ``category``, ``min_score``, ``log``, ``objects`` (see `View`).

        Raises:
            InputError: a value is not possible.
        """
        unknown = set(changes) - set(View.__dataclass_fields__)
        if unknown:
            raise InputError(f"ShapeExplorer: no filter {min(unknown)!r}; use {', '.join(View.__dataclass_fields__)}")
        view = replace(self._view, **changes)
        levels = range(len(self._layout.levels))
        if view.level not in (None, *levels):
            raise InputError(f"ShapeExplorer: level is {view.level!r}; use 0 to {levels[-1]}, or None for all")
        if view.category not in (None, *self._table.categories):
            raise InputError(f"ShapeExplorer: category is {view.category!r}, of which there is no prediction")
        if not 0.0 <= view.min_score <= 1.0:
            raise InputError(f"ShapeExplorer: min_score is {view.min_score!r}; scores are 0..1")
        if view == self._view:
            return
        self._view = view
        if self._selected is not None and view.level not in (None, self.anchors["level"][self._selected]):
            self._selected = self._partner = None
        self.changed()

    def shapes_chart(self, *, pickable: bool = False) -> plots.AnyChart:
        """The shapes of the boxes, for the present view."""
        return shapes_chart(self._table, self._view, pickable=pickable)[0]

    def matrix_chart(self, *, pickable: bool = False) -> plots.AnyChart:
        """Who covers whom, for the present view."""
        return matrix_chart(self._table, self._view, pickable=pickable)

    def show(self) -> plots.AnyChart:
        """See `Explorer.show`."""
        parts = [self.shapes_chart(), self.matrix_chart()]
        title = alt.TitleParams("Which boxes each anchor predicts", subtitle=self._headline().split(". "))
        if self._view.level is None:
            return alt.vconcat(*parts, spacing=30, title=title)
        return alt.hconcat(*parts, spacing=30, title=title, align="none")

    def controls(self) -> ipywidgets.Widget:
        """See `Explorer.controls`."""
        self._map = Picture("shapes of the boxes: pick an anchor to see which others cover it", self._picked)
        self._matrix = Picture("which anchors could stand in for which: pick an anchor or a cell", self._picked)
        self._said = ipywidgets.HTML()

        def narrow(width: str) -> dict[str, Any]:
            return {"style": {"description_width": "initial"}, "layout": ipywidgets.Layout(width=width)}

        classes = [(self._names.get(key, f"class {key}"), key) for key in self._table.categories]
        levels = [*((f"level {n}", n) for n in range(len(self._layout.levels))), ("all levels", _ALL)]
        level = ipywidgets.Dropdown(options=levels, description="Level", **narrow("10.5em"))
        kinds = [("all classes", _ALL), *sorted(classes)]
        category = ipywidgets.Dropdown(options=kinds, description="Class", **narrow("13em"))
        min_score = ipywidgets.FloatSlider(
            min=np.floor(100 * self._table.least_score) / 100,
            max=0.95,
            step=0.01,
            description="Score at least",
            continuous_update=False,
            **narrow("19em"),
        )
        axes = [("logarithmic", True), ("linear", False)]
        log = ipywidgets.Dropdown(options=axes, description="Axes", **narrow("11em"))
        objects = ipywidgets.Checkbox(description="annotated objects", indent=False, layout={"width": "auto"})
        self.inputs = {"level": level, "category": category, "min_score": min_score, "log": log, "objects": objects}
        self._put_inputs()
        for name, control in self.inputs.items():
            control.observe(partial(self._moved, name), names="value")
        pictures = row(self._map, self._matrix, align="flex-start")
        return ipywidgets.VBox([row(*self.inputs.values()), self._said, pictures])

    def draw(self) -> None:
        """See `Explorer.draw`."""
        self._put_inputs()
        wanted = (self._view, is_dark())
        if wanted == self._drawn and not self._work.busy:
            # Drawing takes longer than all the rest; what is picked only changes the looks of what is there.
            self._dress()
        else:
            self._work.submit(lambda: self._pictures(*wanted))

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the pictures show the present view; False if they still do not after `seconds`."""
        return self._work.wait(seconds)

    def __repr__(self) -> str:
        what = "all levels" if self._view.level is None else f"level {self._view.level}"
        picked = "" if self._selected is None else f", {self._selected} picked"
        return f"ShapeExplorer: {what} of {self._layout.detector}{picked}"

    @property
    def _facts(self) -> Facts:
        return self._table.facts(self._view.category, self._view.min_score)

    def _shares(self, of: str, other: str) -> pd.Series[float]:
        frame = self.coverage
        mine = frame[(frame[of] == self._selected) & (frame["by_id"] != ALL_OTHERS)].dropna(subset="share")
        shares = mine.set_index(other)["share"].sort_values(ascending=False, kind="stable")
        return shares[shares > 0]

    def _pictures(self, view: View, dark: bool) -> tuple[tuple[View, bool], str]:
        """Draw both, and show the first while the second is drawn."""
        shapes, drawn = shapes_chart(self._table, view, pickable=True)
        svg = plots.to_pickable_svg(shapes)
        if view == self._view:
            self._marks = drawn
            with self._map.hold_sync():
                self._dress()
                self._map.put(svg, dark)
        return (view, dark), plots.to_pickable_svg(matrix_chart(self._table, view, pickable=True))

    def _show(self, made: tuple[tuple[View, bool], str]) -> None:
        self._drawn, matrix = made
        self._matrix.put(matrix, self._drawn[1])
        self._dress()

    def _failed(self, error: Exception) -> None:
        self._said.value = block(f"<b>{escape(str(error))}</b>")

    def _dress(self) -> None:
        """Light up who is picked, and say so."""
        shares = self.covered_by if self._selected is not None else pd.Series(dtype=float)
        lit = {self._partner} if self._partner else set(shares[shares >= LEAST_SHARE].head(NEIGHBOURS).index)
        at_home = set(home(self._table, self._view))
        looks = {}
        for name in self._marks:
            if name == self._selected:
                looks[name] = "ring"
            elif name in lit:
                looks[name] = "lit"
            elif name not in at_home:
                looks[name] = "gone"
            elif self._selected is not None:
                looks[name] = "dim"
        hidden = many_names(len(self._marks))
        names = {
            f"name {name}": "gone" if hidden and looks.get(name) not in ("ring", "lit") else looks.get(name, "")
            for name in self._marks
        }
        self._map.classes = looks | names
        self._map.notes = {
            name: f"covers {percent(shares[name])} of {self._selected}" for name in self._marks if name in shares.index
        }
        framed = {f"frame {self._selected}": "frame", f"{self._selected}|{self._partner}": "inset"}
        self._matrix.classes = {} if self._selected is None else framed
        self._said.value = block(self._sentence(), 15, "padding:2px 0 4px")

    def _picked(self, what: str, _: bool) -> None:
        anchor, by = [*what.split("|"), ""][:2]
        if by and by != ALL_OTHERS:
            again = (anchor, by) == (self._selected, self._partner)
            self.select(None if again else anchor, None if again else by)
        else:
            self.select(None if anchor == self._selected and self._partner is None else anchor)

    def _moved(self, name: str, change: Any) -> None:
        value = change["new"]
        self.filter(**{name: None if name in _WITH_ALL and value == _ALL else value})

    def _put_inputs(self) -> None:
        for name, control in self.inputs.items():
            value: Any = getattr(self._view, name)
            if name == "min_score":  # what lies outside of the slider would be moved to its end
                control.min, control.max = min(control.min, value), max(control.max, value)
            control.value = _ALL if value is None else value

    def _sentence(self) -> str:
        if self._selected is None:
            return escape(self._headline()) + " Pick an anchor or a cell."
        anchor: Any = self.anchors.loc[self._selected]
        title = f"<b>{escape(self._selected)}</b>"
        if self._partner is not None:
            other = f"<b>{escape(self._partner)}</b>"
            there = percent(self.covered_by.get(self._partner, 0.0))
            back = percent(self.covers.get(self._partner, 0.0))
            return f"{other} covers {there} of the boxes of {title}; {title} covers {back} of those of {other}."
        if not anchor["count"]:
            return f"{title} predicts no box that scores {self._view.min_score:g} or more."
        shares = self.covered_by
        near = shares[shares >= LEAST_SHARE]
        parts = [f"{escape(str(name))} ({percent(share)})" for name, share in near.head(NEIGHBOURS).items()]
        if len(near) > NEIGHBOURS:
            parts.append(f"{len(near) - NEIGHBOURS} more")
        text = f"{title}, {boxes(int(anchor['count']))}: covered by {', '.join(parts) or 'no other anchor'}"
        return f"{text}; by all others together {percent(anchor['covered'])}."

    def _headline(self) -> str:
        anchors, view = self.anchors, self._view
        category = "" if view.category is None else f" of {self._names.get(view.category, f'class {view.category}')}"
        scored = f"{boxes(int(anchors['count'].sum()))}{category} score {view.min_score:g} or more"
        level = self.redundant_level
        if level is None:
            return f"{scored}."
        share = f"{percent(self.levels.to_numpy()[level])} of its boxes lie where other anchors put theirs"
        return f"{scored}. Level {level} is the most redundant: {share}."
