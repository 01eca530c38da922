"""Watching a search: it is told how far it is, can pause and stop, and nothing else changes."""

from __future__ import annotations

import itertools
import threading
import time
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from anchorkit.search import STRATEGIES, Progress, SearchResult, random_pruning, search, watching
from anchorkit.search.frontier import Frontier

from .toys import ToyEvaluator, toy_layout


def evaluator() -> ToyEvaluator:
    return ToyEvaluator(toy_layout(4, 3), seed=5)


def half_boxes(configuration) -> float:
    return sum(configuration.per_level) / 2


def best_of(evaluated: pd.DataFrame, cost: str) -> list[float]:
    frontier: Frontier[Any] = Frontier()
    for accuracy, value in zip(evaluated["accuracy"], evaluated[cost], strict=True):
        frontier.add(SimpleNamespace(accuracy=accuracy, cost=value))
    return [member.cost for member in frontier.members()]


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "INTERVAL", 0.0)


def same(first: SearchResult, second: SearchResult) -> None:
    pd.testing.assert_frame_equal(first.evaluated, second.evaluated)
    pd.testing.assert_frame_equal(first.frontier, second.frontier)
    assert first.complete == second.complete


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("cost", ["boxes", half_boxes])
def test_a_watched_search_finds_the_same(strategy: str, cost: Any) -> None:
    seen: list[tuple[int, pd.DataFrame, pd.DataFrame]] = []

    def watch(progress: Progress) -> None:
        assert progress.per_second > 0
        seen.append((progress.evaluated, progress.frontier, progress.tried))

    plain, asked = evaluator(), evaluator()
    whole = search(plain, cost, strategy=strategy, progress=False)
    same(search(asked, cost, strategy=strategy, progress=False, watch=watch), whole)
    assert asked.asked == plain.asked
    counts = [count for count, _, _ in seen]
    assert len(counts) > 3
    assert counts == sorted(counts)
    for count, frontier, tried in seen:
        assert list(frontier.columns) == list(whole.frontier.columns)
        assert list(tried["accuracy"]) == list(whole.evaluated["accuracy"][:count])
        assert set(frontier["anchors"]) <= set(whole.evaluated["anchors"][:count])
    if strategy == "algorithm1" and cost == "boxes":
        for _, frontier, tried in seen:
            assert frontier["boxes"].tolist() == best_of(tried, "boxes")


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("cost", ["boxes", half_boxes])
def test_a_stopped_search_keeps_what_it_found(strategy: str, cost: Any) -> None:
    whole = search(evaluator(), cost, strategy=strategy, progress=False)
    lengths = set()
    for calls in (1, 2, 5):
        left = [calls]

        def watch(progress: Progress, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                progress.stop()

        asked = evaluator()
        result = search(asked, cost, strategy=strategy, progress=False, watch=watch)
        assert left == [0]  # it is not asked again
        assert not result.complete
        lengths.add(len(result.evaluated))
        pd.testing.assert_frame_equal(result.evaluated, whole.evaluated.iloc[: len(result.evaluated)])
        if strategy == "algorithm1":  # also of a batch that was cut short
            assert result.frontier[result.cost].tolist() == best_of(result.evaluated, result.cost)
    assert len(lengths) == 3


@pytest.mark.usefixtures("every_step")
def test_a_search_goes_on_from_the_ledger_of_a_stopped_one(tmp_path) -> None:
    path = tmp_path / "ledger.jsonl"
    first, second = evaluator(), evaluator()
    part = search(first, "boxes", ledger=path, progress=False, watch=lambda progress: progress.stop())
    whole = search(second, "boxes", ledger=path, progress=False)
    assert not part.complete
    assert whole.complete
    assert set(first.asked) & set(second.asked) == {first.layout.full.mask}  # a toy has no fingerprint to compare
    same(whole, search(evaluator(), "boxes", progress=False))


@pytest.mark.usefixtures("every_step")
def test_a_watch_that_waits_pauses_the_search() -> None:
    asked, reached, go_on = evaluator(), threading.Event(), threading.Event()
    found: list[SearchResult] = []

    def watch(progress: Progress) -> None:
        reached.set()
        assert go_on.wait(60)

    thread = threading.Thread(
        target=lambda: found.append(search(asked, "boxes", progress=False, watch=watch)), daemon=True
    )
    thread.start()
    assert reached.wait(60)
    count = len(asked.asked)
    assert not thread.join(0.2)
    assert len(asked.asked) == count
    go_on.set()
    thread.join(60)
    same(found[0], search(evaluator(), "boxes", progress=False))


def test_a_watch_is_not_called_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "INTERVAL", 3600.0)
    calls: list[int] = []
    search(evaluator(), "boxes", progress=False, watch=lambda progress: calls.append(progress.evaluated))
    assert len(calls) == 1


def test_the_time_that_a_watch_takes_is_not_the_searchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by hand: a configuration takes a second, a call of the watch a thousand."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(watching, "INTERVAL", 10.0)

    class Slow(ToyEvaluator):
        def accuracy(self, configuration: Any) -> float:
            now[0] += 1.0
            return super().accuracy(configuration)

    seen: list[tuple[int, float]] = []

    def watch(progress: Progress) -> None:
        seen.append((progress.evaluated, progress.per_second))
        now[0] += 1000.0

    search(Slow(toy_layout(4, 3), seed=5), "boxes", progress=False, watch=watch)
    counts = [count for count, _ in seen]
    assert len(counts) > 3
    assert [rate for _, rate in seen] == pytest.approx([1.0] * len(seen))
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(counts))


@pytest.mark.usefixtures("every_step")
def test_random_pruning_can_be_watched_too() -> None:
    whole = random_pruning(evaluator(), "boxes", 40, progress=False)

    def watch(progress: Progress) -> None:
        if progress.evaluated == 7:
            progress.stop()

    part = random_pruning(evaluator(), "boxes", 40, progress=False, watch=watch)
    pd.testing.assert_frame_equal(part, whole.iloc[:7])
    same_again = random_pruning(evaluator(), "boxes", 40, progress=False, watch=lambda progress: None)
    pd.testing.assert_frame_equal(same_again, whole)
