"""The objects of the shapes data set: how the classes are shaped, and outlines that fill a box exactly.

An outline is a signed distance in pixels, negative inside. Antialiased edges, soft shadows and bevels all use it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Outline = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class ShapeClass:
    """How the objects of one class are shaped.

    Attributes:
        name: the class's name.
        size: least and greatest longer side, as a share of the image's side.
        aspect: least and greatest width / height of the box.
    """

    name: str
    size: tuple[float, float]
    aspect: tuple[float, float]


# The deliberate redundancy: objects taller than wide are small (bottles, poles), and so are balls; large objects are
# wider than high. So no object needs a detector's large, tall anchors. The card lists them exactly.
CLASSES = (
    ShapeClass("ball", (0.08, 0.255), (1.0, 1.0)),
    ShapeClass("bar", (0.28, 0.62), (3.0, 4.5)),
    ShapeClass("bottle", (0.14, 0.30), (0.42, 0.56)),
    ShapeClass("brick", (0.13, 0.45), (1.6, 2.0)),
    ShapeClass("crate", (0.20, 0.90), (1.17, 1.28)),
    ShapeClass("melon", (0.20, 0.90), (1.17, 1.28)),
    ShapeClass("pole", (0.18, 0.32), (0.22, 0.32)),
)


@dataclass
class Item:
    """One object, ready to be placed: its outline around (0, 0) and the patch of pixels that its box touches."""

    label: int
    width: float
    height: float
    half: tuple[float, float]  # half sides of the object before it is turned
    turn: float
    outline: Outline
    fraction: tuple[float, float]  # where in a pixel the box begins
    x: Array  # (h, w) coordinates of the patch's pixel centres from the object's centre
    y: Array
    distance: Array  # (h, w) outline at these points
    column: int = 0
    row: int = 0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1 y1 x2 y2 in pixels of the image."""
        x, y = self.column + self.fraction[0], self.row + self.fraction[1]
        return x, y, x + self.width, y + self.height


def pixel_grid(top: int, bottom: int, left: int, right: int) -> tuple[Array, Array]:
    """Pixel centres of a window of the image: (h, w) arrays of y and x."""
    y = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5)
    x = np.arange(left, right, dtype=np.float32)[None, :] + np.float32(0.5)
    y, x = np.broadcast_arrays(y, x)
    return y, x


def turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """Coordinates along the axes of an object turned by `angle` radians."""
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return x * cosine + y * sine, y * cosine - x * sine


def rectangle(half_width: float, half_height: float, radius: float) -> Outline:
    """A rectangle whose corners are rounded by `radius` pixels."""

    def distance(x: Array, y: Array) -> Array:
        dx = np.abs(x) - np.float32(half_width - radius)
        dy = np.abs(y) - np.float32(half_height - radius)
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
        return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0) - np.float32(radius), dtype=np.float32)

    return distance


def ellipse(half_width: float, half_height: float) -> Outline:
    """An ellipse along the axes."""

    def distance(x: Array, y: Array) -> Array:
        u, v = x / np.float32(half_width), y / np.float32(half_height)
        level = np.hypot(u, v)
        slope = np.hypot(u / np.float32(half_width), v / np.float32(half_height))
        # First-order distance; exact enough within the pixel or two that antialiasing and shadows look at.
        return np.asarray(level * (level - 1) / (slope + np.float32(1e-6)), dtype=np.float32)

    return distance


def bottle(half_width: float, half_height: float) -> Outline:
    """A body and a neck, with shoulders blended between them."""
    neck_height = 0.34 * 2 * half_height
    body_half = half_height - 0.42 * neck_height
    body = rectangle(half_width, body_half - 0.29 * neck_height, 0.45 * half_width)
    body_centre = half_height - (body_half - 0.29 * neck_height)
    neck = rectangle(0.36 * half_width, 0.6 * neck_height, 0.08 * half_width)
    neck_centre = -half_height + 0.6 * neck_height
    blend = np.float32(max(0.35 * half_width, 0.5))

    def distance(x: Array, y: Array) -> Array:
        first = body(x, y - np.float32(body_centre))
        second = neck(x, y - np.float32(neck_centre))
        near = np.maximum(blend - np.abs(first - second), 0) / blend
        return np.asarray(np.minimum(first, second) - near * near * blend * 0.25, dtype=np.float32)

    return distance


def make_item(rng: np.random.Generator, label: int, size: int) -> Item:
    """An object of a class, of random size, aspect and turn; its box is exactly `width` x `height`."""
    kind = CLASSES[label]
    low, high = kind.size
    longer = size * math.exp(rng.uniform(math.log(low), math.log(high)))
    aspect = math.exp(rng.uniform(math.log(kind.aspect[0]), math.log(kind.aspect[1])))
    width, height = (longer, longer / aspect) if aspect >= 1 else (longer * aspect, longer)
    turn = 0.0
    outline: Outline
    if kind.name in ("ball", "melon"):
        turn = rng.uniform(-0.12, 0.12) if kind.name == "melon" else rng.uniform(-math.pi, math.pi)
        half = (width / 2, height / 2)
        if kind.name == "melon":
            # Choose the half axes so that the turned ellipse fills the box: their squares solve a 2x2 system.
            c, s = math.cos(turn) ** 2, math.sin(turn) ** 2
            p, q = half[0] ** 2, half[1] ** 2
            half = (math.sqrt((p * c - q * s) / (c - s)), math.sqrt((q * c - p * s) / (c - s)))
        outline = ellipse(*half)
    elif kind.name == "bottle":
        half = (width / 2, height / 2)
        outline = bottle(*half)
    else:
        shorter = min(width, height)
        radius = shorter * {"bar": 0.3, "pole": 0.25, "brick": 0.12, "crate": 0.03}[kind.name]
        turn = rng.uniform(-1, 1) * {"bar": 0.06, "pole": 0.05, "brick": 0.1, "crate": 0.06}[kind.name]
        # The same for a turned rectangle with round corners: the inner rectangle's extents solve a 2x2 system.
        c, s = math.cos(turn), abs(math.sin(turn))
        p, q = width / 2 - radius, height / 2 - radius
        half = ((p * c - q * s) / (c * c - s * s) + radius, (q * c - p * s) / (c * c - s * s) + radius)
        outline = rectangle(*half, radius)
    fraction = tuple(float(rng.uniform(0, min(1.0, max(size - side, 0)))) for side in (width, height))
    y, x = pixel_grid(-1, math.ceil(height + fraction[1]) + 1, -1, math.ceil(width + fraction[0]) + 1)
    x, y = x - np.float32(fraction[0] + width / 2), y - np.float32(fraction[1] + height / 2)
    x, y = turned(x, y, turn)
    return Item(label, width, height, half, turn, outline, (fraction[0], fraction[1]), x, y, outline(x, y))
