"""The Pareto local search, a budget, and a search among some of the anchors."""

from __future__ import annotations

import itertools
import re

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anchorkit.anchors import moves
from anchorkit.costs import cost_of
from anchorkit.errors import InputError
from anchorkit.search import STRATEGIES, SearchResult, search
from anchorkit.search.frontier import contributions
from anchorkit.search.space import Space

from .test_search import EVALUATORS, THRESHOLDS, beaten
from .toys import ToyEvaluator, toy_layout


def neighbours(configuration, space):
    """What lacks one unit more, has one back, or has one back and another one less."""
    larger = space.additions(configuration)
    found = [configuration.without(move.anchors) for move in space.moves(configuration)]
    for more in larger:
        found += [more, *(more.without(move.anchors) for move in space.moves(more))]
    return found


def dominated(accuracy, cost, others):
    return any(c <= cost and a >= accuracy and (a, c) != (accuracy, cost) for a, c in others)


@pytest.mark.filterwarnings("ignore:threshold")
@given(evaluator=EVALUATORS, threshold=THRESHOLDS, cost=st.sampled_from(["boxes", "head_flops", "head_parameters"]))
def test_it_ends_where_no_neighbour_is_better(evaluator, threshold, cost):
    result = search(evaluator, cost, threshold=threshold, strategy="local", progress=False)
    layout, space = evaluator.layout, Space.of(evaluator.layout)
    full = layout.full
    tried = {layout.configuration(keep=ids.split()).mask for ids in result.evaluated["anchors"]}
    assert len(tried) == len(result.evaluated)
    points = [(evaluator.accuracy_of(mask), _cost(layout, mask, cost)) for mask in tried]
    allowed = [p for p in points if p[0] >= (threshold or 0.0)]
    front = list(zip(result.frontier["accuracy"], result.frontier[cost], strict=True))
    # The full configuration is there from the start: it alone may lie below the threshold.
    assert all(a >= (threshold or 0.0) for (a, _), c in zip(front, result.configurations, strict=True) if c != full)
    # The frontier is that of everything tried, and all that lies next to it has been tried.
    for accuracy, price in allowed:
        assert any(c <= price and a >= accuracy for a, c in front)
    for accuracy, price in front:
        assert not dominated(accuracy, price, allowed)
    full_alone = result.configurations == [full]
    if not full_alone or threshold is None or evaluator.accuracy_of(full.mask) >= threshold:
        for member in result.configurations:
            assert {c.mask for c in neighbours(member, space)} <= tried


def local_by_hand(layout, accuracy_of, cost, threshold):
    """The strategy as its module describes it, with plain lists; masks tried, the parent of each, the frontier."""
    least = 0.0 if threshold is None else threshold
    space, full = Space.of(layout), layout.full
    tried, parents, front, prices = [], [], [], {}

    def look(configuration, parent):
        mask = configuration.mask
        if mask in prices:
            return
        prices[mask] = cost_of(configuration, cost)
        tried.append(mask)
        parents.append(-1 if parent is None else tried.index(parent.mask))
        accuracy = accuracy_of(mask)
        if (accuracy >= least or parent is None) and not beaten(accuracy, prices[mask], front, accuracy_of, prices):
            front[:] = [q for q in front if not (prices[mask] <= prices[q] and accuracy >= accuracy_of(q))]
            front.append(mask)

    def children(parent):
        found = [parent.without(move.anchors) for move in space.moves(parent)]
        for child in found:
            look(child, parent)
        return found

    def per_cost(parent, child):
        saved = prices[parent.mask] - prices[child.mask]
        return (accuracy_of(parent.mask) - accuracy_of(child.mask)) / saved if saved > 0 else float("inf")

    look(full, None)
    at = full
    while enough := [c for c in children(at) if accuracy_of(c.mask) >= least]:
        if harmless := [c for c in enough if accuracy_of(c.mask) >= accuracy_of(at.mask)]:
            at = min(harmless, key=lambda c: (prices[c.mask], -accuracy_of(c.mask), tried.index(c.mask)))
        else:
            at = min(enough, key=lambda c, at=at: (per_cost(at, c), tried.index(c.mask)))

    thinned, exchanged = set(), set()
    while True:
        front.sort(key=lambda mask: -accuracy_of(mask))
        gains = contributions([accuracy_of(m) for m in front], [prices[m] for m in front], prices[full.mask])
        waiting = []
        for mask, gain in zip(front, gains, strict=True):
            kept, gone = mask.bit_count(), len(layout) - mask.bit_count()
            if mask not in exchanged:
                waiting.append((gain / (kept if mask not in thinned else max(gone, 1) * (kept + 1)), mask))
        if not waiting:
            return tried, parents, front
        _, best = max(waiting, key=lambda pair: pair[0])  # of equals the first: the most accurate one
        member = layout.configuration(keep=[i for i in range(len(layout)) if best >> i & 1])
        if best not in thinned:
            thinned.add(best)
            children(member)
        else:
            exchanged.add(best)
            for larger in space.additions(member):
                look(larger, member)
                children(larger)


