"""The figures of a single configuration, by the faster method."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from anchorkit.anchors import Configuration
from anchorkit.evaluation.evaluator import Evaluator
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.evaluation.metrics import COCO_MAX_DETS
from anchorkit.evaluation.referees import coco as reference
from anchorkit.findings import report
from anchorkit.predictions import PredictionTable
from anchorkit.predictions_check import check_pair

FEW_ROWS = 20_000
"""Up to this many predictions, the referees are faster than loading the evaluator's machine code."""


def stats(
    predictions: PredictionTable,
    ground_truth: Any,
    configuration: Configuration,
    max_dets: Sequence[int] = COCO_MAX_DETS,
) -> dict[str, float]:
    """The 12 figures of COCO of a configuration, as `Evaluator.stats`, to the same bits.

    For one configuration of a small table, numpy NMS and pycocotools are faster than preparing an `Evaluator`.

    Args:
        predictions: raw predictions on images of the ground truth.
        ground_truth: path of a COCO json file, a COCO dict, or a pycocotools ``COCO``.
        configuration: of the table's layout.
        max_dets: how many detections of a class in an image count, as for `Evaluator`.

    Raises:
        InputError: the ground truth is broken, or predictions belong to an image that it lacks.
    """
    if len(predictions) > FEW_ROWS:
        return Evaluator(predictions, ground_truth, max_dets=max_dets).stats(configuration)
    truth = read_ground_truth(ground_truth)
    for warning in predictions.check(truth):
        warnings.warn(warning, UserWarning, stacklevel=2)
    report(check_pair(predictions, truth, ground_truth, max_dets[-1]), predictions.findings)
    return reference.evaluate(predictions, truth, configuration.indices, max_dets=max_dets).stats
