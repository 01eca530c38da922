"""What all searches have in common: a strategy, ledger, progress, a watch, a budget, and a result however they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anchorkit.search.frontier import Frontier
from anchorkit.search.ledger import Ledger
from anchorkit.search.measuring import AccuracyOf, BudgetSpent, Measurer, Node, full_node, node_frame, progress_bar
from anchorkit.search.result import Asked, SearchInterrupted, SearchResult
from anchorkit.search.space import Space
from anchorkit.search.watching import Pulse, Stopped, Watch

Walk = Callable[[Measurer, Node, Frontier[Node], Space, float], None]
"""A way through a space: ``walk(measurer, full, frontier, space, least)``.

It measures configurations with ``measurer.children(node, moves)`` or ``measurer.measure(configuration)``, beginning
with the children of `full`, and adds each one whose accuracy is at least `least` to the frontier, which holds `full` at
the start. ``space.moves(configuration)`` are the moves from a configuration; ``measurer.beat()`` between two steps lets
a watch look on or stop the search. The walk returns when it is done; a budget, a stop or an interrupt ends it with an
exception, after which what is on the frontier is the result.
"""


@dataclass(frozen=True)
class Strategy:
    """A way to search, one of `anchorkit.search.STRATEGIES` or the user's own.

    Attributes:
        name: what files and commands call it, such as ``"algorithm1"``.
        title: what menus and charts call it, such as ``"Algorithm 1"``.
        walk: see `Walk`. It has to take the same way each time if a search with a ledger is to resume: random numbers
            need a seed.
    """

    name: str
    title: str
    walk: Walk


def run(
    strategy: Strategy,
    evaluator: AccuracyOf,
    asked: Asked,
    *,
    ledger: str | Path | None = None,
    progress: bool = True,
    watch: Watch | None = None,
    total: int | None = None,
) -> SearchResult:
    """Let a strategy walk, and return what it found.

    Args:
        strategy: how to search.
        evaluator: answers for accuracies, as for `anchorkit.search`.
        asked: what is searched.
        ledger: a file for what was evaluated, or None.
        progress: show a progress bar on standard error.
        watch: a function to call between the steps, or None.
        total: how many configurations the walk will try, for the progress bar, if that is known.

    Raises:
        SearchInterrupted, InputError: see `anchorkit.search`.
    """
    space = Space.of(evaluator.layout, asked.moves, asked.among)
    frontier: Frontier[Node] = Frontier()
    with Ledger(evaluator, ledger) as book, progress_bar("search", progress, total=total) as bar:
        measurer = Measurer(evaluator, asked.cost, book, bar, budget=asked.budget)
        if watch is not None:
            measurer.pulse = Pulse(watch, measurer, frontier)

        def found(complete: bool) -> SearchResult:
            members = frontier.members()
            return SearchResult(
                layout=evaluator.layout,
                asked=asked,
                strategy=strategy.name,
                frontier=node_frame(members, asked.cost).drop(columns=["order", "parent"]),
                evaluated=measurer.frame(),
                configurations=[node.configuration for node in members],
                complete=complete,
            )

        try:
            full = full_node(measurer, asked.threshold)
            frontier.add(full)
            strategy.walk(measurer, full, frontier, space, asked.threshold or 0.0)
        except BudgetSpent:
            pass
        except Stopped:
            return found(complete=False)
        except KeyboardInterrupt:
            if len(frontier) == 0:
                raise
            raise SearchInterrupted(found(complete=False), ledger) from None
    return found(complete=True)
