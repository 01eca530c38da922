from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorkit.search.frontier import Frontier, accuracy_within, contributions, hypervolume, knee


@dataclass(frozen=True)
class Point:
    accuracy: float
    cost: float
    number: int = 0


# Coarse grids, so that ties of every kind are common.
POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40)


def beats(one: Point, other: Point) -> bool:
    no_worse = one.accuracy >= other.accuracy and one.cost <= other.cost
    return no_worse and (one.accuracy, one.cost) != (other.accuracy, other.cost)


@given(POINTS)
def test_a_frontier_holds_what_nothing_beats(pairs):
    points = [Point(accuracy / 6, float(cost), number) for number, (accuracy, cost) in enumerate(pairs)]
    frontier: Frontier[Point] = Frontier()
    naive: list[Point] = []
    for point in points:
        refused = any(beats(p, point) or (p.accuracy, p.cost) == (point.accuracy, point.cost) for p in naive)
        if not refused:
            naive = [p for p in naive if not beats(point, p)] + [point]
        assert frontier.add(point) is not refused
        assert set(frontier.members()) == set(naive)
        assert len(frontier) == len(naive)
    members = frontier.members()
    unbeaten = [p for p in points if not any(beats(q, p) for q in points)]
    first = [
        p
        for p in unbeaten
        if not any(q.number < p.number and (q.accuracy, q.cost) == (p.accuracy, p.cost) for q in unbeaten)
    ]
    assert set(members) == set(first)
    assert members == sorted(members, key=lambda p: -p.accuracy) == sorted(members, key=lambda p: -p.cost)


def test_equal_accuracy_at_a_lower_cost_beats():
    frontier: Frontier[Point] = Frontier()
    assert frontier.add(Point(0.5, 10.0))
    assert frontier.add(Point(0.5, 8.0))
    assert not frontier.add(Point(0.5, 9.0))
    assert not frontier.add(Point(0.5, 8.0, number=1))
    assert frontier.members() == [Point(0.5, 8.0)]


def test_hypervolume_by_hand():
    # Full: cost 10. From 4 to 10 an accuracy of 0.5 can be had, from 2 to 4 one of 0.25.
    assert hypervolume([0.6, 0.5, 0.25], [10, 4, 2], 10) == pytest.approx(0.6 * 0.5 + 0.2 * 0.25)
    assert hypervolume([0.6], [10], 10) == 0.0
    assert hypervolume([1.0], [0], 10) == 1.0
    assert hypervolume([0.9], [12], 10) == 0.0
    assert hypervolume([0.5], [5], 0) == 0.0
    # Below zero there is neither accuracy nor cost.
    assert hypervolume([0.5, -0.5], [6, 2], 10) == pytest.approx(0.4 * 0.5)
    assert hypervolume([0.5, 0.25], [4, -2], 10) == pytest.approx(0.6 * 0.5 + 0.4 * 0.25)
    assert contributions([0.5, 0.25], [4, -2], 10) == pytest.approx([0.6 * 0.25, 0.4 * 0.25])


@given(POINTS)
def test_hypervolume_is_the_dominated_share_of_the_plane(pairs):
    accuracies, costs = [a / 6 for a, _ in pairs], [c for _, c in pairs]
    # Cells of a grid that holds all points: a cell is dominated if a point is at or above and left of it.
    inside = sum(any(a >= row + 1 and c <= column for a, c in pairs) for row in range(6) for column in range(6))
    assert hypervolume(accuracies, costs, 6) == pytest.approx(inside / 36)
    assert 0.0 <= hypervolume(accuracies, costs, 6) <= 1.0


def test_knee():
    assert knee([0.50, 0.49, 0.48, 0.20], [100, 60, 30, 10]) == 2
    assert knee([0.5, 0.1], [10, 1]) == 0
    assert knee([0.5], [10]) == 0
    # Below the chord nothing bends the right way.
    assert knee([0.5, 0.2, 0.1], [10, 8, 1]) == 0
    assert knee([0.5, 0.3, 0.1], [10, 5, 0]) == 0


@given(POINTS, st.sampled_from([3.0, 6.0]))
def test_a_contribution_is_what_is_lost_without_a_member(pairs, full_cost):
    frontier: Frontier[Point] = Frontier()
    for accuracy, cost in pairs:
        frontier.add(Point(accuracy / 6, float(cost)))
    members = frontier.members()
    accuracies, costs = [p.accuracy for p in members], [p.cost for p in members]
    found = contributions(accuracies, costs, full_cost)
    whole = hypervolume(accuracies, costs, full_cost)
    for number, value in enumerate(found):
        rest = members[:number] + members[number + 1 :]
        without = hypervolume([p.accuracy for p in rest], [p.cost for p in rest], full_cost)
        assert value == pytest.approx(whole - without, abs=1e-12)


@given(POINTS, st.lists(st.floats(-1, 8), max_size=8))
def test_accuracy_within_a_budget_is_the_best_that_is_cheap_enough(pairs, budgets):
    accuracies, costs = [a / 6 for a, _ in pairs], [float(c) for _, c in pairs]
    found = accuracy_within(accuracies, costs, budgets)
    for budget, value in zip(budgets, found, strict=True):
        cheap = [a for a, c in zip(accuracies, costs, strict=True) if c <= budget]
        assert value == max(cheap) if cheap else np.isnan(value)


def test_nothing_is_within_any_budget_of_no_configuration():
    assert np.isnan(accuracy_within([], [], [1.0, 2.0])).all()
