"""Two configurations compared image by image: where does one hurt, and where does it help?

COCO's matching at one IoU, over all areas, decides what is found: within an image and a class, the detections take the
annotated objects greedily, best score first. The change of an image is the gain in score of its objects, less that of
its false alarms:

    change = (sum of the scores of detections that find an object, after - before)
           - (sum of the scores of false alarms, after - before)

An object that was found with 0.9 and is missed now counts -0.9; a new false alarm of 0.4 counts -0.4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from anchorkit.analysis.coco_matching import match_greedily, pair_up
from anchorkit.boxes import box_iou
from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.evaluation.metrics import COCO_MAX_DETS

FOUND, FALSE_ALARM, NEITHER = "found", "false alarm", "neither"
"""What a detection is: ``"neither"`` hits a crowd, is of a category that the ground truth lacks, or comes after the
100 detections of a class that COCO looks at in an image."""

_BOX = ["x1", "y1", "x2", "y2"]


def match(detections: pd.DataFrame, truth: GroundTruth, iou: float = 0.5) -> pd.DataFrame:
    """Find out which annotated object each detection finds, as COCO matches them.

    Args:
        detections: as from `anchorkit.Evaluator.detections`: image_id, category_id, score, x1 y1 x2 y2 (pixels) and
            anchor; of an image and a category, best score first.
        truth: the annotated boxes.
        iou: least overlap, 0..1.

    Returns:
        The detections with two more columns: ``object`` (place of the object in `truth`; -1 for none) and ``kind``
        (``"found"``, ``"false alarm"`` or ``"neither"``).

    Example:
        >>> import pandas as pd
        >>> from anchorkit.evaluation.ground_truth import read_ground_truth
        >>> objects = [dict(id=n, image_id=1, category_id=n, bbox=[0, 0, 20, 20 * n], area=400 * n) for n in (1, 2)]
        >>> truth = dict(images=[dict(id=1)], categories=[dict(id=1), dict(id=2)], annotations=objects)
        >>> corners = [[0, 0, 20, 20], [0, 0, 20, 40], [50, 50, 60, 60]]
        >>> found = pd.DataFrame(corners, columns=["x1", "y1", "x2", "y2"])
        >>> found = found.assign(image_id=1, category_id=[1, 1, 2], score=[0.9, 0.8, 0.7])
        >>> match(found, read_ground_truth(truth))["kind"].tolist()
        ['found', 'false alarm', 'false alarm']
    """
    n_classes = len(truth.category_ids)
    image = np.searchsorted(truth.image_ids, detections["image_id"].to_numpy())
    category = np.searchsorted(truth.category_ids, detections["category_id"].to_numpy())
    known = np.isin(detections["category_id"].to_numpy(), truth.category_ids)
    group = np.where(known, image * n_classes + category, -1)
    place = detections.groupby(group, sort=False).cumcount().to_numpy() if len(detections) else np.zeros(0, np.int64)
    seen = known & (place < COCO_MAX_DETS[-1])
    owner = truth.image.astype(np.int64) * n_classes + truth.category  # never falls
    first, last = np.searchsorted(owner, group, "left"), np.searchsorted(owner, group, "right")
    boxes = detections[_BOX].to_numpy(np.float64)
    pairs = pair_up(boxes, first, np.where(seen, last, first), truth)
    objects, in_crowd = match_greedily(pairs.of(pairs.iou >= min(iou, 1 - 1e-10)), len(group), truth.crowd)
    kind = np.where(objects >= 0, FOUND, np.where(in_crowd | ~seen, NEITHER, FALSE_ALARM))
    return detections.assign(object=objects, kind=kind)


def image_changes(before: pd.DataFrame, after: pd.DataFrame, truth: GroundTruth, min_score: float) -> pd.DataFrame:
    """How every image changes from one configuration to another.

    Args:
        before: matched detections (see `match`).
        after: likewise.
        truth: what they were matched with.
        min_score: detections below it are left out, 0..1.

    Returns:
        One row per image of `truth`, in its order: ``image_id``; ``change`` (see the module; in scores, so that 1 is an
        object found with certainty); ``turnover`` (the same changes without their signs: how much is different at
        all, object by object and class by class for false alarms); ``lost`` and ``gained`` (objects that only the
        first or only the second finds); ``false_before`` and ``false_after`` (false alarms).
    """
    scores = np.zeros((2, len(truth)))
    false_scores = np.zeros((2, len(truth.image_ids) * max(len(truth.category_ids), 1)))
    false_counts = np.zeros((2, len(truth.image_ids)), np.int64)
    for side, matched in enumerate((before, after)):
        shown = matched[matched["score"] >= min_score]
        found = shown[shown["kind"] == FOUND]
        scores[side, found["object"].to_numpy()] = found["score"]
        false = shown[shown["kind"] == FALSE_ALARM]
        image = np.searchsorted(truth.image_ids, false["image_id"].to_numpy())
        category = np.searchsorted(truth.category_ids, false["category_id"].to_numpy())
        np.add.at(false_scores[side], image * len(truth.category_ids) + category, false["score"].to_numpy(np.float64))
        np.add.at(false_counts[side], image, 1)

    def per_image(of_objects: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.bincount(truth.image, of_objects, len(truth.image_ids)).astype(np.float64)

    gains = scores[1] - scores[0]
    alarms = (false_scores[1] - false_scores[0]).reshape(len(truth.image_ids), -1)
    return pd.DataFrame(
        {
            "image_id": truth.image_ids,
            "change": per_image(gains) - alarms.sum(1),
            "turnover": per_image(np.abs(gains)) + np.abs(alarms).sum(1),
            "lost": per_image(((scores[0] > 0) & (scores[1] == 0)).astype(float)).astype(int),
            "gained": per_image(((scores[0] == 0) & (scores[1] > 0)).astype(float)).astype(int),
            "false_before": false_counts[0],
            "false_after": false_counts[1],
        }
    )


def compare_image(
    before: pd.DataFrame, after: pd.DataFrame, truth: GroundTruth, image_id: int, min_score: float
) -> pd.DataFrame:
    """The objects and false alarms of one image, and which detections make them before and after.

    False alarms of the two sides that lie on each other (IoU of 0.5 or more, one class) count as the same one.

    Args:
        before: matched detections (see `match`).
        after: likewise.
        truth: what they were matched with.
        image_id: the image.
        min_score: detections below it are left out, 0..1.

    Returns:
        One row per object, then one per false alarm and one per detection that counts neither way: ``kind``
        (``"object"``, ``"false alarm"``, ``"neither"``), ``object`` (its place in `truth`, or -1), ``category_id``,
        ``x1`` to ``y2`` (of the object, or of the detection), ``before`` and ``after`` (row of the detection in
        those frames, counted from 0; -1 for none), ``change`` (what it adds to the image's change).
    """
    sides: list[dict[int, Any]] = []
    for matched in (before, after):
        at = np.flatnonzero(((matched["image_id"] == image_id) & (matched["score"] >= min_score)).to_numpy())
        sides.append(dict(zip(at.tolist(), matched.iloc[at].to_dict("records"), strict=True)))

    def scores(*found: int) -> list[float]:
        """Those of a detection before and one after; 0 for none."""
        return [float(side[at]["score"]) if at >= 0 else 0.0 for side, at in zip(sides, found, strict=True)]

    rows: list[tuple[Any, ...]] = []
    finders = [{row["object"]: index for index, row in side.items()} for side in sides]
    position = np.searchsorted(truth.image_ids, image_id)
    for place in range(*np.searchsorted(truth.image, [position, position + 1]).tolist()):
        if truth.crowd[place]:
            continue
        makers = [finder.get(place, -1) for finder in finders]
        old, new = scores(*makers)
        x, y, width, height = truth.boxes[place]
        category_id = int(truth.category_ids[truth.category[place]])
        rows.append(("object", place, category_id, x, y, x + width, y + height, *makers, new - old))
    for kind in (FALSE_ALARM, NEITHER):
        old_rows, new_rows = ({at: row for at, row in side.items() if row["kind"] == kind} for side in sides)
        for index, twin in _pairs(old_rows, new_rows):
            own = old_rows[index] if index >= 0 else new_rows[twin]
            old, new = scores(index, twin)
            change = old - new if kind == FALSE_ALARM else 0.0
            rows.append((kind, -1, own["category_id"], *(own[name] for name in _BOX), index, twin, change))
    columns = ["kind", "object", "category_id", *_BOX, "before", "after", "change"]
    return pd.DataFrame(rows, columns=columns)


def _pairs(before: dict[int, Any], after: dict[int, Any]) -> list[tuple[int, int]]:
    """Detections of the two sides, those of a class that lie on each other as a pair; -1 for none. Best score first."""
    boxes = {index: np.array([row[name] for name in _BOX]) for index, row in after.items()}
    free, pairs = dict(after), []
    for index, row in before.items():
        box = np.array([row[name] for name in _BOX])
        overlaps = {
            other: box_iou(box, boxes[other])
            for other, twin in free.items()
            if twin["category_id"] == row["category_id"]
        }
        twin = max(overlaps, key=lambda other: overlaps[other], default=-1)
        if twin >= 0 and overlaps[twin] >= 0.5:
            del free[twin]
        else:
            twin = -1
        pairs.append((index, twin))
    return pairs + [(-1, index) for index in free]
