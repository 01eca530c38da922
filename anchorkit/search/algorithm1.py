"""The search: Algorithm 1 of the anchor-pruning paper (section 2.2), and the variant of its authors' published code.

Algorithm 1 keeps two sets, both beginning with the full configuration: P, the frontier so far, and S, what is still to
be explored. It takes a configuration out of S, measures each of its children (one move away), and adds to P and to S
each child that no member of P beats; what the child beats leaves P. It ends when S is empty. What the paper leaves
open is settled here as follows.

- From S the most accurate configuration is taken first, then the cheapest, then the one that was inserted first.
- Children come in the order of the anchors; P and S are brought up to date after each. The empty configuration is
  never tried.
- "Beats" is defined in `anchorkit.search.frontier`: no more expensive, no less accurate, and not a tie in both. On a
  tie the first one found stays.
- A configuration is measured and judged once, however many parents reach it. Judging it again could change nothing: P
  only ever improves, so what was refused or has been beaten would be refused again.
- S shrinks by taking only, as printed: a configuration that was beaten and left P after it had entered S is still
  explored.
- With a threshold, nothing less accurate enters P or S (the full configuration, which is there from the start, stays
  until it is beaten).

The authors' published code explores differently, and is kept as the strategy ``"authors"``:

- Children are measured one after the other. The first that is at least as accurate as its parent is jumped to at once:
  its remaining siblings are not measured, and it alone is offered to P. (The evaluator may have been asked for some of
  them in advance, as batches are cheaper: see `Measurer.children_in_turn`. Those do not count as measured.)
- Without such a child, those that reach the threshold are first compared among themselves; only the siblings that no
  sibling beats are offered to P, in order. Those that enter P enter S.
- A child met before takes part again (its accuracy is remembered): it can be jumped to from another parent too, or
  be offered to P after it had once been passed over for a better sibling.
- Theirs takes an arbitrary configuration from S (a Python set's ``pop``), lets the later one stay on a tie in accuracy
  and cost, and calls a child equal to its parent only if all COCO figures are equal. Here the order and the tie rule
  are those of Algorithm 1 above, so that the two can be compared, and equal means equally accurate.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import partial

from anchorkit.search.frontier import Frontier
from anchorkit.search.measuring import Measurer, Node
from anchorkit.search.running import Strategy
from anchorkit.search.space import Space

Explore = Callable[[Measurer, Node, Space, float, Frontier[Node]], list[Node]]


def explore_algorithm1(
    measurer: Measurer, parent: Node, space: Space, threshold: float, frontier: Frontier[Node]
) -> list[Node]:
    """One round of the loop of Algorithm 1: measure all new children of `parent`, and judge each in order.

    Returns:
        The children that entered `frontier`.
    """
    with measurer.judging(frontier, threshold) as entered:
        measurer.children(parent, space.moves(parent.configuration))
    return entered


def explore_authors(
    measurer: Measurer, parent: Node, space: Space, threshold: float, frontier: Frontier[Node]
) -> list[Node]:
    """One round of the authors' loop: jump to the first child that is no worse, else judge the best of the siblings.

    Returns:
        The children that entered `frontier`.
    """
    siblings: Frontier[Node] = Frontier()
    try:
        for child in measurer.children_in_turn(parent, space.moves(parent.configuration)):
            if child.accuracy >= parent.accuracy:
                siblings = Frontier()
                siblings.add(child)
                break
            if child.accuracy >= threshold:
                siblings.add(child)
    finally:  # of siblings that were cut short, what was measured is judged
        offered = sorted(siblings.members(), key=lambda child: child.order)
        entered = [child for child in offered if child.accuracy >= threshold and frontier.add(child)]
    return entered


def explore_all(
    explore: Explore, measurer: Measurer, full: Node, frontier: Frontier[Node], space: Space, least: float
) -> None:
    """Explore from the full configuration until nothing is left to explore.

    Args:
        explore: what to do with one configuration out of S.
        measurer: measures configurations; afterwards it holds all that were tried.
        full: the full configuration, measured.
        frontier: P, which holds the full configuration at first; when the search is cut short, it is that of the
            configurations judged so far.
        space: where the search may go.
        least: least accuracy, 0..1.
    """
    inserted = 0
    unexplored = [(-full.accuracy, full.cost, inserted, full)]
    while unexplored:
        *_, parent = heapq.heappop(unexplored)
        for child in explore(measurer, parent, space, least, frontier):
            inserted += 1
            heapq.heappush(unexplored, (-child.accuracy, child.cost, inserted, child))
        measurer.show(frontier, to_explore=len(unexplored))
        if unexplored:
            measurer.beat()


ALGORITHM1 = Strategy("algorithm1", "Algorithm 1", partial(explore_all, explore_algorithm1))
AUTHORS = Strategy("authors", "authors' code", partial(explore_all, explore_authors))
