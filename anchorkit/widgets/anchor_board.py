"""The anchor board: take anchors away and put them back, and see at once what that costs and saves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from typing import Any, Protocol

import ipywidgets
import numpy as np
import pandas as pd

from anchorkit import plots
from anchorkit.analysis.redundancy import anchor_frame
from anchorkit.anchors import AnchorLayout, Configuration, Move, moves
from anchorkit.costs import cost_facts, known_costs
from anchorkit.errors import InputError
from anchorkit.plots.frames import points, signed, unit
from anchorkit.search.frontier import most_accurate, unbeaten
from anchorkit.widgets.explorer import Explorer, beside, board_width, button, notice_of, row, stacked
from anchorkit.widgets.html_parts import block
from anchorkit.widgets.numbers import costs_of, numbers_html
from anchorkit.widgets.picture import Picture

_DETAILS = ("nothing more", "12 COCO figures", "classes")


class Measures(Protocol):
    """What the board needs of an `anchorkit.Evaluator`."""

    @property
    def layout(self) -> AnchorLayout: ...
    def accuracy(self, configuration: Configuration) -> float: ...
    def children(self, configuration: Configuration, moves: Sequence[Move]) -> np.ndarray: ...
    def stats(self, configuration: Configuration) -> dict[str, float]: ...
    def per_class(self, configuration: Configuration) -> dict[int, float]: ...


class Found(Protocol):
    """What the board needs of an `anchorkit.SearchResult`: the frontier to play against."""

    @property
    def cost(self) -> str: ...
    @property
    def frontier(self) -> pd.DataFrame: ...
    @property
    def configurations(self) -> list[Configuration]: ...


class AnchorBoard(Explorer):
    """Every anchor drawn to scale; a click takes one away or puts it back, and every figure follows.

    Show it by naming it in a notebook's last line; read `selected` in the next cell. Code can play too: `toggle`,
    `undo`, `redo`, `reset`, `set`.

    With the result of a search it is a game: reach a higher accuracy than the greedy search at the same cost.

    Attributes:
        cost: what the accuracy is weighed against, such as ``"head_flops"``.

    Examples:
        >>> from anchorkit.search.toy import toy_evaluator
        >>> from anchorkit.widgets import AnchorBoard
        >>> board = AnchorBoard(toy_evaluator(), cost="boxes")
        >>> board.toggle("L0/16x32")
        >>> board.accuracy, int(board.numbers()["after"]["boxes"])
        (0.5, 176)
    """

    def __init__(
        self,
        evaluator: Measures,
        result: Found | None = None,
        *,
        cost: str | None = None,
        start: Configuration | None = None,
        names: dict[int, str] | None = None,
        actions: Mapping[str, Callable[[], str]] | None = None,
    ) -> None:
        """Start with every anchor, or with `start`.

        Args:
            evaluator: computes accuracies and remembers them; an `anchorkit.Evaluator`.
            result: the search to play against.
            cost: a cost that the layout allows to compute; by default that of the result, or ``"head_flops"``.
            start: the configuration to begin with.
            names: of the classes, by category id.
            actions: further buttons, by name: what a click does; the board shows the sentence that it returns. For
                example one that writes the board as a page, see `anchorkit.handout.save_handout`.

        Raises:
            InputError: the cost is unknown, or `start` or `result` belongs to another layout.
        """
        super().__init__()
        self._evaluator, self._result, self._names = evaluator, result, names or {}
        self._actions = dict(actions or {})
        self.notice = notice_of(evaluator)
        self._full = evaluator.layout.full
        start = start or self._full
        for what, layout in (("start", start.layout), ("result", None if result is None else _layout_of(result))):
            if layout is not None and layout != evaluator.layout:
                raise InputError(f"AnchorBoard: {what} is of {layout.detector!r}, not of {evaluator.layout.detector!r}")
        costs = list(known_costs(self._full))
        self.cost = cost or (result.cost if result is not None and result.cost in costs else "head_flops")
        if self.cost not in costs:
            raise InputError(f"AnchorBoard: cost is {self.cost!r}; use one of {', '.join(costs)}")
        self._past: list[Configuration] = [start]
        self._future: list[Configuration] = []
        self._compared: Configuration | None = None
        self._advised: Move | None = None
        self._details = _DETAILS[0]
        self._drawn: tuple[Any, ...] = ()

    @property
    def selected(self) -> Configuration:
        """The configuration on the board."""
        return self._past[-1]

    @property
    def accuracy(self) -> float:
        """Its accuracy, 0..1."""
        return self._accuracy(self.selected)

    @property
    def lead(self) -> float | None:
        """How far (0..1) the board is ahead of the search at the same cost or less; below 0 if behind.

        None without a search, or where the search found nothing so cheap.
        """
        if self._result is None:
            return None
        frame = self._result.frontier
        at = most_accurate(frame["accuracy"], (frame[self.cost], known_costs(self.selected)[self.cost]))
        return None if at is None else self.accuracy - float(frame["accuracy"].iloc[at])

    def toggle(self, *anchors: int | str) -> None:
        """Take anchors away, or put them back if none of them is there.

        Raises:
            InputError: an anchor is unknown, or none would be left.
        """
        layout, now = self._full.layout, self.selected.mask
        mask = 0
        for anchor in anchors:
            mask |= 1 << layout.index(anchor)
        self.set(Configuration(layout, now & ~mask if now & mask else now | mask))

    def set(self, configuration: Configuration) -> None:
        """Put a configuration on the board.

        Raises:
            InputError: it is of another layout, or keeps no anchor.
        """
        if configuration.layout != self._full.layout:
            raise InputError("AnchorBoard: the configuration is of another layout")
        if not configuration:
            raise InputError("AnchorBoard: a detector needs at least one anchor")
        if configuration != self.selected:
            self._past.append(configuration)
            self._future.clear()
            self._moved()

    def undo(self) -> None:
        """Take the last change back; nothing happens at the start."""
        if len(self._past) > 1:
            self._future.append(self._past.pop())
            self._moved()

    def redo(self) -> None:
        """Make the change again that was taken back last."""
        if self._future:
            self._past.append(self._future.pop())
            self._moved()

    def reset(self) -> None:
        """Put every anchor back; can be undone."""
        self.set(self._full)

    def compare(self, with_: Configuration | None) -> None:
        """Compare with another configuration from now on; None for the unpruned detector."""
        self._compared = with_
        self.changed()

    def advise(self) -> Move | None:
        """Find the removal that loses least (of equal ones, that saves most) and mark it.

        Returns:
            The move; None if only one anchor is left.
        """
        found = moves(self.selected)
        if found:
            accuracies = np.asarray(self._evaluator.children(self.selected, found))
            costs = np.array([known_costs(self.selected.without(move.anchors))[self.cost] for move in found])
            self._advised = found[np.lexsort((costs, -accuracies))[0]]
        self.changed()
        return self._advised

    def code(self) -> str:
        """Python that makes the selected configuration."""
        ids = ", ".join(map(repr, self.selected.ids))
        return f"configuration = evaluator.layout.configuration(keep=[{ids}])"

    def numbers(self) -> pd.DataFrame:
        """Anchors, costs and AP (0..1) of what is compared with and of the board: columns before and after."""
        before, after = self._compared or self._full, self.selected
        frame = costs_of(before, after)
        frame.loc["accuracy"] = [self._accuracy(before), self.accuracy]
        return frame

    def board_chart(self, *, pickable: bool = False, width: int | None = None) -> plots.AnyChart:
        """The anchors; ringed are those that differ from what is compared with, or that are advised to go."""
        frame = anchor_frame(self.selected)
        frame["ringed"] = [index in self._ringed() for index in range(len(frame))]
        return plots.anchor_board(frame, width=width or board_width(self._full.layout), pickable=pickable)

    def frontier_chart(self, *, pickable: bool = False) -> plots.AnyChart:
        """The board's point beside the frontier of the search, or beside what was tried on the board."""
        chosen = None if pickable else pd.DataFrame([{**self._row(self.selected), "label": "you"}])
        full = self._row(self._full)
        return plots.frontier(
            self._line(), self.cost, full=full, chosen=chosen, width=310, height=250, pickable=pickable
        )

    def show(self) -> plots.AnyChart:
        """See `Explorer.show`."""
        headline = f"{self.selected}".split(":")[0] + f", AP {points(self.accuracy)}"
        return stacked(self.board_chart(width=720), self.frontier_chart(), title=self.titled(headline))

    def controls(self) -> ipywidgets.Widget:
        """See `Explorer.controls`."""
        self._board = Picture("the anchors: pick one to take it away or put it back", self._picked)
        self._frontier = Picture("accuracy against cost: pick a point to load it", self._point_picked)
        self._figures, self._said, self._more = (ipywidgets.HTML() for _ in range(3))
        acts: dict[str, Callable[[], Any]] = {
            "Undo": self.undo,
            "Redo": self.redo,
            "Reset": self.reset,
            "Best next removal": self.advise,
            "Remember as A": lambda: self.compare(self.selected),
            "Forget A": lambda: self.compare(None),
            "Copy as code": self._copy,
            **{name: partial(self.attempt, partial(self._act, act)) for name, act in self._actions.items()},
        }
        self.buttons = {name: button(name, act) for name, act in acts.items()}
        wide = {"description_width": "initial"}
        costs = [(cost_facts(name).title, name) for name in known_costs(self._full)]
        cost = ipywidgets.Dropdown(options=costs, value=self.cost, description="Cost", style=wide)
        cost.observe(partial(self._chosen, "cost"), names="value")
        details = ipywidgets.Dropdown(options=_DETAILS, description="Show", style=wide)
        details.observe(partial(self._chosen, "_details"), names="value")
        cost.layout.width, details.layout.width = "14em", "13em"
        # The figures are beside the anchors, not above them, to be in view when the last level is clicked.
        play = beside(self._board, self._figures, self._said, row(cost, details), self._frontier)
        return ipywidgets.VBox([row(*self.buttons.values()), play, self._more])

    def draw(self) -> None:
        """See `Explorer.draw`."""
        layout, here = self._full.layout, self._row(self.selected)
        # The charts themselves are drawn only when something else than the configuration changes: drawing one takes
        # longer than all the rest, and a click should show at once.
        if not self._board.svg:
            self._board.draw(self.board_chart(pickable=True))
        ringed = self._ringed()
        kept = {anchor.id: anchor.index in self.selected for anchor in layout.anchors}
        self._board.classes = {
            anchor.id: " ".join(["off"] * (not kept[anchor.id]) + ["ring"] * (anchor.index in ringed))
            for anchor in layout.anchors
        }
        self._board.notes = {name: "kept" if there else "dropped" for name, there in kept.items()} | {
            f"level {level}": f"{count} of {len(layout.levels[level].anchors)} kept; pick: all away, or back"
            for level, count in enumerate(self.selected.per_level)
        }
        self._figures.value = numbers_html(self.numbers(), was="was" if self._compared is None else "A:")
        self._said.value = block(self._sentence(), 15)
        self._more.value = self._details_html()
        self.buttons["Undo"].disabled = len(self._past) < 2
        self.buttons["Redo"].disabled = not self._future
        self.buttons["Forget A"].disabled = self._compared is None
        # Last: without a search to compare with, the line itself may change, and drawing it takes a while.
        line = self._line()
        drawn = (self.cost, tuple(line[self.cost]))
        if drawn != self._drawn:
            self._frontier.draw(self.frontier_chart(pickable=True))
            self._drawn = drawn
        place = plots.pointer_on_frontier(line, self.cost, self._row(self._full), here)
        self._frontier.pointer = {**place, "text": "you"}

    def refused(self, why: str) -> None:
        """See `Explorer.refused`: below the figures."""
        self._said.value = block(f"<b>{escape(why)}</b>", 15)

    def __repr__(self) -> str:
        return f"AnchorBoard: {self.selected}"

    def _ringed(self) -> tuple[int, ...]:
        """Anchors that differ from A, or that are advised to go."""
        if self._advised is not None:
            return self._advised.anchors
        if self._compared is None:
            return ()
        return Configuration(self._full.layout, self.selected.mask ^ self._compared.mask).indices

    def _line(self) -> pd.DataFrame:
        """The frontier to compare with."""
        return self._tried() if self._result is None else self._result.frontier

    def _accuracy(self, configuration: Configuration) -> float:
        return float(self._evaluator.accuracy(configuration))

    def _row(self, configuration: Configuration) -> dict[str, Any]:
        accuracy = self._accuracy(configuration)
        return {"accuracy": accuracy, "n_anchors": len(configuration), **known_costs(configuration)}

    def _tried(self) -> pd.DataFrame:
        """What was on the board and no other configuration on it beats; by falling accuracy."""
        unique = {configuration.mask: configuration for configuration in [self._full, *self._past, *self._future]}
        frame = pd.DataFrame([self._row(c) | {"configuration": c} for c in unique.values()])
        kept = unbeaten(frame["accuracy"], frame[self.cost])
        return frame.iloc[kept].reset_index(drop=True)

    def _moved(self) -> None:
        self._advised = None
        self.changed()

    def _picked(self, what: str, extend: bool) -> None:
        layout = self._full.layout
        if what.startswith("level "):
            level = int(what.removeprefix("level "))
            anchors = [anchor.index for anchor in layout.anchors if anchor.level == level]
        else:
            anchors = [layout.index(what)]
            if extend:  # the same shape on every level
                position = layout.anchors[anchors[0]].position
                anchors = [anchor.index for anchor in layout.anchors if anchor.position == position]
        self.attempt(lambda: self.toggle(*anchors))

    def _point_picked(self, what: str, _: bool) -> None:
        found = self._tried()["configuration"].tolist() if self._result is None else self._result.configurations
        self.set(found[int(what)])

    def _chosen(self, attribute: str, change: Any) -> None:
        setattr(self, attribute, change["new"])
        self.changed()

    def _act(self, act: Callable[[], str]) -> None:
        self._said.value = block(escape(act()), 15)

    def _copy(self) -> None:
        self._board.copy(self.code())
        self._more.value = f"<pre>{escape(self.code())}</pre>"

    def _sentence(self) -> str:
        if self._advised is not None:
            lost = 100 * (self._accuracy(self.selected.without(self._advised.anchors)) - self.accuracy)
            return f"Best next removal: <b>{escape(self._advised.label)}</b>, AP {signed(lost, 2)} points."
        lead = self.lead
        if self._result is None or self.notice:
            return "Pick an anchor to take it away; with Shift, the same shape on every level."
        if lead is None:
            return "Cheaper than anything the search found. Pick an anchor to put it back."
        at = known_costs(self.selected)[self.cost]
        budget = unit(self.cost, [at]).text(at)
        if abs(lead) < 5e-6:
            return f"At {budget} you are level with the greedy search."
        if lead > 0:
            return f"At {budget} you <b>beat</b> the greedy search by <b>{100 * lead:.2f}</b> points."
        return f"At {budget} the greedy search is ahead by <b>{-100 * lead:.2f}</b> points. Can you beat it?"

    def _details_html(self) -> str:
        before, after = self._compared or self._full, self.selected
        if self._details == _DETAILS[1]:
            old, new = self._evaluator.stats(before), self._evaluator.stats(after)
            return _changes_html({name: (old[name], new[name]) for name in old})
        if self._details == _DETAILS[2]:
            old_ap, new_ap = self._evaluator.per_class(before), self._evaluator.per_class(after)
            rows = {self._names.get(key, f"class {key}"): (old_ap[key], new_ap[key]) for key in old_ap}
            return _changes_html(dict(sorted(rows.items(), key=lambda row: row[1][1] - row[1][0])))
        return ""


def _layout_of(result: Found) -> AnchorLayout | None:
    configurations = result.configurations
    return configurations[0].layout if configurations else None


def _changes_html(rows: dict[str, tuple[float, float]]) -> str:
    """Accuracies before and after, in points; COCO's -1 (nothing to find) as a dash."""
    lines = []
    for name, (before, after) in rows.items():
        texts = [("\N{EN DASH}" if value < 0 else points(value)) for value in (before, after)]
        moved = "" if min(before, after) < 0 else signed(100 * (after - before))
        cells = "".join(f'<td style="padding:1px 14px 1px 0;text-align:right">{t}</td>' for t in (*texts, moved))
        lines.append(f'<tr><td style="padding:1px 14px 1px 0">{escape(str(name))}</td>{cells}</tr>')
    head = "<tr><td></td><td>before</td><td>now</td><td>change</td></tr>"
    return block(f"<table>{head}{''.join(lines)}</table>", style="columns:2")
