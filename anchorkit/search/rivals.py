"""Random pruning, the rival that the paper's Fig. 2 compares the search with."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd

from anchorkit.anchors import Configuration, moves
from anchorkit.costs import CostFunction
from anchorkit.errors import InputError
from anchorkit.search.frontier import Frontier
from anchorkit.search.ledger import Ledger
from anchorkit.search.measuring import AccuracyOf, Measurer, progress_bar
from anchorkit.search.watching import Pulse, Stopped, Watch


def random_pruning(
    evaluator: AccuracyOf,
    cost: str | CostFunction = "head_flops",
    n: int = 200,
    seed: int = 0,
    *,
    kind: str = "auto",
    progress: bool = True,
    watch: Watch | None = None,
) -> pd.DataFrame:
    """Measure configurations from which random anchors were removed.

    Each is a random sequence of moves from the full configuration, stopped at a length drawn uniformly from 1 to the
    longest possible. Where a move is one anchor, this is a uniform number of removed anchors and then a uniform subset
    of that size.

    Args:
        evaluator: answers for accuracies.
        cost: a name of `anchorkit.costs.COSTS`, or a callable.
        n: how many different configurations to measure; fewer come back if the layout has not that many.
        seed: the same seed gives the same configurations.
        kind: kind of moves: ``"anchor"``, ``"shared"`` or ``"auto"``, see `anchorkit.anchors.moves`.
        progress: show a progress bar on standard error.
        watch: as for `anchorkit.search`; if it stops the measuring, what was measured comes back.

    Returns:
        A row a configuration, with the columns of `SearchResult.evaluated`; ``parent`` is -1 throughout.

    Raises:
        InputError: `n` is below 1, or the cost or the kind of moves is unknown.
    """
    if n < 1:
        raise InputError(f"n is {n}: at least one configuration is needed")
    rng = np.random.default_rng(seed)
    chosen: dict[Configuration, None] = {}
    # Few layouts have fewer than n subsets; a bound on the draws ends the search for new ones there.
    for _ in range(20 * n):
        if len(chosen) == n:
            break
        walk = _random_walk(evaluator.layout.full, kind, rng)
        if walk:
            chosen[walk[int(rng.integers(len(walk)))]] = None
    with progress_bar("random pruning", progress, total=len(chosen)) as bar:
        measurer = Measurer(evaluator, cost, Ledger(evaluator), bar)
        if watch is not None:
            measurer.pulse = Pulse(watch, measurer, Frontier())
        with contextlib.suppress(Stopped):
            for configuration in chosen:
                measurer.measure(configuration)
                measurer.beat()
    return measurer.frame()


def _random_walk(configuration: Configuration, kind: str, rng: np.random.Generator) -> list[Configuration]:
    """Random moves from a configuration until none is left; every configuration on the way."""
    walk = []
    while possible := moves(configuration, kind):
        configuration = configuration.without(possible[int(rng.integers(len(possible)))].anchors)
        walk.append(configuration)
    return walk
