"""The searches that were thrown out (benchmarks/thrown_out.py): what they try, and that their frontiers are right."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from anchorkit.search import Strategy, search

from .toys import ToyEvaluator, toy_layout

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def thrown_out():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        spec = importlib.util.spec_from_file_location("thrown_out", BENCHMARKS / "thrown_out.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "thrown_out", module)  # dataclasses and annotations look it up
        spec.loader.exec_module(module)
        yield module


def found_by(walk, evaluator, budget=None):
    strategy = Strategy("thrown_out", "thrown out", walk)
    return search(evaluator, "boxes", strategy=strategy, budget=budget, progress=False)


def test_a_wide_beam_tries_everything(thrown_out):
    evaluator = ToyEvaluator(toy_layout(3, 2), seed=3)
    assert len(found_by(thrown_out.beam(100, thrown_out.most_accurate), evaluator).evaluated) == 2**5 - 1


@pytest.mark.parametrize("choose", ["most_accurate", "by_rank"])
def test_a_narrow_beam_keeps_so_many_of_each_size(thrown_out, choose):
    evaluator = ToyEvaluator(toy_layout(4, 3), seed=1)
    result = found_by(thrown_out.beam(1, getattr(thrown_out, choose)), evaluator)
    # One way down: the full one, then as many children as there are anchors left, down to a single anchor.
    assert len(result.evaluated) == 1 + sum(range(2, 8))
    assert result.evaluated.groupby("n_anchors").size().to_dict() == {7: 1, **{n: n + 1 for n in range(1, 7)}}


def test_the_best_ranks_first(thrown_out):
    evaluator = ToyEvaluator(toy_layout(3, 3), seed=5)
    nodes = []
    found_by(
        lambda measurer, full, frontier, space, least: nodes.extend(
            [full, *measurer.children(full, space.moves(full.configuration))]
        ),
        evaluator,
    )
    ranked = thrown_out.by_rank(list(nodes), len(nodes))
    assert {node.order for node in ranked} == {node.order for node in nodes}
    for place, node in enumerate(ranked):
        beaten_by = [o for o in nodes if o.cost <= node.cost and o.accuracy >= node.accuracy and o is not node]
        strictly = [o for o in beaten_by if (o.cost, o.accuracy) != (node.cost, node.accuracy)]
        assert all(ranked.index(other) < place for other in strictly)


def test_swaps_are_tried_too(thrown_out):
    evaluator = ToyEvaluator(toy_layout(3, 3), seed=2)
    result = found_by(thrown_out.with_swaps, evaluator)
    layout = evaluator.layout
    tried = {layout.configuration(keep=ids.split()).mask for ids in result.evaluated["anchors"]}
    for configuration in result.configurations:
        for gone in configuration.dropped:
            for kept in configuration.indices:
                swapped = configuration.mask | 1 << gone
                assert swapped & ~(1 << kept) in tried


def test_the_budget_is_kept_and_what_was_measured_is_judged(thrown_out):
    evaluator = ToyEvaluator(toy_layout(5, 5), seed=4)
    for walk in thrown_out.THROWN_OUT.values():
        result = found_by(walk, evaluator, budget=23)
        assert len(result.evaluated) == 23
        best = result.evaluated["accuracy"].max()
        assert result.frontier["accuracy"].max() == best


def test_shares_are_of_the_best(thrown_out):
    evaluator = ToyEvaluator(toy_layout(4, 4), seed=6)
    wide = found_by(thrown_out.beam(1000, thrown_out.by_rank), evaluator)
    narrow = found_by(thrown_out.beam(1, thrown_out.most_accurate), evaluator)
    table = thrown_out.shares({"wide": wide, "narrow": narrow})
    assert table.loc["wide", "end"] == pytest.approx(100.0)
    assert table.loc["narrow", "end"] == pytest.approx(100 * narrow.hypervolume() / wide.hypervolume())
    assert table.loc["wide", "evaluated"] == 2**8 - 1
    assert table["500"].isna().all()  # both ended before
