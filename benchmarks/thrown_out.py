"""Searches that were tried and thrown out: how far a beam and Algorithm 1 with swaps go, beside those that were kept.

    python benchmarks/thrown_out.py                                      the built-in shapes and their detector
    python benchmarks/thrown_out.py PREDICTIONS.parquet INSTANCES.json   another prediction table
    python benchmarks/thrown_out.py --budget 4000                        fewer evaluations for each search

Every search gets the same budget of evaluations and goes down to the same loss of AP (``--max-drop``). Told is the
hypervolume of its frontier after so many evaluations, in % of the best that any of the searches found, and what it
saves at no loss. Nothing is drawn at random: whoever runs it again gets the same figures, the times excepted.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable

import pandas as pd
from measuring import grid, machine, pin

import anchorkit as ak
from anchorkit.bundled import data_dir
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.predictions import PredictionTable
from anchorkit.search.algorithm1 import explore_algorithm1, explore_all
from anchorkit.search.comparing import hypervolume_curve
from anchorkit.search.frontier import Frontier
from anchorkit.search.measuring import Measurer, Node
from anchorkit.search.result import SearchResult
from anchorkit.search.running import Strategy, Walk
from anchorkit.search.space import Space

MARKS = (500, 1000, 2000, 4000, 8000, 16000)
Choose = Callable[[list[Node], int], list[Node]]


def most_accurate(nodes: list[Node], width: int) -> list[Node]:
    """The `width` most accurate; of equals those measured first."""
    return sorted(nodes, key=lambda node: (-node.accuracy, node.cost, node.order))[:width]


def by_rank(nodes: list[Node], width: int) -> list[Node]:
    """Those that no other beats, then those that only these beat, and so on, until there are `width`."""
    chosen: list[Node] = []
    while nodes and len(chosen) < width:
        layer: Frontier[Node] = Frontier()
        for node in sorted(nodes, key=lambda node: node.order):
            layer.add(node)
        chosen += layer.members()
        taken = {node.order for node in layer.members()}
        nodes = [node for node in nodes if node.order not in taken]
    return chosen[:width]


def beam(width: int, choose: Choose) -> Walk:
    """A beam: of all configurations with one move less than those kept, keep `width`; and so on, down to the last."""

    def walk(measurer: Measurer, full: Node, frontier: Frontier[Node], space: Space, least: float) -> None:
        kept = [full]
        while kept:
            children: dict[int, Node] = {}
            for parent in kept:
                tried = len(measurer.nodes)
                try:
                    found = measurer.children(parent, space.moves(parent.configuration))
                finally:  # of a batch that the budget cut short, what was measured is judged
                    offer(measurer.nodes[tried:], frontier, least)
                children |= {node.configuration.mask: node for node in found if node.accuracy >= least}
            kept = choose(list(children.values()), width)

    return walk


def with_swaps(measurer: Measurer, full: Node, frontier: Frontier[Node], space: Space, least: float) -> None:
    """Algorithm 1, which also looks at what has one anchor back and another one less.

    Removing two and putting one back is a removal and then a swap, so two steps of it reach that as well.
    """

    def explore(measurer: Measurer, parent: Node, space: Space, least: float, frontier: Frontier[Node]) -> list[Node]:
        entered = explore_algorithm1(measurer, parent, space, least, frontier)
        for larger in space.additions(parent.configuration):
            tried = len(measurer.nodes)
            try:
                back = measurer.measure(larger, parent=parent.order)
                measurer.children(back, space.moves(larger))
            finally:
                entered += offer(measurer.nodes[tried:], frontier, least)
        return entered

    explore_all(explore, measurer, full, frontier, space, least)


def offer(nodes: Iterable[Node], frontier: Frontier[Node], least: float) -> list[Node]:
    """Offer what is accurate enough to the frontier, and say what entered it."""
    return [node for node in nodes if node.accuracy >= least and frontier.add(node)]


THROWN_OUT: dict[str, Walk] = {
    "beam of the 20 most accurate of each size": beam(20, most_accurate),
    "beam of 40, by rank of domination": beam(40, by_rank),
    "Algorithm 1 with swaps among its moves": with_swaps,
}


def searches(
    evaluator: ak.Evaluator, cost: str, threshold: float, budget: int
) -> tuple[dict[str, SearchResult], dict[str, float]]:
    """What every search finds, and the seconds of processor time that it took."""
    found: dict[str, SearchResult] = {}
    seconds: dict[str, float] = {}
    for name in ("algorithm1", "authors", "local", *THROWN_OUT):
        fresh = evaluator.with_metric("AP")  # it remembers nothing, so that the times can be compared
        start = time.process_time()
        strategy = Strategy(name, name, THROWN_OUT[name]) if name in THROWN_OUT else name
        found[name] = ak.search(fresh, cost, threshold=threshold, strategy=strategy, budget=budget, progress=False)
        seconds[name] = time.process_time() - start
    return found, seconds


def shares(found: dict[str, SearchResult]) -> pd.DataFrame:
    """% of the best hypervolume after so many evaluations, % saved at no loss, and evaluations, a row a search."""
    best = max(result.hypervolume() for result in found.values())
    rows = {}
    for name, result in found.items():
        curve, n = hypervolume_curve(result, points=1000), len(result.evaluated)
        # A search that ended before a mark has its last figure in the column of its end.
        row = {f"{m:,}": curve.loc[curve["tried"] <= m, "hypervolume"].max() if m <= n else math.nan for m in MARKS}
        row = {mark: 100 * value / best for mark, value in (row | {"end": result.hypervolume()}).items()}
        kept = float(ak.costs.cost_of(result.cheapest(max_loss=0.0), result.cost))
        row["saved at no loss"] = 100 * (1 - kept / float(result.baseline[result.cost]))
        rows[name] = row | {"evaluated": n}
    return pd.DataFrame(rows).T


def shapes() -> ak.Evaluator:
    """The shipped detector on the built-in validation images."""
    detector = ak.load_detector(data_dir() / "detectors" / "tiny_ssd-shapes")
    split = ak.load_dataset("shapes", train=1, test=1, progress=False).val
    return ak.Evaluator(ak.collect_predictions(detector, split, progress=False), split.ground_truth)


def main() -> None:
    """Run every search and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="a prediction table and its annotations; none for the shapes")
    parser.add_argument("--cost", default="head_flops")
    parser.add_argument("--max-drop", type=float, default=0.03, help="AP below that of all anchors, 0..1")
    parser.add_argument("--budget", type=int, default=16000, help="evaluations of each search")
    options = parser.parse_args()
    if len(options.files) not in (0, 2):
        parser.error("give a prediction table and its annotations, or neither")
    pin()
    print(machine())
    if options.files:
        evaluator = ak.Evaluator(PredictionTable.load(options.files[0]), read_ground_truth(options.files[1]))
    else:
        evaluator = shapes()
    threshold = max(evaluator.accuracy(evaluator.full) - options.max_drop, 0.0)
    found, seconds = searches(evaluator, options.cost, threshold, options.budget)
    table = shares(found)
    forms = {"evaluated": "{:,.0f}"}
    lines = []
    for name, row in table.iterrows():
        cells = ["" if math.isnan(value) else forms.get(what, "{:.2f}").format(value) for what, value in row.items()]
        lines.append((str(name), *cells, f"{seconds[str(name)]:.0f}"))
    print(grid([("search", *table.columns, "CPU s"), *lines]))


if __name__ == "__main__":
    main()
