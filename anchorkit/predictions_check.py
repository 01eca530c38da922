"""What is implausible in a prediction table, compared with its ground truth.

Cheap sums look at every row. Where boxes and classes lie is judged on the best rows of a sample of images: the boxes
are read in every wrong way that is known (normalised, in input pixels, axes exchanged ...), and a way is reported if
the boxes lie far better on the objects so, and better than on the objects of other images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from anchorkit.findings import Finding, Severity

if TYPE_CHECKING:
    from anchorkit.predictions import PredictionTable

Array = npt.NDArray[Any]

IMAGES = 100
"""Images whose boxes are compared with their objects."""

BEST_ROWS = 100
"""Rows of an image, best score first, that may lie on its objects."""

_TOP = 10  # the rows whose place is judged
_SMALLEST_IMAGE = 8  # pixels: in smaller ones a box of a pixel means nothing
_GAIN = 0.08  # mean IoU by which another reading must be better, and better than on other images' objects
_FEW_SCORES, _ROWS_FOR_SCORES = 32, 1000
_MANY_ROWS = 30  # where the typical image has so many rows, one without any is strange
_MISSING_SHARE = 0.1  # where it has fewer, a detector may have missed all there is in a few images


class Truth(Protocol):
    """The ground truth as arrays, as `anchorkit.evaluation.ground_truth.GroundTruth` has it."""

    image_ids: Array
    category_ids: Array
    image: Array
    category: Array
    boxes: Array
    crowd: Array
    sizes: Array


@dataclass(frozen=True)
class _Sample:
    """Best rows (R) and objects (G) of some images (S), both image by image; boxes are x1 y1 x2 y2."""

    image: Array  # (R,) which of the S images
    rank: Array  # (R,) 0 for the image's best score
    boxes: Array  # (R, 4)
    category: Array  # (R,)
    score: Array  # (R,)
    objects: Array  # (G, 4)
    object_category: Array  # (G,)
    object_image: Array  # (G,)
    sizes: Array  # (S, 2) width, height

    def pairs(self, rows: Array, shift: int = 0) -> tuple[Array, Array]:
        """Each of `rows` with each object of its image; with those of the image `shift` places on."""
        images = len(self.sizes)
        start = np.searchsorted(self.object_image, np.arange(images + 1))
        of = (self.image[rows] + shift) % images
        count = start[of + 1] - start[of]
        first = np.repeat(start[of] - np.cumsum(count) + count, count)
        return np.repeat(rows, count), first + np.arange(len(first))


def check_table(table: PredictionTable, truth: Truth, counted: int = 100) -> tuple[Finding, ...]:
    """What is implausible in a prediction table.

    Args:
        table: the predictions.
        truth: the annotated boxes of (at least) the same images.
        counted: how many detections of a class in an image the metric counts (the last of ``max_dets``).

    Returns:
        The findings. Without objects in the ground truth there is nothing to compare, and nothing is found.
    """
    objects = ~truth.crowd
    if not objects.any():
        return ()
    if not len(table):
        what = f"{table.source}: no rows at all, but {int(objects.sum()):,} objects to find"
        mend = "lower the score threshold, or write the rows again"
        return (Finding("no_rows", "warning", 0, what, mend, {"file": table.source}),)
    found = [*_tiny(table, truth)]
    if found and found[0].count == len(table):
        return tuple(found)
    found += [*_without_rows(table, truth, objects), *_crowded(table, truth, objects, counted), *_steps(table)]
    sample = _sample(table, truth, objects)
    if sample is not None:
        wrong = _coordinates(table, sample)
        if wrong is not None:
            finding, sample = wrong
            found.append(finding)
        found += _classes(table, truth, sample)
    return tuple(found)


# ----------------------------------------------------------------------------------------------------------- cheap sums


def _tiny(table: PredictionTable, truth: Truth) -> Iterator[Finding]:
    """Boxes that are smaller than a pixel: refused if all are and the images are known to be larger."""
    size = np.nanmin(truth.sizes) if not np.isnan(truth.sizes).all() else np.nan
    extent = size if not np.isnan(size) else (truth.boxes[:, :2] + truth.boxes[:, 2:]).max()
    if extent < _SMALLEST_IMAGE:
        return
    high = table.boxes.max(axis=1)
    unit = (high <= 2) & (table.boxes.min(axis=1) >= -1)
    fractional = (table.boxes[unit] != np.rint(table.boxes[unit])).any(axis=1)
    if not unit.all() or not fractional.any():  # a box over the whole image is 0 0 1 1
        unit[unit] = fractional
    tiny = (table.boxes[:, 2:] - table.boxes[:, :2] <= 1).all(axis=1) if not unit.all() else unit
    for name, mask, what, mend in (
        (
            "normalised_coordinates",
            unit,
            "lie within 0..1: they look normalised",
            "multiply x by the image's width and y by its height",
        ),
        (
            "boxes_below_a_pixel",
            tiny,
            "are smaller than a pixel",
            "boxes are x1, y1, x2, y2 in pixels of the original image",
        ),
    ):
        if mask.all() or (name == "normalised_coordinates" and mask.sum() >= max(10, len(table) / 20)):
            row = int(mask.argmax())
            example = {"file": table.source, "id": int(table.image_id[row]), "value": _rounded(table.boxes[row])}
            count = f"all {len(table):,}" if mask.all() else f"{int(mask.sum()):,} of {len(table):,}"
            severity: Severity = "refused" if mask.all() and not np.isnan(size) else "warning"
            yield Finding(name, severity, int(mask.sum()), f"{table.source}: {count} boxes {what}", mend, example)
            return


def _without_rows(table: PredictionTable, truth: Truth, objects: Array) -> Iterator[Finding]:
    with_objects = truth.image_ids[np.unique(truth.image[objects])]
    missing = with_objects[~np.isin(with_objects, table.image_id)]
    typical = len(table) / max(1, len(with_objects) - len(missing))
    if len(missing) and (typical >= _MANY_ROWS or len(missing) > max(1, _MISSING_SHARE * len(with_objects))):
        yield Finding(
            "images_without_rows",
            "warning",
            len(missing),
            f"{table.source}: {len(missing):,} of {len(with_objects):,} images with objects have no row",
            "all their objects count as missed: see that every image went through the detector",
            {"id": int(missing[0])},
        )


def _crowded(table: PredictionTable, truth: Truth, objects: Array, counted: int) -> Iterator[Finding]:
    for name, keys, limit, whose, mend in (
        (
            "more_objects_than_counted",
            truth.image.astype(np.int64) * len(truth.category_ids) + truth.category,
            counted,
            f"objects of one class than the {counted} detections that the metric counts",
            "AP cannot reach 1: count more, with --max-dets 1,10,N or Evaluator(max_dets=(1, 10, N))",
        ),
        (
            "more_objects_than_cap",
            truth.image.astype(np.int64) * len(truth.category_ids),
            table.postprocess.max_detections,
            f"objects than the {table.postprocess.max_detections} detections that the post-processing leaves",
            "raise max_detections: AP cannot reach 1",
        ),
    ):
        if limit is None:
            continue
        values, counts = np.unique(keys[objects], return_counts=True)
        over = counts > limit
        if over.any():
            images = np.unique(values[over] // len(truth.category_ids))
            most = int(counts.argmax())
            example = {"id": int(truth.image_ids[values[most] // len(truth.category_ids)]), "value": int(counts[most])}
            yield Finding(name, "warning", len(images), f"{len(images):,} images have more {whose}", mend, example)


def _steps(table: PredictionTable) -> Iterator[Finding]:
    """Scores that were rounded: ties among them are broken by the order of rows, not by the detector."""
    values = table.score[:: max(1, len(table) // 100_000)]
    distinct = np.unique(values).astype(np.float64)
    hundredths = np.abs(100 * distinct - np.rint(100 * distinct)).max() < 1e-4
    few = len(values) >= _ROWS_FOR_SCORES and len(distinct) <= _FEW_SCORES
    if few or (len(values) >= 200 and hundredths):
        yield Finding(
            "scores_in_steps",
            "warning",
            len(distinct),
            f"{table.source}: the scores have only {len(distinct)} values" + (", all hundredths" if hundredths else ""),
            "write them unrounded: between equal scores the order of rows decides",
            {"value": float(distinct[len(distinct) // 2].round(6))},
        )


# --------------------------------------------------------------------------------------------------- where boxes lie


def _sample(table: PredictionTable, truth: Truth, objects: Array) -> _Sample | None:
    """The best rows of up to `IMAGES` images that have objects and rows, spread evenly over their ids."""
    with_objects = truth.image_ids[np.unique(truth.image[objects])]
    places = np.unique(np.linspace(0, len(with_objects) - 1, 2 * IMAGES).round().astype(np.int64))
    rows = np.flatnonzero(np.isin(table.image_id, with_objects[places]))
    ids = np.unique(table.image_id[rows])
    ids = ids[:: max(1, -(-len(ids) // IMAGES))]
    rows = rows[np.isin(table.image_id[rows], ids)]
    if not len(rows):
        return None
    image = np.searchsorted(ids, table.image_id[rows])
    order = np.lexsort((-table.score[rows], image))
    rows, image = rows[order], image[order]
    start = np.searchsorted(image, np.arange(len(ids)))
    rank = np.arange(len(rows)) - start[image]
    best = rank < BEST_ROWS
    rows, image, rank = rows[best], image[best], rank[best]
    position = np.searchsorted(truth.image_ids, ids)
    taken = objects & np.isin(truth.image, position)
    corner = truth.boxes[taken, :2]
    return _Sample(
        image,
        rank,
        table.boxes[rows].astype(np.float64),
        table.category_id[rows],
        table.score[rows],
        np.concatenate([corner, corner + truth.boxes[taken, 2:]], axis=1),
        truth.category_ids[truth.category[taken]],
        np.searchsorted(position, truth.image[taken]),
        truth.sizes[position],
    )


def _iou(a: Array, b: Array) -> Array:
    """IoU of boxes pair by pair, (P, 4) x1 y1 x2 y2 -> (P,), 0..1."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = np.where((sides > 0).all(axis=1), sides.prod(axis=1), 0.0)
    areas = [np.maximum(box[:, 2:] - box[:, :2], 0).prod(axis=1) for box in (a, b)]
    iou: Array = shared / np.maximum(areas[0] + areas[1] - shared, 1e-12)
    return iou


