from __future__ import annotations

import re
import subprocess
import sys
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorkit.anchors import moves
from anchorkit.costs import as_cost, cost_of
from anchorkit.errors import InputError
from anchorkit.search import random_pruning, search
from anchorkit.search.ledger import Ledger
from anchorkit.search.measuring import AHEAD, Measurer

from .toys import ToyEvaluator, toy_layout

LAYOUTS = st.one_of(
    st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(any).map(lambda counts: toy_layout(*counts)),
    st.lists(st.integers(1, 3), min_size=1, max_size=3).map(lambda counts: toy_layout(*counts, shared=True)),
)
EVALUATORS = st.builds(
    ToyEvaluator,
    LAYOUTS,
    seed=st.integers(0, 10**6),
    steps=st.sampled_from([2, 5, 20, 1000]),
    slope=st.sampled_from([0.0, 0.3, 0.8]),
)
THRESHOLDS = st.one_of(st.none(), st.sampled_from([0.0, 0.3, 0.5, 0.7]))


def beaten(accuracy, cost, frontier, accuracy_of, cost_of_mask):
    """Some configuration of the frontier costs no more and is no less accurate: it beats this one, or was first."""
    return any(cost_of_mask[p] <= cost and accuracy_of(p) >= accuracy for p in frontier)


def take(unexplored, accuracy_of, cost_of_mask):
    """Highest accuracy first, then lowest cost, then first inserted (`unexplored` is a list in that order)."""
    best = max(unexplored, key=lambda c: (accuracy_of(c), -cost_of_mask[c], -unexplored.index(c)))
    unexplored.remove(best)
    return best


def printed_algorithm_1(layout, accuracy_of, cost, threshold):
    """Algorithm 1 as printed, on bit masks, with plain lists."""
    cost_of_mask = {}
    tried = []

    def measure(configuration):
        if configuration.mask not in cost_of_mask:
            cost_of_mask[configuration.mask] = cost_of(configuration, cost)
            tried.append(configuration.mask)

    everything = layout.full
    configurations = {everything.mask: everything}
    measure(everything)
    s, p = [everything.mask], [everything.mask]
    while s:
        c = take(s, accuracy_of, cost_of_mask)
        for move in moves(configurations[c]):
            child = configurations[c].without(move.anchors)
            c_i = child.mask
            if c_i in cost_of_mask:
                continue
            configurations[c_i] = child
            measure(child)
            if threshold is not None and accuracy_of(c_i) < threshold:
                continue
            if not beaten(accuracy_of(c_i), cost_of_mask[c_i], p, accuracy_of, cost_of_mask):
                p.append(c_i)
                s.append(c_i)
            for q in list(p):
                others = [o for o in p if o != q]
                if any(
                    cost_of_mask[o] <= cost_of_mask[q]
                    and accuracy_of(o) >= accuracy_of(q)
                    and (cost_of_mask[o], accuracy_of(o)) != (cost_of_mask[q], accuracy_of(q))
                    for o in others
                ):
                    p.remove(q)
    return tried, p


def authors_algorithm(layout, accuracy_of, cost, threshold):
    """The authors' loop as described, on bit masks, with plain lists."""
    least = 0.0 if threshold is None else threshold
    cost_of_mask = {}
    tried = []

    def measure(configuration):
        if configuration.mask not in cost_of_mask:
            cost_of_mask[configuration.mask] = cost_of(configuration, cost)
            tried.append(configuration.mask)

    def merge(front, new):
        if beaten(accuracy_of(new), cost_of_mask[new], front, accuracy_of, cost_of_mask):
            return front, False
        kept = [p for p in front if not (cost_of_mask[new] <= cost_of_mask[p] and accuracy_of(new) >= accuracy_of(p))]
        return [*kept, new], True

    configurations = {layout.full.mask: layout.full}
    measure(layout.full)
    stack, front = [layout.full.mask], [layout.full.mask]
    while stack:
        node = take(stack, accuracy_of, cost_of_mask)
        siblings = []
        for move in moves(configurations[node]):
            child = configurations[node].without(move.anchors)
            configurations[child.mask] = child
            measure(child)
            if accuracy_of(child.mask) >= accuracy_of(node):
                siblings = [child.mask]
                break
            if accuracy_of(child.mask) >= least:
                siblings, _ = merge(siblings, child.mask)
        for child_mask in sorted(siblings, key=tried.index):
            if accuracy_of(child_mask) < least:
                continue
            front, entered = merge(front, child_mask)
            if entered:
                stack.append(child_mask)
    return tried, front


