"""Augmentation: where an image is drawn in the network's input, and in which colours.

Each sample is one resize of a part of the image and one affine map of its colours, in NumPy and Pillow. A pipeline of
separate transforms makes the same choices, and takes 3 to 15 times as long (benchmarks/README.md).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from anchorkit.boxes import box_iou
from anchorkit.datasets.images import ImageArray
from anchorkit.errors import InputError

Array = npt.NDArray[Any]

LEAST_VISIBLE = 0.1  # the share of a box that must be in a mosaic, or it is no target
SMALLEST_SIDE = 1.0  # pixels of the input; thinner boxes teach nothing and break the box coder
MEAN_COLOUR = (123, 117, 104)  # of ImageNet: what zooming out fills with, as in Liu et al. 2016
MOSAIC_COLOUR = (114, 114, 114)
OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
"""The least IoU of a crop with a box, one of which is drawn; 1 for no crop (Liu et al. 2016, section 2.2)."""
ORDERS = tuple(itertools.permutations(range(3)))
GREY = np.array([0.2989, 0.587, 0.114])
"""The shares of red, green and blue in the brightness that the eye sees."""


class Item(NamedTuple):
    """A training image before its colours change.

    Attributes:
        pixels: uint8 (H, W, 3) RGB.
        boxes: float32 (N, 4), x1 y1 x2 y2 in its pixels.
        labels: int64 (N,).
    """

    pixels: ImageArray
    boxes: Array
    labels: Array


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image.

    Attributes:
        zoom_out: how many times as long as the image's the sides of what is seen may be; 1 for no zooming out.
        trials: of finding a crop for one least overlap; 0 for no crops.
        mosaic: put four images together.
        flip: mirror half of the images.
        distort: change the colours.
    """

    zoom_out: float = 1.0
    trials: int = 0
    mosaic: bool = False
    flip: bool = True
    distort: bool = False


AUGMENTATIONS = {
    # Liu et al. 2016, sections 2.2 and 3.6.
    "ssd": Augmentation(zoom_out=4.0, trials=40, distort=True),
    # For small inputs, where zooming out four times would leave specks.
    "ssd-small": Augmentation(zoom_out=2.0, trials=10, distort=True),
    "mosaic": Augmentation(mosaic=True, distort=True),
    "flip": Augmentation(),
    "none": Augmentation(flip=False),
}


def augmentation(name: str) -> Augmentation:
    """One of `AUGMENTATIONS`.

    Raises:
        InputError: the name is unknown.
    """
    if name not in AUGMENTATIONS:
        raise InputError(f"unknown augmentation {name!r}: use one of {', '.join(AUGMENTATIONS)}")
    return AUGMENTATIONS[name]


def augmented(
    items: Sequence[Item], what: Augmentation, size: tuple[int, int], rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """A training sample.

    Args:
        items: the image; for a mosaic three others behind it.
        what: what may happen to it.
        size: (height, width) of the network's input.
        rng: decides what happens.

    Returns:
        Colours float32 (3, height, width), 0..1; boxes float32 (N, 4) inside the input, at least a pixel wide and high;
        labels int64 (N,).
    """
    pixels, boxes, labels = mosaic(items, size, rng) if what.mosaic else _window(items[0], what, size, rng)
    if what.flip and rng.random() < 0.5:
        pixels = pixels[:, ::-1]
        boxes = np.stack([size[1] - boxes[:, 2], boxes[:, 1], size[1] - boxes[:, 0], boxes[:, 3]], 1)
    kept = (boxes[:, 2:] - boxes[:, :2] >= SMALLEST_SIDE).all(1)
    colours = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)  # (3, height, width), 0..255
    change = distortion(colours, rng) if what.distort else None
    return colours / 255 if change is None else recoloured(colours, change), boxes[kept], labels[kept]


