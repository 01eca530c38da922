"""Ways to prune that a search has to beat: at random (paper section 3.2), layer by layer, and symmetrically (3.4)."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from anchorkit.anchors import AnchorLayout, Configuration, Move, moves
from anchorkit.costs import Cost, CostFunction, as_cost
from anchorkit.errors import InputError
from anchorkit.search.frontier import Frontier, accuracy_within
from anchorkit.search.ledger import Ledger
from anchorkit.search.measuring import AccuracyOf, Measurer, progress_bar
from anchorkit.search.watching import Pulse, Stopped, Watch

MOST_GROUPS = 8
"""Up to so many symmetric groups, every subset of them is measured."""

_SAME_ASPECT = 0.1  # octaves: 1/2 and 0.51 are one aspect ratio


def random_pruning(
    evaluator: AccuracyOf,
    cost: str | Cost | CostFunction = "head_flops",
    n: int = 200,
    *,
    seed: int = 0,
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
        cost: as for `anchorkit.search`.
        n: how many different configurations to measure; fewer if the layout has not that many.
        seed: the same seed gives the same configurations.
        kind: kind of moves: ``"anchor"``, ``"shared"`` or ``"auto"``, see `anchorkit.anchors.moves`.
        progress: show a progress bar on standard error.
        watch: as for `anchorkit.search`; if it stops the measuring, what was measured comes back.

    Returns:
        One row per configuration, with the columns of `SearchResult.evaluated`; ``parent`` is -1 throughout.

    Raises:
        InputError: `n` is below 1, or the cost or the kind of moves is unknown.

    Examples:
        >>> import anchorkit as ak
        >>> from anchorkit.search.toy import toy_evaluator
        >>> drawn = ak.random_pruning(toy_evaluator(), cost="boxes", n=3, seed=1, progress=False)
        >>> drawn[["accuracy", "boxes", "n_anchors"]]
           accuracy  boxes  n_anchors
        0      0.50    176          5
        1      0.27    144          3
        2      0.47     96          3
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
    return measure_all(evaluator, cost, chosen, "random pruning", progress, watch)


def layer_wise_pruning(
    evaluator: AccuracyOf, cost: str | Cost | CostFunction = "head_flops", *, progress: bool = True
) -> pd.DataFrame:
    """Prune every level to the same number of anchors, level by level (paper section 3.4).

    Level by level, it removes the anchor that costs least accuracy until k are left; levels with k anchors or fewer
    stay as they are. It starts from the full configuration for each k, from the largest level's count less one down to
    one. Configurations that were only tried on the way are not in the table.

    Args:
        evaluator: answers for accuracies.
        cost: as for `anchorkit.search`.
        progress: show a progress bar on standard error.

    Returns:
        One row per k, with the columns of `SearchResult.evaluated` and ``k``, the most anchors of a level.

    Raises:
        InputError: the cost is unknown.

    Examples:
        >>> from anchorkit.search import layer_wise_pruning
        >>> from anchorkit.search.toy import toy_evaluator
        >>> layer_wise_pruning(toy_evaluator(), cost="boxes", progress=False)[["k", "accuracy", "boxes"]]
           k  accuracy  boxes
        0  2      0.49    160
        1  1      0.45     80
    """
    layout = evaluator.layout
    most = max((len(level.anchors) for level in layout.levels), default=0)
    found = []
    for k in range(most - 1, 0, -1):
        configuration = layout.full
        for level in range(len(layout.levels)):
            while configuration.per_level[level] > k:
                steps = [Move((a.index,), a.id) for a in configuration.anchors if a.level == level]
                best = steps[int(np.argmax(evaluator.children(configuration, steps)))]
                configuration = configuration.without(best.anchors)
        found.append(configuration)
    frame = measure_all(evaluator, cost, found, "layer-wise pruning", progress)
    return frame.assign(k=range(most - 1, 0, -1))


def symmetric_groups(layout: AnchorLayout) -> dict[str, Configuration]:
    """The anchors that symmetric pruning removes together: an aspect ratio and its inverse, on all levels.

    Where a level has an aspect ratio in several sizes, the smaller and the larger ones are groups of their own (SSD's
    1 and 1+, RetinaNet's three scales).

    Returns:
        By name, such as ``"2:1"`` or ``"1:1 size 2"``, the most elongated first, of those the largest first.

    Examples:
        >>> from anchorkit.search.rivals import symmetric_groups
        >>> from anchorkit.search.toy import toy_evaluator
        >>> [(name, len(group)) for name, group in symmetric_groups(toy_evaluator().layout).items()]
        [('2:1', 4), ('1:1', 2)]
    """
    classes = _aspect_classes(layout)
    groups: dict[tuple[float, int], set[int]] = {}
    for level in range(len(layout.levels)):
        by_ratio: dict[tuple[float, bool], list[tuple[float, int]]] = {}
        for anchor in layout.anchors:
            if anchor.level == level:
                aspect = classes[anchor.index]
                wide = anchor.width > anchor.height and aspect > _SAME_ASPECT
                by_ratio.setdefault((aspect, wide), []).append((anchor.width * anchor.height, anchor.index))
        for (aspect, _), anchors in by_ratio.items():
            for size, (_, index) in enumerate(sorted(anchors)):
                groups.setdefault((aspect, size), set()).add(index)
    sizes = {aspect: max(size for other, size in groups if other == aspect) for aspect, _ in groups}
    return {
        f"{2**aspect:.3g}:1" + (f" size {size + 1}" if sizes[aspect] else ""): layout.configuration(
            keep=groups[aspect, size]
        )
        for aspect, size in sorted(groups, reverse=True)
    }


def _aspect_classes(layout: AnchorLayout) -> list[float]:
    """For each anchor the octaves between its longer and its shorter side; nearly equal ones are made equal.

    SSD cuts its largest anchors off at the border of the image. What is left of one was more elongated once: it counts
    with the next class that is.
    """
    slants = [abs(math.log2(anchor.width / anchor.height)) for anchor in layout.anchors]
    height, width = layout.input_size
    cut = [abs(a.width - width) < 0.5 or abs(a.height - height) < 0.5 for a in layout.anchors]
    classes: list[float] = []
    for slant in sorted(slant for slant, is_cut in zip(slants, cut, strict=True) if not is_cut or all(cut)):
        if not classes or slant - classes[-1] > _SAME_ASPECT:
            classes.append(slant)
    found = []
    for slant, is_cut in zip(slants, cut, strict=True):
        longer = [value for value in classes if value >= slant - _SAME_ASPECT]
        shorter = [value for value in classes if value <= slant + 1e-9]
        found.append(longer[0] if is_cut and longer else shorter[-1] if shorter else classes[0])
    return found


def symmetric_pruning(
    evaluator: AccuracyOf, cost: str | Cost | CostFunction = "head_flops", *, progress: bool = True
) -> pd.DataFrame:
    """Remove aspect ratios together with their inverses, on all levels at once, as if by hand (paper section 3.4).

    The smaller heads of the SSD paper are among them: without 3 and 1/3, and without 2 and 1/2 too. Up to eight groups
    (see `symmetric_groups`), every subset is measured, which is kinder to this rival than any choice by hand. Of more,
    they go one after the other, the most elongated first.

    Args:
        evaluator: answers for accuracies.
        cost: as for `anchorkit.search`.
        progress: show a progress bar on standard error.

    Returns:
        One row per configuration, with the columns of `SearchResult.evaluated` and ``removed``, the groups that went.

    Raises:
        InputError: the cost is unknown.

    Examples:
        >>> from anchorkit.search import symmetric_pruning
        >>> from anchorkit.search.toy import toy_evaluator
        >>> symmetric_pruning(toy_evaluator(), cost="boxes", progress=False)[["removed", "accuracy", "boxes"]]
          removed  accuracy  boxes
        0     2:1      0.45     80
        1     1:1      0.05    160
    """
    layout = evaluator.layout
    groups = symmetric_groups(layout)
    names = list(groups)
    if len(names) <= MOST_GROUPS:
        subsets = [subset for n in range(1, len(names)) for subset in itertools.combinations(names, n)]
    else:
        subsets = [tuple(names[:n]) for n in range(1, len(names))]
    found = {layout.full.without([i for name in subset for i in groups[name]]): subset for subset in subsets}
    frame = measure_all(evaluator, cost, found, "symmetric pruning", progress)
    return frame.assign(removed=[", ".join(subset) for subset in found.values()])


def lead(frontier: pd.DataFrame, rival: pd.DataFrame, cost: str) -> pd.DataFrame:
    """How much more accurate a frontier is than each configuration of a rival, at no higher cost.

    Args:
        frontier: columns ``accuracy`` (0..1) and `cost`.
        rival: the same columns.
        cost: name of the cost column.

    Returns:
        The rows of `rival` that the frontier has an answer to (something that costs no more), with ``lead``: accuracy
        of the frontier less that of the rival.
    """
    best = accuracy_within(frontier["accuracy"].tolist(), frontier[cost].tolist(), rival[cost].tolist())
    return rival.assign(lead=best - rival["accuracy"].to_numpy(dtype=float)).dropna(subset="lead")


def measure_all(
    evaluator: AccuracyOf,
    cost: str | Cost | CostFunction,
    configurations: Iterable[Configuration],
    what: str,
    progress: bool,
    watch: Watch | None = None,
) -> pd.DataFrame:
    """Measure configurations one after the other; one row each, with the columns of `SearchResult.evaluated`."""
    wanted = list(configurations)
    with progress_bar(what, progress, total=len(wanted)) as bar:
        measurer = Measurer(evaluator, as_cost(cost), Ledger(evaluator), bar)
        if watch is not None:
            measurer.pulse = Pulse(watch, measurer, Frontier())
        with contextlib.suppress(Stopped):
            for configuration in wanted:
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
