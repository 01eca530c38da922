"""Fingerprints: equal for evaluations of the same predictions and ground truth."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.evaluation.metrics import COCO_MAX_DETS, COCO_THRESHOLDS, MatchingRules
from anchorkit.predictions import PredictionTable

_DIGITS = 16


def image_digests(predictions: PredictionTable, truth: GroundTruth) -> bytes:
    """A hash of the rows of each image of the ground truth, one after the other, 32 bytes each.

    One per image, so that a table whose images are on several machines has the same digests.
    """
    image_id = predictions.image_id
    falls = (image_id[1:] < image_id[:-1]).any()
    rows = np.argsort(image_id, kind="stable") if falls else slice(None)
    columns = [getattr(predictions, name)[rows] for name in ("anchor", "category_id", "score", "boxes")]
    starts, ends = (np.searchsorted(image_id[rows], truth.image_ids, side).tolist() for side in ("left", "right"))
    digests = []
    for start, end in zip(starts, ends, strict=True):
        digest = hashlib.sha256()
        for column in columns:
            digest.update(column[start:end].tobytes())
        digests.append(digest.digest())
    return b"".join(digests)


def fingerprint_of(digests: bytes, truth: GroundTruth, coco: MatchingRules) -> str:
    """A hash (16 hexadecimal digits) of the rows that the digests stand for, the ground truth and COCO's options."""
    digest = hashlib.sha256(digests)
    for item in dataclasses.fields(truth):
        if item.compare:  # no accuracy depends on the others
            digest.update(getattr(truth, item.name).tobytes())
    if coco != MatchingRules(COCO_THRESHOLDS, COCO_MAX_DETS):
        digest.update(repr((coco.thresholds, coco.max_dets)).encode())
    return digest.hexdigest()[:_DIGITS]
