from __future__ import annotations

import dataclasses

import pytest

from anchorkit.errors import InputError
from anchorkit.search import exhaustive_search, search
from anchorkit.search.comparing import distance, hypervolume_curve
from anchorkit.search.frontier import hypervolume

from .toys import ToyEvaluator, toy_layout


@pytest.mark.parametrize("threshold", [None, 0.4])
def test_a_curve_is_the_hypervolume_of_the_beginning(threshold):
    result = search(ToyEvaluator(toy_layout(4, 3), seed=3, steps=100), "boxes", threshold=threshold, progress=False)
    curve = hypervolume_curve(result, points=12)
    assert curve["tried"].tolist() == sorted(set(curve["tried"]))
    assert 5 < len(curve) <= 12
    assert (curve["tried"].iloc[0], curve["tried"].iloc[-1]) == (1, len(result.evaluated))
    for tried, value in zip(curve["tried"], curve["hypervolume"], strict=True):
        begun = result.evaluated.iloc[:tried]
        begun = begun[begun["accuracy"] >= (threshold or 0.0)]
        expected = hypervolume(begun["accuracy"].tolist(), begun["boxes"].tolist(), float(result.baseline["boxes"]))
        assert value == pytest.approx(expected, abs=1e-12)
    assert curve["hypervolume"].iloc[-1] == pytest.approx(result.hypervolume(), abs=1e-12)


def test_the_distance_to_the_optimum():
    layout = toy_layout(3)
    evaluator = ToyEvaluator(layout)
    accuracies = {0b111: 0.9, 0b110: 0.8, 0b101: 0.5, 0b011: 0.5, 0b100: 0.3, 0b010: 0.3, 0b001: 0.7}
    evaluator.accuracy_of = accuracies.__getitem__
    greedy = search(evaluator, "boxes", progress=False)
    best = exhaustive_search(evaluator, "boxes", progress=False)
    found = distance(greedy, best)
    assert (found.missed, found.of, found.at) == (1, 3, 64.0)
    assert found.accuracy == pytest.approx(0.4)
    assert found.hypervolume == pytest.approx(1 - greedy.hypervolume() / best.hypervolume())
    assert found.hypervolume > 0.1
    none = distance(best, best)
    assert (none.hypervolume, none.accuracy, none.missed) == (0.0, 0.0, 0)


def test_below_the_threshold_nothing_is_missing():
    evaluator = ToyEvaluator(toy_layout(3, 2), seed=1, slope=0.8)
    best = exhaustive_search(evaluator, "boxes", progress=False)
    least = float(best.baseline["accuracy"]) - 0.1
    found = distance(search(evaluator, "boxes", threshold=least, strategy="local", progress=False), best)
    assert found.of == int((best.frontier["accuracy"] >= least).sum())
    assert -1e-12 < found.hypervolume < 0.2


def test_what_is_as_accurate_as_the_threshold_counts():
    evaluator = ToyEvaluator(toy_layout(3))
    evaluator.accuracy_of = lambda mask: {3: 0.9, 2: 0.6, 1: 0.4}[mask.bit_count()]
    best = exhaustive_search(evaluator, "boxes", progress=False)
    found = search(evaluator, "boxes", threshold=0.6, progress=False)
    assert distance(found, best).of == 2
    assert hypervolume_curve(found)["hypervolume"].iloc[-1] == pytest.approx(found.hypervolume()) != 0.0


def test_a_search_that_is_ahead_stays_behind_nowhere():
    """Compared with a worse one, all gaps are below zero."""
    evaluator = ToyEvaluator(toy_layout(3))
    evaluator.accuracy_of = lambda mask: {3: 0.9, 2: 0.6, 1: 0.4}[mask.bit_count()]
    ahead = search(evaluator, "boxes", progress=False)
    worse = dataclasses.replace(ahead, frontier=ahead.frontier.assign(accuracy=ahead.frontier["accuracy"] - 0.1))
    found = distance(ahead, worse)
    assert (found.accuracy, found.missed) == (0.0, 0)
    assert found.hypervolume < 0


def test_unlike_searches_are_refused():
    evaluator = ToyEvaluator(toy_layout(3))
    one = search(evaluator, "boxes", progress=False)
    with pytest.raises(InputError, match="about head_flops"):
        distance(search(evaluator, "head_flops", progress=False), one)
