"""Choosing a configuration from the frontier with a slider, or by a click on its point."""

from __future__ import annotations

from typing import Any, Protocol

import ipywidgets
import pandas as pd

from anchorkit import plots
from anchorkit.analysis.redundancy import anchor_frame
from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.costs import COSTS, cost_facts
from anchorkit.errors import InputError
from anchorkit.findings import nothing_can_be_told
from anchorkit.plots.frames import change, points
from anchorkit.search.frontier import cheapest, unbeaten
from anchorkit.search.result import NEGLIGIBLE_LOSS
from anchorkit.widgets.explorer import Explorer, beside, board_width, row, stacked
from anchorkit.widgets.numbers import numbers_html
from anchorkit.widgets.picture import Picture


class Frontier(Protocol):
    """What the chooser needs of a search's result."""

    @property
    def layout(self) -> AnchorLayout: ...
    @property
    def cost(self) -> str: ...
    @property
    def frontier(self) -> pd.DataFrame: ...
    @property
    def configurations(self) -> list[Configuration]: ...
    @property
    def baseline(self) -> pd.Series[Any]: ...


class PointChooser(Explorer):
    """A slider over the points of a frontier, from the most accurate to the cheapest.

    Show it by naming it in a notebook's last line; read `selected` in the next cell. The slider and the menu are plain
    ipywidgets (`slider`, `cost`), so that code can set them as well.

    The menu chooses the cost that the points are compared by. Points that another one beats in that cost are left
    out, so the slider then has fewer places; it stays at its point, or goes to the nearest in accuracy.

    Attributes:
        slider: position among the points, 0 (the most accurate) and up.
        cost: name of the cost, such as ``"head_flops"``.

    Examples:
        >>> import anchorkit as ak
        >>> from anchorkit.search.toy import toy_evaluator
        >>> from anchorkit.widgets import PointChooser
        >>> result = ak.search(toy_evaluator(), cost="boxes", progress=False)
        >>> chooser = PointChooser(result, max_loss=0.03)
        >>> print(chooser.selected)
        3 of 6 anchors: L0/16x16 L1/32x32 L1/64x32
        >>> chooser.slider.value = 0
        >>> print(chooser.selected)
        5 of 6 anchors: L0/16x16 L0/32x16 L1/32x32 L1/64x32 L1/32x64
    """

    def __init__(self, result: Frontier, max_loss: float = NEGLIGIBLE_LOSS) -> None:
        """Start at the cheapest point that loses at most `max_loss` (0.002 is 0.2 points of AP).

        Raises:
            InputError: the frontier has no points, or `max_loss` is not within 0..1.
        """
        if not 0 <= max_loss < 1:
            raise InputError(f"max_loss is {max_loss!r}: accuracies are 0..1, so 2 points are 0.02")
        super().__init__()
        self._result = result
        self._rows = result.frontier.reset_index(drop=True)
        if self._rows.empty:
            raise InputError("the frontier has no points to choose from; search with a lower threshold")
        self._full = result.baseline
        self.notice = nothing_can_be_told(float(self._full["accuracy"]))
        costs = [name for name in (result.cost, *COSTS) if name in self._rows and self._rows[name].notna().all()]
        options = [(cost_facts(name).title, name) for name in dict.fromkeys(costs)]
        wide = {"description_width": "initial"}
        self.cost = ipywidgets.Dropdown(options=options, value=result.cost, description="Cost", style=wide)
        self._order = self._unbeaten(result.cost)
        rows = self._rows.iloc[self._order]
        least = float(self._full["accuracy"]) - max_loss
        start = cheapest(rows["accuracy"], rows[result.cost], least) or 0
        self.slider = ipywidgets.IntSlider(
            value=start,
            min=0,
            max=len(self._order) - 1,
            description="accurate → cheap",
            readout=False,
            style=wide,
            layout=ipywidgets.Layout(width="38em", max_width="100%"),
        )
        self._drawn = ""
        self.cost.observe(self._cost_changed, names="value")
        self.slider.observe(self._moved, names="value")

    @property
    def selected(self) -> Configuration:
        """The configuration that is chosen."""
        place: int = self.slider.value
        return self._result.configurations[self._order[place]]

    @property
    def row(self) -> pd.Series[Any]:
        """The frontier's row of the configuration that is chosen."""
        place: int = self.slider.value
        return self._rows.iloc[self._order[place]]

    def frontier_chart(self, *, pickable: bool = False) -> plots.AnyChart:
        """The frontier with the chosen point marked; in a chart to touch, `Picture` marks it."""
        return plots.frontier(
            self._rows.iloc[self._order],
            self.cost.value,
            full=self._full.to_frame().T,
            chosen=None if pickable else self.row.to_frame().T.assign(label="chosen"),
            width=310 if pickable else 520,
            height=300,
            pickable=pickable,
        )

    def board_chart(self, *, pickable: bool = False) -> plots.AnyChart:
        """The anchors that the chosen configuration keeps and drops."""
        frame = anchor_frame(self.selected)
        return plots.anchor_board(frame, width=board_width(self._result.layout) if pickable else 760, pickable=pickable)

    def numbers(self) -> pd.DataFrame:
        """Anchors, boxes, FLOPs and AP (0..1) of the full detector and of the choice: columns before and after."""
        row, full = self.row, self._full
        costs = [name for _, name in self.cost.options]
        names = [name for name in ("n_anchors", *costs, "accuracy") if name in row.index and name in full.index]
        return pd.DataFrame({"before": [full[name] for name in names], "after": [row[name] for name in names]}, names)

    def show(self) -> plots.AnyChart:
        """The choice as one static chart: the frontier above the anchors."""
        row, full = self.row, self._full
        cost = self.cost.value
        headline = (
            f"{len(self.selected)} of {len(self._result.layout)} anchors, "
            f"{cost_facts(cost).words} {change(full[cost], row[cost])}, "
            f"AP {points(full['accuracy'])} \N{RIGHTWARDS ARROW} {points(row['accuracy'])}"
        )
        return stacked(self.frontier_chart(), self.board_chart(), title=self.titled(headline))

    def _unbeaten(self, cost: str) -> list[int]:
        """Rows of the frontier that no other row beats in this cost, the most accurate first."""
        return unbeaten(self._rows["accuracy"], self._rows[cost])

    def _cost_changed(self, _: Any) -> None:
        accuracy = float(self.row["accuracy"])
        at = self._order[self.slider.value]
        order = self._unbeaten(self.cost.value)
        far = (self._rows["accuracy"].iloc[order].astype(float) - accuracy).abs().to_numpy()
        place = order.index(at) if at in order else int(far.argmin())
        # The order and the place change together: in between, `selected` would be some other point.
        self.slider.unobserve(self._moved, names="value")
        self._order = order
        self.slider.value = 0
        self.slider.max = len(order) - 1
        self.slider.value = place
        self.slider.observe(self._moved, names="value")
        self.changed()

    def _moved(self, _: Any) -> None:
        self.changed()

    def draw(self) -> None:
        """See `Explorer.draw`."""
        if self._drawn != self.cost.value:
            # The point that is chosen is a pointer on the frontier, and what it drops a look of the board: moving the
            # slider draws neither of them again.
            self._drawn = self.cost.value
            self._frontier.draw(self.frontier_chart(pickable=True))
        layout, chosen, line = self._result.layout, self.selected, self._rows.iloc[self._order]
        full, row = ({str(name): value for name, value in one.items()} for one in (self._full, self.row))
        place = plots.pointer_on_frontier(line, self.cost.value, full, row)
        self._frontier.pointer = {**place, "text": "chosen"}
        self._board.classes = {anchor.id: "" if anchor.index in chosen else "off" for anchor in layout.anchors}
        self._figures.value = numbers_html(self.numbers())

    def _picked(self, what: str, _: bool) -> None:
        self.slider.value = self._order.index(int(what))

    def controls(self) -> ipywidgets.Widget:
        """See `Explorer.controls`."""
        self._board = Picture("the anchors of the chosen point")
        self._frontier = Picture("accuracy against cost: pick a point to choose it", self._picked)
        self._figures = ipywidgets.HTML()
        self._board.draw(self.board_chart(pickable=True))
        return ipywidgets.VBox([row(self.cost, self.slider), beside(self._board, self._figures, self._frontier)])

    def __repr__(self) -> str:
        return f"PointChooser: {self.selected}"
