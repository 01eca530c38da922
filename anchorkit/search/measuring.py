"""Measuring configurations for a search: each once, in order, into the ledger."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm

from anchorkit.anchors import AnchorLayout, Configuration, Move
from anchorkit.costs import COSTS, CostFunction, cost_function, known_costs
from anchorkit.errors import InputError
from anchorkit.search.ledger import Ledger


class AccuracyOf(Protocol):
    """All that a search asks of an evaluator. Accuracies are 0..1.

    An evaluator may also offer ``postprocess``, ``fingerprint`` and ``metric``: the ledger then refuses to mix
    accuracies that belong to different ones.
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
        parent: `order` of the configuration it was reached from first; -1 for the full one.
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
        cost: name of a cost, or a callable.
        ledger: where accuracies are looked up first and written to.
        bar: a progress bar to move, or None.

    Raises:
        InputError: the cost is unknown or cannot be computed, the evaluator's answers are no accuracies, or the ledger
            cannot be written.
    """

    evaluator: AccuracyOf
    cost: str | CostFunction
    ledger: Ledger
    bar: tqdm[Any] | None = None
    nodes: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cost_name, self._cost_of = cost_function(self.cost)
        self._node_of: dict[Configuration, Node] = {}

    def measure(self, configuration: Configuration, parent: int = -1) -> Node:
        """Measure one configuration by itself."""
        if configuration not in self._node_of:
            accuracy = self.ledger.accuracy(configuration)
            if accuracy is None:
                accuracy = _checked(float(self.evaluator.accuracy(configuration)), configuration)
                self._take([configuration], [accuracy], parent, new=[configuration])
            else:
                self._take([configuration], [accuracy], parent, new=[])
        return self._node_of[configuration]

    def children(self, parent: Node, moves: Sequence[Move]) -> list[Node]:
        """Measure the children of a configuration in one batch, leaving out none.

        Args:
            parent: where the moves start.
            moves: what each child lacks.

        Returns:
            The children in the order of the moves. Those that were met before come as they were: not measured again.
        """
        children = [parent.configuration.without(move.anchors) for move in moves]
        known = {child: self.ledger.accuracy(child) for child in children if child not in self._node_of}
        asked = [(move, child) for move, child in zip(moves, children, strict=True) if known.get(child, 0.0) is None]
        if asked:
            answers = self.evaluator.children(parent.configuration, [move for move, _ in asked])
            for (_, child), answer in zip(asked, answers, strict=True):
                known[child] = _checked(float(answer), child)
        accuracies = [accuracy for accuracy in known.values() if accuracy is not None]
        self._take(list(known), accuracies, parent.order, new=[child for _, child in asked])
        return [self._node_of[child] for child in children]

    def _take(
        self, configurations: list[Configuration], accuracies: list[float], parent: int, new: list[Configuration]
    ) -> None:
        named = self.cost_name in COSTS
        computed: dict[Configuration, float] = {}
        costs = []
        for configuration in configurations:
            # A measured cost may come out differently the next time: a resumed search must see the same one again.
            cost = None if named else self.ledger.cost(configuration, self.cost_name)
            if cost is None:
                cost = computed[configuration] = self._cost_of(configuration)
            costs.append(cost)
        unwritten = set(new) if named else set(new) | set(computed)
        self.ledger.record(
            [pair for pair in zip(configurations, accuracies, strict=True) if pair[0] in unwritten],
            {} if named else {self.cost_name: dict(zip(configurations, costs, strict=True))},
        )
        for configuration, accuracy, cost in zip(configurations, accuracies, costs, strict=True):
            node = Node(configuration, accuracy, cost, len(self.nodes), parent)
            self.nodes.append(node)
            self._node_of[configuration] = node
        if self.bar is not None:
            self.bar.update(len(configurations))

    def frame(self) -> pd.DataFrame:
        """Everything measured, in order; the columns are those of `SearchResult.evaluated`."""
        return node_frame(self.nodes, self.cost_name)


def node_frame(nodes: Sequence[Node], cost_name: str) -> pd.DataFrame:
    """A row a configuration: accuracy, costs, ``n_anchors``, ``anchors`` (ids kept), ``order``, ``parent``."""
    rows = []
    for node in nodes:
        row: dict[str, Any] = {"accuracy": node.accuracy, **known_costs(node.configuration)}
        if cost_name not in COSTS:
            row[cost_name] = node.cost
        row["n_anchors"] = len(node.configuration)
        row["anchors"] = " ".join(node.configuration.ids)
        row["order"] = node.order
        row["parent"] = node.parent
        rows.append(row)
    return pd.DataFrame(rows)


def full_node(measurer: Measurer, threshold: float | None) -> Node:
    """Measure the full configuration, where every search starts, and see that a search makes sense.

    Raises:
        InputError: the threshold is not an accuracy, the layout has no anchors, there is no accuracy to measure, or
            the ledger belongs to other data.
    """
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        hint = f"; {threshold:g} may mean {threshold / 100:g}" if 1.0 < threshold <= 100.0 else ""
        raise InputError(f"threshold is {threshold!r}: accuracies are 0..1{hint}")
    layout = measurer.evaluator.layout
    if len(layout) == 0:
        raise InputError(f"the layout of {layout.detector} has no anchors: there is nothing to search")
    full = measurer.measure(layout.full)
    _check_ledger(measurer, full)
    if threshold is not None and threshold > full.accuracy:
        warnings.warn(
            f"threshold {threshold:g} is above the accuracy of the full configuration, {full.accuracy:.4f}: the "
            "frontier will hold the full configuration alone unless taking anchors away gains that much",
            stacklevel=3,
        )
    return full


def _check_ledger(measurer: Measurer, full: Node) -> None:
    """Of an evaluator that does not say what its data are, compare one accuracy with that of the ledger."""
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
        raise InputError("the accuracy is -1: the ground truth has no boxes to find, so there is nothing to search by")
    if not 0.0 <= accuracy <= 1.0:
        raise InputError(f"the evaluator says accuracy {accuracy!r} for {configuration}; accuracies are 0..1")
    return accuracy
