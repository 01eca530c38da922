"""The one widget that the kit draws itself: a chart whose marks can be picked with the mouse or the keyboard.

Altair draws every chart of the kit as an SVG, here as everywhere else. What ipywidgets and Altair cannot do is to say
which of its marks was clicked without a script from a CDN, so a small ESM file does that.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from anchorkit import plots
from anchorkit.plots.theme import is_dark

OnPick = Callable[[str, bool], None]
"""Takes what was picked, and whether Shift, Ctrl or Command was held."""


class Picture(anywidget.AnyWidget):
    """A chart that reports what was picked.

    Attributes:
        svg: what is shown.
        label: what the picture is, for screen readers.
        dark: whether `svg` has dark ground; `draw` sees to it.
        classes: looks of marks by their pick: ``"off"``, ``"ring"``, ``"frame"``, ``"inset"``, ``"lit"``,
            ``"dim"``, ``"gone"``, or several with spaces between.
        notes: what marks say beside their own label, by their pick.
        pointer: the pointer's place between the chart's two corners: ``x`` and ``y`` (0..1, from the first to
            the second corner) and ``text``; empty for none. A chart has corners by `anchorkit.plots.picking.corners`.
    """

    _esm = Path(__file__).parent / "picture.js"
    svg = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    dark = traitlets.Bool().tag(sync=True)
    classes = traitlets.Dict().tag(sync=True)
    notes = traitlets.Dict().tag(sync=True)
    pointer = traitlets.Dict().tag(sync=True)

    def __init__(self, label: str, on_pick: OnPick | None = None) -> None:
        super().__init__(label=label)
        self._on_pick = on_pick
        self.on_msg(self._message)

    def draw(self, chart: plots.AnyChart) -> None:
        """Show a chart; its marks with a ``pick`` (see `anchorkit.plots.picking`) can be picked."""
        self.put(plots.to_pickable_svg(chart), is_dark())

    def put(self, svg: str, dark: bool) -> None:
        """Show what `anchorkit.plots.to_pickable_svg` drew earlier, on light or on dark ground."""
        with self.hold_sync():
            self.dark = dark
            self.svg = svg

    def pick(self, what: str, extend: bool = False) -> None:
        """Do what a click on the mark would do."""
        if self._on_pick is not None:
            self._on_pick(what, extend)

    def copy(self, text: str) -> None:
        """Put a text on the clipboard of the browser."""
        self.send({"copy": text})

    def _message(self, _: Any, content: Any, __: Any) -> None:
        if isinstance(content, dict) and isinstance(content.get("pick"), str):
            self.pick(content["pick"], bool(content.get("extend")))
