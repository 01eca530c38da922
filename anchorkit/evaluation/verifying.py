"""Comparing an evaluator with the slow referees on random configurations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from anchorkit.anchors import Move
from anchorkit.evaluation.accuracies import Accuracies
from anchorkit.evaluation.metrics import MatchingRules, Metric
from anchorkit.predictions import PredictionTable


def largest_difference(
    evaluator: Accuracies,
    fresh: Callable[[], Accuracies],
    predictions: PredictionTable,
    metric: Metric,
    coco: MatchingRules,
    n: int,
    seed: int,
) -> float:
    """The largest absolute difference between an evaluator and its referees on `n` configurations.

    The first is the full one, the others have a random share of the anchors. Each is evaluated on its own, and as a
    child of a configuration that has some more anchors.

    Args:
        evaluator: the one to check.
        fresh: makes the same evaluator with nothing remembered: the computation is what is to be checked.
        predictions: its table, with its post-processing.
        metric: its metric.
        coco: its IoU thresholds and limits.
        n: number of configurations.
        seed: which random ones.
    """
    from anchorkit.evaluation.referees import coco as reference

    random = np.random.default_rng(seed)
    layout = evaluator.layout
    largest = 0.0
    for number in range(n):
        share = random.uniform(0.1, 1.0)
        keep = np.flatnonzero(random.random(len(layout)) < share) if number else np.arange(len(layout))
        others = np.setdiff1d(np.arange(len(layout)), keep)
        more = others[random.random(len(others)) < 0.3]
        own = _own(evaluator, fresh(), keep.tolist(), more.tolist())
        found = reference.evaluate(predictions, evaluator.ground_truth, keep, coco.thresholds, coco.max_dets)
        value, per_class = metric.referee(found)
        expected = {**found.stats, **{f"class {key}": average for key, average in per_class.items()}, "metric": value}
        for name, value in own:
            largest = max(largest, abs(value - expected[name]))
    return largest


def _own(evaluator: Accuracies, fresh: Accuracies, keep: list[int], more: list[int]) -> list[tuple[str, float]]:
    """The evaluator's figures, each with the name of what to compare it with."""
    parent = evaluator.layout.configuration(keep=sorted([*keep, *more]))
    move = Move(tuple(more), "more")
    found = [("metric", float(fresh.children(parent, [move])[0])), ("metric", evaluator.accuracy(keep))]
    found += [(name, value) for name, value in evaluator.stats(keep).items()]
    found += [(name, value) for name, value in evaluator.children_stats(parent, [move])[0].items()]
    found += [(f"class {key}", value) for key, value in evaluator.per_class(keep).items()]
    return found
