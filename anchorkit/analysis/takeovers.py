"""Which anchor finds an object after pruning, and how well: the data of the paper's Fig. 8."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from anchorkit.anchors import Configuration
from anchorkit.boxes import box_iou
from anchorkit.evaluation import Evaluator

LEAST_IOU = 0.3
"""A detection is about the object of its class that it overlaps most, if that is at least so much."""

_CORNERS = ("x1", "y1", "x2", "y2")
_SIDE = ("score", "iou", "anchor", *_CORNERS)


def takeovers(evaluator: Evaluator, before: Configuration, after: Configuration) -> pd.DataFrame:
    """For every object the most confident detection that is about it, before and after, where the two differ.

    Args:
        evaluator: of the detector's predictions.
        before: the anchors kept before, as a rule all of them.
        after: those kept afterwards.

    Returns:
        One row per object (without crowds) that has a detection on both sides, and another one: ``image_id``,
        ``category_id``, the object's ``x1 y1 x2 y2`` (pixels), and for each side, with the prefixes ``before_`` and
        ``after_``, ``score``, ``iou`` with the object, ``anchor`` and ``x1 y1 x2 y2``; ``gained``, by how much the IoU
        rose. The largest gain first.
    """
    truth = evaluator.ground_truth
    objects = pd.DataFrame(
        {"image_id": truth.image_ids[truth.image], "category_id": truth.category_ids[truth.category]}
    )
    objects[list(_CORNERS)] = np.hstack([truth.boxes[:, :2], truth.boxes[:, :2] + truth.boxes[:, 2:]])
    objects = objects[~truth.crowd]
    sides = [
        _most_confident(evaluator.detections(c), objects).add_prefix(p)
        for c, p in ((before, "before_"), (after, "after_"))
    ]
    found = pd.concat([objects, *sides], axis=1).dropna()
    other = np.zeros(len(found), bool)
    for name in ("anchor", "score", *_CORNERS):
        other |= found[f"before_{name}"].to_numpy() != found[f"after_{name}"].to_numpy()
    found = found[other].astype({"before_anchor": int, "after_anchor": int})
    found = found.assign(gained=found["after_iou"] - found["before_iou"])
    return found.sort_values("gained", ascending=False, kind="stable").reset_index(drop=True)


def _most_confident(detections: pd.DataFrame, objects: pd.DataFrame) -> pd.DataFrame:
    """For each object of the frame (by its index) the first detection, best first, that is about it; NaN for none."""
    keys = ["image_id", "category_id"]
    candidates: dict[Any, pd.DataFrame] = dict(iter(detections.groupby(keys, sort=False)))
    rows: dict[Any, list[float]] = {}
    for key, group in objects.groupby(keys, sort=False):
        if key not in candidates:
            continue
        about = candidates[key]
        corners = about[list(_CORNERS)].to_numpy(dtype=float)
        iou = box_iou(corners[:, None], group[list(_CORNERS)].to_numpy(dtype=float))
        nearest = iou.argmax(axis=1)
        overlap = iou[np.arange(len(about)), nearest]
        for at in np.flatnonzero(overlap >= LEAST_IOU):
            of = group.index[nearest[at]]
            if of not in rows:
                row = about.iloc[at]
                rows[of] = [float(row["score"]), float(overlap[at]), int(row["anchor"]), *corners[at].tolist()]
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(_SIDE)).reindex(objects.index)
