"""The controls of the search explorer and their layout; `search_explorer` says what they do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ipywidgets

from anchorkit.costs import cost_facts
from anchorkit.evaluation.metrics import named_metrics
from anchorkit.search import STRATEGIES
from anchorkit.search.result import NEGLIGIBLE_LOSS
from anchorkit.widgets.explorer import button, row
from anchorkit.widgets.picture import OnPick, Picture
from anchorkit.widgets.search_runs import SearchSettings

_SCORES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


class SearchPanel:
    """Every control as an attribute, all of them in `box`; made to fit a page of 930 pixels.

    Args:
        settings: what the controls show at first; its score threshold is the least that can be chosen.
        costs: names of the costs to choose from.
        max_loss: share of accuracy (0..1) that the answer may lose at first; None for no such limit.
        on_point: takes what was picked in the frontier.
        on_anchor: takes what was picked on the board.
    """

    def __init__(
        self,
        settings: SearchSettings,
        costs: Iterable[str],
        max_loss: float | None,
        on_point: OnPick,
        on_anchor: OnPick,
    ) -> None:
        self.cost = _menu("Cost", [(cost_facts(name).title, name) for name in costs], settings.cost)
        metrics = dict.fromkeys((settings.metric, *named_metrics()))
        self.metric = _menu("Metric", [(name, name) for name in metrics], settings.metric)
        self.strategy = _menu("Strategy", [(one.title, name) for name, one in STRATEGIES.items()], settings.strategy)
        drops = sorted({0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 100.0, round(100 * settings.max_drop, 6)})
        self.max_drop = _steps("Threshold", [(f"\N{MINUS SIGN}{drop:g} points", drop / 100) for drop in drops])
        self.max_drop.tooltip = "how far below the accuracy of all anchors to explore"
        ious = sorted({*(number / 20 for number in range(6, 19)), settings.nms_iou})
        self.nms_iou = _steps("NMS IoU", [(f"{iou:g}", iou) for iou in ious])
        scores = sorted({settings.score_threshold, *(score for score in _SCORES if score > settings.score_threshold)})
        self.score_threshold = _steps("Least score", [(f"{score:g}", score) for score in scores])

        self.start, self.pause, self.resume, self.stop = map(button, ("Start", "Pause", "Resume", "Stop"))
        self.start.button_style = "primary"
        self.status = ipywidgets.HTML()

        self.frontier = Picture("accuracy against cost: pick a point to select it", on_point)
        self.lose = ipywidgets.Checkbox(value=max_loss is not None, description="lose at most", indent=False)
        # The text of the box before a number is its label; a screen reader reads a description instead.
        unseen = {"style": {"description_width": "0px"}}
        self.loss = ipywidgets.BoundedFloatText(
            value=100 * (NEGLIGIBLE_LOSS if max_loss is None else max_loss), min=-100, max=100, step=0.1, **unseen
        )
        self.spend = ipywidgets.Checkbox(value=False, description="spend at most", indent=False)
        self.budget = ipywidgets.BoundedFloatText(min=0, max=1e15, step=0.1, **unseen)
        self.loss.description, self.budget.description = "points to lose at most", "cost at most"
        for box, number in ((self.lose, self.loss), (self.spend, self.budget)):
            box.layout.width, number.layout.width = "116px", "88px"
        self.loss_unit, self.budget_unit = ipywidgets.Label("points"), ipywidgets.Label()
        self.answer = ipywidgets.HTML()
        self.take_answer, self.take_knee = button("Select the answer"), button("Select the knee")
        self.dominated = ipywidgets.Checkbox(description="beaten configurations", indent=False)
        self.random = ipywidgets.Checkbox(description="random pruning", indent=False)
        for box in (self.dominated, self.random):
            box.layout.width = "170px"
        self.front = _menu("Result", [], None, "344px")
        self.front.style.description_width = "50px"
        self.remove = button("Remove this result")
        self.remove.layout.align_self = "flex-start"
        self.results = ipywidgets.HTML()

        self.figures, self.said, self.details = (ipywidgets.HTML() for _ in range(3))
        self.board = Picture("the anchors of the selected configuration", on_anchor)
        self.reasons = Picture("errors by kind, before and after")
        self.details.layout.width = "328px"
        self.said.layout.max_width = "880px"
        self.box = self._placed()

    @property
    def settings(self) -> dict[str, Any]:
        """The controls that a search depends on, by the name of the setting."""
        names = ("cost", "metric", "strategy", "max_drop", "nms_iou", "score_threshold")
        return {name: getattr(self, name) for name in names}

    def _placed(self) -> ipywidgets.Widget:
        side = ipywidgets.VBox(
            [
                ipywidgets.HTML("<b>The answer must</b>"),
                ipywidgets.HBox([self.lose, self.loss, self.loss_unit]),
                ipywidgets.HBox([self.spend, self.budget, self.budget_unit]),
                self.answer,
                row(self.take_answer, self.take_knee),
                ipywidgets.HTML("<b>Show beside it</b>"),
                row(self.dominated, self.random),
                self.front,
                self.results,
                self.remove,
            ],
            layout=ipywidgets.Layout(width="356px", padding="0 0 0 8px"),
        )
        return ipywidgets.VBox(
            [
                row(self.cost, self.metric, self.strategy),
                row(self.max_drop, self.nms_iou, self.score_threshold),
                row(self.start, self.pause, self.resume, self.stop, self.status),
                row(self.frontier, side, align="flex-start"),
                self.figures,
                row(self.board, self.details, align="flex-start"),
                self.said,
                self.reasons,
            ]
        )


def _menu(name: str, options: list[tuple[str, str]], value: str | None, width: str = "270px") -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(
        options=options,
        value=value,
        description=name,
        style={"description_width": "72px"},
        layout=ipywidgets.Layout(width=width),
    )


def _steps(name: str, options: list[tuple[str, float]]) -> ipywidgets.SelectionSlider:
    return ipywidgets.SelectionSlider(
        options=options,
        description=name,
        continuous_update=False,
        style={"description_width": "76px"},
        layout=ipywidgets.Layout(width="300px"),
    )
