"""Searching the subsets of anchors that trade accuracy for cost best.

`search` walks the subsets by one of `STRATEGIES` (the anchor-pruning paper's Algorithm 1, its authors' variant, or a
Pareto local search that needs fewer evaluations) or by a strategy of the user's. `exhaustive_search` tries every subset
where there are few. Rivals to compare with are in `anchorkit.search.rivals` and `anchorkit.search.rankings`. All of
them ask an evaluator for the accuracy of a configuration, and for nothing else.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from anchorkit import modules_on_first_use
from anchorkit.costs import Cost, CostFunction
from anchorkit.errors import InputError
from anchorkit.search.algorithm1 import ALGORITHM1, AUTHORS
from anchorkit.search.exhaustive import exhaustive_search
from anchorkit.search.frontier import Frontier
from anchorkit.search.local import LOCAL
from anchorkit.search.measuring import AccuracyOf, Measurer, Node
from anchorkit.search.rankings import prune_by_ranking, score_mass
from anchorkit.search.result import Asked, SearchInterrupted, SearchResult
from anchorkit.search.rivals import layer_wise_pruning, random_pruning, symmetric_pruning
from anchorkit.search.running import Strategy, Walk, run
from anchorkit.search.space import Space
from anchorkit.search.watching import Progress, Watch

__all__ = [
    "STRATEGIES",
    "AccuracyOf",
    "Asked",
    "Frontier",
    "Measurer",
    "Node",
    "Progress",
    "SearchInterrupted",
    "SearchResult",
    "Space",
    "Strategy",
    "Walk",
    "exhaustive_search",
    "layer_wise_pruning",
    "prune_by_ranking",
    "random_pruning",
    "score_mass",
    "search",
    "symmetric_pruning",
]

STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in (ALGORITHM1, AUTHORS, LOCAL)}
"""The strategies by name. docs/search.md says when to use which."""


def as_strategy(strategy: str | Strategy | Walk) -> Strategy:
    """The strategy that a name, a `Strategy` or a function stands for; a function is called by its ``__name__``.

    Raises:
        InputError: the name is unknown, the user's own strategy has a name of `STRATEGIES`, or it cannot be called.
    """
    if isinstance(strategy, str):
        if strategy not in STRATEGIES:
            raise InputError(f"unknown strategy {strategy!r}: use {' or '.join(map(repr, STRATEGIES))}")
        return STRATEGIES[strategy]
    if not isinstance(strategy, Strategy):
        name = getattr(strategy, "__name__", type(strategy).__name__)
        strategy = Strategy(name, name.replace("_", " "), strategy)
    if not callable(strategy.walk):
        raise InputError(
            f"strategy is {strategy.walk!r}: use {' or '.join(map(repr, STRATEGIES))}, or a function "
            "walk(measurer, full, frontier, space, least)"
        )
    if STRATEGIES.get(strategy.name, strategy) is not strategy:
        raise InputError(
            f"your own strategy may not be called {strategy.name!r}, which is one of anchorkit's; rename it"
        )
    return strategy


def search(
    evaluator: AccuracyOf,
    cost: str | Cost | CostFunction = "head_flops",
    *,
    threshold: float | None = None,
    strategy: str | Strategy | Walk = "algorithm1",
    moves: str = "auto",
    ledger: str | Path | None = None,
    progress: bool = True,
    watch: Watch | None = None,
    budget: int | None = None,
    among: Iterable[int | str] | None = None,
) -> SearchResult:
    """Search the configurations that no other one beats in accuracy and cost.

    Args:
        evaluator: anything with a ``layout``, ``accuracy(configuration)`` and ``children(configuration, moves)``, such
            as `anchorkit.Evaluator`. Accuracies are 0..1.
        cost: a name of `anchorkit.costs.COSTS` (``"boxes"``, ``"head_flops"``, ``"total_flops"``,
            ``"head_parameters"``), a callable that takes a configuration and returns a number, or an
            `anchorkit.costs.Cost`, which also says what charts call it. A cost that is measured, as
            `anchorkit.latency.MeasuredLatency`, brings a warning: the paper prefers costs that can be computed
            (section 2.2).
        threshold: least accuracy, absolute, 0..1: configurations below are neither kept nor explored, which makes the
            search shorter. None explores everything worth exploring. 0 does so even where the full configuration has
            accuracy 0, of which nothing can be told.
        strategy: a name of `STRATEGIES`: ``"algorithm1"`` (the paper's, as printed), ``"authors"`` (that of their
            published code; see `anchorkit.search.algorithm1`) or ``"local"`` (one way down, then a Pareto local search:
            as good or better after a fraction of the evaluations; see `anchorkit.search.local`). Or your own: a
            function or a `Strategy`; see `Walk` and examples/own_strategy.py.
        moves: what one step removes: ``"anchor"``, ``"shared"`` (one shape on all levels, or one level) or ``"auto"``.
        ledger: a file that takes every evaluated configuration as it is found. If it exists, the search goes on from
            it, with the same result as if it had never been stopped. Searches of one evaluator may share one.
        progress: show a progress bar on standard error.
        watch: a function that the search calls with its `Progress`, ten times a second at most, between two steps and
            on the same thread. The search waits until it returns, so that it may pause the search, and
            ``progress.stop()`` ends it with what was found so far. The order and the result do not depend on it.
        budget: how many configurations to try at most, the full one and those of the ledger included; None for as many
            as the strategy wants. A search that ends with its budget is ``complete``.
        among: the anchors (indices or ids) that may go; all others stay. None for all.

    Returns:
        The frontier, and every configuration tried. If `watch` stopped the search it is not ``complete``, and the same
        call goes on, as after an interrupt.

    Raises:
        SearchInterrupted: a `KeyboardInterrupt` (Ctrl-C, or a notebook's stop button) with what was found so far as its
            ``result``. The same call goes on: what is in the ledger is not evaluated again, and an
            `anchorkit.Evaluator` that still exists remembers its answers without one.
        InputError: a cost, strategy, anchor or kind of moves is unknown, the threshold is not 0..1, the budget is below
            1, the full configuration has accuracy 0, the cost cannot be computed for this layout, or the ledger belongs
            to other predictions or cannot be written.

    Examples:
        >>> import anchorkit as ak
        >>> from anchorkit.search.toy import toy_evaluator
        >>> result = ak.search(toy_evaluator(), cost="boxes", threshold=0.45, progress=False)
        >>> result.frontier[["accuracy", "boxes", "n_anchors"]]
           accuracy  boxes  n_anchors
        0      0.50    176          5
        1      0.49    160          4
        2      0.48    112          4
        3      0.47     96          3
        4      0.45     80          2
    """
    found = as_strategy(strategy)
    asked = Asked.of(evaluator.layout, cost, threshold=threshold, moves=moves, among=among, budget=budget)
    if getattr(cost.compute if isinstance(cost, Cost) else cost, "measured", False):
        warnings.warn(
            f"the cost {asked.cost.name} is measured, which is noisy and slow; the paper (section 2.2) prefers costs "
            "that can be computed, such as head_flops. Where two configurations differ by less than the noise, it is "
            "luck which of them is on the frontier",
            stacklevel=2,
        )
    return run(found, evaluator, asked, ledger=ledger, progress=progress, watch=watch)


class _CallableModule(ModuleType):
    """A module that can be called: ``anchorkit.search(...)`` is `search`.

    ``anchorkit.search`` is both this package and a public function. Importing the package makes Python set the
    attribute ``search`` of ``anchorkit`` to the package, which would hide the function from then on. So the package
    itself answers calls, and ``ak.search(evaluator)`` works in any order of imports.
    """

    __call__ = staticmethod(search)


sys.modules[__name__].__class__ = _CallableModule
__getattr__ = modules_on_first_use(__name__)
__signature__ = inspect.signature(search)