def mosaic(items: Sequence[Item], size: tuple[int, int], rng: np.random.Generator) -> Item:
    """Four images around a point, a window of which is the sample (Bochkovskiy et al. 2020, section 3.3).

    Each image is as large as fits the input, times a factor of 0.5 to 1.5 that all share. The rest is grey.

    Args:
        items: four; the first lies upper left of the point, the others upper right, lower left and lower right.
        size: (height, width) of the sample.
        rng: draws the factor and the point.

    Returns:
        The sample. Boxes of which less than a tenth is in it are left out.
    """
    zoom = 0.5 + rng.random()
    ends = np.array(size[::-1], np.float64)
    # The point, in the middle half of what four inputs would cover at this zoom, seen from a window in its centre.
    point = np.round(ends * (0.5 + (rng.random(2) - 0.5) * zoom))
    canvas = _blank(size, MOSAIC_COLOUR).copy()
    parts = []
    for number, (pixels, boxes, labels) in enumerate(items):
        sides = np.array(pixels.shape[1::-1], np.float64)
        drawn = np.maximum(np.round(sides * zoom * (ends / sides).min()), 1)
        corner = point - drawn * [number % 2 == 0, number < 2]
        draw(canvas, pixels, corner, drawn / sides)
        whole = boxes * _twice(drawn / sides) + _twice(corner)
        cut = np.clip(whole, 0, _twice(ends))
        kept = _areas(cut) > LEAST_VISIBLE * _areas(whole)
        parts.append((cut[kept].astype(np.float32), labels[kept]))
    return Item(canvas, np.concatenate([boxes for boxes, _ in parts]), np.concatenate([labels for _, labels in parts]))


def draw(canvas: ImageArray, pixels: ImageArray, corner: Array, scale: Array) -> None:
    """Draw an image onto a canvas; what lies outside the canvas is left out.

    Args:
        canvas: uint8 (h, w, 3), changed in place. A pixel that the image covers in part stays as it is.
        pixels: uint8 (H, W, 3).
        corner: (x, y) of the image's upper left corner on the canvas.
        scale: (x, y), pixels of the canvas per pixel of the image.
    """
    spans: list[slice] = []  # of the canvas: columns, rows
    ends: list[tuple[float, float]] = []  # of the part of the image that is drawn there
    for axis, start, factor in zip((1, 0), corner.tolist(), scale.tolist(), strict=True):
        length = pixels.shape[axis]
        # A millionth of a pixel is the rounding of what was divided and multiplied again.
        first = max(0, math.ceil(start - 1e-6))
        last = min(canvas.shape[axis], math.floor(start + factor * length + 1e-6))
        if last <= first:
            return
        spans.append(slice(first, last))
        ends.append((max((first - start) / factor, 0.0), min((last - start) / factor, float(length))))
    (left, right), (top, bottom) = ends
    shape = (spans[0].stop - spans[0].start, spans[1].stop - spans[1].start)
    drawn = Image.fromarray(pixels).resize(shape, Image.Resampling.BILINEAR, (left, top, right, bottom))
    canvas[spans[1], spans[0]] = np.asarray(drawn)