def _fit(sample: _Sample, boxes: Array, shift: int = 0) -> Array:
    """(S,) how well the top rows of each image lie on its objects: their mean best IoU, 0..1."""
    top = np.flatnonzero(sample.rank < _TOP)
    row, thing = sample.pairs(top, shift)
    best = np.zeros(len(sample.image))
    np.maximum.at(best, row, _iou(boxes[row], sample.objects[thing]))
    images = len(sample.sizes)
    fit: Array = np.bincount(sample.image[top], best[top], images) / np.bincount(sample.image[top], minlength=images)
    return fit


@dataclass(frozen=True)
class _Reading:
    """A way to read the boxes, and how to mend the table if it is the right one."""

    name: str
    what: str
    mend: str
    boxes: Array


def _readings(sample: _Sample, input_size: tuple[int, int]) -> Iterator[_Reading]:
    boxes = sample.boxes
    exchanged = boxes[:, [1, 0, 3, 2]]
    x1y1, x2y2 = boxes[:, :2], boxes[:, 2:]
    for what, mend, read in (
        ("width and height in the place of x2 and y2", "x2 is x1 + width, y2 is y1 + height", [x1y1, x1y1 + x2y2]),
        ("corners that were taken for x y width height", "take x1 from x2 and y1 from y2", [x1y1, x2y2 - x1y1]),
        (
            "centres in the place of corners",
            "x1 is the centre minus half the width",
            [x1y1 - (x2y2 - x1y1) / 2, x2y2 - (x2y2 - x1y1) / 2],
        ),
    ):
        yield _Reading("corners_as_x_y_w_h", what, mend, np.concatenate(read, axis=1))
    yield _Reading("axes_exchanged", "x and y exchanged", "write x1 y1 x2 y2, not y1 x1 y2 x2", exchanged)
    for factor in (2.0, 0.5):
        mend = "scale the boxes to pixels of the original image"
        yield _Reading(
            "coordinates_scaled", f"coordinates that are {1 / factor:g} times too large", mend, factor * boxes
        )
    if np.isnan(sample.sizes).any():
        return
    sizes = sample.sizes[sample.image]  # (R, 2)
    size, given = np.tile(sizes, 2), np.tile(np.array(input_size[::-1], np.float64), 2)
    scale = (given / size).min(axis=1, keepdims=True)
    pad = (given - scale * size) / 2
    pixels = f"pixels of the network's input ({input_size[1]}x{input_size[0]})"
    undo = "subtract the padding and divide by the scale"
    for axes, of in (("", boxes), (" with x and y exchanged", exchanged)):
        name = "axes_exchanged" if axes else "normalised_coordinates"
        if np.abs(boxes).max() <= 2:
            yield _Reading(name, f"normalised coordinates{axes}", "multiply by the image's width and height", of * size)
        name = "axes_exchanged" if axes else "input_pixels"
        mend = "multiply x by image width / input width, y by image height / input height"
        yield _Reading(name, f"{pixels}{axes}", mend, of * size / given)
    name = "letterbox_shift"
    yield _Reading(name, f"{pixels}, letterboxed", undo, (boxes - pad) / scale)
    yield _Reading(name, f"{pixels}, padded to the right and below", "divide by the scale", boxes / scale)
    yield _Reading(name, "the padding of a letterbox in them", "subtract the padding", boxes - pad / scale)
    yield _Reading(name, "a letterbox scaled as if it were stretched", undo, (boxes * given / size - pad) / scale)
    turned = size[:, [1, 0, 3, 2]]
    yield _Reading(
        "axes_exchanged",
        "x scaled by the height and y by the width",
        "multiply x by the width and y by the height",
        boxes * size / turned,
    )


