"""Searching the subsets of anchors that trade accuracy for cost best.

`search` runs Algorithm 1 of the anchor-pruning paper, or its authors' variant, over anything that can tell the
accuracy of a configuration; `random_pruning` is the rival to compare with.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import ModuleType

from anchorkit.anchors import moves as moves_of
from anchorkit.costs import CostFunction
from anchorkit.errors import InputError
from anchorkit.search.algorithm1 import STRATEGIES, explore_all
from anchorkit.search.frontier import Frontier
from anchorkit.search.ledger import Ledger
from anchorkit.search.measuring import AccuracyOf, Measurer, Node, full_node, node_frame, progress_bar
from anchorkit.search.result import SearchInterrupted, SearchResult
from anchorkit.search.rivals import random_pruning
from anchorkit.search.watching import Progress, Pulse, Stopped, Watch

__all__ = ["STRATEGIES", "AccuracyOf", "Progress", "SearchInterrupted", "SearchResult", "random_pruning", "search"]


def search(
    evaluator: AccuracyOf,
    cost: str | CostFunction = "head_flops",
    threshold: float | None = None,
    strategy: str = "algorithm1",
    moves: str = "auto",
    ledger: str | Path | None = None,
    progress: bool = True,
    watch: Watch | None = None,
) -> SearchResult:
    """Search the configurations that no other one beats in accuracy and cost.

    Args:
        evaluator: anything with a ``layout``, ``accuracy(configuration)`` and ``children(configuration, moves)``, such
            as `anchorkit.Evaluator`. Accuracies are 0..1.
        cost: ``"boxes"``, ``"head_flops"``, ``"total_flops"``, ``"head_parameters"``, or a callable that takes a
            configuration and returns a number. One that is measured, as `anchorkit.latency.MeasuredLatency`, brings a
            warning: the paper prefers costs that can be computed (section 2.2).
        threshold: least accuracy, absolute, 0..1: configurations below are neither kept nor explored, which makes the
            search shorter. None explores everything worth exploring.
        strategy: ``"algorithm1"`` (the paper's, as printed) or ``"authors"`` (that of their published code); see
            `anchorkit.search.algorithm1`.
        moves: what one step removes: ``"anchor"``, ``"shared"`` (one shape on all levels, or one level) or ``"auto"``.
        ledger: a file that takes every evaluated configuration as it is found. If it exists, the search goes on from
            it, with the same result as if it had never been stopped. Searches of one evaluator may share one.
        progress: show a progress bar on standard error.
        watch: a function that is told how far the search is (see `Progress`), ten times a second at most, between two
            steps and on the same thread. The search waits until it returns, so that it may pause the search, and
            ``progress.stop()`` ends it with what was found so far. The order and the result do not depend on it.

    Returns:
        The frontier, and every configuration tried. If `watch` stopped the search it is not ``complete``, and the same
        call goes on, as after an interrupt.

    Raises:
        SearchInterrupted: a `KeyboardInterrupt` (Ctrl-C, or a notebook's stop button) with what was found so far as its
            ``result``. The same call goes on: what the ledger has is not evaluated again, nor, by an
            `anchorkit.Evaluator` that is still there, anything else.
        InputError: a cost, strategy or kind of moves is unknown, the threshold is not 0..1, the cost cannot be
            computed for this layout, or the ledger belongs to another search or cannot be written.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"unknown strategy {strategy!r}: use {' or '.join(map(repr, STRATEGIES))}")
    moves_of(evaluator.layout.full, moves)  # refuses an unknown kind before anything is measured
    threshold = None if threshold is None else float(threshold)
    if getattr(cost, "measured", False):
        warnings.warn(
            f"the cost {getattr(cost, '__name__', 'cost')} is measured, which is noisy and slow; the paper (section "
            "2.2) prefers costs that can be computed, such as head_flops. Where two configurations differ by less than "
            "the noise, it is luck which of them is on the frontier",
            stacklevel=2,
        )
    frontier: Frontier[Node] = Frontier()
    with Ledger(evaluator, ledger) as book, progress_bar("search", progress) as bar:
        measurer = Measurer(evaluator, cost, book, bar)
        if watch is not None:
            measurer.pulse = Pulse(watch, measurer, frontier)

        def found(complete: bool) -> SearchResult:
            return SearchResult(
                layout=evaluator.layout,
                cost=measurer.cost_name,
                threshold=threshold,
                strategy=strategy,
                moves=moves,
                frontier=node_frame(frontier.members(), measurer.cost_name).drop(columns=["order", "parent"]),
                evaluated=measurer.frame(),
                complete=complete,
            )

        try:
            full = full_node(measurer, threshold)
            explore_all(measurer, full, STRATEGIES[strategy], frontier, moves, threshold)
        except Stopped:
            return found(complete=False)
        except KeyboardInterrupt:
            if len(frontier) == 0:
                raise
            raise SearchInterrupted(found(complete=False), ledger) from None
    return found(complete=True)


class _CallableModule(ModuleType):
    """A module that can be called: ``anchorkit.search(...)`` is `search`.

    ``anchorkit.search`` is both this package and a public function. Importing the package makes Python set the
    attribute ``search`` of ``anchorkit`` to the package, which would hide the function from then on. So the package
    itself answers calls, and ``ak.search(evaluator)`` works whatever was imported before.
    """

    __call__ = staticmethod(search)


sys.modules[__name__].__class__ = _CallableModule