@pytest.mark.filterwarnings("ignore:threshold")
@example(ToyEvaluator(toy_layout(3, 3, 3), seed=55, steps=10, slope=0.8), None, "boxes")  # two members promise the same
@given(evaluator=EVALUATORS, threshold=THRESHOLDS, cost=st.sampled_from(["boxes", "head_flops", "head_parameters"]))
def test_it_looks_where_the_most_can_be_gained_per_try(evaluator, threshold, cost):
    layout = evaluator.layout
    tried, parents, front = local_by_hand(layout, evaluator.accuracy_of, cost, threshold)
    evaluator.asked.clear()
    result = search(evaluator, cost, threshold=threshold, strategy="local", progress=False)
    assert [layout.configuration(keep=ids.split()).mask for ids in result.evaluated["anchors"]] == tried
    assert result.evaluated["parent"].tolist() == parents
    assert [c.mask for c in result.configurations] == front
    assert evaluator.asked == tried  # each once, in that order


def test_below_the_threshold_nothing_is_kept_or_explored():
    evaluator = ToyEvaluator(toy_layout(3))
    evaluator.accuracy_of = lambda mask: {3: 0.9, 2: 0.6, 1: 0.4}[mask.bit_count()]
    result = search(evaluator, "boxes", threshold=0.5, strategy="local", progress=False)
    assert result.frontier["accuracy"].tolist() == [0.9, 0.6]
    evaluator.asked.clear()
    alone = search(evaluator, "boxes", threshold=0.7, strategy="local", progress=False)
    assert alone.configurations == [evaluator.layout.full]
    assert evaluator.asked == [0b111, 0b110, 0b101, 0b011]


def _cost(layout, mask, cost):
    return cost_of(layout.configuration(keep=[i for i in range(len(layout)) if mask >> i & 1]), cost)


def test_it_begins_with_one_way_down():
    evaluator = ToyEvaluator(toy_layout(4), slope=0.6, steps=10**6, seed=3)
    layout = evaluator.layout
    result = search(evaluator, "boxes", strategy="local", progress=False)
    at, expected = layout.full, [layout.full.mask]
    while children := [at.without(move.anchors) for move in moves(at)]:
        expected += [child.mask for child in children]
        # All children cost the same here: the most accurate one loses least for what it saves.
        at = max(children, key=lambda child: evaluator.accuracy_of(child.mask))
    assert evaluator.asked[: len(expected)] == expected
    assert result.strategy == "local"


def test_the_way_down_takes_what_saves_most_for_nothing():
    evaluator = ToyEvaluator(toy_layout(2, 2))
    # Anchors 0 and 1 have 64 boxes each, 2 and 3 have 16. Without 2 or 0 nothing is lost, without 3 some is gained.
    accuracies = {0b1111: 0.5, 0b1110: 0.5, 0b1101: 0.4, 0b1011: 0.5, 0b0111: 0.6}
    evaluator.accuracy_of = lambda mask: accuracies.get(mask, 0.1)
    search(evaluator, "boxes", strategy="local", progress=False)
    assert evaluator.asked[:5] == [0b1111, 0b1110, 0b1101, 0b1011, 0b0111]
    assert set(evaluator.asked[5:8]) == {0b1100, 0b1010, 0b0110}  # from 0b1110


def test_a_swap_finds_what_removals_miss():
    """Two anchors that only serve together: taking either away first looks bad."""
    layout = toy_layout(3)
    accuracies = {0b111: 0.9, 0b110: 0.8, 0b101: 0.5, 0b011: 0.5, 0b100: 0.3, 0b010: 0.3, 0b001: 0.7}
    evaluator = ToyEvaluator(layout)
    evaluator.accuracy_of = accuracies.__getitem__
    greedy = search(evaluator, "boxes", threshold=0.3, progress=False)
    local = search(evaluator, "boxes", threshold=0.3, strategy="local", progress=False)
    assert [c.mask for c in greedy.configurations] == [0b111, 0b110, 0b100]
    assert [c.mask for c in local.configurations] == [0b111, 0b110, 0b001]
    parents = local.evaluated.set_index("anchors")
    assert parents["parent"].between(-1, len(parents) - 1).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_budget_ends_a_search_and_keeps_its_beginning(strategy):
    whole = search(evaluator(), "boxes", strategy=strategy, progress=False)
    for budget in range(1, len(whole.evaluated) + 3):
        again = evaluator()
        result = search(again, "boxes", strategy=strategy, budget=budget, progress=False)
        assert result.complete
        assert result.budget == budget
        pd.testing.assert_frame_equal(result.evaluated, whole.evaluated.iloc[:budget])
        if strategy != "authors":  # theirs does not offer every sibling
            best = result.evaluated["accuracy"].max()
            assert result.frontier["accuracy"].iloc[0] == best
    pd.testing.assert_frame_equal(result.frontier, whole.frontier)