def _coordinates(table: PredictionTable, sample: _Sample) -> tuple[Finding, _Sample] | None:
    """The reading that puts the boxes on the objects, where as they stand they do not lie there."""
    as_is = _fit(sample, sample.boxes)
    best: tuple[float, _Reading] | None = None
    for reading in _readings(sample, table.layout.input_size):
        fit = _fit(sample, reading.boxes)
        gain = fit.mean() - as_is.mean()
        if gain < _GAIN or (fit > as_is).sum() < 3 * (fit < as_is).sum():
            continue
        others = _fit(sample, reading.boxes, shift=1).mean() if len(sample.sizes) > 1 else 0.0
        if fit.mean() - others > _GAIN and (best is None or fit.mean() > best[0] + 0.01):
            best = float(fit.mean()), reading
    if best is None:
        return None
    reached, reading = best
    what = (
        f"{table.source}: the boxes look like {reading.what}: the best rows of {len(sample.sizes)} images overlap "
        f"objects by an IoU of {as_is.mean():.2f} as they are and {reached:.2f} if they are read so"
    )
    example = {"file": table.source, "value": _rounded(sample.boxes[0])}
    return Finding(reading.name, "warning", len(table), what, reading.mend, example), replace(
        sample, boxes=reading.boxes
    )


def _rounded(box: Array) -> list[float]:
    return [round(float(side), 4) for side in box]