REFEREES = {"algorithm1": printed_algorithm_1, "authors": authors_algorithm}


@pytest.mark.filterwarnings("ignore:threshold")
@pytest.mark.parametrize("strategy", REFEREES)
@given(evaluator=EVALUATORS, threshold=THRESHOLDS, cost=st.sampled_from(["boxes", "head_flops", "head_parameters"]))
def test_the_search_does_what_is_printed(strategy, evaluator, threshold, cost):
    layout = evaluator.layout
    tried, frontier = REFEREES[strategy](layout, evaluator.accuracy_of, cost, threshold)
    evaluator.asked.clear()
    result = search(evaluator, cost, threshold=threshold, strategy=strategy, progress=False)
    masks = [layout.configuration(keep=ids.split()).mask for ids in result.evaluated["anchors"]]
    assert masks == tried
    if strategy == "algorithm1":
        assert evaluator.asked == tried  # each once, in that order
    else:  # each once; some of those that it jumps over have been asked for in vain
        assert len(set(evaluator.asked)) == len(evaluator.asked)
        assert set(evaluator.asked) >= set(tried)
    assert {c.mask for c in result.configurations} == set(frontier)
    accuracies = result.frontier["accuracy"].tolist()
    assert accuracies == sorted(accuracies, reverse=True)
    assert len(set(accuracies)) == len(accuracies)
    assert accuracies == [evaluator.accuracy_of(c.mask) for c in result.configurations]
    assert result.frontier[cost].tolist() == [cost_of(c, cost) for c in result.configurations]


@given(evaluator=EVALUATORS)
def test_parents_and_order(evaluator):
    result = search(evaluator, "boxes", progress=False)
    rows = result.evaluated
    assert rows["order"].tolist() == list(range(len(rows)))
    assert rows["parent"].tolist()[0] == -1
    configurations = [evaluator.layout.configuration(keep=ids.split()) for ids in rows["anchors"]]
    for child, parent in zip(configurations[1:], rows["parent"].tolist()[1:], strict=True):
        assert child in [configurations[parent].without(m.anchors) for m in moves(configurations[parent])]
    assert all(len(c) > 0 for c in configurations)


def test_a_parent_asks_for_its_children_in_one_batch():
    evaluator = ToyEvaluator(toy_layout(3, 2), slope=0.8)
    search(evaluator, "boxes", progress=False)
    assert evaluator.batches[0] == 5
    assert max(evaluator.batches) > 1


def test_the_authors_jump_leaves_siblings_unevaluated():
    layout = toy_layout(3)
    evaluator = ToyEvaluator(layout)
    evaluator.accuracy_of = {0b111: 0.5, 0b110: 0.4, 0b101: 0.5, 0b011: 0.5, 0b100: 0.3, 0b001: 0.2}.__getitem__
    result = search(evaluator, "boxes", strategy="authors", progress=False)
    # Taking anchor 1 away loses nothing: 0b011 is never measured, even if it was asked for in the same batch.
    masks = [layout.configuration(keep=ids.split()).mask for ids in result.evaluated["anchors"]]
    assert masks == [0b111, 0b110, 0b101, 0b100, 0b001]
    assert [c.mask for c in result.configurations] == [0b101, 0b100]


