"""Every configuration there is: the answer that a search is measured against, where there are few enough anchors."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from functools import partial, reduce
from operator import or_
from pathlib import Path

from anchorkit.anchors import AnchorLayout, Configuration, Move
from anchorkit.costs import Cost, CostFunction, cost_of
from anchorkit.errors import InputError
from anchorkit.search.frontier import Frontier
from anchorkit.search.measuring import AccuracyOf, Measurer, Node
from anchorkit.search.result import Asked, SearchResult
from anchorkit.search.running import Strategy, run
from anchorkit.search.space import Space
from anchorkit.search.watching import Watch

MOST_UNITS = 16
"""Anchors (or shapes and levels of a shared head) that may go: 65,535 configurations, minutes on a small data set."""

BATCH_UNITS = 5
"""All subsets of so many units are asked for together, as children of one configuration."""


def exhaustive_search(
    evaluator: AccuracyOf,
    cost: str | Cost | CostFunction = "head_flops",
    *,
    among: Iterable[int | str] | None = None,
    moves: str = "auto",
    ledger: str | Path | None = None,
    progress: bool = True,
    watch: Watch | None = None,
) -> SearchResult:
    """Measure every configuration, so that nothing better can be missing from the frontier.

    With a shared head, those that `search` could reach: every set of shapes on every set of levels.

    Args:
        evaluator: answers for accuracies, as for `anchorkit.search`.
        cost: as for `anchorkit.search`.
        among: the anchors (indices or ids) that may go; all others stay. None for all. At most 16.
        moves: what is taken or left as a whole, as for `anchorkit.search`.
        ledger: as for `anchorkit.search`; the same call goes on from it.
        progress: show a progress bar on standard error.
        watch: as for `anchorkit.search`.

    Returns:
        As of `anchorkit.search`, with the strategy ``"exhaustive"``.

    Raises:
        SearchInterrupted: as `anchorkit.search`.
        InputError: there are too many configurations (the message says how long they would take), or as
            `anchorkit.search`.

    Examples:
        >>> import anchorkit as ak
        >>> from anchorkit.search.toy import toy_evaluator
        >>> result = ak.exhaustive_search(toy_evaluator(), cost="boxes", progress=False)
        >>> len(result.evaluated), len(result.frontier)
        (63, 8)
    """
    layout = evaluator.layout
    asked = Asked.of(layout, cost, moves=moves, among=among)
    units = Space.of(layout, moves, asked.among).units(layout)
    if len(units) > MOST_UNITS:
        raise InputError(_too_many(evaluator, units))
    batches = list(_batches(layout, units))
    total = len({mask for parent, removed in batches for mask in (parent, *(parent & ~gone for gone in removed))})
    strategy = Strategy("exhaustive", "all configurations", partial(_walk, batches))
    return run(strategy, evaluator, asked, ledger=ledger, progress=progress, watch=watch, total=total)


def _walk(
    batches: list[tuple[int, list[int]]],
    measurer: Measurer,
    full: Node,
    frontier: Frontier[Node],
    space: Space,
    least: float,
) -> None:
    """Measure batch after batch, and offer everything to the frontier in that order."""
    layout = full.configuration.layout
    for parent, removed in batches:
        with measurer.judging(frontier, least):
            node = measurer.measure(Configuration(layout, parent), parent=full.order)
            measurer.children(node, [Move(Configuration(layout, gone).indices, "") for gone in removed])
        measurer.show(frontier)
        measurer.beat()


def _batches(layout: AnchorLayout, units: list[int]) -> Iterator[tuple[int, list[int]]]:
    """All configurations in batches: the mask of a parent, and what its children lack.

    The batches' parents follow a Gray code: from one to the next only one unit goes or comes. Those units change most
    often that have the fewest boxes, as near configurations are the cheapest for an evaluator.
    """
    by_boxes = sorted(units, key=lambda unit: (cost_of(Configuration(layout, unit), "boxes"), unit))
    low, high = by_boxes[:BATCH_UNITS], by_boxes[BATCH_UNITS:]
    removed_low = [_union(low, pattern) for pattern in range(1, 2 ** len(low))]
    seen: set[int] = set()
    for number in range(2 ** len(high)):
        parent = layout.full.mask & ~_union(high, number ^ number >> 1)
        children = [gone & parent for gone in removed_low]
        # Of a shared head, taking a level away may leave nothing that a shape could take: the same configuration again.
        new = [gone for gone in dict.fromkeys(children) if gone not in (0, parent) and parent & ~gone not in seen]
        if parent:
            seen |= {parent, *(parent & ~gone for gone in new)}
            yield parent, new


def _union(units: list[int], pattern: int) -> int:
    return reduce(or_, (unit for position, unit in enumerate(units) if pattern >> position & 1), 0)


def _too_many(evaluator: AccuracyOf, units: list[int]) -> str:
    """What to say of so many configurations, with the time that they would take at the pace of a first batch."""
    layout = evaluator.layout
    first = [Move(Configuration(layout, unit).indices, "") for unit in units]
    evaluator.accuracy(layout.full)
    start = time.perf_counter()
    evaluator.children(layout.full, first)
    seconds = 2 ** len(units) * max(time.perf_counter() - start, 1e-9) / len(first)
    what = "shapes and levels" if layout.shared_head else "anchors"
    return (
        f"{len(units)} {what} have {2 ** len(units):,} configurations, which would take about {_duration(seconds)}; "
        f"name at most {MOST_UNITS} that may go in among=..., or use search(), whose strategy 'local' comes close"
    )


def _duration(seconds: float) -> str:
    for name, length in (("years", 365 * 86400.0), ("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {name}"
    return f"{seconds:,.0f} seconds"
