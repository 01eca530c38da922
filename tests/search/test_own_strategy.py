"""A strategy of the user's own, as the example has it: it searches, resumes, and keeps to threshold and budget."""

from __future__ import annotations

import runpy

import pandas as pd
import pytest

from anchorkit.errors import InputError
from anchorkit.search import STRATEGIES, SearchResult, Strategy, search

from .toys import ToyEvaluator, toy_layout


@pytest.fixture(scope="module")
def random_descent(repository):
    return runpy.run_path(str(repository / "examples" / "own_strategy.py"))["random_descent"]


def evaluator() -> ToyEvaluator:
    return ToyEvaluator(toy_layout(4, 3), seed=2, steps=100)


def test_the_example_finds_the_best_of_what_it_tried(random_descent):
    toy = evaluator()
    result = search(toy, "boxes", strategy=random_descent, threshold=0.3, progress=False)
    assert result.strategy == "random_descent"
    tried = result.evaluated[(result.evaluated["accuracy"] >= 0.3) | (result.evaluated["order"] == 0)]
    assert 20 < len(tried) < 2**7 - 1
    best = [
        row
        for row in tried.itertuples()
        if not any(
            other.boxes <= row.boxes
            and other.accuracy >= row.accuracy
            and (other.boxes, other.accuracy) != (row.boxes, row.accuracy)
            for other in tried.itertuples()
        )
    ]
    expected = sorted({(-row.accuracy, row.boxes) for row in best})
    assert [(-row.accuracy, row.boxes) for row in result.frontier.itertuples()] == expected


def test_it_resumes_from_its_ledger_and_keeps_its_budget(random_descent, tmp_path):
    whole = search(evaluator(), "boxes", strategy=random_descent, budget=40, progress=False)
    assert len(whole.evaluated) == 40
    stopped = evaluator()
    stopped.interrupt_at = 25
    with pytest.raises(KeyboardInterrupt):
        search(stopped, "boxes", strategy=random_descent, budget=40, ledger=tmp_path / "ledger", progress=False)
    again = evaluator()
    result = search(again, "boxes", strategy=random_descent, budget=40, ledger=tmp_path / "ledger", progress=False)
    pd.testing.assert_frame_equal(result.evaluated, whole.evaluated)
    pd.testing.assert_frame_equal(result.frontier, whole.frontier)
    assert len(again.asked) <= 40 - 25 + 1  # without a fingerprint the full configuration is asked again


def test_a_strategy_with_a_title(random_descent, tmp_path):
    mine = Strategy("descent", "Random descent", random_descent)
    result = search(evaluator(), "boxes", strategy=mine, progress=False)
    result.save(tmp_path)
    assert SearchResult.load(tmp_path).strategy == "descent"


def test_a_walk_that_does_nothing_finds_the_full_configuration():
    toy = evaluator()
    result = search(toy, "boxes", strategy=lambda *_: None, progress=False)
    assert result.configurations == [toy.layout.full]
    assert len(result.evaluated) == 1


def test_names_and_titles_are_the_registrys():
    assert all(name == strategy.name for name, strategy in STRATEGIES.items())
    assert len({strategy.title for strategy in STRATEGIES.values()}) == len(STRATEGIES)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("luck", "unknown strategy 'luck': use 'algorithm1' or 'authors' or 'local'"),
        (Strategy("local", "mine", lambda *_: None), "may not be called 'local'"),
        (7, "strategy is 7: use .* or a function walk"),
    ],
)
def test_what_is_no_strategy_is_refused(strategy, message):
    with pytest.raises(InputError, match=message):
        search(evaluator(), "boxes", strategy=strategy, progress=False)
