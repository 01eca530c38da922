"""Why a detector is not better, and why a pruned one is worse: its errors by kind, and what each kind costs.

After Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors" (ECCV 2020), section 2. At IoU 0.5
every detection that is not a hit has one error: the first of these that applies. Overlap is with the annotated boxes of
the image, without crowds:

- *localisation*: the IoU with a box of its own class is at best 0.1 or more, and below 0.5;
- *classification*: the IoU with a box of another class is 0.5 or more;
- *duplicate*: the IoU with a box of its own class is 0.5 or more, but that box was found by a better detection;
- *background*: the IoU with every box is 0.1 or less;
- *both*: everything else, badly placed and of the wrong class.

An annotated box that is not found is *missed*, unless a classification or localisation error points at it.

Hits are COCO's: the best 100 detections of a class in an image count, best first; a detection that lies in a crowd of
its class counts neither way, nor does one of a class that the ground truth lacks. TIDE itself takes the best 100 of an
image over all classes; all else here is as in its code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from anchorkit.analysis.coco_matching import Flags, Floats, Ints, Pairs, match_greedily, pair_up
from anchorkit.errors import InputError
from anchorkit.evaluation.ground_truth import GroundTruth, read_ground_truth

__all__ = ["ERRORS", "Diagnosis", "compare", "diagnose"]

ERRORS = ("classification", "localisation", "both", "duplicate", "background", "missed")
"""The kinds of errors, in the order of the paper."""

IOU, BACKGROUND_IOU = 0.5, 0.1
_MAX_DETECTIONS = 100  # of a class in an image
_COLUMNS = ("image_id", "category_id", "score", "x1", "y1", "x2", "y2")
_OUTCOMES = ("found", "crowd", *ERRORS)
_FOUND, _CROWD, _CLASSIFICATION, _LOCALISATION, _BOTH, _DUPLICATE, _BACKGROUND, _MISSED = range(len(_OUTCOMES))

_CATEGORIES = pd.Index(_OUTCOMES)
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Diagnosis:
    """The errors of a set of detections; made by `diagnose`.

    Attributes:
        detections: those that count, image by image and best first: ``image_id``, ``category_id``, ``score``,
            ``outcome`` (``"found"``, ``"crowd"`` or an error but ``"missed"``) and ``object``, the row of `objects`
            that it found or, with a classification or localisation error, should have; -1 for none.
        objects: the annotated boxes but for crowds: ``image_id``, ``category_id`` and ``outcome`` (``"found"``,
            ``"localisation"``, ``"classification"`` or ``"missed"``).
    """

    detections: pd.DataFrame = field(repr=False)
    objects: pd.DataFrame = field(repr=False)

    @cached_property
    def ap50(self) -> float:
        """COCO's AP50, 0..1; -1 if there is nothing to find."""
        return self.ap50_without(())

    @cached_property
    def errors(self) -> pd.DataFrame:
        """One row per error, in the order of `ERRORS`: ``count``, and ``dap``, what correcting it gains in AP50 (0..1).

        The gains do not add up to the whole loss, because one error can hide another. If a correction leaves nothing to
        find, its gain is the whole loss.
        """
        counts = np.bincount(_codes(self.detections), minlength=len(_OUTCOMES))
        counts[_MISSED] = np.count_nonzero(_codes(self.objects) == _MISSED)
        gains = []
        for error in ERRORS:
            without = self.ap50_without((error,))
            gains.append(0.0 if self.ap50 < 0 else (1.0 if without < 0 else without) - self.ap50)
        return pd.DataFrame({"count": counts[-len(ERRORS) :], "dap": gains}, index=[*ERRORS])

    def ap50_without(self, errors: Iterable[str]) -> float:
        """The AP50 without some kinds of errors (section 2.3 of the paper).

        A detection with a classification or localisation error becomes a hit of the box it points at, with its score;
        if that box is found already or several point at it, all but the best scoring one go. Duplicate, background and
        both: the detection goes. Missed: the box need not be found; a class without boxes to find drops out of the
        mean, as with COCO.

        Args:
            errors: names of `ERRORS`.

        Returns:
            0..1, or -1 if there is nothing to find.

        Raises:
            InputError: there is no such error.

        Example:
            >>> import pandas as pd
            >>> objects = [dict(id=n, image_id=1, category_id=n, bbox=[0, 0, 20, 20 * n], area=400 * n) for n in (1, 2)]
            >>> truth = dict(images=[dict(id=1)], categories=[dict(id=1), dict(id=2)], annotations=objects)
            >>> corners = [[0, 0, 20, 20], [0, 0, 20, 40], [50, 50, 60, 60]]
            >>> found = pd.DataFrame(corners, columns=["x1", "y1", "x2", "y2"])
            >>> found = found.assign(image_id=1, category_id=[1, 1, 2], score=[0.9, 0.8, 0.7])
            >>> diagnosis = diagnose(found, truth)
            >>> round(diagnosis.ap50, 3), round(diagnosis.ap50_without(["classification", "background"]), 3)
            (0.5, 1.0)
        """
        corrected = set(errors)
        if unknown := corrected - set(ERRORS):
            raise InputError(f"unknown error {min(unknown)!r}: use {', '.join(ERRORS)}")
        outcome, state = _codes(self.detections), _codes(self.objects)
        points_at = self.detections["object"].to_numpy()
        klass = self.detections["category_id"].to_numpy(copy=True)
        score = self.detections["score"].to_numpy()
        hit = outcome == _FOUND
        wrong = np.array([name in corrected for name in _OUTCOMES])[outcome]
        stays = ~wrong & (outcome != _CROWD)
        claims = np.flatnonzero(wrong & (points_at >= 0))
        claims = claims[state[points_at[claims]] != _FOUND]
        claims = claims[np.argsort(-score[claims], kind="stable")]
        claims = claims[np.unique(points_at[claims], return_index=True)[1]]
        object_class = self.objects["category_id"].to_numpy()
        klass[claims] = object_class[points_at[claims]]
        hit[claims] = stays[claims] = True
        to_find = object_class[state != _MISSED] if "missed" in corrected else object_class
        return _mean_ap(klass[stays], score[stays], hit[stays], to_find)


