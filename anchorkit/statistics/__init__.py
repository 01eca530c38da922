"""Is it luck? What a set of images can tell about a configuration, and what it cannot.

`frontier_changes` and `safe_to_remove` bootstrap the images; `split_images` and `holdout_report` choose on some images
and evaluate on the others; `cross_fit` does so in turns and estimates how much of a frontier is luck.

Examples:
    Thirty images with one object each, which all six anchors find:

    >>> import numpy as np
    >>> import anchorkit as ak
    >>> from anchorkit.postprocess import PostProcess
    >>> from anchorkit.search.toy import toy_evaluator
    >>> layout, n = toy_evaluator().layout, 30
    >>> image, anchor = np.repeat(np.arange(n), len(layout)), np.tile(np.arange(len(layout)), n)
    >>> shift = 0.5 * anchor[:, None] + np.random.default_rng(0).uniform(0, 2, (len(image), 1))  # pixels
    >>> boxes, score = shift + [0, 0, 20, 20], 0.9 - 0.1 * anchor
    >>> post = PostProcess(score_threshold=0.0, topk=None, topk_scope="class", nms_iou=0.5, max_detections=100)
    >>> table = ak.PredictionTable(image, anchor, np.ones_like(image), score, boxes, layout, post)
    >>> note = {"category_id": 1, "bbox": [0, 0, 20, 20], "area": 400, "iscrowd": 0}
    >>> truth = {
    ...     "images": [{"id": i} for i in range(n)],
    ...     "annotations": [{"id": i + 1, "image_id": i, **note} for i in range(n)],
    ...     "categories": [{"id": 1, "name": "cup"}],
    ... }
    >>> evaluator = ak.Evaluator(table, truth)
    >>> result = ak.search(evaluator, cost="boxes", progress=False)

    How many anchors may go, and which points of the frontier are safe:

    >>> ak.safe_to_remove(evaluator, result, draws=200).n_removed
    5
    >>> ak.frontier_changes(evaluator, result, draws=200)["safe"].tolist()
    [True, False]

    The same on images that took no part in the search, and in turns:

    >>> halves = ak.split_images(evaluator.ground_truth, holdout=0.5)
    >>> chosen = ak.search(evaluator.subset(halves.search), cost="boxes", progress=False)
    >>> report = ak.holdout_report(chosen, evaluator.subset(halves.holdout), losses=[0.0, 0.01], draws=200)
    >>> report[["allowed", "n_anchors", "change"]]
       allowed  n_anchors  change
    0     0.00          1     0.0
    1     0.01          1     0.0
    >>> ak.cross_fit(evaluator, result, folds=2, draws=200, progress=False).optimism
    0.0
"""

from __future__ import annotations

from anchorkit import modules_on_first_use
from anchorkit.statistics.crossfit import CrossFit, cross_fit, cross_fitted_removal
from anchorkit.statistics.holdout import LOSSES, holdout_report
from anchorkit.statistics.intervals import (
    LowerBounds,
    interval_words,
    percentile_interval,
    share_within,
    simultaneous_bounds,
)
from anchorkit.statistics.removal import SafeRemoval
from anchorkit.statistics.splits import ImageSplit, fold_images, split_images
from anchorkit.statistics.statements import detector_change, frontier_changes, safe_to_remove
from anchorkit.statistics.tried import TRIED_ALLOWED_FOR, sample_of_tried

__all__ = [
    "LOSSES",
    "TRIED_ALLOWED_FOR",
    "CrossFit",
    "ImageSplit",
    "LowerBounds",
    "SafeRemoval",
    "cross_fit",
    "cross_fitted_removal",
    "detector_change",
    "fold_images",
    "frontier_changes",
    "holdout_report",
    "interval_words",
    "percentile_interval",
    "safe_to_remove",
    "sample_of_tried",
    "share_within",
    "simultaneous_bounds",
    "split_images",
]

__getattr__ = modules_on_first_use(__name__)
