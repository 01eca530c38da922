"""Searching the subsets of anchors that trade accuracy for cost best.

`search` walks the subsets by one of `STRATEGIES`: the anchor-pruning paper's Algorithm 1, its authors' variant, or a
Pareto local search that needs fewer evaluations. `exhaustive_search` tries them all where they are few. Rivals to
compare with are in `anchorkit.search.rivals` and `anchorkit.search.rankings`. All they ask is the accuracy of a
configuration.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import ModuleType

from anchorkit.costs import CostFunction
from anchorkit.errors import InputError
from anchorkit.search.algorithm1 import explore_algorithm1, explore_all, explore_authors
from anchorkit.search.exhaustive import exhaustive_search
from anchorkit.search.local import walk_locally
from anchorkit.search.measuring import AccuracyOf
from anchorkit.search.rankings import prune_by_ranking, score_mass
from anchorkit.search.result import SearchInterrupted, SearchResult
from anchorkit.search.rivals import layer_wise_pruning, random_pruning, symmetric_pruning
from anchorkit.search.running import Walk, run
from anchorkit.search.watching import Progress, Watch

__all__ = [
    "STRATEGIES",
    "AccuracyOf",
    "Progress",
    "SearchInterrupted",
    "SearchResult",
    "exhaustive_search",
    "layer_wise_pruning",
    "prune_by_ranking",
    "random_pruning",
    "score_mass",
    "search",
    "symmetric_pruning",
]

STRATEGIES: dict[str, Walk] = {
    "algorithm1": partial(explore_all, explore_algorithm1),
    "authors": partial(explore_all, explore_authors),
    "local": walk_locally,
}
"""The ways to walk, by name. docs/search.md says which one when."""


def search(
    evaluator: AccuracyOf,
    cost: str | CostFunction = "head_flops",
    threshold: float | None = None,
    strategy: str = "algorithm1",
    moves: str = "auto",
    ledger: str | Path | None = None,
    progress: bool = True,
    watch: Watch | None = None,
    *,
    budget: int | None = None,
    among: Iterable[int | str] | None = None,
) -> SearchResult:
    """Search the configurations that no other one beats in accuracy and cost.

    Args:
        evaluator: anything with a ``layout``, ``accuracy(configuration)`` and ``children(configuration, moves)``, such
            as `anchorkit.Evaluator`. Accuracies are 0..1.
        cost: ``"boxes"``, ``"head_flops"``, ``"total_flops"``, ``"head_parameters"``, or a callable that takes a
            configuration and returns a number. One that is measured, as `anchorkit.latency.MeasuredLatency`, brings a
            warning: the paper prefers costs that can be computed (section 2.2).
        threshold: least accuracy, absolute, 0..1: configurations below are neither kept nor explored, which makes the
            search shorter. None explores everything worth exploring. 0 does so even where the full configuration has
            accuracy 0, of which nothing can be told.
        strategy: ``"algorithm1"`` (the paper's, as printed), ``"authors"`` (that of their published code; see
            `anchorkit.search.algorithm1`) or ``"local"`` (one way down, then a Pareto local search: as good or better
            after a fraction of the evaluations; see `anchorkit.search.local`).
        moves: what one step removes: ``"anchor"``, ``"shared"`` (one shape on all levels, or one level) or ``"auto"``.
        ledger: a file that takes every evaluated configuration as it is found. If it exists, the search goes on from
            it, with the same result as if it had never been stopped. Searches of one evaluator may share one.
        progress: show a progress bar on standard error.
        watch: a function that is told how far the search is (see `Progress`), ten times a second at most, between two
            steps and on the same thread. The search waits until it returns, so that it may pause the search, and
            ``progress.stop()`` ends it with what was found so far. The order and the result do not depend on it.
        budget: how many configurations to try at most, the full one and those of the ledger included; None for as many
            as the strategy wants. A search that ends with its budget is ``complete``.
        among: the anchors (indices or ids) that may go; all others stay. None for all.

    Returns:
        The frontier, and every configuration tried. If `watch` stopped the search it is not ``complete``, and the same
        call goes on, as after an interrupt.

    Raises:
        SearchInterrupted: a `KeyboardInterrupt` (Ctrl-C, or a notebook's stop button) with what was found so far as its
            ``result``. The same call goes on: what the ledger has is not evaluated again, nor, by an
            `anchorkit.Evaluator` that is still there, anything else.
        InputError: a cost, strategy, anchor or kind of moves is unknown, the threshold is not 0..1, the budget is below
            1, the full configuration has accuracy 0, the cost cannot be computed for this layout, or the ledger belongs
            to another search or cannot be written.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"unknown strategy {strategy!r}: use {' or '.join(map(repr, STRATEGIES))}")
    threshold = None if threshold is None else float(threshold)
    if getattr(cost, "measured", False):
        warnings.warn(
            f"the cost {getattr(cost, '__name__', 'cost')} is measured, which is noisy and slow; the paper (section "
            "2.2) prefers costs that can be computed, such as head_flops. Where two configurations differ by less than "
            "the noise, it is luck which of them is on the frontier",
            stacklevel=2,
        )
    return run(
        STRATEGIES[strategy], strategy, evaluator, cost, threshold, moves, among, ledger, progress, watch, budget
    )


class _CallableModule(ModuleType):
    """A module that can be called: ``anchorkit.search(...)`` is `search`.

    ``anchorkit.search`` is both this package and a public function. Importing the package makes Python set the
    attribute ``search`` of ``anchorkit`` to the package, which would hide the function from then on. So the package
    itself answers calls, and ``ak.search(evaluator)`` works whatever was imported before.
    """

    __call__ = staticmethod(search)


sys.modules[__name__].__class__ = _CallableModule
