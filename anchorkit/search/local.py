"""A search that needs fewer evaluations: one way down, then a Pareto local search from the frontier.

Algorithm 1 only takes anchors away, and it explores the most accurate configuration first. So it reaches the cheap end
last, and it cannot put an anchor back. This strategy begins with one way down from the full configuration to a single
anchor (backward elimination), which gives a whole frontier after about n * n / 2 evaluations for n anchors. Then it
improves that frontier until its budget is spent or until no neighbour of it is better: a Pareto local search (Paquete,
Chiarandini and Stuetzle, "Pareto local optimum sets in the biobjective traveling salesman problem: an experimental
study", 2004). The neighbours of a configuration are those with

- one anchor less (the moves of Algorithm 1),
- one anchor more, and
- one anchor more and another one less (a swap).

The evaluator answers for all of them in batches of children: a swap is a child of the configuration with one anchor
back. The next member to explore is the one that adds most to the frontier's hypervolume per configuration to try:
members close to others wait, and swaps, which are many, come after removals.

Nothing is drawn at random. The threshold works as in Algorithm 1: less accurate configurations are not offered to the
frontier, and nothing is explored from them.
"""

from __future__ import annotations

from anchorkit.search.frontier import Frontier, contributions
from anchorkit.search.measuring import Measurer, Node
from anchorkit.search.running import Strategy
from anchorkit.search.space import Space


def walk_locally(measurer: Measurer, full: Node, frontier: Frontier[Node], space: Space, least: float) -> None:
    """Go one way down, then improve the frontier until no neighbour of a member is better.

    Args:
        measurer: measures configurations; afterwards it holds all that were tried.
        full: the full configuration, measured.
        frontier: holds the full configuration at first; when the walk is cut short, it is that of all measured.
        space: where the search may go.
        least: least accuracy of what is offered to the frontier, 0..1.
    """
    _descend(measurer, full, frontier, space, least)
    thinned: set[int] = set()
    exchanged: set[int] = set()
    while (member := _most_promising(frontier, full.cost, thinned, exchanged)) is not None:
        configuration = member.configuration
        if configuration.mask not in thinned:
            thinned.add(configuration.mask)
            with measurer.judging(frontier, least):
                measurer.children(member, space.moves(configuration))
        else:
            exchanged.add(configuration.mask)
            for larger in space.additions(configuration):
                with measurer.judging(frontier, least):
                    back = measurer.measure(larger, parent=member.order)
                    measurer.children(back, space.moves(larger))
                measurer.beat()
        waiting = sum(node.configuration.mask not in exchanged for node in frontier.members())
        measurer.show(frontier, to_explore=waiting)
        measurer.beat()


def _descend(measurer: Measurer, full: Node, frontier: Frontier[Node], space: Space, least: float) -> None:
    """Take one anchor after the other: the one that saves most for nothing, else the one that costs least AP per cost.

    It ends where every child is below the threshold, or where one anchor is left.
    """
    node = full
    while possible := space.moves(node.configuration):
        with measurer.judging(frontier, least):
            children = measurer.children(node, possible)
        measurer.beat()
        enough = [child for child in children if child.accuracy >= least]
        harmless = [child for child in enough if child.accuracy >= node.accuracy]
        if harmless:
            node = min(harmless, key=lambda child: (child.cost, -child.accuracy, child.order))
        elif enough:
            node = min(enough, key=lambda child, parent=node: (_price(parent, child), child.order))  # type: ignore[misc]
        else:
            return


def _price(parent: Node, child: Node) -> float:
    """Accuracy lost for each unit of cost that is saved."""
    saved = parent.cost - child.cost
    return (parent.accuracy - child.accuracy) / saved if saved > 0 else float("inf")


def _most_promising(frontier: Frontier[Node], full_cost: float, thinned: set[int], exchanged: set[int]) -> Node | None:
    """The member whose neighbours to look at next, or None if all have been looked at."""
    members = frontier.members()
    worth = contributions([node.accuracy for node in members], [node.cost for node in members], full_cost)
    best, best_worth = None, -1.0
    for node, gain in zip(members, worth, strict=True):
        mask = node.configuration.mask
        if mask in exchanged:
            continue
        kept, gone = len(node.configuration), len(node.configuration.layout) - len(node.configuration)
        per_try = gain / (kept if mask not in thinned else max(gone, 1) * (kept + 1))
        if per_try > best_worth:
            best, best_worth = node, per_try
    return best


LOCAL = Strategy("local", "local search", walk_locally)
