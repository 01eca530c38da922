"""Draws the scenes of the shapes data set so that they look like small photographs.

Everything is drawn in float32 RGB, 0..1: ground with clutter, objects with cast shadows one over the other, then uneven
light, blur and sensor noise. Only :func:`draw_scene` is used elsewhere.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from anchorkit.boxes import box_iou
from anchorkit.datasets.shapes_objects import CLASSES, Array, Item, ellipse, make_item, pixel_grid, turned
from anchorkit.datasets.shapes_paint import PAINTERS, Brush, Light, hsv

MAX_HIDDEN = 0.6  # a detector cannot be expected to find an object that is hidden more than this
MAX_BOX_IOU = 0.4  # any NMS would merge two objects whose boxes overlap more


def draw_scene(
    rng: np.random.Generator, size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Draw one scene.

    Args:
        rng: the source of all random numbers.
        size: side of the square image in pixels.

    Returns:
        image: uint8 (size, size, 3) RGB.
        boxes: float64 (N, 4), x1 y1 x2 y2 in pixels, tight around each whole object, hidden parts included, all inside
            the image.
        labels: int64 (N,), positions in :data:`CLASSES`.
    """
    noise = _Noise(rng, size)
    light = _light(rng)
    canvas = _background(rng, noise, size)
    items = _arrange(rng, size)
    backdrop = canvas.mean(axis=(0, 1))
    for item in items:
        _cast_shadow(canvas, item, light, rng)
        _paint(canvas, item, light, noise, _colour(rng, backdrop), rng)
    image = _photograph(rng, canvas, size)
    boxes = np.array([item.box for item in items], dtype=np.float64).reshape(-1, 4)
    return image, boxes, np.array([item.label for item in items], dtype=np.int64)


# ---------------------------------------------------------------------------------------------------- light and noise


