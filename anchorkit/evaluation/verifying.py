"""Comparing the evaluator with its referees on random configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anchorkit.anchors import Move
from anchorkit.evaluation.metrics import CocoFigure, FScore, Metric, OfDetections, VocAP, WeightedAP

if TYPE_CHECKING:
    from anchorkit.evaluation.evaluator import Evaluator


def largest_difference(
    evaluator: Evaluator, metric: Metric, thresholds: tuple[float, ...], max_dets: tuple[int, ...], n: int, seed: int
) -> float:
    """The largest absolute difference between the evaluator and its referees on `n` configurations.

    The first is the full one, the others have a random share of the anchors. Each is asked for on its own, and as a
    child of the configuration that has some more anchors.
    """
    random = np.random.default_rng(seed)
    layout = evaluator.layout
    largest = 0.0
    for number in range(n):
        share = random.uniform(0.1, 1.0)
        keep = np.flatnonzero(random.random(len(layout)) < share) if number else np.arange(len(layout))
        others = np.setdiff1d(np.arange(len(layout)), keep)
        more = others[random.random(len(others)) < 0.3]
        own, expected = (
            _own(evaluator, metric, keep.tolist(), more.tolist()),
            _expected(evaluator, metric, keep, thresholds, max_dets),
        )
        for name, value in own:
            largest = max(largest, abs(value - expected[name]))
    return largest


def _own(evaluator: Evaluator, metric: Metric, keep: list[int], more: list[int]) -> list[tuple[str, float]]:
    """What the evaluator says, with what it is to be compared with."""
    parent = evaluator.layout.configuration(keep=sorted([*keep, *more]))
    move = Move(tuple(more), "more")
    # Asked anew, not remembered: what is to be checked is the computation.
    fresh = evaluator.with_metric(metric)
    found = [("metric", float(fresh.children(parent, [move])[0])), ("metric", evaluator.accuracy(keep))]
    found += [(name, value) for name, value in evaluator.stats(keep).items()]
    found += [(name, value) for name, value in evaluator.children_stats(parent, [move])[0].items()]
    found += [(f"class {key}", value) for key, value in evaluator.per_class(keep).items()]
    return found


def _expected(
    evaluator: Evaluator,
    metric: Metric,
    keep: np.ndarray,
    thresholds: tuple[float, ...],
    max_dets: tuple[int, ...],
) -> dict[str, float]:
    """What the referees say."""
    from anchorkit.evaluation.referees import coco as reference

    table, truth = evaluator.predictions.with_postprocess(evaluator.postprocess), evaluator.ground_truth
    rows = reference.select_rows(table, keep)
    expected, per_class = reference.coco_eval(table, truth, rows, thresholds, max_dets)
    if isinstance(metric, VocAP):
        value, per_class = reference.voc_ap(table, truth, rows, metric.points, metric.iou)
    elif isinstance(metric, FScore):
        value = reference.f_score(table, truth, rows, metric.score_threshold, metric.iou, metric.beta, max_dets[-1])
    elif isinstance(metric, WeightedAP):
        weights = {key: metric.weights.get(key, 0.0) for key, average in per_class.items() if average >= 0}
        total = sum(weights.values())
        value = sum(weight * per_class[key] for key, weight in weights.items()) / total if total else -1.0
    elif isinstance(metric, OfDetections):
        value = evaluator.accuracy(keep.tolist())
    else:
        assert isinstance(metric, CocoFigure)
        value = expected[metric.figure]
    return expected | {f"class {key}": average for key, average in per_class.items()} | {"metric": value}
