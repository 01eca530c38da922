"""Measuring configurations for a search: each once, in order, into the ledger."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm

from anchorkit.anchors import AnchorLayout, Configuration, Move
from anchorkit.costs import Cost, is_named, known_costs
from anchorkit.errors import InputError
from anchorkit.findings import NOTHING_FOUND, ImplausibleDataWarning, nothing_can_be_told
from anchorkit.search.frontier import Frontier
from anchorkit.search.ledger import Ledger

AHEAD = 8
"""Number of children that the evaluator is asked for together where they are wanted one after the other.

A batch costs the evaluator less than single questions, but a larger one asks for more that the search does not need.
"""


class BudgetSpent(Exception):  # noqa: N818  # nothing went wrong
    """The search has tried as many configurations as its budget allows. It never leaves this package."""


class AccuracyOf(Protocol):
    """What a search needs of an evaluator. Accuracies are 0..1.

    An evaluator may also offer ``postprocess``, ``fingerprint`` and ``metric``: the ledger then refuses to mix
    accuracies that belong to different ones. With an evaluator that remembers its answers, a second search goes on
    where a first one was interrupted, even without a ledger.
    """

    @property
    def layout(self) -> AnchorLayout: ...

    def accuracy(self, c: Configuration, /) -> float: ...

    def children(self, c: Configuration, moves: Sequence[Move], /) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Node:
    """A configuration that the search has measured.

    Attributes:
        configuration: the anchors kept.
        accuracy: 0..1.
        cost: in the unit of the search's cost.
        order: how many configurations were tried before it.
        parent: `order` of the configuration it was reached from first; -1 for one that was not reached from another.
    """

    configuration: Configuration
    accuracy: float
    cost: float
    order: int
    parent: int


@dataclass
class Measurer:
    """Measures configurations and remembers them in the order in which they were first tried.

    Args:
        evaluator: answers for accuracies.
        cost: what configurations cost, checked by `anchorkit.costs.as_cost`.
        ledger: where accuracies are looked up first and written to.
        bar: a progress bar to move, or None.
        pulse: called between the steps of a search; what it raises ends the search. See `anchorkit.search.watching`.
        budget: how many configurations may be tried, or None for as many as it takes.

    Raises:
        BudgetSpent: one more would have to be tried; all before it have been measured.
        InputError: the cost cannot be computed, the evaluator's answers are no accuracies, or the ledger
            cannot be written.
    """

    evaluator: AccuracyOf
    cost: Cost
    ledger: Ledger
    bar: tqdm[Any] | None = None
    nodes: list[Node] = field(default_factory=list)
    pulse: Callable[[], None] | None = None
    budget: int | None = None

    def __post_init__(self) -> None:
        self._node_of: dict[int, Node] = {}
        self._answers: dict[int, float] = {}  # what the evaluator said of configurations that are not yet nodes

    def measure(self, configuration: Configuration, parent: int = -1) -> Node:
        """Measure one configuration by itself; `parent` is the `order` of the one it was reached from."""
        self._check_budget([configuration])
        if self._unknown(configuration):
            self._answers[configuration.mask] = float(self.evaluator.accuracy(configuration))
        return self._take([configuration], parent)[0]

    def children(self, parent: Node, moves: Sequence[Move]) -> list[Node]:
        """Measure the children of a configuration in one batch, leaving out none.

        Args:
            parent: where the moves start.
            moves: what each child lacks.

        Returns:
            The children in the order of the moves. Those that were met before come as they were: not measured again.
        """
        children = [parent.configuration.without(move.anchors) for move in moves]
        within = self._within_budget(children)
        self._ask(parent, moves[:within], children[:within])
        taken: list[Node] = []
        if is_named(self.cost):
            taken = self._take(children[:within], parent.order)
        else:
            # Measuring a cost may take long: what has been measured is safe before the next one is.
            for child in children[:within]:
                taken += self._take([child], parent.order)
                self.beat()
        self._check_budget(children[within:])
        return taken

    def children_in_turn(self, parent: Node, moves: Sequence[Move]) -> Iterator[Node]:
        """Measure the children of a configuration one after the other, only as far as they are taken.

        The evaluator is asked for a few at a time all the same. Of those that are not taken in the end nothing is
        recorded, but should another parent lead there, they need not be asked for again.
        """
        children = [parent.configuration.without(move.anchors) for move in moves]
        for number, child in enumerate(children):
            self._check_budget([child])
            if self._unknown(child):
                batch = slice(number, number + AHEAD)
                self._ask(parent, moves[batch], children[batch])
            yield self._take([child], parent.order)[0]
            self.beat()

    @contextmanager
    def judging(self, frontier: Frontier[Node], least: float) -> Iterator[list[Node]]:
        """Offer what is measured meanwhile to a frontier, also if that was cut short.

        Args:
            frontier: what the configurations are offered to, in the order in which they were tried.
            least: least accuracy of what is offered, 0..1.

        Returns:
            A list that holds, at the end, the configurations that entered.
        """
        entered: list[Node] = []
        tried = len(self.nodes)
        try:
            yield entered
        finally:
            entered += [node for node in self.nodes[tried:] if node.accuracy >= least and frontier.add(node)]

    def show(self, frontier: Frontier[Node], **more: int) -> None:
        """Put the size of a frontier, its best accuracy and more numbers on the bar.

        They are shown with the next measurement: to draw the bar every time would take longer than the search itself.
        """
        if self.bar is not None:
            self.bar.set_postfix(frontier=len(frontier), best=f"{frontier.best().accuracy:.4f}", **more, refresh=False)

    def beat(self) -> None:
        """Call the pulse, if there is one."""
        if self.pulse is not None:
            self.pulse()

    def _within_budget(self, configurations: Sequence[Configuration]) -> int:
        """How many of these, from the first on, may be tried; those that were tried before are free."""
        if self.budget is None:
            return len(configurations)
        room = self.budget - len(self.nodes)
        new: set[int] = set()
        for position, configuration in enumerate(configurations):
            if configuration.mask not in self._node_of:
                new.add(configuration.mask)
            if len(new) > room:
                return position
        return len(configurations)

    def _check_budget(self, configurations: Sequence[Configuration]) -> None:
        if self._within_budget(configurations) < len(configurations):
            raise BudgetSpent

    def _unknown(self, configuration: Configuration) -> bool:
        mask = configuration.mask
        return mask not in self._node_of and mask not in self._answers and self.ledger.accuracy(configuration) is None

    def _ask(self, parent: Node, moves: Sequence[Move], children: Sequence[Configuration]) -> None:
        asked = [(move, child) for move, child in zip(moves, children, strict=True) if self._unknown(child)]
        if asked:
            answers = self.evaluator.children(parent.configuration, [move for move, _ in asked])
            for (_, child), answer in zip(asked, answers, strict=True):
                self._answers[child.mask] = float(answer)

    def _take(self, configurations: list[Configuration], parent: int) -> list[Node]:
        """The nodes of configurations whose accuracy is known; new ones go to the ledger first."""
        named, name = is_named(self.cost), self.cost.name
        nodes: list[Node] = []
        unwritten: list[Node] = []
        for configuration in configurations:
            if configuration.mask in self._node_of:
                continue
            accuracy = self.ledger.accuracy(configuration)
            # A measured cost may come out differently the next time: a resumed search must see the same one again.
            cost = None if named else self.ledger.cost(configuration, name)
            is_new = accuracy is None or (cost is None and not named)
            if accuracy is None:
                accuracy = _checked(self._answers.pop(configuration.mask), configuration)
            if cost is None:
                cost = self.cost.compute(configuration)
            node = Node(configuration, accuracy, cost, len(self.nodes) + len(nodes), parent)
            nodes.append(node)
            if is_new:
                unwritten.append(node)
        self.ledger.record(
            [(node.configuration, node.accuracy) for node in unwritten],
            {} if named else {name: {node.configuration: node.cost for node in unwritten}},
        )
        self.nodes += nodes
        self._node_of.update((node.configuration.mask, node) for node in nodes)
        if self.bar is not None:
            self.bar.update(len(nodes))
        return [self._node_of[configuration.mask] for configuration in configurations]

    def frame(self) -> pd.DataFrame:
        """Everything measured, in order; the columns are those of `SearchResult.evaluated`."""
        return node_frame(self.nodes, self.cost)


def node_frame(nodes: Sequence[Node], cost: Cost) -> pd.DataFrame:
    """One row per configuration: accuracy, costs, ``n_anchors``, ``anchors`` (ids kept), ``order``, ``parent``."""
    costs = [known_costs(node.configuration) for node in nodes]
    columns: dict[str, list[Any]] = {"accuracy": [node.accuracy for node in nodes]}
    columns |= {name: [row[name] for row in costs] for name in (costs[0] if costs else ())}
    if not is_named(cost):
        columns[cost.name] = [node.cost for node in nodes]
    columns["n_anchors"] = [len(node.configuration) for node in nodes]
    columns["anchors"] = [" ".join(node.configuration.ids) for node in nodes]
    columns["order"] = [node.order for node in nodes]
    columns["parent"] = [node.parent for node in nodes]
    return pd.DataFrame(columns)


def progress_bar(what: str, shown: bool, total: int | None = None) -> tqdm[Any]:
    """A bar on standard error that counts configurations, and how many per second."""
    # Plain text, twice a second: papermill keeps every drawing as an output of the executed notebook, and a widget
    # would be no picture on a page without network.
    return tqdm(desc=what, total=total, unit=" conf", mininterval=0.5, disable=not shown, file=sys.stderr)


def full_node(measurer: Measurer, threshold: float | None) -> Node:
    """Measure the full configuration, where every search starts, and see that a search makes sense.

    Raises:
        InputError: the threshold is not an accuracy, the layout has no anchors, there is no accuracy to measure, it is
            0 and no threshold of 0 was given, or the ledger belongs to other data.
    """
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        hint = f"; {threshold:g} may mean {threshold / 100:g}" if 1.0 < threshold <= 100.0 else ""
        raise InputError(f"threshold is {threshold!r}: accuracies are 0..1{hint}")
    layout = measurer.evaluator.layout
    if len(layout) == 0:
        raise InputError(f"the layout of {layout.detector} has no anchors: there is nothing to search")
    full = measurer.measure(layout.full)
    _check_ledger(measurer, full)
    # An evaluator that does not say what it measures may have its own scale.
    metric = getattr(measurer.evaluator, "metric", None)
    nothing = None if metric is None else nothing_can_be_told(full.accuracy, str(metric))
    if nothing and full.accuracy < NOTHING_FOUND and threshold != 0.0:
        raise InputError(f"{nothing}: look at its data and train it, or give a threshold of 0 to search all the same")
    if nothing:
        warnings.warn(nothing, ImplausibleDataWarning, stacklevel=4)
    if threshold is not None and threshold > full.accuracy:
        warnings.warn(
            f"threshold {threshold:g} is above the accuracy of the full configuration, {full.accuracy:.4f}: the "
            "frontier will hold the full configuration alone unless taking anchors away gains that much",
            stacklevel=4,
        )
    return full


def _check_ledger(measurer: Measurer, full: Node) -> None:
    """Compare one accuracy with that of the ledger, for an evaluator that does not identify its data."""
    if measurer.ledger.resumed and getattr(measurer.evaluator, "fingerprint", None) is None:
        accuracy = float(measurer.evaluator.accuracy(full.configuration))
        if accuracy != full.accuracy:
            raise InputError(
                f"{measurer.ledger.path}: the full configuration has accuracy {full.accuracy:.4f} there and "
                f"{accuracy:.4f} here: the ledger belongs to other predictions or another ground truth; delete it or "
                "name another file"
            )


def _checked(accuracy: float, configuration: Configuration) -> float:
    if accuracy == -1.0:
        raise InputError(
            "the accuracy is -1: the ground truth has no boxes to find; check its annotations and categories"
        )
    if not 0.0 <= accuracy <= 1.0:
        raise InputError(f"the evaluator returned accuracy {accuracy!r} for {configuration}; accuracies are 0..1")
    return accuracy
