"""A frontier on the screen, and the points on it that have a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from anchorkit.anchors import Configuration
from anchorkit.plots.frames import Unit, unit
from anchorkit.search import Progress
from anchorkit.search.frontier import cheapest, hypervolume, knee, most_accurate, unbeaten
from anchorkit.search.joint import JointResult
from anchorkit.widgets.search_runs import Evaluates, SearchRun, SearchSettings

CHANNELS = "channels"
"""The column of a joint frontier with the detector of each point."""


def label(configuration: Configuration | None) -> str:
    """What a configuration is called in pictures and frames; empty for none."""
    return "" if configuration is None else f"{configuration.mask:x}"


@dataclass(frozen=True, eq=False)
class View:
    """The frontier of a search that runs, or of one that has ended.

    Attributes:
        settings: what was asked for.
        evaluator: who answers.
        full: the row of the configuration with every anchor.
        frontier: as in `anchorkit.SearchResult`, each row labelled by its configuration (see `label`).
        configurations: the configurations of these rows by their label, most accurate first.
        tried: accuracy and cost of all that was tried; None unless the chart shows it.
        evaluated: how many were tried.
        per_second: how many a second; None for a search that is over.
        complete: whether the search came to its end.
    """

    settings: SearchSettings
    evaluator: Evaluates
    full: Mapping[str, Any]
    frontier: pd.DataFrame
    configurations: dict[str, Configuration]
    tried: pd.DataFrame | None
    evaluated: int
    per_second: float | None = None
    complete: bool = False

    @classmethod
    def running(
        cls,
        settings: SearchSettings,
        evaluator: Evaluates,
        full: Mapping[str, Any],
        progress: Progress,
        with_tried: bool,
    ) -> View:
        """Of a search that runs; made while it waits for its watch."""
        points = {label(configuration): configuration for configuration in progress.configurations}
        frontier = progress.frontier.set_axis([*points], axis=0)
        tried = progress.tried if with_tried else None
        return cls(settings, evaluator, full, frontier, points, tried, progress.evaluated, progress.per_second)

    @classmethod
    def over(cls, run: SearchRun) -> View:
        """Of a search that is over, of anchors or joint."""
        result = run.result
        full = {str(name): value for name, value in result.baseline.items()}
        # Configurations of several detectors may have the same mask.
        of = [f" of {n}" for n in result.origins] if isinstance(result, JointResult) else [""] * len(result.frontier)
        points = {f"{label(c)}{one}": c for c, one in zip(result.configurations, of, strict=True)}
        frontier = result.frontier.set_axis([*points], axis=0)
        tried = result.evaluated[[name for name in ("accuracy", result.cost, CHANNELS) if name in result.evaluated]]
        return cls(run.settings, run.evaluator, full, frontier, points, tried, len(tried), complete=result.complete)

    @property
    def by(self) -> str | None:
        """The column that says which detector of a joint search a point is of; None for a search of anchors."""
        return CHANNELS if CHANNELS in self.frontier else None

    def label(self, configuration: Configuration | None) -> str:
        """What a point of the frontier is called in pictures and frames; of others their own label."""
        return self._labels.get(configuration, label(configuration)) if configuration is not None else ""

    @cached_property
    def _labels(self) -> dict[Configuration, str]:
        return {configuration: name for name, configuration in self.configurations.items()}

    @property
    def scale(self) -> Unit:
        """How the cost is written."""
        cost = self.settings.cost
        return unit(cost, [float(self.full[cost])])

    def value(self, configuration: Configuration, column: str) -> float:
        """The accuracy or a cost of a point of the frontier."""
        return float(self.frontier[column].to_dict()[self.label(configuration)])

    def channels(self, configuration: Configuration) -> str:
        """Which detector of a joint search a point of the frontier is of, in words; empty for a search of anchors."""
        if self.by is None:
            return ""
        found = self.frontier[self.by].to_dict()[self.label(configuration)]
        return f"channels {found}" if isinstance(found, str) else f"{100 * found:g} % of the channels removed"

    def accuracy(self, configuration: Configuration) -> float | None:
        """The accuracy of a point of the frontier, or of every anchor, 0..1; None for any other configuration."""
        if self.label(configuration) in self.frontier.index:
            return self.value(configuration, "accuracy")
        return float(self.full["accuracy"]) if configuration == self.evaluator.layout.full else None

    def answer(self, max_loss: float | None, budget: float | None) -> Configuration | None:
        """What two limits ask for.

        With a loss, the cheapest that loses no more (and is within the budget, if there is one); with a budget alone,
        the most accurate within it. None if there are no limits or nothing keeps to them.

        Args:
            max_loss: accuracy (0..1) that may be lost against every anchor, or None.
            budget: the most that it may cost, or None.
        """
        if max_loss is None and budget is None:
            return None
        accuracy, cost = self.frontier["accuracy"], self.frontier[self.settings.cost]
        most = float("inf") if budget is None else budget
        if max_loss is None:
            found = most_accurate(accuracy, (cost, most))
        else:
            found = cheapest(accuracy, cost, float(self.full["accuracy"]) - max_loss, most)
        return None if found is None else [*self.configurations.values()][found]

    def knee(self) -> Configuration:
        """Where the frontier bends most, see `anchorkit.search.frontier.knee`."""
        at = knee(self.frontier["accuracy"].tolist(), self.frontier[self.settings.cost].tolist())
        return [*self.configurations.values()][at]

    def hypervolume(self) -> float:
        """See `anchorkit.search.frontier.hypervolume`: 0..1, from accuracy 0 at the cost of every anchor."""
        cost = self.settings.cost
        return hypervolume(self.frontier["accuracy"].tolist(), self.frontier[cost].tolist(), float(self.full[cost]))

    def unbeaten(self, cost: str) -> pd.DataFrame:
        """The rows that no other one beats in some other cost, the most accurate first."""
        return self.frontier.iloc[unbeaten(self.frontier["accuracy"], self.frontier[cost])]
