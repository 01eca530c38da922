from __future__ import annotations

import itertools
import time

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorkit.costs import cost_of
from anchorkit.errors import InputError
from anchorkit.search import SearchInterrupted, exhaustive, exhaustive_search, search
from anchorkit.search.exhaustive import BATCH_UNITS, MOST_UNITS

from .test_search import EVALUATORS
from .toys import ToyEvaluator, toy_layout


@given(evaluator=EVALUATORS, cost=st.sampled_from(["boxes", "head_flops", "head_parameters"]))
def test_it_tries_everything_once_and_finds_the_best(evaluator, cost):
    layout = evaluator.layout
    result = exhaustive_search(evaluator, cost, progress=False)
    tried = [layout.configuration(keep=ids.split()) for ids in result.evaluated["anchors"]]
    assert len({c.mask for c in tried}) == len(tried) == len(evaluator.asked)
    assert tried[0] == layout.full
    if not layout.shared_head:
        assert len(tried) == 2 ** len(layout) - 1
    points = [(evaluator.accuracy_of(c.mask), cost_of(c, cost)) for c in tried]
    best = sorted({(a, c) for a, c in points if not any(d <= c and b >= a and (b, d) != (a, c) for b, d in points)})
    assert list(zip(result.frontier["accuracy"], result.frontier[cost], strict=True)) == best[::-1]
    # Nothing that another search can reach is missing.
    other = search(evaluator, cost, progress=False)
    assert set(other.evaluated["anchors"]) <= set(result.evaluated["anchors"])
    assert other.hypervolume() <= result.hypervolume() + 1e-12
    assert (result.strategy, result.complete, result.budget) == ("exhaustive", True, None)


def test_a_shared_head_has_every_set_of_shapes_on_every_set_of_levels():
    result = exhaustive_search(ToyEvaluator(toy_layout(3, 3, shared=True)), "boxes", progress=False)
    assert len(result.evaluated) == 7 * 3


def test_it_asks_in_batches_next_to_each_other():
    evaluator = ToyEvaluator(toy_layout(4, 4))
    parents = []
    children = evaluator.children

    def watched(configuration, moves):
        parents.append(configuration.mask)
        return children(configuration, moves)

    evaluator.children = watched
    exhaustive_search(evaluator, "boxes", progress=False)
    assert len(parents) == 2 ** (8 - BATCH_UNITS)
    assert max(evaluator.batches) == 2**BATCH_UNITS - 1
    assert all((a ^ b).bit_count() == 1 for a, b in itertools.pairwise(parents))
    assert all(parent >> 4 == 0b1111 for parent in parents)  # anchors with few boxes go within a batch


def test_among_leaves_the_others_in_place():
    evaluator = ToyEvaluator(toy_layout(10, 10))
    free = [0, 3, 11, 19]
    result = exhaustive_search(evaluator, "boxes", among=iter(free), progress=False)
    assert len(result.evaluated) == 16
    assert set(result.evaluated["n_anchors"]) == {16, 17, 18, 19, 20}
    assert result.among == tuple(evaluator.layout.ids[i] for i in free)


def test_too_many_are_refused_with_the_time_they_would_take():
    evaluator = ToyEvaluator(toy_layout(15, 15))
    with pytest.raises(
        InputError, match=r"30 anchors have 1,073,741,824 configurations, .* about \d+ \w+; .*among"
    ) as no:
        exhaustive_search(evaluator, "boxes", progress=False)
    assert f"at most {MOST_UNITS}" in str(no.value)
    with pytest.raises(InputError, match="unknown anchor"):
        exhaustive_search(evaluator, "boxes", among=["L9/1x1"], progress=False)


def test_as_many_as_are_allowed_are_allowed(monkeypatch):
    monkeypatch.setattr(exhaustive, "MOST_UNITS", 4)
    assert len(exhaustive_search(ToyEvaluator(toy_layout(4)), "boxes", progress=False).evaluated) == 15
    with pytest.raises(InputError, match="at most 4"):
        exhaustive_search(ToyEvaluator(toy_layout(5)), "boxes", progress=False)


@pytest.mark.parametrize(("counts", "said"), [((9, 8), "36 hours"), ((10, 8), "3 days"), ((15, 15), "34 years")])
def test_the_time_is_that_of_a_first_batch_for_all(monkeypatch, counts, said):
    """A clock by hand: a configuration takes a second."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    class Slow(ToyEvaluator):
        def accuracy(self, configuration):
            now[0] += 1.0
            return super().accuracy(configuration)

    with pytest.raises(InputError, match=f"which would take about {said};"):
        exhaustive_search(Slow(toy_layout(*counts)), "boxes", progress=False)


@pytest.mark.parametrize(("shared", "total"), [(False, 63), (True, 21)])
def test_progress_is_told_of_all_there_is(shared, total, capsys):
    exhaustive_search(ToyEvaluator(toy_layout(3, 3, shared=shared)), "boxes", progress=True)
    assert f" {total}/{total} " in capsys.readouterr().err.rstrip("\n").split("\r")[-1]


@pytest.mark.parametrize("number", [1, 2, 17, 40, 62])
def test_it_goes_on_from_its_ledger(number, tmp_path):
    def make():
        made = ToyEvaluator(toy_layout(4, 2), seed=4)
        made.fingerprint = "data 1"  # or the full configuration would be compared with the ledger's
        return made

    whole = exhaustive_search(make(), "boxes", progress=False)
    stopped, again = make(), make()
    stopped.interrupt_at = number
    path = tmp_path / "ledger.jsonl"
    with pytest.raises(SearchInterrupted) as interrupt:
        exhaustive_search(stopped, "boxes", ledger=path, progress=False)
    assert not interrupt.value.result.complete
    result = exhaustive_search(again, "boxes", ledger=path, progress=False)
    pd.testing.assert_frame_equal(result.evaluated, whole.evaluated)
    pd.testing.assert_frame_equal(result.frontier, whole.frontier)
    assert len(again.asked) < len(whole.evaluated)


def test_a_watch_may_stop_it():
    result = exhaustive_search(
        ToyEvaluator(toy_layout(4, 4)), "boxes", progress=False, watch=lambda progress: progress.stop()
    )
    assert not result.complete
    assert 1 <= len(result.evaluated) < 255
