"""A whole search with the fast evaluator is that of a naive Algorithm 1 that asks the referee for every accuracy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import anchorkit as ak
from anchorkit.anchors import AnchorLayout
from anchorkit.costs import cost_of
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.predictions import PredictionTable

from ..search.test_search import REFEREES
from .cases import Case, random_case
from .properties import Referee, build


def searchable(seed: int) -> tuple[Case, Referee]:
    """A case with 2 to 6 anchors of unequal cost, whose accuracy depends on them."""
    random = np.random.default_rng([seed, 7])
    while True:
        case = random_case(int(random.integers(2**32)))
        table = case.predictions
        if 2 <= len(table.layout) <= 6:
            levels = tuple(
                dataclasses.replace(level, height=8 >> n, width=8 >> n, head_macs_fixed=n, head_macs_per_anchor=10)
                for n, level in enumerate(table.layout.levels)
            )
            layout = AnchorLayout("random", (64, 64), levels, shared_head=bool(random.random() < 0.3))
            columns = (table.image_id, table.anchor, table.category_id, table.score, table.boxes)
            case = dataclasses.replace(case, predictions=PredictionTable(*columns, layout, table.postprocess))
            referee = Referee(case.predictions, read_ground_truth(case.ground_truth))
            if referee.ap(layout.full.mask) > 0 and len({referee.ap(1 << a) for a in range(len(layout))}) > 1:
                return case, referee


@pytest.mark.parametrize("seed", range(36))
def test_order_and_all(seed):
    case, referee = searchable(seed)
    layout = case.predictions.layout
    strategy = "authors" if seed % 4 == 3 else "algorithm1"
    cost = ("boxes", "head_flops")[seed % 2]
    threshold = None if seed % 3 else 0.6 * referee.ap(layout.full.mask)
    tried, frontier = REFEREES[strategy](layout, referee.ap, cost, threshold)
    result = ak.search(build(case), cost, threshold=threshold, strategy=strategy, progress=False)
    assert [layout.configuration(keep=ids.split()).mask for ids in result.evaluated["anchors"]] == tried
    assert result.evaluated["accuracy"].tolist() == [referee.ap(mask) for mask in tried]
    by_accuracy = sorted(frontier, key=referee.ap, reverse=True)
    assert [configuration.mask for configuration in result.configurations] == by_accuracy
    assert result.frontier["accuracy"].tolist() == [referee.ap(mask) for mask in by_accuracy]
    assert result.frontier[cost].tolist() == [cost_of(c, cost) for c in result.configurations]
