"""What counting tells of a prediction table: sizes of boxes, images without rows, too many objects, few scores."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from anchorkit.findings import Finding, Severity
from anchorkit.predictions_check.truth import Array, Table, Truth, Whole

_SMALLEST_IMAGE = 8  # pixels: in smaller ones a box of a pixel means nothing
_ROWS_FIRST = 10_000  # rows that are looked at before all are
_FEW_SCORES, _ROWS_FOR_SCORES = 32, 1000
_MANY_ROWS = 30  # where the typical image has so many rows, one without any is strange
_MISSING_SHARE = 0.1  # where it has fewer, a detector may have missed all there is in a few images


def tiny(table: Table, truth: Truth) -> Iterator[Finding]:
    """Boxes that are smaller than a pixel: refused if all are and the images are known to be larger."""
    size = np.nanmin(truth.sizes) if not np.isnan(truth.sizes).all() else np.nan
    extent = size if not np.isnan(size) else (truth.boxes[:, :2] + truth.boxes[:, 2:]).max()
    if extent < _SMALLEST_IMAGE:
        return
    some = table.boxes[:: max(1, len(table) // _ROWS_FIRST)]
    if _in_unit(some).mean() < 0.01 and not (_sides(some) <= 1).all():
        return
    unit = _in_unit(table.boxes)
    fractional = (table.boxes[unit] != np.rint(table.boxes[unit])).any(axis=1)
    if not unit.all() or not fractional.any():  # a box over the whole image is 0 0 1 1
        unit[unit] = fractional
    if unit.all() or unit.sum() >= max(10, len(table) / 20):
        name, mask, what = "normalised_coordinates", unit, "lie within 0..1: they look normalised"
        mend = "multiply x by the image's width and y by its height"
    elif (_sides(table.boxes) <= 1).all():
        name, mask, what = "boxes_below_a_pixel", np.ones(len(table), np.bool_), "are smaller than a pixel"
        mend = "boxes are x1, y1, x2, y2 in pixels of the original image"
    else:
        return
    row = int(mask.argmax())
    example = {"file": table.source, "id": int(table.image_id[row]), "value": rounded(table.boxes[row])}
    count = f"all {len(table):,}" if mask.all() else f"{int(mask.sum()):,} of {len(table):,}"
    severity: Severity = "refused" if mask.all() and not np.isnan(size) else "warning"
    yield Finding(name, severity, int(mask.sum()), f"{table.source}: {count} boxes {what}", mend, example)


def _in_unit(boxes: Array) -> Array:
    """(N,) whether boxes lie within 0..1, or a little beyond: not all detectors clip."""
    inside: Array = (boxes[:, 0] >= -1) & (boxes[:, 1] >= -1) & (boxes[:, 2] <= 2) & (boxes[:, 3] <= 2)
    return inside


def _sides(boxes: Array) -> Array:
    sides: Array = boxes[:, 2:] - boxes[:, :2]
    return sides


def without_rows(table: Table, truth: Truth, objects: Array, whole: Whole) -> Iterator[Finding]:
    """Images with objects that have no row, but for those of which it is known that the detector was given them."""
    with_objects = truth.image_ids[np.unique(truth.image[objects])]
    missing = with_objects[~np.isin(with_objects, whole.image_ids)]
    typical = whole.rows / max(1, len(with_objects) - len(missing))
    missing = missing[~np.isin(missing, table.empty_images)]
    if not len(missing):
        return
    if not whole.rows:
        what = f"{table.source}: no rows at all, but {int(objects.sum()):,} objects to find"
        mend = "lower the score threshold, or write the rows again"
        yield Finding("no_rows", "warning", 0, what, mend, {"file": table.source})
    elif typical >= _MANY_ROWS or len(missing) > max(1, _MISSING_SHARE * len(with_objects)):
        what = f"{table.source}: {len(missing):,} of {len(with_objects):,} images with objects have no row"
        mend = "all their objects count as missed: see that every image went through the detector"
        yield Finding("images_without_rows", "warning", len(missing), what, mend, {"id": int(missing[0])})


def crowded(table: Table, truth: Truth, objects: Array, counted: int) -> Iterator[Finding]:
    images = truth.image[objects].astype(np.int64) * len(truth.category_ids)
    cap = table.postprocess.max_detections
    whose = f"objects of one class than the {counted} detections that the metric counts"
    mend = "AP cannot reach 1: count more, with --max-dets 1,10,N or Evaluator(max_dets=(1, 10, N))"
    yield from _over("more_objects_than_counted", truth, images + truth.category[objects], counted, whose, mend)
    if cap is not None:
        whose = f"objects than the {cap} detections that the post-processing leaves"
        mend = "raise max_detections: AP cannot reach 1"
        yield from _over("more_objects_than_cap", truth, images, cap, whose, mend)


def _over(name: str, truth: Truth, keys: Array, limit: int, whose: str, mend: str) -> Iterator[Finding]:
    """Images with more objects of one key than a limit; keys are image times number of classes, or plus a class."""
    values, counts = np.unique(keys, return_counts=True)
    image = values // len(truth.category_ids)
    images = np.unique(image[counts > limit])
    if len(images):
        most = int(counts.argmax())
        example = {"id": int(truth.image_ids[image[most]]), "value": int(counts[most])}
        yield Finding(name, "warning", len(images), f"{len(images):,} images have more {whose}", mend, example)


def steps(table: Table) -> Iterator[Finding]:
    """Scores that were rounded: ties among them are broken by the order of rows, not by the detector."""
    values = table.score[:: max(1, len(table) // 100_000)]
    distinct = np.unique(values).astype(np.float64)
    hundredths = np.abs(100 * distinct - np.rint(100 * distinct)).max() < 1e-4
    few = len(values) >= _ROWS_FOR_SCORES and len(distinct) <= _FEW_SCORES
    if few or (len(values) >= 200 and hundredths):
        rounded_off = ", all hundredths" if hundredths else ""
        what = f"{table.source}: the scores have only {len(distinct)} values{rounded_off}"
        mend = "write them unrounded: between equal scores the order of rows decides"
        example = {"value": float(distinct[len(distinct) // 2].round(6))}
        yield Finding("scores_in_steps", "warning", len(distinct), what, mend, example)


def rounded(box: Array) -> list[float]:
    """A box for a message."""
    return [round(float(side), 4) for side in box]
