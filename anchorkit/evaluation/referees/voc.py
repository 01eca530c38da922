"""The referee of Pascal VOC's AP: VOCdevkit's definition, one detection after the other. Slow and obvious.

Only the overlap of two boxes is not its own: it is that of pycocotools, of boxes x y width height in float64.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.predictions import PredictionTable

Rows = npt.NDArray[np.int64]


def voc_ap(
    predictions: PredictionTable, ground_truth: GroundTruth, rows: Rows, points: int | None = None, iou: float = 0.5
) -> tuple[float, dict[int, float]]:
    """Pascal VOC's AP of the given rows as detections, as in VOCdevkit: the referee of `VocAP`.

    Args:
        predictions: the table.
        ground_truth: the annotated boxes.
        rows: rows of the table, image by image by rising id, best score first.
        points: 11 for the mean precision at recall 0, 0.1 ... 1 (VOC 2007), None for the area under the curve.
        iou: IoU (0..1) at which a detection hits.

    Returns:
        The mean over the categories with a box to find, or -1 if there is none; and the AP of each category, -1 for
        one without a box to find.
    """
    assert points in (11, None)
    per_class = {}
    for index, category_id in enumerate(ground_truth.category_ids.tolist()):
        to_find = int((~_passed_over(ground_truth)[ground_truth.category == index]).sum())
        of_class = rows[predictions.category_id[rows] == category_id]
        # Stable: ties stay in the order of images, and within an image in that of the detector.
        ranked = of_class[np.argsort(-predictions.score[of_class], kind="stable")]
        if to_find == 0:
            per_class[category_id] = -1.0
            continue
        hit = np.array(_voc_outcomes(predictions, ground_truth, ranked, index, iou), bool)
        found = np.cumsum(hit)
        recall, precision = found / to_find, found / np.arange(1, len(hit) + 1)
        per_class[category_id] = _eleven_points(recall, precision) if points else _area_under(recall, precision)
    measured = [value for value in per_class.values() if value != -1]
    return float(np.mean(measured)) if measured else -1.0, per_class


def _voc_outcomes(
    predictions: PredictionTable, ground_truth: GroundTruth, ranked: Rows, category: int, iou: float
) -> list[bool]:
    """True for a true positive, False for a false one; detections that count neither way are left out."""
    from pycocotools import mask

    taken = np.zeros(len(ground_truth), bool)
    outcomes = []
    for row in ranked.tolist():
        same_image = ground_truth.image_ids[ground_truth.image] == predictions.image_id[row]
        annotated = np.flatnonzero(same_image & (ground_truth.category == category))
        x1, y1, x2, y2 = predictions.boxes[row].astype(np.float64)
        box = np.array([[x1, y1, x2 - x1, y2 - y1]])
        overlaps = mask.iou(box, ground_truth.boxes[annotated], [0] * len(annotated))
        if len(annotated) == 0 or overlaps.max() < iou:
            outcomes.append(False)
            continue
        best = annotated[overlaps[0].argmax()]  # the first of several
        if not _passed_over(ground_truth)[best]:
            outcomes.append(not taken[best])
            taken[best] = True
    return outcomes


def _passed_over(ground_truth: GroundTruth) -> npt.NDArray[np.bool_]:
    """Boxes that need not be found, and may be."""
    return ground_truth.difficult | ground_truth.crowd


def _eleven_points(recall: npt.NDArray[np.float64], precision: npt.NDArray[np.float64]) -> float:
    total = 0.0
    for least in np.arange(0.0, 1.1, 0.1):
        total += max(precision[recall >= least].tolist(), default=0.0) / 11
    return total


def _area_under(recall: npt.NDArray[np.float64], precision: npt.NDArray[np.float64]) -> float:
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    rises = np.flatnonzero(recall[1:] != recall[:-1])
    return float(np.sum((recall[rises + 1] - recall[rises]) * precision[rises + 1]))
