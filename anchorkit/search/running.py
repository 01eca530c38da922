"""What all searches have in common: ledger, progress, a watch, a budget, and a result however they end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from anchorkit.costs import CostFunction
from anchorkit.errors import InputError
from anchorkit.search.frontier import Frontier
from anchorkit.search.ledger import Ledger
from anchorkit.search.measuring import (
    AccuracyOf,
    BudgetSpent,
    Measurer,
    Node,
    full_node,
    node_frame,
    progress_bar,
)
from anchorkit.search.result import SearchInterrupted, SearchResult
from anchorkit.search.space import Space
from anchorkit.search.watching import Pulse, Stopped, Watch

Walk = Callable[[Measurer, Node, Frontier[Node], Space, float], None]
"""A way through a space: measures configurations, beginning with the children of the full one, and offers them to the
frontier, which is empty at the start. The last argument is the least accuracy of what is offered."""


def run(
    walk: Walk,
    strategy: str,
    evaluator: AccuracyOf,
    cost: str | CostFunction,
    threshold: float | None,
    moves: str,
    among: Iterable[int | str] | None,
    ledger: str | Path | None,
    progress: bool,
    watch: Watch | None,
    budget: int | None = None,
    total: int | None = None,
) -> SearchResult:
    """Let a walk run, and tell what it found.

    Args:
        walk: the walk.
        strategy: what the result calls it.
        evaluator: answers for accuracies; this and what follows as for `anchorkit.search`.
        cost: a name of a cost, or a callable.
        threshold: least accuracy, 0..1, or None.
        moves: kind of moves.
        among: the anchors that may go, or None for all.
        ledger: a file for what was evaluated, or None.
        progress: show a progress bar.
        watch: told how far the search is, or None.
        budget: how many configurations to try at most, or None.
        total: how many configurations the walk will try, for the progress bar, if that is known.

    Raises:
        SearchInterrupted, InputError: see `anchorkit.search`.
    """
    if budget is not None and budget < 1:
        raise InputError(f"budget is {budget}: at least one configuration is needed")
    among = None if among is None else tuple(among)
    space = Space.of(evaluator.layout, moves, among)
    frontier: Frontier[Node] = Frontier()
    with Ledger(evaluator, ledger) as book, progress_bar("search", progress, total=total) as bar:
        measurer = Measurer(evaluator, cost, book, bar, budget=budget)
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
                budget=budget,
                among=None if among is None else evaluator.layout.configuration(keep=among).ids,
            )

        try:
            full = full_node(measurer, threshold)
            walk(measurer, full, frontier, space, 0.0 if threshold is None else threshold)
        except BudgetSpent:
            pass
        except Stopped:
            return found(complete=False)
        except KeyboardInterrupt:
            if len(frontier) == 0:
                raise
            raise SearchInterrupted(found(complete=False), ledger) from None
    return found(complete=True)
