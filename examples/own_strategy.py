"""A search strategy of one's own: random ways down, as many as a budget allows. `docs/search.md` explains it."""

import random

from anchorkit.search import Frontier, Measurer, Node, Space


def random_descent(measurer: Measurer, full: Node, frontier: Frontier[Node], space: Space, least: float) -> None:
    """Remove random anchors until the accuracy is below the threshold; 20 times."""
    draw = random.Random(0)  # the same way each time, so that a ledger can resume it
    for _ in range(20):
        node = full
        while node.accuracy >= least and (moves := space.moves(node.configuration)):
            [node] = measurer.children(node, [draw.choice(moves)])
            if node.accuracy >= least:
                frontier.add(node)
            measurer.beat()  # lets a progress display look on, or stop the search


if __name__ == "__main__":
    import anchorkit as ak
    from anchorkit.search.toy import toy_evaluator

    print(ak.search(toy_evaluator(), cost="boxes", strategy=random_descent, progress=False).frontier)
