"""Anchors and channels on one frontier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import anchorkit as ak
from anchorkit.anchors import Configuration, Move
from anchorkit.costs import cost_of
from anchorkit.search import SearchInterrupted
from anchorkit.search.joint import joint_search
from anchorkit.search.toy import ToyEvaluator, toy_evaluator


def slim(share: float, accuracy: float) -> ToyEvaluator:
    """The toy detector with a head that costs `share`, and `accuracy` times as good."""
    full = toy_evaluator()
    levels = tuple(replace(level, head_macs_per_anchor=int(100 * share)) for level in full.layout.levels)
    layout = replace(full.layout, detector=f"toy-{share}", levels=levels)
    return ToyEvaluator(layout, tuple(accuracy * worth for worth in full.worth))


@pytest.fixture
def points() -> list[tuple[float, ToyEvaluator]]:
    return [(0, toy_evaluator()), (0.2, slim(0.8, 0.97)), (0.5, slim(0.5, 0.8))]


def test_the_frontier_is_what_nothing_beats_on_any_of_the_detectors(points: list[tuple[float, ToyEvaluator]]) -> None:
    both = joint_search(points, cost="head_flops", progress=False)
    everything = both.evaluated[["accuracy", "head_flops"]].to_numpy()
    for row in both.frontier.itertuples():
        better = (everything[:, 0] >= row.accuracy) & (everything[:, 1] <= row.head_flops)
        assert (everything[better] == [row.accuracy, row.head_flops]).all()
    alone = [ak.search(evaluator, cost="head_flops", progress=False) for _, evaluator in points]
    assert len(both.evaluated) == sum(len(found.evaluated) for found in alone)
    assert set(both.frontier["channels"]) == {0.0, 0.2, 0.5}
    assert both.complete


def test_rows_say_which_detector_and_which_anchors(points: list[tuple[float, ToyEvaluator]]) -> None:
    both = joint_search(points, cost="head_flops", progress=False)
    for row, configuration, origin in zip(both.frontier.itertuples(), both.configurations, both.origins, strict=True):
        label, evaluator = points[origin]
        assert row.channels == label
        assert configuration.layout == evaluator.layout
        assert row.anchors == " ".join(configuration.ids)
        assert row.accuracy == evaluator.accuracy(configuration)
        assert row.head_flops == cost_of(configuration, "head_flops")


def test_the_choice_names_what_was_given(points: list[tuple[float, ToyEvaluator]]) -> None:
    detectors = [object(), object(), object()]
    pairs = list(zip(detectors, [evaluator for _, evaluator in points], strict=True))
    both = joint_search(pairs, cost="head_flops", progress=False)
    chosen = both.cheapest(max_loss=0.035)
    assert chosen.point is detectors[1]
    assert chosen.accuracy >= both.baseline["accuracy"] - 0.035
    affordable = both.frontier[both.frontier["accuracy"] >= both.baseline["accuracy"] - 0.035]
    assert chosen.cost == affordable["head_flops"].min() < 24000
    assert both.best(12000).cost <= 12000
    with pytest.raises(ak.InputError, match="head_flops <= 1"):
        both.best(1)
    with pytest.raises(ak.InputError, match=r"nothing has accuracy .* use max_loss="):
        both.cheapest(max_loss=-0.1)


def test_the_baseline_is_the_most_expensive_detector_wherever_it_stands(
    points: list[tuple[float, ToyEvaluator]],
) -> None:
    both = joint_search(points[::-1], cost="head_flops", progress=False)
    assert both.whole == 2
    assert both.baseline["accuracy"] == 0.5
    assert both.layout == points[0][1].layout


def test_detectors_of_one_name_are_told_apart_and_labels_are_not_repeated() -> None:
    @dataclass(frozen=True)
    class Named:
        name: str

    pairs: list[tuple[Any, ToyEvaluator]] = [(Named("a"), toy_evaluator()), (Named("a"), slim(0.5, 0.8))]
    assert joint_search(pairs, cost="boxes", progress=False).labels == ("a", "a #2")
    with pytest.raises(ak.InputError, match="two points are called 0.1"):
        joint_search([(0.1, toy_evaluator()), (0.1, slim(0.5, 0.8))], cost="boxes", progress=False)


def test_below_the_threshold_only_the_whole_detector_is_tried(points: list[tuple[float, ToyEvaluator]]) -> None:
    both = joint_search(points, cost="head_flops", threshold=0.45, progress=False)
    assert len(both.results[2].evaluated) == 1  # 0.8 x 0.5 is below
    assert len(both.results[1].evaluated) > 1
    assert (both.frontier["accuracy"] >= 0.45).all()
    whole = joint_search(points, cost="head_flops", progress=False).frontier
    expected = whole[whole["accuracy"] >= 0.45].reset_index(drop=True)
    assert both.frontier["accuracy"].tolist() == expected["accuracy"].tolist()


def test_a_cost_per_detector(points: list[tuple[float, ToyEvaluator]]) -> None:
    def latency_of(factor: float) -> Any:
        def latency_ms(kept: Configuration) -> float:
            return factor * len(kept)

        return latency_ms

    costs = [latency_of(factor) for factor in (3.0, 2.0, 1.0)]
    both = joint_search(points, cost=costs, progress=False)
    assert both.cost == "latency_ms"
    for row in both.frontier.itertuples():
        assert row.latency_ms == {0.0: 3, 0.2: 2, 0.5: 1}[row.channels] * row.n_anchors
    with pytest.raises(ak.InputError, match="2 costs for 3 points"):
        joint_search(points, cost=costs[:2], progress=False)
    with pytest.raises(ak.InputError, match="they need one name"):
        joint_search(points, cost=[*costs[:2], "boxes"], progress=False)
    with pytest.raises(ak.InputError, match="points is empty"):
        joint_search([], progress=False)


class Killed(ToyEvaluator):
    """Dies after a number of questions, as a process does."""

    def __init__(self, evaluator: ToyEvaluator, questions: int) -> None:
        super().__init__(evaluator.layout, evaluator.worth)
        self.__dict__["left"] = questions

    def children(self, configuration: Configuration, moves: Sequence[Move], /) -> np.ndarray:
        self.__dict__["left"] -= 1
        if self.__dict__["left"] < 0:
            raise KeyboardInterrupt
        return super().children(configuration, moves)


def test_after_a_kill_the_same_call_goes_on(points: list[tuple[float, ToyEvaluator]], tmp_path: Path) -> None:
    expected = joint_search(points, cost="head_flops", progress=False)
    dying = [points[0], (0.2, Killed(points[1][1], 3)), points[2]]
    with pytest.raises(SearchInterrupted, match=str(tmp_path)):
        joint_search(dying, cost="head_flops", ledger=tmp_path, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00-0.0.jsonl", "01-0.2.jsonl"]
    first = (tmp_path / "00-0.0.jsonl").read_bytes()
    again = joint_search(
        [(0, Killed(points[0][1], 0)), *points[1:]], cost="head_flops", ledger=tmp_path, progress=False
    )
    assert (tmp_path / "00-0.0.jsonl").read_bytes() == first  # nothing of the first was asked again
    assert again.frontier.equals(expected.frontier)
    assert again.evaluated.equals(expected.evaluated)


def test_a_saved_result_comes_back(points: list[tuple[float, ToyEvaluator]], tmp_path: Path) -> None:
    both = joint_search(points, cost="head_flops", threshold=0.3, progress=False)
    both.save(tmp_path)
    again = ak.JointResult.load(tmp_path)
    for frame in ("frontier", "evaluated"):
        pd.testing.assert_frame_equal(getattr(again, frame), getattr(both, frame), check_exact=True)
    assert again.configurations == both.configurations
    assert (again.labels, again.origins, again.complete) == (both.labels, both.origins, True)
    assert again.cheapest(0.035).configuration == both.cheapest(0.035).configuration
    for found, own in zip(again.results, both.results, strict=True):
        pd.testing.assert_frame_equal(found.frontier, own.frontier, check_exact=True)
        assert (found.layout, found.asked, found.configurations) == (own.layout, own.asked, own.configurations)
    detectors = [object(), object(), object()]
    assert ak.JointResult.load(tmp_path, detectors).best(12000).point in detectors
    with pytest.raises(ak.InputError, match="2 points for the 3 detectors"):
        ak.JointResult.load(tmp_path, detectors[:2])


def test_what_is_in_a_folder_is_loaded_as_what_it_is(points: list[tuple[float, ToyEvaluator]], tmp_path: Path) -> None:
    joint_search([("1", points[0][1]), ("b", points[1][1])], "boxes", progress=False).save(tmp_path / "joint")
    assert ak.JointResult.load(tmp_path / "joint").labels == ("1", "b")
    with pytest.raises(ak.InputError, match=r"load it with JointResult\.load"):
        ak.SearchResult.load(tmp_path / "joint")
    ak.search(points[0][1], "boxes", progress=False).save(tmp_path / "one")
    with pytest.raises(ak.InputError, match=r"load it with SearchResult\.load"):
        ak.JointResult.load(tmp_path / "one")
    (tmp_path / "joint" / "frontiers.csv").write_text("accuracy,boxes\n0.5,3\n")
    with pytest.raises(ak.InputError, match="lacks column 'anchors'"):
        ak.JointResult.load(tmp_path / "joint")
