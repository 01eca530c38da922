"""The referee: numpy NMS and pycocotools. Slow and obvious; the fast evaluator must give the same bits."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.predictions import PostProcess, PredictionTable

STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""Names of the 12 figures that COCOeval prints, in its order."""


@dataclass(frozen=True)
class ReferenceResult:
    """What pycocotools says.

    Attributes:
        stats: the 12 figures by the names of `STATS`, 0..1, or -1 where there is nothing to measure.
        per_class: AP 0.50:0.95 by category id, or -1 for a category without ground truth.
        rows: int64, the table's rows that the detector would output: image by image, best score first.
    """

    stats: dict[str, float]
    per_class: dict[int, float]
    rows: npt.NDArray[np.int64]


def evaluate(predictions: PredictionTable, ground_truth: GroundTruth, anchors: npt.ArrayLike) -> ReferenceResult:
    """Accuracy with only the given anchors (indices) kept."""
    rows = select_rows(predictions, anchors)
    stats, per_class = coco_eval(predictions, ground_truth, rows)
    return ReferenceResult(stats, per_class, rows)


def select_rows(predictions: PredictionTable, anchors: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The rows that the detector would output with only the given anchors, image by image, best score first."""
    post = predictions.postprocess
    takes_part = np.isin(predictions.anchor, anchors) & (predictions.score > np.float32(post.score_threshold))
    level_of = np.array([anchor.level for anchor in predictions.layout.anchors], np.int64)
    by_image = np.argsort(predictions.image_id, kind="stable")
    starts = np.flatnonzero(np.diff(predictions.image_id[by_image])) + 1
    out = []
    for rows in np.split(by_image, starts):
        rows = rows[takes_part[rows]]
        # Stable: of equal scores the earlier row stays first.
        rows = rows[np.argsort(-predictions.score[rows], kind="stable")]
        categories = predictions.category_id[rows]
        rows = rows[_topk(post, categories, level_of[predictions.anchor[rows]])]
        kept = np.zeros(len(rows), bool)
        for category in np.unique(predictions.category_id[rows]):
            members = np.flatnonzero(predictions.category_id[rows] == category)
            kept[members] = nms(predictions.boxes[rows[members]], post.nms_iou)
        rows = rows[kept]
        out.append(rows[: post.max_detections])
    return np.concatenate(out) if out else np.empty(0, np.int64)


def _topk(post: PostProcess, categories: npt.NDArray[Any], levels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which rows of an image, best score first, are among the best `topk` of their scope."""
    scope = {"class": categories, "level": levels, "image": np.zeros(len(levels), np.int64)}[post.topk_scope]
    stays = np.ones(len(scope), bool)
    if post.topk is not None:
        for value in np.unique(scope):
            stays[np.flatnonzero(scope == value)[post.topk :]] = False
    return stays


def nms(boxes: npt.NDArray[Any], threshold: float) -> npt.NDArray[np.bool_]:
    """Greedy non-maximum suppression of boxes (N, 4), x1 y1 x2 y2, best first, in float64: which ones stay."""
    x1, y1, x2, y2 = boxes.astype(np.float64).T
    area = (x2 - x1) * (y2 - y1)
    kept = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if not kept[i]:
            continue
        j = slice(i + 1, None)
        width = np.maximum(np.minimum(x2[i], x2[j]) - np.maximum(x1[i], x1[j]), 0)
        height = np.maximum(np.minimum(y2[i], y2[j]) - np.maximum(y1[i], y1[j]), 0)
        common = width * height
        with np.errstate(invalid="ignore"):
            # 0 / 0 of two boxes without area is not a number, and not above the threshold: both stay.
            kept[j] &= ~(common / (area[i] + area[j] - common) > threshold)
    return kept


def coco_eval(
    predictions: PredictionTable, ground_truth: GroundTruth, rows: npt.NDArray[np.int64]
) -> tuple[dict[str, float], dict[int, float]]:
    """The 12 figures and the AP of each category that pycocotools finds for the given rows as detections."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = ground_truth.to_coco()
    boxes = predictions.boxes[rows].astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    detections = [
        {
            "id": index + 1,
            "image_id": int(predictions.image_id[row]),
            "category_id": int(predictions.category_id[row]),
            "bbox": box,
            "score": float(predictions.score[row]),
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
        for index, (row, box) in enumerate(zip(rows.tolist(), boxes.tolist(), strict=True))
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(_coco(COCO(), truth), _coco(COCO(), {**truth, "annotations": detections}), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    per_class = {}
    for column, category_id in enumerate(judge.params.catIds):
        precision = judge.eval["precision"][:, :, column, 0, -1]
        precision = precision[precision > -1]
        per_class[int(category_id)] = float(np.mean(precision)) if precision.size else -1.0
    return dict(zip(STATS, map(float, judge.stats), strict=True)), per_class


def _coco(coco: Any, data: dict[str, Any]) -> Any:
    """A pycocotools COCO of a dict. `loadRes` would refuse an empty list of detections."""
    coco.dataset = data
    coco.createIndex()
    return coco