def test_the_authors_siblings_are_asked_for_in_small_batches():
    evaluator = ToyEvaluator(toy_layout(12, 8), slope=1.0, steps=10**6)  # every step loses: no jumps
    search(evaluator, "boxes", threshold=0.9, strategy="authors", progress=False)
    assert evaluator.batches[:3] == [AHEAD, AHEAD, 20 - 2 * AHEAD]


def test_what_was_asked_in_vain_is_not_asked_again():
    layout = toy_layout(3)
    evaluator = ToyEvaluator(layout)
    accuracies = {0b111: 0.5, 0b110: 0.5, 0b101: 0.4, 0b011: 0.4, 0b100: 0.3, 0b010: 0.2, 0b001: 0.1}
    evaluator.accuracy_of = accuracies.__getitem__
    measurer = Measurer(evaluator, as_cost("boxes"), Ledger(evaluator))
    full = measurer.measure(layout.full)
    first = next(measurer.children_in_turn(full, moves(layout.full)))
    assert (first.configuration.mask, first.order, first.parent) == (0b110, 1, 0)
    assert evaluator.asked == [0b111, 0b110, 0b101, 0b011]
    assert len(measurer.nodes) == 2
    *_, last = measurer.children_in_turn(full, moves(layout.full))
    assert (last.configuration.mask, last.accuracy, last.order, last.parent) == (0b011, 0.4, 3, 0)
    assert len(evaluator.asked) == 4


def test_a_callable_cost_has_its_own_column():
    def latency(configuration):
        return 1.5 * len(configuration)

    result = search(ToyEvaluator(toy_layout(3)), latency, progress=False)
    assert result.cost == "latency"
    assert result.baseline["latency"] == 4.5
    assert result.evaluated.columns.tolist() == [
        "accuracy",
        "boxes",
        "head_flops",
        "head_parameters",
        "latency",
        "n_anchors",
        "anchors",
        "order",
        "parent",
    ]
    assert result.frontier.columns.tolist() == result.evaluated.columns.tolist()[:-2]


@pytest.mark.parametrize("threshold", [7, -0.1, 1.01, float("nan")])
def test_a_threshold_is_an_accuracy(threshold):
    with pytest.raises(InputError, match=r"accuracies are 0\.\.1"):
        search(ToyEvaluator(toy_layout(2)), threshold=threshold, progress=False)


def test_a_threshold_in_points_is_recognised():
    with pytest.raises(InputError, match=r"7 may mean 0\.07"):
        search(ToyEvaluator(toy_layout(2)), threshold=7, progress=False)


def test_a_threshold_above_the_full_accuracy_warns():
    evaluator = ToyEvaluator(toy_layout(3), slope=1.0, steps=100)
    evaluator.accuracy_of = lambda mask: 0.1 * mask.bit_count()
    with pytest.warns(UserWarning, match=r"threshold 0\.9 is above .* 0\.3000"):
        result = search(evaluator, threshold=0.9, progress=False)
    assert result.configurations == [evaluator.layout.full]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(evaluator, threshold=0.2, progress=False)


def test_bad_input_is_refused_before_anything_is_evaluated():
    evaluator = ToyEvaluator(toy_layout(2))
    with pytest.raises(InputError, match="'greedy'.*'algorithm1' or 'authors' or 'local'"):
        search(evaluator, strategy="greedy", progress=False)
    with pytest.raises(InputError, match="unknown cost 'flops'"):
        search(evaluator, cost="flops", progress=False)
    with pytest.raises(InputError, match="'levels'"):
        search(evaluator, moves="levels", progress=False)
    with pytest.raises(InputError, match="no anchors"):
        search(ToyEvaluator(toy_layout(0)), progress=False)
    assert evaluator.asked == []
    with pytest.raises(InputError, match="trunk"):
        search(evaluator, cost="total_flops", progress=False)


@pytest.mark.parametrize(("value", "message"), [(-1.0, "ground truth has no boxes"), (40.0, r"0\.\.1")])
def test_an_accuracy_that_is_none_is_refused(value, message):
    evaluator = ToyEvaluator(toy_layout(2))
    evaluator.accuracy_of = lambda mask: value
    with pytest.raises(InputError, match=message):
        search(evaluator, progress=False)