def diagnose(detections: pd.DataFrame, ground_truth: Any) -> Diagnosis:
    """Classify the errors of some detections.

    Args:
        detections: as `anchorkit.Evaluator.detections` gives them: ``image_id``, ``category_id``, ``score`` (0..1) and
            ``x1``, ``y1``, ``x2``, ``y2`` (pixels).
        ground_truth: path of a COCO json file, a COCO dict, a pycocotools ``COCO``, or an evaluator's
            ``ground_truth``.

    Raises:
        InputError: a column is missing, or a detection is on an image that the ground truth lacks.

    Example:
        >>> import pandas as pd
        >>> objects = [dict(id=n, image_id=1, category_id=n, bbox=[0, 0, 20, 20 * n], area=400 * n) for n in (1, 2)]
        >>> truth = dict(images=[dict(id=1)], categories=[dict(id=1), dict(id=2)], annotations=objects)
        >>> corners = [[0, 0, 20, 20], [0, 0, 20, 40], [50, 50, 60, 60]]
        >>> found = pd.DataFrame(corners, columns=["x1", "y1", "x2", "y2"])
        >>> found = found.assign(image_id=1, category_id=[1, 1, 2], score=[0.9, 0.8, 0.7])
        >>> diagnosis = diagnose(found, truth)
        >>> diagnosis.detections["outcome"].tolist()
        ['found', 'classification', 'background']
        >>> diagnosis.errors.loc[["classification", "background", "missed"], "count"].to_dict()
        {'classification': 1, 'background': 1, 'missed': 0}
    """
    missing = [name for name in _COLUMNS if name not in detections.columns]
    if missing:
        raise InputError(f"detections: the frame lacks the column {missing[0]!r}; Evaluator.detections has them all")
    truth = read_ground_truth(ground_truth)
    shown = _counting(detections, truth)
    image = np.searchsorted(truth.image_ids, shown["image_id"])
    klass = np.searchsorted(truth.category_ids, shown["category_id"])
    start = np.searchsorted(truth.image, np.arange(len(truth.image_ids) + 1))
    boxes = shown[["x1", "y1", "x2", "y2"]].to_numpy(np.float64)
    pairs = pair_up(boxes, start[image], start[image + 1], truth)
    pairs = pairs.of(pairs.iou > 0)
    same = klass[pairs.detection] == truth.category[pairs.box]
    crowd = truth.crowd[pairs.box]

    found, in_crowd = match_greedily(pairs.of(same & (pairs.iou >= IOU)), len(shown), truth.crowd)
    own, own_at = _best(pairs.of(same & ~crowd), len(shown))
    foreign, foreign_at = _best(pairs.of(~same & ~crowd), len(shown))
    cases = {
        _FOUND: found >= 0,
        _CROWD: in_crowd,
        _LOCALISATION: (own >= BACKGROUND_IOU) & (own < IOU),
        _CLASSIFICATION: foreign >= IOU,
        _DUPLICATE: own >= IOU,
        _BACKGROUND: np.maximum(own, foreign) <= BACKGROUND_IOU,
    }
    outcome = np.select(list(cases.values()), list(cases), _BOTH)
    targets = {_FOUND: found, _LOCALISATION: own_at, _CLASSIFICATION: foreign_at}
    points_at = np.select([outcome == code for code in targets], list(targets.values()), -1)

    state = np.full(len(truth), _MISSED)
    for code in (_CLASSIFICATION, _LOCALISATION, _FOUND):  # the later, the nearer to being found
        state[points_at[outcome == code]] = code
    real = ~truth.crowd
    row = np.append(np.cumsum(real) - 1, -1)  # of the objects, by their place in the ground truth
    objects = pd.DataFrame(
        {
            "image_id": truth.image_ids[truth.image[real]],
            "category_id": truth.category_ids[truth.category[real]],
            "outcome": pd.Categorical.from_codes(state[real], _CATEGORIES),
        }
    )
    shown = shown[["image_id", "category_id", "score"]].assign(
        outcome=pd.Categorical.from_codes(outcome, _CATEGORIES), object=row[points_at]
    )
    return Diagnosis(shown, objects)


