"""The referees: numpy NMS, pycocotools, and Pascal VOC's AP as it is defined (`referees.voc`). Slow and obvious.

The fast evaluator must give the same bits. Nothing here uses a kernel of the kit, nor anything that the kernels use.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.evaluation.referees.voc import voc_ap
from anchorkit.predictions import PostProcess, PredictionTable

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MAX_DETS",
    "STATS",
    "ReferenceResult",
    "coco_ap",
    "coco_eval",
    "evaluate",
    "f_score",
    "nms",
    "select_rows",
    "voc_ap",
]

STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""Names of the 12 figures that COCOeval prints, in its order."""

MAX_DETS = (1, 10, 100)
"""COCO's limits on the detections of one class in one image."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ReferenceResult:
    """What pycocotools says of one configuration, and what the other referees say when they are asked.

    Attributes:
        stats: the figures of COCO by name, 0..1, or -1 where there is nothing to measure: those of `STATS`, with one
            ``AR{m}`` for each limit m of `max_dets`.
        per_class: AP over the IoU thresholds by category id, or -1 for a category without ground truth.
        rows: int64, the table's rows that the detector would output: image by image, best score first.
        predictions: the table.
        ground_truth: the annotated boxes.
        max_dets: COCO's limits on the detections of a class in an image.
    """

    stats: dict[str, float]
    per_class: dict[int, float]
    rows: Rows
    predictions: PredictionTable = field(repr=False)
    ground_truth: GroundTruth = field(repr=False)
    max_dets: tuple[int, ...]

    @property
    def detections(self) -> pd.DataFrame:
        """The rows as a DataFrame with the columns of `Evaluator.detections`."""
        import pandas as pd

        table, rows = self.predictions, self.rows
        corners = pd.DataFrame(table.boxes[rows], columns=["x1", "y1", "x2", "y2"])
        frame = pd.DataFrame({name: getattr(table, name)[rows] for name in ("image_id", "category_id", "score")})
        return pd.concat([frame, corners], axis=1).assign(anchor=table.anchor[rows])

    def voc(self, points: int | None, iou: float) -> tuple[float, dict[int, float]]:
        """See `voc_ap`."""
        return voc_ap(self.predictions, self.ground_truth, self.rows, points, iou)

    def f_score(self, score_threshold: float, iou: float, beta: float) -> float:
        """See `f_score`."""
        return f_score(self.predictions, self.ground_truth, self.rows, score_threshold, iou, beta, self.max_dets[-1])


def evaluate(
    predictions: PredictionTable,
    ground_truth: GroundTruth,
    anchors: npt.ArrayLike,
    iou_thresholds: Sequence[float] | None = None,
    max_dets: Sequence[int] = MAX_DETS,
) -> ReferenceResult:
    """Accuracy with only the given anchors (indices) kept: the referee of `stats`, `per_class` and `detections`."""
    rows = select_rows(predictions, anchors)
    stats, per_class = coco_eval(predictions, ground_truth, rows, iou_thresholds, max_dets)
    return ReferenceResult(stats, per_class, rows, predictions, ground_truth, tuple(max_dets))


def select_rows(predictions: PredictionTable, anchors: npt.ArrayLike) -> Rows:
    """The rows that the detector would output with only the given anchors, image by image, best score first.

    The referee of `Evaluator.detections`.
    """
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
    """Greedy non-maximum suppression of boxes (N, 4), x1 y1 x2 y2, best first, in float64: which ones stay.

    The referee of the suppression edges: torchvision's `nms` with no offset of classes and no rounding to float32.
    """
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
    predictions: PredictionTable,
    ground_truth: GroundTruth,
    rows: Rows,
    iou_thresholds: Sequence[float] | None = None,
    max_dets: Sequence[int] = MAX_DETS,
) -> tuple[dict[str, float], dict[int, float]]:
    """The figures of COCO and the AP of each category that pycocotools finds for the given rows as detections.

    The referee of `Evaluator.stats` and `per_class`. With the defaults the figures are ``COCOeval.stats``. pycocotools
    can only summarize three limits of which one is 100; the figures for others are read from the tables of precision
    and recall in the way in which it does that, AP and the figures by area at the last limit.

    Args:
        predictions: the table.
        ground_truth: the annotated boxes.
        rows: rows of the table.
        iou_thresholds: IoU at which a detection hits, 0..1; None for COCO's ten.
        max_dets: limits on the detections of a class in an image, rising.
    """
    judge = _judge(predictions, ground_truth, rows, iou_thresholds, max_dets)
    precision, recall = judge.eval["precision"], judge.eval["recall"]  # (T, R, K, A, M) and (T, K, A, M)
    thresholds = judge.params.iouThrs
    stats = {"AP": _mean(precision[..., 0, -1])}
    for name, threshold in (("AP50", 0.5), ("AP75", 0.75)):
        # Nothing is measured if it is not among the thresholds.
        stats[name] = _mean(precision[thresholds == threshold, ..., 0, -1])
    stats |= {f"AP{size}": _mean(precision[..., area, -1]) for area, size in enumerate("sml", 1)}
    stats |= {f"AR{limit}": _mean(recall[..., 0, position]) for position, limit in enumerate(max_dets)}
    stats |= {f"AR{size}": _mean(recall[..., area, -1]) for area, size in enumerate("sml", 1)}
    return stats, _per_class(judge)


def coco_ap(
    predictions: PredictionTable,
    ground_truth: GroundTruth,
    rows: Rows,
    iou_thresholds: Sequence[float] | None = None,
    max_det: int = MAX_DETS[-1],
) -> tuple[float, dict[int, float]]:
    """``AP`` and the AP of each category alone: those of `coco_eval`, several times as fast.

    The referee of `Evaluator.accuracy` and `children` in walks and searches.
    """
    judge = _judge(predictions, ground_truth, rows, iou_thresholds, [max_det], sizes=False)
    return _mean(judge.eval["precision"][..., 0, -1]), _per_class(judge)


def f_score(
    predictions: PredictionTable,
    ground_truth: GroundTruth,
    rows: Rows,
    score_threshold: float = 0.5,
    iou: float = 0.5,
    beta: float = 1.0,
    max_det: int = MAX_DETS[-1],
) -> float:
    """F-score of the given rows with a score above the threshold, over all classes together: the referee of `FScore`.

    pycocotools matches at the one IoU. A detection that hits a crowd, or is larger than COCO measures, counts neither
    way.

    Returns:
        0..1, or -1 if there is no box to find.
    """
    rows = rows[predictions.score[rows] > np.float32(score_threshold)]
    judge = _judge(predictions, ground_truth, rows, [iou], [max_det], sizes=False)
    hits = false_alarms = to_find = 0
    for found in judge.evalImgs:  # one dict for each class and image, or None where there is nothing
        if found is not None:
            counts, hit = found["dtIgnore"][0] == 0, found["dtMatches"][0] > 0
            hits += int((counts & hit).sum())
            false_alarms += int((counts & ~hit).sum())
            to_find += int((found["gtIgnore"] == 0).sum())
    if to_find == 0:
        return -1.0
    weight = beta * beta
    total = (1 + weight) * hits + weight * (to_find - hits) + false_alarms
    return (1 + weight) * hits / total if hits else 0.0


def _judge(
    predictions: PredictionTable,
    ground_truth: GroundTruth,
    rows: Rows,
    iou_thresholds: Sequence[float] | None,
    max_dets: Sequence[int],
    sizes: bool = True,
) -> Any:
    """A COCOeval that has matched and accumulated the given rows; without `sizes` over all areas only."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = ground_truth.to_coco()
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
        for index, (row, box) in enumerate(zip(rows.tolist(), _xywh(predictions.boxes[rows]).tolist(), strict=True))
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(_coco(COCO(), truth), _coco(COCO(), {**truth, "annotations": detections}), "bbox")
        judge.params.maxDets = list(max_dets)
        if iou_thresholds is not None:
            judge.params.iouThrs = np.array(iou_thresholds, np.float64)
        if not sizes:
            judge.params.areaRng = judge.params.areaRng[:1]
            judge.params.areaRngLbl = judge.params.areaRngLbl[:1]
        judge.evaluate()
        judge.accumulate()
    return judge


def _xywh(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Boxes (N, 4) x1 y1 x2 y2 as x y width height, as a detector writes them for COCO."""
    found = boxes.astype(np.float64)
    found[:, 2:] -= found[:, :2]
    return found


def _coco(coco: Any, data: dict[str, Any]) -> Any:
    """A pycocotools COCO of a dict. `loadRes` would refuse an empty list of detections."""
    coco.dataset = data
    coco.createIndex()
    return coco


def _per_class(judge: Any) -> dict[int, float]:
    precision = judge.eval["precision"]
    return {int(id_): _mean(precision[:, :, column, 0, -1]) for column, id_ in enumerate(judge.params.catIds)}


def _mean(values: npt.NDArray[np.float64]) -> float:
    """The mean as pycocotools takes it: of all that was measured, -1 if nothing was."""
    measured = values[values > -1]
    return float(np.mean(measured)) if measured.size else -1.0
