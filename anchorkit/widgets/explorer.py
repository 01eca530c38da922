"""What all explorers have in common: a selection in plain Python, controls, and a static picture without a browser.

An explorer is made in one call and shown by naming it in a notebook's last line. It holds state; what it shows comes
from `anchorkit.plots`. Without a browser (papermill, nbconvert) it leaves one picture instead of widgets,
and the notebook stays small.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

import altair as alt
import ipywidgets

from anchorkit import plots
from anchorkit.anchors import AnchorLayout
from anchorkit.errors import InputError
from anchorkit.findings import nothing_can_be_told
from anchorkit.widgets.front_end import is_live
from anchorkit.widgets.html_parts import block

ROOM = "anchorkit-explorer"
"""The class of an explorer's outermost box, by which `picture.js` finds it."""


def board_width(layout: AnchorLayout) -> int:
    """How wide a board of all anchors is, in pixels.

    There is room for a frontier beside it on a small screen, but many anchors do not become dots.
    """
    most = max(len(level.anchors) for level in layout.levels)
    return max(490, 92 + 60 * most)


def button(name: str, act: Callable[[], Any] | None = None) -> ipywidgets.Button:
    """A button as wide as its name; `act` is what a click does."""
    made = ipywidgets.Button(description=name, layout=ipywidgets.Layout(width="auto"))
    if act is not None:
        made.on_click(lambda _: act())
    return made


def row(*parts: ipywidgets.Widget, align: str = "center") -> ipywidgets.HBox:
    """Widgets side by side, on as many lines as the page needs."""
    return ipywidgets.HBox(parts, layout=ipywidgets.Layout(flex_flow="row wrap", align_items=align))


def beside(board: ipywidgets.Widget, *parts: ipywidgets.Widget) -> ipywidgets.HBox:
    """Widgets one below the other on the right of a board, so that they are in view while it is touched."""
    layout = ipywidgets.Layout(width="408px", padding="6px 0 0 4px")
    return row(board, ipywidgets.VBox(parts, layout=layout), align="flex-start")


def stacked(*charts: plots.AnyChart, title: str | alt.TitleParams) -> plots.AnyChart:
    """Charts one below the other, each with its own colours."""
    together: plots.AnyChart = alt.vconcat(*charts, spacing=28, title=title).resolve_scale(color="independent")
    return together


def notice_of(evaluator: Any) -> str | None:
    """Why nothing can be told of a detector, see `anchorkit.findings.nothing_can_be_told`.

    Args:
        evaluator: an `anchorkit.Evaluator`, or as much of one as an explorer has.
    """
    accuracy, layout = getattr(evaluator, "accuracy", None), getattr(evaluator, "layout", None)
    if accuracy is None or layout is None:
        return None
    ids = getattr(getattr(evaluator, "ground_truth", None), "image_ids", None)
    images = None if ids is None else len(ids)
    return nothing_can_be_told(float(accuracy(layout.full)), str(getattr(evaluator, "metric", "AP")), images)


class Explorer:
    """Base of the explorers.

    Subclasses give `show` (the static chart), `controls` (the widgets; made once, when first shown) and `draw` (puts
    the present state into the widgets), and call `changed` after every change of state.

    Attributes:
        notice: why nothing can be told of the detector, shown above all figures; None where something can. Subclasses
            set it, see `notice_of`.
    """

    def __init__(self) -> None:
        self.notice: str | None = None
        self._box: ipywidgets.Widget | None = None
        self._watchers: list[Callable[[Any], None]] = []
        self._drawing_controls = False

    def show(self) -> plots.AnyChart:
        """The present state as one static chart."""
        raise NotImplementedError

    def controls(self) -> ipywidgets.Widget:
        """The widgets, all in one box."""
        raise NotImplementedError

    def draw(self) -> None:
        """Bring the widgets up to the present state; only called once they are there."""
        raise NotImplementedError

    def observe(self, watcher: Callable[[Any], None]) -> None:
        """Call `watcher` with this explorer after every change, for example to refresh another picture."""
        self._watchers.append(watcher)

    def on_change(self, control: ipywidgets.Widget, act: Callable[[Any], None]) -> None:
        """Call `act` with the new value when the user changes a control; not when `draw` does, see `drawing`."""

        def handle(change: Any) -> None:
            if not self._drawing_controls:
                self.attempt(lambda: act(change["new"]))

        control.observe(handle, names="value")

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """While it lasts, a control that gets a value asks for nothing."""
        self._drawing_controls = True
        try:
            yield
        finally:
            self._drawing_controls = False

    def attempt(self, act: Callable[[], None]) -> None:
        """Do what the user asked for; `refused` says what was wrong with it."""
        try:
            act()
        except InputError as error:
            self.refused(str(error))

    def refused(self, why: str) -> None:
        """Show in the widgets why the last request was refused."""
        raise InputError(why)

    @property
    def shown(self) -> bool:
        """Whether the widgets have been made."""
        return self._box is not None

    def changed(self) -> None:
        """Show the new state and call the watchers."""
        if self._box is not None:
            self.draw()
        for watcher in self._watchers:
            watcher(self)

    @property
    def box(self) -> ipywidgets.Widget:
        """The widgets, made now if they were not yet, to put them into another page."""
        if self._box is None:
            self._box = self._noticed(self.controls())
            self._box.add_class(ROOM)
            self.draw()
        return self._box

    def _noticed(self, controls: ipywidgets.Widget) -> ipywidgets.Widget:
        if self.notice is None:
            return controls
        return ipywidgets.VBox([ipywidgets.HTML(block(f"<b>{escape(self.notice)}.</b>", 15)), controls])

    def titled(self, *lines: str) -> alt.TitleParams:
        """The title of the static chart: the notice first, if there is one."""
        title, *rest = [f"{self.notice}.", *lines] if self.notice else lines
        return alt.TitleParams(title, subtitle=rest) if rest else alt.TitleParams(title)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        about = repr(self)
        if not is_live():
            # Without a browser, one picture replaces the widgets and keeps the notebook small.
            return {"text/plain": about, "image/svg+xml": plots.to_svg(self.show())}
        bundle = self.box._repr_mimebundle_(include=include, exclude=exclude)
        return {**bundle, "text/plain": about}