def compare(before: Diagnosis, after: Diagnosis) -> pd.DataFrame:
    """How the errors of two sets of detections on the same images differ.

    Returns:
        One row per error, in the order of `ERRORS`: ``count_before``, ``count_after``, ``dap_before``, ``dap_after``
        (what its correction gains, AP50 0..1), and ``lost``: how many of the boxes that were found before and are not
        found after have this error after (0 except for classification, localisation and missed).

    Raises:
        InputError: the two belong to different ground truths.

    Example:
        >>> import pandas as pd
        >>> objects = [dict(id=n, image_id=1, category_id=n, bbox=[0, 0, 20, 20 * n], area=400 * n) for n in (1, 2)]
        >>> truth = dict(images=[dict(id=1)], categories=[dict(id=1), dict(id=2)], annotations=objects)
        >>> corners = [[0, 0, 20, 20], [0, 0, 20, 40], [50, 50, 60, 60]]
        >>> found = pd.DataFrame(corners, columns=["x1", "y1", "x2", "y2"])
        >>> found = found.assign(image_id=1, category_id=[1, 1, 2], score=[0.9, 0.8, 0.7])
        >>> change = compare(diagnose(found, truth), diagnose(found[1:], truth))
        >>> change.loc["missed", ["count_before", "count_after", "lost"]].astype(int).to_dict()
        {'count_before': 0, 'count_after': 1, 'lost': 0}
    """
    same = ["image_id", "category_id"]
    if not before.objects[same].equals(after.objects[same]):
        raise InputError("compare: the two diagnoses have different ground truths; diagnose both on the same images")
    lost = np.bincount(_codes(after.objects)[_codes(before.objects) == _FOUND], minlength=len(_OUTCOMES))
    table = pd.concat([before.errors.add_suffix("_before"), after.errors.add_suffix("_after")], axis=1)
    table = table[["count_before", "count_after", "dap_before", "dap_after"]]
    return table.assign(lost=lost[-len(ERRORS) :])


def _codes(rows: pd.DataFrame) -> npt.NDArray[np.integer[Any]]:
    """The outcomes as places in `_OUTCOMES`."""
    codes: npt.NDArray[np.integer[Any]] = rows["outcome"].cat.codes.to_numpy()
    return codes


def _counting(detections: pd.DataFrame, truth: GroundTruth) -> pd.DataFrame:
    """The detections that COCO counts, image by image in the order of the ground truth and best first."""
    known = np.isin(detections["image_id"], truth.image_ids)
    if not known.all():
        stranger = detections["image_id"].to_numpy()[~known][0]
        raise InputError(f"detections: image {stranger} is not among the images of the ground truth")
    shown = detections[np.isin(detections["category_id"], truth.category_ids)]
    order = np.lexsort((-shown["score"].to_numpy(), shown["image_id"].to_numpy()))  # stable, as pycocotools'
    shown = shown.iloc[order]
    rank = shown.groupby(["image_id", "category_id"], sort=False).cumcount()
    return shown[(rank < _MAX_DETECTIONS).to_numpy()].reset_index(drop=True)


def _best(pairs: Pairs, n: int) -> tuple[Floats, Ints]:
    """The highest IoU of each of `n` detections, and with which box (of equal ones the first); 0 and -1 for none."""
    order = np.lexsort((-pairs.iou, pairs.detection))  # stable
    detections, first = np.unique(pairs.detection[order], return_index=True)
    best, box = np.zeros(n), np.full(n, -1, np.int64)
    best[detections], box[detections] = pairs.iou[order][first], pairs.box[order][first]
    return best, box


def _mean_ap(klass: Ints, score: npt.NDArray[Any], hit: Flags, to_find: Ints) -> float:
    """The mean AP of the classes that have boxes to find, at 101 recalls as in pycocotools.

    Args:
        klass: category id of each detection; of equal scores, the earlier detection comes first.
        score: its score.
        hit: whether it is a hit.
        to_find: category id of each box to find.
    """
    order = np.lexsort((-score, klass))  # stable
    hit, klass = hit[order], klass[order]
    categories, counts = np.unique(to_find, return_counts=True)
    ends = np.searchsorted(klass, categories, side="right")
    values = []
    for first, last, n in zip(np.searchsorted(klass, categories), ends, counts, strict=True):
        hits = hit[first:last]
        total = np.cumsum(hits)
        precision = total / (np.arange(1, len(hits) + 1) + np.spacing(1))
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(total / n, _RECALLS, side="left")
        values.append(np.append(precision, 0.0)[at])
    # Recall by recall, as pycocotools adds up: another order would differ in the last bit.
    return float(np.mean(np.stack(values, axis=1).ravel())) if values else -1.0
