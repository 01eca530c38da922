"""Where the boxes of a prediction table lie, and whether another reading of them puts them on the objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from anchorkit.boxes import box_iou
from anchorkit.findings import Finding
from anchorkit.predictions_check.sums import rounded
from anchorkit.predictions_check.truth import Array, Table, Truth

IMAGES = 100
"""Images whose boxes are compared with their objects."""

BEST_ROWS = 100
"""Rows of an image, best score first, that may lie on its objects."""

_TOP = 10  # the rows whose place is judged
# Mean IoU by which another reading must be better, and better than on other images' objects: with many images, and
# with one. Some twenty readings are tried, and on a few images one of them is better by chance.
_GAIN, _GAIN_OF_ONE = 0.08, 0.5


@dataclass(frozen=True)
class Sample:
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


def images_to_compare(truth: Truth) -> Array:
    """Ids of up to twice `IMAGES` images that have objects, spread evenly: some may have no rows."""
    with_objects: Array = truth.image_ids[np.unique(truth.image[~truth.crowd])]
    places = np.linspace(0, len(with_objects) - 1, 2 * IMAGES).round().astype(np.int64)
    return with_objects[np.unique(places)] if len(with_objects) else with_objects


def sample_of(table: Table, truth: Truth, objects: Array) -> Sample | None:
    """The best rows of up to `IMAGES` images that have objects and rows, spread evenly over their ids."""
    rows = np.flatnonzero(np.isin(table.image_id, images_to_compare(truth)))
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
    return Sample(
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


def fit_of(sample: Sample, boxes: Array, shift: int = 0) -> Array:
    """(S,) how well the top rows of each image lie on its objects: their mean best IoU, 0..1."""
    top = np.flatnonzero(sample.rank < _TOP)
    row, thing = sample.pairs(top, shift)
    best = np.zeros(len(sample.image))
    np.maximum.at(best, row, box_iou(boxes[row], sample.objects[thing]))
    images = len(sample.sizes)
    fit: Array = np.bincount(sample.image[top], best[top], images) / np.bincount(sample.image[top], minlength=images)
    return fit


@dataclass(frozen=True)
class Reading:
    """A way to read the boxes, and how to mend the table if it is the right one."""

    name: str
    what: str
    mend: str
    boxes: Array


def readings(sample: Sample, input_size: tuple[int, int]) -> Iterator[Reading]:
    boxes = sample.boxes
    exchanged = boxes[:, [1, 0, 3, 2]]
    x1y1, x2y2 = boxes[:, :2], boxes[:, 2:]
    half = (x2y2 - x1y1) / 2
    for what, mend, read in (
        ("width and height in the place of x2 and y2", "x2 is x1 + width, y2 is y1 + height", [x1y1, x1y1 + x2y2]),
        ("corners that were taken for x y width height", "take x1 from x2 and y1 from y2", [x1y1, x2y2 - x1y1]),
        ("centres in the place of corners", "x1 is the centre minus half the width", [x1y1 - half, x2y2 - half]),
    ):
        yield Reading("corners_as_x_y_w_h", what, mend, np.concatenate(read, axis=1))
    yield Reading("axes_exchanged", "x and y exchanged", "write x1 y1 x2 y2, not y1 x1 y2 x2", exchanged)
    for factor in (2.0, 0.5):
        what = f"coordinates that are {1 / factor:g} times too large"
        yield Reading("coordinates_scaled", what, "scale the boxes to pixels of the original image", factor * boxes)
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
            yield Reading(name, f"normalised coordinates{axes}", "multiply by the image's width and height", of * size)
        name = "axes_exchanged" if axes else "input_pixels"
        mend = "multiply x by image width / input width, y by image height / input height"
        yield Reading(name, f"{pixels}{axes}", mend, of * size / given)
    for whole, word in ((100, "percent"), (1000, "thousandths")):
        mend = f"divide by {whole}, then multiply by the image's width and height"
        yield Reading("normalised_coordinates", f"{word} of the image's width and height", mend, boxes * size / whole)
    width, height = sizes[:, 0], sizes[:, 1]
    for axis, side, first, extent in (("x", "the right", 0, width), ("y", "the bottom", 1, height)):
        mirrored = boxes.copy()
        mirrored[:, first], mirrored[:, first + 2] = extent - boxes[:, first + 2], extent - boxes[:, first]
        mend = f"{axis}1 is the image's {'width' if axis == 'x' else 'height'} minus {axis}2, and the other way round"
        yield Reading("axes_mirrored", f"{axis} measured from {side}", mend, mirrored)
    name = "letterbox_shift"
    yield Reading(name, f"{pixels}, letterboxed", undo, (boxes - pad) / scale)
    yield Reading(name, f"{pixels}, padded to the right and below", "divide by the scale", boxes / scale)
    yield Reading(name, "the padding of a letterbox in them", "subtract the padding", boxes - pad / scale)
    yield Reading(name, "a letterbox scaled as if it were stretched", undo, (boxes * given / size - pad) / scale)
    what, mend = "x scaled by the height and y by the width", "multiply x by the width and y by the height"
    yield Reading("axes_exchanged", what, mend, boxes * size / size[:, [1, 0, 3, 2]])


def coordinates(table: Table, sample: Sample) -> tuple[Finding, Sample] | None:
    """The reading that puts the boxes on the objects, where as they stand they do not lie there."""
    as_is = fit_of(sample, sample.boxes)
    needed = max(_GAIN, _GAIN_OF_ONE / len(sample.sizes) ** 0.5)
    best: tuple[float, Reading] | None = None
    for reading in readings(sample, table.layout.input_size):
        fit = fit_of(sample, reading.boxes)
        gain = fit.mean() - as_is.mean()
        if gain < needed or (fit > as_is).sum() < 3 * (fit < as_is).sum():
            continue
        others = fit_of(sample, reading.boxes, shift=1).mean() if len(sample.sizes) > 1 else 0.0
        if fit.mean() - others > needed and (best is None or fit.mean() > best[0] + 0.01):
            best = float(fit.mean()), reading
    if best is None:
        return None
    reached, reading = best
    what = (
        f"{table.source}: the boxes look like {reading.what}: the best rows of {len(sample.sizes)} images overlap "
        f"objects by an IoU of {as_is.mean():.2f} as they are and {reached:.2f} if they are read so"
    )
    example = {"file": table.source, "value": rounded(sample.boxes[0])}
    finding = Finding(reading.name, "warning", len(table), what, reading.mend, example)
    return finding, replace(sample, boxes=reading.boxes)
