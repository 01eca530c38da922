"""The search explorer: watch a search find the frontier, steer it, and ask why a point is as accurate as it is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets
import pandas as pd

from anchorkit import plots
from anchorkit.analysis.redundancy import anchor_frame
from anchorkit.anchors import Configuration
from anchorkit.costs import known_costs
from anchorkit.plots.frames import Unit, unit
from anchorkit.plots.theme import is_dark
from anchorkit.search import Progress, random_pruning
from anchorkit.widgets import search_words as words
from anchorkit.widgets.background import Background
from anchorkit.widgets.explorer import stacked
from anchorkit.widgets.html_parts import block
from anchorkit.widgets.numbers import costs_of, numbers_html
from anchorkit.widgets.search_details import Details
from anchorkit.widgets.search_panel import SearchPanel
from anchorkit.widgets.search_runs import Evaluates
from anchorkit.widgets.search_session import SearchSession
from anchorkit.widgets.search_view import View, label

if TYPE_CHECKING:
    from anchorkit.evaluation import Evaluator

_Key = tuple[Any, ...]


class SearchExplorer(SearchSession):
    """Search with a few clicks, watch the frontier grow, and look into its points.

    Show it by naming it in a notebook's last line; read `selected` and `result` in the next cell. Code can do what the
    buttons do: `set`, `start`, `pause`, `resume`, `stop`, `wait`, `constrain`, `pick`, `bring_forward`, `remove`.
    Without a browser, the search runs when the picture is made.
    """

    def __init__(self, evaluator: Evaluates | Sequence[Evaluator], *, random_draws: int = 200, **options: Any) -> None:
        """Begin with nothing found, or with a result.

        Args:
            evaluator: an `anchorkit.Evaluator`; for a joint ``result`` those of all its detectors, in its order. The
                points then have the colour of their detector; a search that is started here is of the whole one.
            random_draws: how many configurations to prune at random, for comparison.
            **options: as for `SearchSession`: ``split``, ``names``, ``result``, ``cost``, ``strategy``, ``max_drop``,
                ``max_loss``, ``budget``.

        Raises:
            InputError: see `SearchSession`.
        """
        self._random_draws = random_draws
        self._random: dict[_Key, pd.DataFrame] = {}
        # What was last sent to be drawn, whose details and which random pruning were last asked for.
        self._wanted: _Key = ()
        self._points: dict[str, Configuration] = {}  # of the frontier that is drawn, by label
        self._asked: _Key = ()
        self._rivals: _Key = ()
        self._frontier_busy = False  # the frontier is being drawn
        self._drawer: Background[tuple[str, bool, View | None]] = Background(self._drawn, self._not_drawn)
        self._asker: Background[tuple[_Key, Details, str, bool]] = Background(self._explained, self._failed)
        self._rival: Background[tuple[_Key, pd.DataFrame]] = Background(self._rivalled, self._failed)
        super().__init__(evaluator, **options)

    def _jobs(self) -> list[Background[Any]]:
        return [self._rival, self._asker, self._drawer]

    def _shows_tried(self) -> bool:
        return self._wants("dominated")

    # Pictures.

    def frontier_chart(self, *, pickable: bool = False, width: int = 470, height: int = 290) -> plots.AnyChart:
        """The frontier in front with the answer, the knee and the other results."""
        view = self._view_or_refuse()
        accuracy = float(view.full["accuracy"])
        return plots.frontier(
            view.frontier,
            view.settings.cost,
            full=dict(view.full),
            random=self._random.get(self._random_key(view)) if self._wants("random") else None,
            evaluated=view.tried if self._wants("dominated") or view.by else None,
            chosen=self._marked(view, not pickable),
            others=self._others(view) or None,
            most=self.budget,
            least=None if self.max_loss is None else accuracy - self.max_loss,
            by=view.by,
            metric=view.settings.metric,
            width=width,
            height=height,
            pickable=pickable,
        )

    def board_chart(self, *, pickable: bool = False, width: int = 570) -> plots.AnyChart:
        """The anchors that the selected configuration keeps."""
        return plots.anchor_board(anchor_frame(self.selected), width=width, pickable=pickable)

    def show(self) -> plots.AnyChart:
        """See `Explorer.show`. Searches first, if nothing was found yet."""
        if self._view is None:
            self.run()
        charts = [self.frontier_chart(width=640), self.board_chart(width=720)]
        if self.selected != self._full:
            charts.append(self.details().reasons_chart(460))
        said = words.plain(words.answer(self._view_or_refuse(), self.answer, self.max_loss, self.budget))
        return stacked(*charts, title=self.titled(*said))

    def __repr__(self) -> str:
        return f"SearchExplorer: {len(self._runs)} results, selected {self.selected}"

    def controls(self) -> ipywidgets.Widget:
        """See `Explorer.controls`."""
        panel = self.panel = SearchPanel(
            self.settings, self._costs, self.max_loss, lambda what, _: self._point_picked(what), self._anchor_picked
        )
        for name, control in panel.settings.items():
            self.on_change(control, partial(self._setting_changed, name))
        for button, act in (
            (panel.start, self.start),
            (panel.pause, self.pause),
            (panel.resume, self.resume),
            (panel.stop, self.stop),
            (panel.take_answer, lambda: self.pick(None)),
            (panel.take_knee, self._pick_knee),
            (panel.remove, self._remove_front),
        ):
            button.on_click(lambda _, act=act: self.attempt(act))
        for control in (panel.lose, panel.loss, panel.spend, panel.budget):
            self.on_change(control, lambda _: self._limits_set())
        for control in (panel.dominated, panel.random):
            self.on_change(control, lambda _: self.changed())
        self.on_change(panel.front, self._front_changed)
        panel.board.draw(self.board_chart(pickable=True))
        return panel.box

    def draw(self) -> None:
        """See `Explorer.draw`. Called on any thread."""
        with self._lock:
            panel, view, state = self.panel, self._view, self._runner.state
            with self.drawing():
                for name, control in panel.settings.items():
                    control.value = getattr(self.settings, name)
                panel.start.disabled = state != "idle"
                panel.pause.disabled = state != "running"
                panel.resume.disabled = state != "paused"
                panel.stop.disabled = state not in ("running", "paused")
                panel.status.value = block(words.status(view, state, self._error))
                if list(panel.front.options) != list(self._runs):
                    panel.front.options = list(self._runs)
                panel.front.value = self._front
                panel.front.disabled = panel.remove.disabled = not self._runs
                panel.results.value = block(words.results(self._runs, self._front), 13)
                self._draw_limits(view)
            selected = self.selected
            panel.frontier.classes = {(label if view is None else view.label)(selected): "ring"}
            panel.board.classes = {
                anchor.id: "" if anchor.index in selected else "off" for anchor in self._full.layout.anchors
            }
            if view is None:
                panel.figures.value = panel.answer.value = ""
            else:
                numbers = self._numbers(view, selected)
                panel.figures.value = numbers_html(numbers, was="from", metric=view.settings.metric)
                panel.answer.value = block(words.answer(view, self.answer, self.max_loss, self.budget))
                if panel.random.value:
                    self._ask_for_rivals(view)
            self._ask_for_details(view, selected)
            self._redraw(view)

    def _draw_limits(self, view: View | None) -> None:
        panel, scale = self.panel, self._scale()
        name = f"{scale.suffix} {scale.counted}".strip()
        panel.lose.value, panel.spend.value = self.max_loss is not None, self.budget is not None
        if self.max_loss is not None:
            panel.loss.value = round(100 * self.max_loss, 6)
        if self.budget is not None:
            panel.budget.value = self.budget / scale.divisor
        elif panel.budget_unit.value != name:  # another cost: begin with something sensible
            panel.budget.value = float(f"{0.7 * known_costs(self._full)[self._budget_cost] / scale.divisor:.3g}")
        panel.budget_unit.value = name
        panel.take_knee.disabled = panel.take_answer.disabled = view is None

    def _redraw(self, view: View | None) -> None:
        """Have the frontier drawn again if it would look different; while one is being drawn, after that one.

        A drawing is not overtaken: on a slow machine, a frontier that grows would never be seen.
        """
        wanted: _Key = ()
        if view is not None:
            shown = (self._wants("dominated"), self._wants("random") and self._random_key(view) in self._random)
            wanted = (view, view.label(self.answer), self.max_loss, self.budget, *self._runs, *shown, is_dark())
        if wanted != self._wanted and not self._frontier_busy:
            self._wanted, self._frontier_busy = wanted, True
            self._drawer.submit(self._picture)

    def _picture(self) -> tuple[str, bool, View | None]:
        view, dark = self._view, is_dark()
        if view is None:
            return "", dark, None
        return plots.to_pickable_svg(self.frontier_chart(pickable=True)), dark, view

    def _drawn(self, drawn: tuple[str, bool, View | None]) -> None:
        svg, dark, view = drawn
        points = {} if view is None else view.configurations
        with self._lock:
            with self.panel.frontier.hold_sync():
                self.panel.frontier.put(svg, dark)
                self.panel.frontier.notes = {} if view is None else words.notes(view)
                self._points = points
            self._frontier_busy = False
            self._redraw(self._view)

    def _not_drawn(self, error: Exception) -> None:
        self._frontier_busy = False
        self._failed(error)

    def _ask_for_details(self, view: View | None, selected: Configuration) -> None:
        """Have the reasons found, beside the message loop; not of every answer on the way of a search."""
        panel, on_the_way = self.panel, self._picked is None and self._runner.state == "running"
        if view is None or on_the_way or selected == self._full:
            self._asked = ()
            panel.said.value = panel.details.value = panel.reasons.svg = ""
            return
        asked = (view.settings.detections, selected.mask)
        if asked != self._asked:
            self._asked = asked
            panel.said.value = block("Looking for the reasons \N{HORIZONTAL ELLIPSIS}")
            self._asker.submit(lambda: self._with_chart(asked, view, selected))

    def _with_chart(self, asked: _Key, view: View, selected: Configuration) -> tuple[_Key, Details, str, bool]:
        details, dark = self._explain(view, selected), is_dark()
        return asked, details, plots.to_pickable_svg(details.reasons_chart(460)), dark

    def _explained(self, found: tuple[_Key, Details, str, bool]) -> None:
        asked, details, svg, dark = found
        with self._lock:
            if asked == self._asked:
                self.panel.reasons.put(svg, dark)
                self.panel.said.value = block(details.sentence(), 15)
                self.panel.details.value = block(details.html(self._names))

    def _ask_for_rivals(self, view: View) -> None:
        """Have configurations pruned at random, for as long as the box is ticked."""
        key = self._random_key(view)
        if key in self._random or key == self._rivals:
            return
        self._rivals = key

        def measure() -> tuple[_Key, pd.DataFrame]:
            def watch(progress: Progress) -> None:
                if not self._wants("random"):
                    progress.stop()

            evaluator, cost, draws = view.evaluator, view.settings.cost, self._random_draws
            return key, random_pruning(evaluator, cost, draws, progress=False, watch=watch)

        self._rival.submit(measure)

    def _rivalled(self, found: tuple[_Key, pd.DataFrame]) -> None:
        key, frame = found
        self._rivals = ()
        if self._wants("random"):  # else it was cut short
            self._random[key] = frame
            self.draw()

    def _random_key(self, view: View) -> _Key:
        return (*view.settings.detections, view.settings.cost)

    def _wants(self, what: str) -> bool:
        """Whether a box is ticked."""
        return self.shown and bool(getattr(self.panel, what).value)

    # The points of the frontier.

    def _marked(self, view: View, with_selected: bool) -> pd.DataFrame:
        """The points with a name, as `anchorkit.plots.frontier` wants them."""
        marked = {"answer": self.answer, "knee": view.knee()}
        if with_selected and self._picked is not None:
            marked["selected"] = self._picked
        rows: dict[str, list[str]] = {}
        for name, configuration in marked.items():
            if view.label(configuration) in view.frontier.index:
                rows.setdefault(view.label(configuration), []).append(name)
        return view.frontier.loc[[*rows]].assign(label=[", ".join(names) for names in rows.values()])

    def _others(self, view: View) -> dict[str, pd.DataFrame]:
        """The other results that can be compared with the one in front."""
        settings = view.settings
        with self._lock:
            others = {name: other for name, other in self._views.items() if other is not view}
        return {
            name: other.unbeaten(settings.cost)
            for name, other in others.items()
            if other.settings.metric == settings.metric
        }

    def _numbers(self, view: View, selected: Configuration) -> pd.DataFrame:
        rows, accuracy = costs_of(self._full, selected), view.accuracy(selected)
        if accuracy is not None:
            rows.loc["accuracy"] = [view.full["accuracy"], accuracy]
        return rows

    def _scale(self) -> Unit:
        return unit(self._budget_cost, [known_costs(self._full)[self._budget_cost]])

    # What is touched.

    def refused(self, why: str) -> None:
        """See `Explorer.refused`: beside the buttons."""
        self.panel.status.value = block(f"<b>{escape(why)}</b>")

    def _setting_changed(self, name: str, value: Any) -> None:
        self.set(**{name: value})

    def _front_changed(self, name: str | None) -> None:
        if name is not None:
            self.bring_forward(name)

    def _pick_knee(self) -> None:
        view = self._view
        if view is not None:
            self.pick(view.knee())

    def _remove_front(self) -> None:
        if self._front is not None:
            self.remove(self._front)

    def _limits_set(self) -> None:
        panel = self.panel
        max_loss = panel.loss.value / 100 if panel.lose.value else None
        budget = panel.budget.value * self._scale().divisor if panel.spend.value else None
        if (max_loss, budget) != (self.max_loss, self.budget):
            self.constrain(max_loss=max_loss, budget=budget)

    def _point_picked(self, what: str) -> None:
        if what in self._points:  # else the click came too late: another frontier is drawn
            self.pick(self._points[what])

    def _anchor_picked(self, what: str, _: bool) -> None:
        """Go to the nearest point of the frontier in which this anchor, or level, is the other way."""
        view, layout = self._view, self._full.layout
        if view is None:
            return
        level = what.removeprefix("level ")
        anchors = [a for a in layout.anchors if a.id == what or str(a.level) == level]
        here = self.selected
        kept = any(anchor.index in here for anchor in anchors)
        flipped = {
            name: configuration
            for name, configuration in view.configurations.items()
            if any(anchor.index in configuration for anchor in anchors) != kept
        }
        if not flipped:
            every = "keeps" if kept else "lacks"
            self.panel.said.value = block(f"Every point of the frontier {every} {escape(what)}.")
            return
        at = view.accuracy(here)
        accuracies = view.frontier["accuracy"].loc[[*flipped]]
        self.pick(flipped[str((accuracies - (accuracies.max() if at is None else at)).abs().idxmin())])