def evaluator() -> ToyEvaluator:
    made = ToyEvaluator(toy_layout(3, 2), seed=5)
    made.fingerprint = "data 1"  # or the full configuration would be compared with a ledger's
    return made


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_search_with_a_budget_resumes(strategy, tmp_path):
    whole = search(evaluator(), "boxes", strategy=strategy, budget=14, progress=False)
    layout_full = evaluator().layout.full.mask
    for number in range(1, 14):
        path = tmp_path / f"{number}.jsonl"
        stopped, again = evaluator(), evaluator()
        stopped.interrupt_at = number
        with pytest.raises(KeyboardInterrupt):
            search(stopped, "boxes", strategy=strategy, budget=14, ledger=path, progress=False)
        result = search(again, "boxes", strategy=strategy, budget=14, ledger=path, progress=False)
        pd.testing.assert_frame_equal(result.evaluated, whole.evaluated)
        pd.testing.assert_frame_equal(result.frontier, whole.frontier)
        assert layout_full not in again.asked


def test_a_budget_counts_measured_costs_one_by_one():
    measured = []

    def latency(configuration):
        measured.append(configuration.mask)
        return float(len(configuration))

    result = search(evaluator(), latency, strategy="local", budget=9, progress=False)
    assert len(result.evaluated) == len(measured) == 9


@pytest.mark.parametrize("budget", [0, -3])
def test_a_budget_of_nothing_is_refused(budget):
    with pytest.raises(InputError, match="at least one configuration"):
        search(evaluator(), budget=budget, progress=False)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("shared", [False, True])
def test_among_keeps_all_other_anchors(strategy, shared):
    toy = ToyEvaluator(toy_layout(3, 3, shared=shared), seed=2, slope=0.8)
    free = ["L0/8x16", "L1/8x32", "L0/24x16"]  # shape 0 on both levels, and shape 2 on one of them
    result = search(toy, "boxes", strategy=strategy, among=free, progress=False)
    fixed = set(toy.layout.ids) - set(free)
    kept = [set(ids.split()) for ids in result.evaluated["anchors"]]
    assert all(fixed <= ids for ids in kept)
    gone = {frozenset(set(toy.layout.ids) - ids) for ids in kept}
    # Of a shared head only what goes as a whole may go: shape 0.
    assert gone <= {frozenset(), frozenset(free[:2])} if shared else len(gone) > 4
    assert result.among == tuple(sorted(free, key=toy.layout.ids.index))


def test_among_is_checked_and_saved(tmp_path):
    with pytest.raises(InputError, match="names no anchor"):
        search(evaluator(), among=[], progress=False)
    with pytest.raises(InputError, match="unknown anchor"):
        search(evaluator(), among=["L7/1x1"], progress=False)
    result = search(evaluator(), among=iter([0, 1]), budget=3, progress=False)
    result.save(tmp_path)
    again = SearchResult.load(tmp_path)
    assert (again.among, again.budget, again.complete) == (result.among, 3, True)
    plain = search(evaluator(), progress=False)
    plain.save(tmp_path)
    assert (SearchResult.load(tmp_path).among, SearchResult.load(tmp_path).budget) == (None, None)


def test_additions_undo_moves():
    for shared, counts in itertools.product([False, True], [(2, 2), (3, 3, 3), (1, 1, 1, 1)]):
        layout = toy_layout(*counts, shared=shared)
        space = Space.of(layout)
        for first in space.moves(layout.full):
            smaller = layout.full.without(first.anchors)
            assert layout.full in space.additions(smaller)
            for second in space.moves(smaller):
                assert smaller in space.additions(smaller.without(second.anchors))
        assert space.additions(layout.full) == []
    # As moves: shapes first, then levels.
    shared = toy_layout(2, 2, shared=True)
    one = shared.configuration(keep=[0])
    assert [c.indices for c in Space.of(shared).additions(one)] == [(0, 1), (0, 2)]


def test_progress_tells_what_is_left(capsys):
    search(evaluator(), strategy="local", progress=True)
    last = capsys.readouterr().err.rstrip("\n").split("\r")[-1]
    assert re.search(r"best=0\.\d{4}, frontier=\d+, to_explore=0", last), last