class _Noise:
    """Smooth and grainy noise fields of one scene; objects take random windows of them as texture."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self._rng = rng
        self._size = size
        self.grain = self.fractal((20, 20), 3, 0.8)

    def fractal(self, cells: tuple[float, float], octaves: int, persistence: float = 0.55) -> Array:
        """(size, size) noise of mean 0 and deviation 1, coarsest with `cells` (rows, columns) cells across."""
        total = np.zeros((self._size, self._size), dtype=np.float32)
        strength = 1.0
        for octave in range(octaves):
            rows, columns = (max(2, min(self._size, round(count * 2**octave))) for count in cells)
            grid = self._rng.standard_normal((rows, columns), dtype=np.float32)
            smooth = Image.fromarray(grid).resize((self._size, self._size), Image.Resampling.BICUBIC)
            total += strength * np.asarray(smooth, dtype=np.float32)
            strength *= persistence
        total -= total.mean()
        return np.asarray(total / (total.std() + 1e-6), dtype=np.float32)

    def flipped(self, rng: np.random.Generator) -> Array:
        """The grain as a whole, mirrored and transposed at random: another field at no cost."""
        grain = self.grain.T if rng.uniform() < 0.5 else self.grain
        return grain[:: int(rng.choice((-1, 1))), :: int(rng.choice((-1, 1)))]

    def window(self, rng: np.random.Generator, shape: tuple[int, int]) -> Array:
        """A random (h, w) window of the grain."""
        row = int(rng.integers(0, self._size - shape[0] + 1))
        column = int(rng.integers(0, self._size - shape[1] + 1))
        return self.grain[row : row + shape[0], column : column + shape[1]]


def _light(rng: np.random.Generator) -> Light:
    bearing = rng.uniform(-2.6, -0.55)  # from above, left to right
    height = rng.uniform(0.45, 1.0)
    flat = math.cos(height)
    return Light(
        (flat * math.cos(bearing), flat * math.sin(bearing), math.sin(height)),
        ambient=rng.uniform(0.25, 0.5),
        shadow=rng.uniform(0.25, 0.65),
    )


def _muted(rng: np.random.Generator) -> Array:
    return hsv(rng.uniform(), rng.uniform(0.03, 0.45), rng.uniform(0.3, 0.85))


def _colour(rng: np.random.Generator, backdrop: Array) -> Array:
    """A colour for an object of any class, distinct from the backdrop."""
    colour = hsv(rng.uniform(), rng.uniform(0.08, 0.82), rng.uniform(0.3, 0.95))
    for _ in range(5):
        if float(np.abs(colour - backdrop).sum()) > 0.45:
            break
        colour = hsv(rng.uniform(), rng.uniform(0.08, 0.82), rng.uniform(0.3, 0.95))
    return colour


# --------------------------------------------------------------------------------------------------------- background


def _background(rng: np.random.Generator, noise: _Noise, size: int) -> Array:
    """(size, size, 3) ground, and often a wall behind it, with stains and scratches that are not objects."""
    canvas = _surface(rng, noise)
    if rng.uniform() < 0.4:
        wall = _surface(rng, noise)
        y = np.arange(size, dtype=np.float32)[:, None]
        x = np.arange(size, dtype=np.float32)[None, :]
        edge = rng.uniform(0.15, 0.5) * size + rng.uniform(-0.1, 0.1) * x
        upper = np.clip((edge - y) / rng.uniform(1.0, 4.0) + 0.5, 0, 1)[:, :, None]
        gloom = 1 - 0.3 * np.exp(-np.abs(y - edge) / (0.04 * size))[:, :, None]
        canvas = (canvas * (1 - upper) + wall * upper) * gloom
    canvas = np.asarray(canvas, dtype=np.float32)
    for _ in range(int(rng.integers(5, 15))):
        _stain(rng, canvas, noise, size)
    for _ in range(int(rng.integers(0, 10))):
        _pebble(rng, canvas, noise, size)
    return canvas


def _surface(rng: np.random.Generator, noise: _Noise) -> Array:
    first, second = _muted(rng), _muted(rng)
    second = first + (second - first) * rng.uniform(0.2, 0.8)
    stretch = math.exp(rng.normal(0, 0.7))  # far from 1: planks, cloth, brushed metal
    cells = rng.uniform(2, 9)
    pattern = noise.fractal((cells * stretch, cells / stretch), 5, rng.uniform(0.5, 0.75))
    blend = 1 / (1 + np.exp(-pattern * rng.uniform(0.7, 2.0)))
    surface = first + (second - first) * blend[:, :, None]
    surface = surface * (1 + rng.uniform(0.02, 0.09) * noise.flipped(rng)[:, :, None])
    return np.asarray(surface, dtype=np.float32)


def _stain(rng: np.random.Generator, canvas: Array, noise: _Noise, size: int) -> None:
    """Blend an irregular soft mark into the background: a stain, a leaf of shade, a scratch."""
    scratch = rng.uniform() < 0.35
    long = rng.uniform(0.05, 0.3) * size
    wide = rng.uniform(0.6, 1.6) if scratch else long * rng.uniform(0.25, 0.9)
    centre_x, centre_y = rng.uniform(0, size, 2)
    reach = math.ceil(1.4 * long + 4)
    left, top = max(0, int(centre_x) - reach), max(0, int(centre_y) - reach)
    right, bottom = min(size, int(centre_x) + reach), min(size, int(centre_y) + reach)
    y, x = pixel_grid(top, bottom, left, right)
    x, y = turned(x - np.float32(centre_x), y - np.float32(centre_y), rng.uniform(0, math.pi))
    y = y + x * x * np.float32(rng.uniform(-0.5, 0.5) / long)
    rough = noise.window(rng, x.shape) * np.float32(0.4 if scratch else 0.12 * wide)
    distance = ellipse(long / 2, max(wide, 1.0) if scratch else wide / 2)(x, y) + rough
    soft = rng.uniform(1.0, 2.0) if scratch else rng.uniform(2.0, 7.0)
    alpha = np.clip(0.5 - distance / soft, 0, 1)[:, :, None] * np.float32(rng.uniform(0.2, 0.6))
    patch = canvas[top:bottom, left:right]
    patch += alpha * (_muted(rng) * rng.uniform(0.5, 1.2) - patch)


def _pebble(rng: np.random.Generator, canvas: Array, noise: _Noise, size: int) -> None:
    """Put a crumb, a pebble or a leaf on the ground: sharp and shaded as objects are, but smaller than any of them."""
    long = rng.uniform(0.02, 0.06) * size
    wide = long * rng.uniform(0.35, 0.9)
    reach = math.ceil(long + 3)
    centre_x, centre_y = rng.uniform(reach, size - reach, 2)
    left, top = int(centre_x) - reach, int(centre_y) - reach
    y, x = pixel_grid(top, top + 2 * reach, left, left + 2 * reach)
    x, y = turned(x - np.float32(centre_x), y - np.float32(centre_y), rng.uniform(0, math.pi))
    distance = ellipse(long / 2, wide / 2)(x, y) + noise.window(rng, x.shape) * np.float32(0.1 * wide)
    patch = canvas[top : top + 2 * reach, left : left + 2 * reach]
    patch *= 1 - 0.4 * np.clip(0.5 - (distance - 1) / 3, 0, 1)[:, :, None]
    shade = np.clip(0.9 - y / np.float32(wide) * np.float32(rng.uniform(0, 0.7)), 0.3, 1.3)[:, :, None]
    alpha = np.clip(0.5 - distance, 0, 1)[:, :, None]
    patch += alpha * (_muted(rng) * shade - patch)


# ----------------------------------------------------------------------------------------------------------- placement


def _arrange(rng: np.random.Generator, size: int) -> list[Item]:
    """Objects in drawing order, placed so that none is hidden by more than :data:`MAX_HIDDEN`."""
    count = int(rng.choice(9, p=[0.02, 0.06, 0.11, 0.16, 0.19, 0.18, 0.14, 0.09, 0.05]))
    labels = rng.choice(len(CLASSES), size=count, p=np.full(len(CLASSES), 1 / len(CLASSES)))
    items = [make_item(rng, int(label), size) for label in labels]
    # Large objects are mostly drawn first (further back); otherwise they would hide all others.
    depth = [math.log(max(item.width, item.height)) + rng.normal(0, 0.35) for item in items]
    items = [items[position] for position in np.argsort(depth)[::-1]]
    owner = np.full((size + 2, size + 2), -1, dtype=np.int16)  # one pixel of margin on each side
    placed: list[Item] = []
    whole: list[int] = []  # pixels of each object
    left: list[int] = []  # and how many of them are still visible
    for item in items:
        mask = item.distance < 0
        rows, columns = mask.shape
        for _ in range(12):
            item.column = int(rng.integers(0, max(math.floor(size - item.width - item.fraction[0]), 0) + 1))
            item.row = int(rng.integers(0, max(math.floor(size - item.height - item.fraction[1]), 0) + 1))
            if (box_iou(item.box, np.reshape([other.box for other in placed], (-1, 4))) > MAX_BOX_IOU).any():
                continue
            window = owner[item.row : item.row + rows, item.column : item.column + columns]
            lost = np.bincount(window[mask & (window >= 0)], minlength=len(placed))
            after = [before - int(gone) for before, gone in zip(left, lost, strict=True)]
            if all(seen >= (1 - MAX_HIDDEN) * total for seen, total in zip(after, whole, strict=True)):
                window[mask] = len(placed)
                placed.append(item)
                whole.append(int(mask.sum()))
                left = [*after, whole[-1]]
                break
    return placed


# ------------------------------------------------------------------------------------------------------------ painting


def _cast_shadow(canvas: Array, item: Item, light: Light, rng: np.random.Generator) -> None:
    """Darken the area under and beside an object, on the side away from the light."""
    size = canvas.shape[0]
    x1, y1, x2, y2 = item.box
    reach = min(item.width, item.height) * rng.uniform(0.15, 0.4)
    dx, dy = -light.direction[0] * reach, -light.direction[1] * reach
    soft = 1.5 + 0.5 * reach
    margin = math.ceil(soft)
    left, top = max(0, int(x1 + min(dx, 0)) - margin), max(0, int(y1 + min(dy, 0)) - margin)
    right = min(size, math.ceil(x2 + max(dx, 0)) + margin)
    bottom = min(size, math.ceil(y2 + max(dy, 0)) + margin)
    y, x = pixel_grid(top, bottom, left, right)
    x, y = turned(x - np.float32((x1 + x2) / 2 + dx), y - np.float32((y1 + y2) / 2 + dy), item.turn)
    alpha = np.clip(0.5 - item.outline(x, y) / np.float32(soft), 0, 1)
    canvas[top:bottom, left:right] *= (1 - np.float32(light.shadow) * alpha)[:, :, None]


def _paint(canvas: Array, item: Item, light: Light, noise: _Noise, colour: Array, rng: np.random.Generator) -> None:
    """Blend a shaded, textured object into the scene."""
    size = canvas.shape[0]
    # The patch has one pixel of margin, which may lie outside the image.
    rows, columns = item.distance.shape
    cut = (
        slice(max(0, 1 - item.row), rows - max(0, item.row - 1 + rows - size)),
        slice(max(0, 1 - item.column), columns - max(0, item.column - 1 + columns - size)),
    )
    x, y, distance = item.x[cut], item.y[cut], item.distance[cut]
    u, v = x / np.float32(item.half[0]), y / np.float32(item.half[1])
    grain = noise.window(rng, x.shape)
    paint = PAINTERS[CLASSES[item.label].name]
    rgb = paint(Brush(x, y, u, v, distance, item.half, light, grain, rng, item.turn), colour)
    top, left = max(0, item.row - 1), max(0, item.column - 1)
    patch = canvas[top : top + x.shape[0], left : left + x.shape[1]]
    alpha = np.clip(np.float32(0.5) - distance, 0, 1)[:, :, None]
    patch += alpha * (rgb - patch)


# ------------------------------------------------------------------------------------------------------------- camera


def _photograph(rng: np.random.Generator, canvas: Array, size: int) -> npt.NDArray[np.uint8]:
    """Uneven light, exposure, blur and sensor noise; then 8 bits."""
    y, x = pixel_grid(0, size, 0, size)
    u, v = x / np.float32(size) - np.float32(0.5), y / np.float32(size) - np.float32(0.5)
    bearing, slope = rng.uniform(0, 2 * math.pi), rng.uniform(0.0, 0.7)
    fall = 1 + np.float32(slope * math.cos(bearing)) * u + np.float32(slope * math.sin(bearing)) * v
    fall = fall * (1 - np.float32(rng.uniform(0, 0.5)) * (u * u + v * v))
    warmth = np.array([1, 1, 1], dtype=np.float32) + np.float32(rng.normal(0, 0.06)) * np.array([1, 0, -1], np.float32)
    exposed = canvas * (fall * np.float32(rng.uniform(0.8, 1.15)))[:, :, None] * warmth
    image = Image.fromarray((np.clip(exposed, 0, 1) * 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.8) * size / 160))
    noise = rng.standard_normal((size, size, 3), dtype=np.float32)
    noise += 0.6 * rng.standard_normal((size, size, 1), dtype=np.float32)
    noisy = np.asarray(image, dtype=np.float32) + noise * np.float32(rng.uniform(1.0, 6.0))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
