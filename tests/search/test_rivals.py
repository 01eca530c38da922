"""What a search has to beat, and how far it does."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.errors import InputError
from anchorkit.search import layer_wise_pruning, prune_by_ranking, score_mass, symmetric_pruning
from anchorkit.search.rivals import MOST_GROUPS, lead, symmetric_groups

from .toys import ToyEvaluator, toy_layout


def ssd_layout() -> AnchorLayout:
    """Two levels of an SSD: 1, 1+, 2, 1/2 and, on the second, 3 and 1/3."""

    def shapes(scale, ratios):
        return [(scale * r**0.5, scale / r**0.5) for r in ratios] + [(1.4 * scale, 1.4 * scale)]

    first, second = shapes(30, [1, 2, 0.5]), shapes(60, [1, 2, 0.5, 3, 0.3333])
    return AnchorLayout("ssd", (300, 300), (Level("a", 4, 4, tuple(first)), Level("b", 2, 2, tuple(second))))


def kept(frame, layout):
    return [layout.configuration(keep=ids.split()) for ids in frame["anchors"]]


def test_layer_wise_goes_level_by_level_to_k_anchors():
    evaluator = ToyEvaluator(toy_layout(4, 2, 3), seed=1, steps=10**6)
    layout = evaluator.layout
    found = layer_wise_pruning(evaluator, "boxes", progress=False)
    assert found["k"].tolist() == [3, 2, 1]
    assert [c.per_level for c in kept(found, layout)] == [(3, 2, 3), (2, 2, 2), (1, 1, 1)]
    for k, configuration in zip(found["k"], kept(found, layout), strict=True):
        at = layout.full
        for level in range(3):
            while at.per_level[level] > k:
                steps = [at.without([a.index]) for a in at.anchors if a.level == level]
                at = max(steps, key=lambda c: evaluator.accuracy_of(c.mask))
        assert configuration == at


def test_symmetric_groups_are_a_ratio_and_its_inverse_on_all_levels():
    layout = ssd_layout()
    groups = symmetric_groups(layout)
    assert list(groups) == ["3:1", "2:1", "1:1 size 2", "1:1 size 1"]
    assert [list(groups[name]) for name in groups] == [[7, 8], [1, 2, 5, 6], [3, 9], [0, 4]]
    three = [(r**0.5 * s, s / r**0.5) for s in (32, 40, 51) for r in (0.5, 1, 2)]
    retinanet = AnchorLayout("r", (64, 64), (Level("P3", 8, 8, tuple(three)), Level("P4", 4, 4, tuple(three))), True)
    groups = symmetric_groups(retinanet)
    assert {name: len(anchors) for name, anchors in groups.items()} == {
        **{f"2:1 size {n}": 4 for n in (3, 2, 1)},
        **{f"1:1 size {n}": 2 for n in (3, 2, 1)},
    }
    assert sorted(itertools.chain(*groups.values())) == list(range(18))


def test_what_the_border_cut_off_keeps_its_group():
    layout = ssd_layout()
    last = Level("c", 1, 1, ((261.0, 261.0), (287.0, 287.0), (300.0, 185.0), (185.0, 300.0)))
    groups = symmetric_groups(dataclasses.replace(layout, levels=(*layout.levels, last)))
    assert list(groups) == ["3:1", "2:1", "1:1 size 2", "1:1 size 1"]
    # The last level's anchors of 2 and 1/2 are 300 x 185 and 185 x 300 pixels: they would be wider than the image.
    assert groups["2:1"].per_level == (2, 2, 2)
    assert groups["3:1"].per_level == (0, 2, 0)
    assert groups["1:1 size 2"].per_level == (1, 1, 1)


def test_symmetric_pruning_tries_every_subset_of_the_groups():
    layout = ssd_layout()
    found = symmetric_pruning(ToyEvaluator(layout), "boxes", progress=False)
    assert len(found) == found["anchors"].nunique() == 2**4 - 2
    by_removed = dict(zip(found["removed"], kept(found, layout), strict=True))
    assert by_removed["3:1"].dropped == (7, 8)
    assert by_removed["3:1, 2:1"].indices == (0, 3, 4, 9)  # the SSD with two squares a level


def test_many_symmetric_groups_go_one_after_the_other():
    shapes = [(10.0 * 2 ** (n / 2), 10.0) for n in range(11)]
    layout = AnchorLayout("many", (64, 64), (Level("a", 2, 2, tuple(shapes)),))
    found = symmetric_pruning(ToyEvaluator(layout), "boxes", progress=False)
    assert found["n_anchors"].tolist() == list(range(10, 0, -1))
    assert found["removed"].iloc[0] == "32:1"


def test_every_subset_is_tried_of_as_many_groups_as_are_allowed():
    shapes = [(10.0 * 2 ** (n / 2), 10.0) for n in range(MOST_GROUPS)]
    layout = AnchorLayout("eight", (64, 64), (Level("a", 2, 2, tuple(shapes)),))
    assert len(symmetric_pruning(ToyEvaluator(layout), "boxes", progress=False)) == 2**MOST_GROUPS - 2


def test_of_anchors_of_equal_worth_the_first_goes_first():
    evaluator = ToyEvaluator(toy_layout(50, 50))
    found = prune_by_ranking(evaluator, "boxes", worth=[1.0, 0.5] * 50, progress=False)
    order = [*range(1, 100, 2), *range(0, 100, 2)]
    for number, configuration in enumerate(kept(found, evaluator.layout), start=1):
        assert configuration.dropped == tuple(sorted(order[:number]))


def test_a_ranking_is_cut_from_its_front():
    evaluator = ToyEvaluator(toy_layout(2, 2))
    layout = evaluator.layout
    found = prune_by_ranking(evaluator, "boxes", [2, "L0/8x16", 3, 1], progress=False)
    assert [c.dropped for c in kept(found, layout)] == [(2,), (0, 2), (0, 2, 3)]
    assert found["accuracy"].tolist() == [evaluator.accuracy_of(c.mask) for c in kept(found, layout)]
    by_worth = prune_by_ranking(evaluator, "boxes", worth=[0.2, 7.0, 0.1, 0.2], progress=False)
    pd.testing.assert_frame_equal(by_worth, found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ranking": [0, 1, 2]}, "every one of the 4 anchors"),
        ({"ranking": [0, 1, 2, 2]}, "every one of the 4 anchors"),
        ({"ranking": [0, 1, 2, 9]}, "unknown anchor 9"),
        ({"worth": [1.0, 2.0]}, "4 numbers"),
        ({"worth": [1.0, 2.0, 3.0, float("nan")]}, "4 numbers"),
        ({}, "either the ranking or the worth"),
        ({"ranking": [0, 1, 2, 3], "worth": [1.0, 2.0, 3.0, 4.0]}, "either the ranking or the worth"),
    ],
)
def test_a_broken_ranking_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        prune_by_ranking(ToyEvaluator(toy_layout(2, 2)), "boxes", **given, progress=False)


def test_score_mass_adds_up_scores():
    class Table:
        layout = toy_layout(2, 2)
        anchor = np.array([0, 2, 2, 0, 1], np.int32)
        score = np.array([0.5, 0.25, 0.5, 0.125, 1.0], np.float32)

    assert score_mass(Table()).tolist() == [0.625, 1.0, 0.75, 0.0]


def test_lead_compares_at_no_higher_cost():
    frontier = pd.DataFrame({"accuracy": [0.5, 0.4, 0.2], "boxes": [10, 8, 4]})
    rival = pd.DataFrame({"accuracy": [0.45, 0.35, 0.3, 0.1], "boxes": [12, 9, 5, 3], "name": list("abcd")})
    found = lead(frontier, rival, "boxes")
    assert found["name"].tolist() == ["a", "b", "c"]  # nothing of the frontier is as cheap as d
    assert found["lead"].round(9).tolist() == [0.05, 0.05, -0.1]