# ---------------------------------------------------------------------------------------------- which class lies where


def _classes(table: PredictionTable, truth: Truth, sample: _Sample) -> Iterator[Finding]:
    """Class ids that mean other classes than in the ground truth: again and again one lies on another one's objects."""
    row, thing = sample.pairs(np.arange(len(sample.image)))
    over = _iou(sample.boxes[row], sample.objects[thing]) >= 0.5
    row, thing = row[over], thing[over]
    # Rows of an image are sorted by score: the first one over an object is its best.
    hit, first = np.unique(thing, return_index=True)
    if len(hit) < 5:
        return
    # Pairs go row by row: sort by object, keeping the order of rows.
    said, meant = sample.category[row[first]], sample.object_category[hit]
    pairs, counts = np.unique(np.stack([said, meant]), axis=1, return_counts=True)
    lies_on: dict[int, int] = {}
    mapped = 0
    strong = []
    for (predicted, actual), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        precision, recall = count / (said == predicted).sum(), count / (meant == actual).sum()
        if predicted != actual and precision >= 0.6 and recall >= 0.5:
            lies_on[predicted] = actual
            mapped += count
            strong += [predicted] * int(min(precision, recall) >= 0.8 and count >= 5)
    unknown = [predicted for predicted in lies_on if predicted not in truth.category_ids]
    whole = mapped >= 0.5 * len(hit) and (len(lies_on) > 1 or bool(unknown))
    if not whole and len(strong) < 2:
        return
    shift = {actual - predicted for predicted, actual in lies_on.items()}
    ids = truth.category_ids.tolist()
    told = ", ".join(f"{predicted} on {actual}" for predicted, actual in list(lies_on.items())[:5])
    told += " ..." if len(lies_on) > 5 else ""
    if shift in ({1}, {-1}) or all(p in range(len(ids)) and ids[p] == actual for p, actual in lies_on.items()):
        name, how = "class_ids_off_by_one", "they look like class indices from 0" if shift != {-1} else "off by one"
        how += f", where the ground truth has the ids {ids[0]} to {ids[-1]}"
    else:
        name, how = "class_ids_permuted", "they look like the ids of another list of classes"
    exact, any_class = (_ap50(sample, table.postprocess.nms_iou, by_class) for by_class in (True, False))
    yield Finding(
        name,
        "warning",
        len(lies_on),
        f"{table.source}: rows of one class lie on objects of another ({told}): {how}. AP50 on {len(sample.sizes)} "
        f"images is {100 * exact:.1f} points, without regard to class {100 * any_class:.1f}",
        "map the class ids of the rows to the ground truth's",
        {"file": table.source, "value": f"class {next(iter(lies_on))} lies on {next(iter(lies_on.values()))}"},
    )