def distortion(colours: Array, rng: np.random.Generator) -> Array | None:
    """A photometric distortion (Liu et al. 2016, after Howard 2013), drawn at random.

    Brightness, contrast, saturation and hue change, each with probability 0.5, and the channels change places with
    probability 0.5. Each of these is an affine map of (red, green, blue), so that all of them together are one. Hue
    turns about the axis of greys.

    Args:
        colours: float32 (3, H, W), whole numbers 0..255, so that their mean has the same bits on every machine.
        rng: draws.

    Returns:
        float64 (4, 4): maps (red, green, blue, 1), all 0..1. None for no change.
    """
    bright, contrasted, saturated, turned, swapped, first = (share < 0.5 for share in rng.random(6).tolist())
    drawn = rng.random(5).tolist()
    brightness, contrast, saturation = 0.875 + 0.25 * drawn[0], 0.5 + drawn[1], 0.5 + drawn[2]
    angle, order = 2 * math.pi * (0.1 * drawn[3] - 0.05), ORDERS[int(6 * drawn[4])]
    if not (bright or contrasted or saturated or turned or swapped):
        return None
    change = np.eye(4)
    if bright:
        change[:3] *= brightness
    if contrasted and first:
        change = _contrast(change, colours, contrast)
    if saturated:
        change[:3] = saturation * change[:3] + (1 - saturation) * (GREY @ change[:3])
    if turned:  # Rodrigues' formula
        across = np.array([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
        turn = math.cos(angle) * np.eye(3) + (1 - math.cos(angle)) / 3 + math.sin(angle) * across
        change[:3] = turn @ change[:3]
    if contrasted and not first:
        change = _contrast(change, colours, contrast)
    return change[[*order, 3]] if swapped else change


def _contrast(change: Array, colours: Array, contrast: float) -> Array:
    """`change`, and then all colours further from the mean brightness of the image, or nearer to it."""
    # The sums of rows are exact in float32.
    mean = colours.sum(2).sum(1, dtype=np.float64) / colours[0].size / 255
    away = contrast * change
    away[:3, 3] += (1 - contrast) * (GREY @ change[:3] @ [*mean, 1])
    away[3] = change[3]
    return away


def recoloured(colours: Array, change: Array) -> Array:
    """Colours float32 (3, H, W), 0..1, of those in 0..255, under a map of `distortion`; clipped."""
    mixed = np.empty_like(colours)
    for channel, (red, green, blue, shift) in zip(mixed, change[:3].tolist(), strict=True):
        # Channel by channel: how a product of matrices rounds depends on the machine.
        np.multiply(colours[0], np.float32(red / 255), out=channel)
        channel += colours[1] * np.float32(green / 255)
        channel += colours[2] * np.float32(blue / 255)
        channel += np.float32(shift)
    return np.clip(mixed, 0, 1, out=mixed)


def _window(item: Item, what: Augmentation, size: tuple[int, int], rng: np.random.Generator) -> Item:
    """What is seen of an image: all of it, with a margin around it, or a part."""
    pixels, boxes, labels = item
    corner, sides = np.zeros(2), np.array(pixels.shape[1::-1], np.float64)  # of the window, (x, y)
    if what.zoom_out > 1 and rng.random() < 0.5:
        wider = sides * rng.uniform(1, what.zoom_out)
        corner, sides = (sides - wider) * rng.random(2), wider
    if what.trials and len(boxes):
        corner, sides, inside = _cropped(corner, sides, boxes, what.trials, rng)
        boxes, labels = boxes[inside], labels[inside]
    ends = np.array(size[::-1], np.float64)
    canvas = _blank(size, MEAN_COLOUR).copy()
    draw(canvas, pixels, -corner * ends / sides, ends / sides)
    moved = (boxes - _twice(corner)) * _twice(ends / sides)
    return Item(canvas, np.clip(moved, 0, _twice(ends)).astype(np.float32), labels)


def _cropped(
    corner: Array, sides: Array, boxes: Array, trials: int, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """A window within a window that overlaps a box enough (Liu et al. 2016, section 2.2).

    Args:
        corner: (x, y) of the window's upper left corner.
        sides: its (width, height).
        boxes: (N, 4), N of 1 or more.
        trials: for each least overlap that is drawn.
        rng: draws.

    Returns:
        Corner and sides of the new window, and bool (N,): which boxes have their centre in it.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    while (least := OVERLAPS[rng.integers(len(OVERLAPS))]) < 1:
        smaller = sides * rng.uniform(0.3, 1, (trials, 2))
        corners = corner + (sides - smaller) * rng.random((trials, 2))
        windows = np.concatenate([corners, corners + smaller], 1)[:, None]  # (trials, 1, 4)
        inside: Array = np.all((windows[..., :2] < centres) & (centres < windows[..., 2:]), axis=2)  # (trials, N)
        overlap = np.where(inside, box_iou(windows, boxes), -1).max(1)
        shape = smaller[:, 0] / smaller[:, 1]
        good = (shape >= 0.5) & (shape <= 2) & (overlap >= least)
        if good.any():
            first = int(good.argmax())
            return corners[first], smaller[first], inside[first]
    return corner, sides, np.ones(len(boxes), np.bool_)


@cache
def _blank(size: tuple[int, int], colour: tuple[int, int, int]) -> ImageArray:
    """An empty canvas, to be copied: to copy one takes a tenth of the time that painting it takes."""
    return np.full((*size, 3), colour, np.uint8)


def _twice(pair: Array) -> Array:
    return np.concatenate((pair, pair))


def _areas(boxes: Array) -> Array:
    sides = boxes[:, 2:] - boxes[:, :2]
    areas: Array = sides[:, 0] * sides[:, 1]
    return areas
