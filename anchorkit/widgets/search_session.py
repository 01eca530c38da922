"""The search explorer without its screen: settings, the running search, results and the selection."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anchorkit.anchors import Configuration
from anchorkit.costs import known_costs
from anchorkit.errors import InputError
from anchorkit.search import Progress, SearchResult, as_strategy, search
from anchorkit.search.joint import JointResult
from anchorkit.search.result import NEGLIGIBLE_LOSS
from anchorkit.search.watching import Watch
from anchorkit.widgets.background import Background
from anchorkit.widgets.explorer import Explorer, notice_of
from anchorkit.widgets.search_details import Behaviour, Details
from anchorkit.widgets.search_runs import Evaluates, Runner, SearchRun, SearchSettings
from anchorkit.widgets.search_view import View

if TYPE_CHECKING:
    from anchorkit.datasets import Split
    from anchorkit.evaluation import Evaluator

_REFRESH = 0.35
"""Least seconds between two looks at a frontier that grows."""


class SearchSession(Explorer):
    """Base of the search explorer.

    Attributes:
        settings: what the next search is asked for.
        max_loss: how much accuracy (0..1) the answer may lose against all anchors; None for any.
        budget: what the answer may cost at most, in the unit of its cost; None for anything.
    """

    def __init__(
        self,
        evaluator: Evaluates | Sequence[Evaluator],
        *,
        split: Split | None = None,
        names: Mapping[int, str] | None = None,
        result: SearchResult | JointResult | None = None,
        cost: str | None = None,
        strategy: str = "algorithm1",
        max_drop: float = 0.03,
        max_loss: float | None = NEGLIGIBLE_LOSS,
        budget: float | None = None,
    ) -> None:
        """Begin with nothing found, or with a `result`.

        Args:
            evaluator: an `anchorkit.Evaluator`; for a joint `result` those of all its detectors, in its order.
            split: the images that it is about; gives the classes their names.
            names: of the classes, by category id; instead of `split`.
            result: a search of this evaluator that is already over, or a joint search.
            cost: what to save; by default that of `result`, or ``"head_flops"``.
            strategy: a name of `anchorkit.search.STRATEGIES`.
            max_drop: how far below the accuracy of all anchors to explore, 0..1 (0.03 is 3 points).
            max_loss: how much accuracy the answer may lose, 0..1 (0.002 is 0.2 points); None for any.
            budget: what the answer may cost at most; None for anything.

        Raises:
            InputError: the cost or the strategy is unknown, a number is out of range, or `result` is of another layout.
        """
        super().__init__()
        self._layouts = [] if not isinstance(result, JointResult) else [found.layout for found in result.results]
        from anchorkit.statistics.joint import as_one  # with scipy, which takes a while to import

        evaluator = as_one(evaluator, result)
        self.notice = notice_of(evaluator)
        self._full = evaluator.layout.full
        self._costs = [*known_costs(self._full)]
        if result is not None:
            if result.layout != evaluator.layout:
                theirs, ours = result.layout.detector, evaluator.layout.detector
                raise InputError(f"SearchExplorer: result is of {theirs!r}, not of {ours!r}")
            self._check_cost(result.cost)
        cost = cost or ("head_flops" if result is None else result.cost)
        self._check_cost(cost)
        as_strategy(strategy)
        self._names = dict(names or ({} if split is None else {kind.id: kind.name for kind in split.categories}))
        post = evaluator.postprocess
        self.settings = SearchSettings(cost, strategy, max_drop, evaluator.metric, post.nms_iou, post.score_threshold)
        self._usual = self.settings
        self._evaluators = {self.settings.detections: evaluator}
        self._runs: dict[str, SearchRun] = {}
        self._views: dict[str, View] = {}
        self._count = 0  # of all searches that ended, removed ones too: their names are not given again
        self._front: str | None = None
        self._live: View | None = None
        self._looked_at = 0.0
        self._picked: Configuration | None = None
        self._before: dict[tuple[Any, ...], Behaviour] = {}
        self._error: Exception | None = None
        self._lock = threading.RLock()  # never held while an evaluator is asked
        self._runner = Runner(self._done, self._failed)
        self.max_loss: float | None = None
        self.budget: float | None = None
        self._budget_cost = cost
        if result is not None:
            threshold = 0.0 if result.threshold is None else result.threshold
            drop = min(max(round(float(result.baseline["accuracy"]) - threshold, 6), 0.0), 1.0)
            settings = replace(self.settings, cost=result.cost, strategy=result.strategy, max_drop=drop)
            self._take(SearchRun(settings, evaluator, result))
            self._budget_cost = result.cost
        self.constrain(max_loss=max_loss, budget=budget)

    @property
    def selected(self) -> Configuration:
        """The point that was picked; else the answer; else every anchor."""
        return self._picked or self.answer or self._full

    @property
    def answer(self) -> Configuration | None:
        """What the limits ask for: the cheapest that loses no more, or, with a budget alone, the most accurate within.

        None if there are no limits, or if nothing on the frontier keeps to them.
        """
        view = self._view
        return None if view is None else view.answer(self.max_loss, self.budget)

    @property
    def state(self) -> str:
        """``"idle"``, ``"running"``, ``"paused"`` or ``"stopping"``."""
        return self._runner.state

    @property
    def result(self) -> SearchResult | JointResult:
        """The search in front; its ``save`` writes what the next lesson reads.

        Raises:
            InputError: none is over yet.
        """
        if self._front is None:
            raise InputError("no search is over yet: press Start, or call run()")
        return self._runs[self._front].result

    @property
    def results(self) -> dict[str, SearchResult | JointResult]:
        """The searches that are over, by name, in the order in which they were."""
        return {name: run.result for name, run in self._runs.items()}

    def set(self, **changes: Any) -> None:
        """Change what the next search is asked for: fields of `SearchSettings`.

        Raises:
            InputError: a setting or a cost is unknown, or a number is out of range.
        """
        try:
            settings = replace(self.settings, **changes)
        except TypeError:
            names = ", ".join(vars(self.settings))
            raise InputError(f"SearchExplorer.set({', '.join(changes)}): the settings are {names}") from None
        self._check_cost(settings.cost)
        as_strategy(settings.strategy)
        if settings != self.settings:
            self.settings = settings
            self.changed()

    def run(self) -> SearchResult | JointResult:
        """Search at once, and return when it is over."""
        self._take(self._search(self.settings, lambda _: None))
        self.changed()
        return self.result

    def start(self) -> None:
        """Search on another thread.

        Raises:
            InputError: a search is running.
        """
        settings = self.settings
        self._runner.start(lambda watch: self._search(settings, watch))
        self._picked, self._error = None, None
        self.changed()

    def pause(self) -> None:
        """Let the search wait."""
        self._runner.pause()
        self.changed()

    def resume(self) -> None:
        """Let it go on."""
        self._runner.resume()
        self.changed()

    def stop(self) -> None:
        """End the search; what it has found becomes a result that is not complete."""
        self._runner.stop()
        self.changed()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing runs or waits to be drawn; False if something still does after `seconds` each.

        Raises:
            InputError: or another exception that was raised meanwhile.
        """
        over = [self._runner.wait(seconds), *(job.wait(seconds) for job in self._jobs())]
        error, self._error = self._error, None
        if error is not None:
            raise error
        return all(over)

    def constrain(self, *, max_loss: float | None, budget: float | None = None) -> None:
        """Say what the answer has to keep to; the answer becomes the selected configuration.

        Args:
            max_loss: accuracy (0..1) that it may lose; None for any.
            budget: what it may cost at most; None for anything.

        Raises:
            InputError: a number is out of range.
        """
        if max_loss is not None and not -1 < max_loss < 1:
            raise InputError(f"max_loss is {max_loss!r}: accuracies are 0..1, so 2 points are 0.02")
        if budget is not None and not budget >= 0:
            raise InputError(f"budget is {budget!r}; a number of 0 or more is needed")
        self.max_loss, self.budget, self._picked = max_loss, budget, None
        self.changed()

    def pick(self, configuration: Configuration | None) -> None:
        """Select a configuration; None for the answer.

        Raises:
            InputError: it is of another layout.
        """
        if configuration is not None and configuration.layout not in (self._full.layout, *self._layouts):
            raise InputError("SearchExplorer: the configuration is of another layout")
        self._picked = configuration
        self.changed()

    def bring_forward(self, name: str) -> None:
        """Put a result in front: its points can be picked, and the answer is one of them.

        Raises:
            InputError: there is none of that name.
        """
        self._check_name(name)
        if name != self._front:
            self._front, self._picked = name, None
            self.changed()

    def remove(self, name: str) -> None:
        """Forget a result.

        Raises:
            InputError: there is none of that name.
        """
        with self._lock:
            self._check_name(name)
            del self._runs[name], self._views[name]
            if name == self._front:
                self._front, self._picked = next(reversed(self._runs), None), None
        self.changed()

    def details(self) -> Details:
        """What the selected configuration changes, per size and class, and the reasons."""
        return self._explain(self._view_or_refuse(), self.selected)

    # For the screen.

    def _jobs(self) -> list[Background[Any]]:
        """What else runs beside the message loop."""
        return []

    def _shows_tried(self) -> bool:
        """Whether the chart shows what was tried and beaten."""
        return False

    @property
    def _view(self) -> View | None:
        """What is in front."""
        return self._live or (None if self._front is None else self._views[self._front])

    def _view_or_refuse(self) -> View:
        if self._view is None:
            raise InputError("no search is over yet: press Start, or call run()")
        return self._view

    def _search(self, settings: SearchSettings, watch: Watch) -> SearchRun:
        evaluator = self._evaluator_of(settings)
        accuracy = evaluator.accuracy(self._full)
        full = {"accuracy": accuracy, "n_anchors": len(self._full), **known_costs(self._full)}

        def watched(progress: Progress) -> None:
            if time.monotonic() - self._looked_at > _REFRESH or self._runner.state == "paused":
                self._live = View.running(settings, evaluator, full, progress, self._shows_tried())
                if self.shown:
                    self.draw()
                self._looked_at = time.monotonic()
            watch(progress)

        result = search(
            evaluator,
            cost=settings.cost,
            threshold=max(accuracy - settings.max_drop, 0.0),
            strategy=settings.strategy,
            progress=False,
            watch=watched,
        )
        return SearchRun(settings, evaluator, result)

    def _evaluator_of(self, settings: SearchSettings) -> Evaluates:
        key = settings.detections
        if key not in self._evaluators:
            evaluator = self._evaluators[self._usual.detections]
            if settings.metric != self._usual.metric:
                evaluator = evaluator.with_metric(settings.metric)
            if key[1:] != self._usual.detections[1:]:
                evaluator = evaluator.with_postprocess(nms_iou=key[1], score_threshold=key[2])
            self._evaluators[key] = evaluator
        return self._evaluators[key]

    def _take(self, run: SearchRun) -> None:
        """Put what a search found in front."""
        with self._lock:
            self._count += 1
            name = f"{self._count}: {run.settings.title(self._usual)}"
            self._runs[name], self._views[name] = run, View.over(run)
            self._front, self._live = name, None

    def _done(self, run: SearchRun) -> None:
        self._take(run)
        self.changed()

    def _failed(self, error: Exception) -> None:
        with self._lock:
            self._error, self._live = error, None
        self.changed()

    def changed(self) -> None:
        """See `Explorer.changed`."""
        view = self._view
        cost = self.settings.cost if view is None else view.settings.cost
        if cost != self._budget_cost:  # a budget is in the unit of its cost
            self.budget, self._budget_cost = None, cost
        super().changed()

    def _explain(self, view: View, configuration: Configuration) -> Details:
        key = view.settings.detections
        if key not in self._before:
            self._before[key] = Behaviour.of(view.evaluator, self._full)
        return Details(configuration, self._before[key], Behaviour.of(view.evaluator, configuration))

    def _check_name(self, name: str) -> None:
        if name not in self._runs:
            raise InputError(f"no result {name!r}; there are {', '.join(self._runs) or 'none'}")

    def _check_cost(self, cost: str) -> None:
        if cost not in self._costs:
            raise InputError(f"SearchExplorer: cost is {cost!r}; use one of {', '.join(self._costs)}")