def _ap50(sample: _Sample, nms_iou: float, by_class: bool) -> float:
    """AP at an IoU of 0.5 on the sample, 0..1: mean over classes, or as if all classes were one."""
    category = sample.category if by_class else np.zeros_like(sample.category)
    meant = sample.object_category if by_class else np.zeros_like(sample.object_category)
    kept, right = [], []
    for image in range(len(sample.sizes)):
        rows, things = np.flatnonzero(sample.image == image), np.flatnonzero(sample.object_image == image)
        alive, free = np.ones(len(rows), np.bool_), np.ones(len(things), np.bool_)
        for place, row in enumerate(rows):
            if not alive[place]:
                continue
            box = sample.boxes[[row]]
            alive &= (_iou(box, sample.boxes[rows]) <= nms_iou) | (category[rows] != category[row])
            overlap = _iou(box, sample.objects[things]) * (free & (meant[things] == category[row]))
            if len(things) and overlap.max() >= 0.5:
                free[overlap.argmax()] = False
            kept.append(row)
            right.append(len(things) > 0 and overlap.max() >= 0.5)
    rows, hits = np.array(kept), np.array(right)
    order = np.argsort(-sample.score[rows], kind="stable")
    rows, hits = rows[order], hits[order]
    figures = []
    for one in np.unique(meant):
        own = hits[category[rows] == one]
        precision = np.cumsum(own) / np.arange(1, len(own) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        figures.append(float(precision[own].sum() / (meant == one).sum()))
    return float(np.mean(figures))