def test_progress_goes_to_standard_error(capsys):
    search(ToyEvaluator(toy_layout(2)), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    last = err.rstrip("\n").split("\r")[-1]
    assert re.fullmatch(r"search: \d+ conf \[.*conf/s, best=0\.\d{4}, frontier=\d+, to_explore=0\] *", last), last


def test_progress_is_drawn_now_and_then(capsys):
    evaluator = ToyEvaluator(toy_layout(6, 6), slope=0.6, steps=1000)
    start = time.monotonic()
    search(evaluator, "boxes", progress=True)
    seconds = time.monotonic() - start
    drawn = capsys.readouterr().err.count("\r")
    assert len(evaluator.batches) > 50
    assert drawn <= 3 + 2 * seconds  # the first, the last, and two a second


def test_random_pruning_repeats_itself():
    evaluator = ToyEvaluator(toy_layout(4, 3, 2))
    one = random_pruning(evaluator, "boxes", n=40, seed=3, progress=False)
    assert one.equals(random_pruning(evaluator, "boxes", n=40, seed=3, progress=False))
    assert not one.equals(random_pruning(evaluator, "boxes", n=40, seed=4, progress=False))
    assert len(one) == one["anchors"].nunique() == 40
    assert one.columns.tolist() == search(evaluator, "boxes", progress=False).evaluated.columns.tolist()
    assert one["n_anchors"].between(1, 8).all()
    assert one["n_anchors"].nunique() > 5
    assert set(one["parent"]) == {-1}


def test_random_pruning_of_a_small_layout_ends():
    few = random_pruning(ToyEvaluator(toy_layout(2)), "boxes", n=100, progress=False)
    assert sorted(few["anchors"]) == ["L0/16x16", "L0/8x16"]
    assert random_pruning(ToyEvaluator(toy_layout(1)), "boxes", n=5, progress=False).empty
    with pytest.raises(InputError, match="n is 0"):
        random_pruning(ToyEvaluator(toy_layout(2)), "boxes", n=0, progress=False)


def test_random_pruning_keeps_to_the_moves_of_a_shared_head():
    layout = toy_layout(3, 3, 3, shared=True)
    found = random_pruning(ToyEvaluator(layout), "boxes", n=15, progress=False)
    for ids in found["anchors"]:
        kept = layout.configuration(keep=ids.split()).anchors
        levels, positions = {a.level for a in kept}, {a.position for a in kept}
        assert len(kept) == len(levels) * len(positions)


IMPORTS = [
    "import anchorkit as ak; call = ak.search",
    "import anchorkit as ak; import anchorkit.search; call = ak.search",
    "import anchorkit.search; import anchorkit as ak; call = ak.search",
    "from anchorkit.search import search; import anchorkit as ak; call = ak.search; assert call is not search",
    "import anchorkit as ak; ak.search; call = ak.search",
    "import anchorkit as ak; ak.SearchResult; ak.random_pruning; call = ak.search",
    "import anchorkit; from anchorkit.search import search as call; import anchorkit as ak",
    "from anchorkit import search as call; import anchorkit as ak",
]


def test_search_can_be_called_whatever_was_imported_before():
    # In a process of its own, where the kit is forgotten between two orders of importing it.
    code = f"""
import sys
for imports in {IMPORTS!r}:
    for name in [name for name in sys.modules if name.split(".")[0] == "anchorkit"]:
        del sys.modules[name]
    exec(imports)
    try:
        call(object(), strategy="nonsense")
    except ak.InputError as error:
        assert "nonsense" in str(error)
    else:
        raise AssertionError(imports)
    from anchorkit.search.result import SearchResult
    assert ak.SearchResult is SearchResult
"""
    subprocess.run([sys.executable, "-c", code], check=True)
