"""Draws the images of the shapes data set: small scenes that look like photographs.

Everything is drawn in float32 RGB, 0..1. Outlines are signed distances in pixels (negative inside), which give
antialiased edges, soft cast shadows and bevels from the same few lines. Only :func:`draw_scene` is used elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Array = npt.NDArray[np.float32]
Outline = Callable[[Array, Array], Array]

MAX_HIDDEN = 0.6  # an object of which more is hidden by others would be unfair to ask for
MAX_BOX_IOU = 0.4  # two objects whose boxes overlap more would be merged by any non-maximum suppression


@dataclass(frozen=True)
class ShapeClass:
    """How the objects of one class are shaped.

    Attributes:
        name: the class's name.
        size: least and greatest longer side, as a share of the image's side.
        aspect: least and greatest width / height of the box.
        weight: how often the class is drawn, relative to the others.
    """

    name: str
    size: tuple[float, float]
    aspect: tuple[float, float]
    weight: float


# The planted redundancy lives here: whatever is taller than wide is small (bottles, poles), and so are balls; what is
# big is wider than high. So a detector's big, tall anchors have nothing to do. The card lists which ones exactly.
CLASSES = (
    ShapeClass("ball", (0.08, 0.255), (1.0, 1.0), 1.0),
    ShapeClass("bar", (0.28, 0.62), (3.0, 4.5), 1.0),
    ShapeClass("bottle", (0.14, 0.30), (0.42, 0.56), 1.0),
    ShapeClass("brick", (0.13, 0.45), (1.6, 2.0), 1.0),
    ShapeClass("crate", (0.20, 0.90), (1.17, 1.28), 1.0),
    ShapeClass("melon", (0.20, 0.90), (1.17, 1.28), 1.0),
    ShapeClass("pole", (0.18, 0.32), (0.22, 0.32), 1.0),
)


@dataclass(frozen=True)
class _Light:
    direction: tuple[float, float, float]  # unit vector towards the light; y points down
    ambient: float
    shadow: float  # how dark cast shadows are, 0..1

    def on(self, x: Array | float, y: Array | float, z: Array | float) -> Array:
        """Brightness of a surface with the normal (x, y, z): about 0.3 to 1.2."""
        facing = x * self.direction[0] + y * self.direction[1] + z * self.direction[2]
        return np.asarray(self.ambient + (1.15 - self.ambient) * np.maximum(facing, 0), dtype=np.float32)

    def glint(self, x: Array | float, y: Array | float, z: Array | float, sharpness: float) -> Array:
        """Specular highlight of a surface with the normal (x, y, z), seen from above: 0..1."""
        halfway = np.array([self.direction[0], self.direction[1], self.direction[2] + 1.0])
        hx, hy, hz = halfway / np.linalg.norm(halfway)
        return np.asarray(np.maximum(x * hx + y * hy + z * hz, 0) ** sharpness, dtype=np.float32)


@dataclass
class _Item:
    """One object, ready to be placed: its outline around (0, 0) and the patch of pixels that its box touches."""

    label: int
    width: float
    height: float
    half: tuple[float, float]  # half sides of the object itself before it was turned
    turn: float
    outline: Outline
    fraction: tuple[float, float]  # where within a pixel the box begins
    x: Array  # (h, w) coordinates of the patch's pixel centres from the object's centre
    y: Array
    distance: Array  # (h, w) outline at those
    column: int = 0
    row: int = 0

    @property
    def box(self) -> tuple[float, float, float, float]:
        x, y = self.column + self.fraction[0], self.row + self.fraction[1]
        return x, y, x + self.width, y + self.height


def draw_scene(
    rng: np.random.Generator, size: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Draw one scene.

    Args:
        rng: where all chance comes from.
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
        """The grain as a whole, mirrored and transposed at random: another field for the price of none."""
        grain = self.grain.T if rng.uniform() < 0.5 else self.grain
        return grain[:: int(rng.choice((-1, 1))), :: int(rng.choice((-1, 1)))]

    def window(self, rng: np.random.Generator, shape: tuple[int, int]) -> Array:
        """A random (h, w) window of the grain."""
        row = int(rng.integers(0, self._size - shape[0] + 1))
        column = int(rng.integers(0, self._size - shape[1] + 1))
        return self.grain[row : row + shape[0], column : column + shape[1]]


def _light(rng: np.random.Generator) -> _Light:
    bearing = rng.uniform(-2.6, -0.55)  # from above, left to right
    height = rng.uniform(0.45, 1.0)
    flat = math.cos(height)
    return _Light(
        (flat * math.cos(bearing), flat * math.sin(bearing), math.sin(height)),
        ambient=rng.uniform(0.25, 0.5),
        shadow=rng.uniform(0.25, 0.65),
    )


def _hsv(hue: float, saturation: float, value: float) -> Array:
    sector = np.array([hue * 6 % 6, (hue * 6 + 4) % 6, (hue * 6 + 2) % 6])
    full = np.clip(np.abs(sector - 3) - 1, 0, 1)
    return np.asarray(value * (1 - saturation + saturation * full), dtype=np.float32)


def _muted(rng: np.random.Generator) -> Array:
    return _hsv(rng.uniform(), rng.uniform(0.03, 0.45), rng.uniform(0.3, 0.85))


def _colour(rng: np.random.Generator, backdrop: Array) -> Array:
    """A colour for an object, whatever its class, that can be told from the backdrop."""
    colour = _hsv(rng.uniform(), rng.uniform(0.08, 0.82), rng.uniform(0.3, 0.95))
    for _ in range(5):
        if float(np.abs(colour - backdrop).sum()) > 0.45:
            break
        colour = _hsv(rng.uniform(), rng.uniform(0.08, 0.82), rng.uniform(0.3, 0.95))
    return colour


# --------------------------------------------------------------------------------------------------------- background


def _background(rng: np.random.Generator, noise: _Noise, size: int) -> Array:
    """(size, size, 3) ground, and often a wall behind it, with stains and scratches that are no objects."""
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
    y, x = _grid(top, bottom, left, right)
    x, y = _turned(x - np.float32(centre_x), y - np.float32(centre_y), rng.uniform(0, math.pi))
    y = y + x * x * np.float32(rng.uniform(-0.5, 0.5) / long)
    rough = noise.window(rng, x.shape) * np.float32(0.4 if scratch else 0.12 * wide)
    distance = _ellipse(long / 2, max(wide, 1.0) if scratch else wide / 2)(x, y) + rough
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
    y, x = _grid(top, top + 2 * reach, left, left + 2 * reach)
    x, y = _turned(x - np.float32(centre_x), y - np.float32(centre_y), rng.uniform(0, math.pi))
    distance = _ellipse(long / 2, wide / 2)(x, y) + noise.window(rng, x.shape) * np.float32(0.1 * wide)
    patch = canvas[top : top + 2 * reach, left : left + 2 * reach]
    patch *= 1 - 0.4 * np.clip(0.5 - (distance - 1) / 3, 0, 1)[:, :, None]
    shade = np.clip(0.9 - y / np.float32(wide) * np.float32(rng.uniform(0, 0.7)), 0.3, 1.3)[:, :, None]
    alpha = np.clip(0.5 - distance, 0, 1)[:, :, None]
    patch += alpha * (_muted(rng) * shade - patch)


# ------------------------------------------------------------------------------------------------- outlines, placement


def _grid(top: int, bottom: int, left: int, right: int) -> tuple[Array, Array]:
    """Pixel centres: (h, w) arrays of y and x."""
    y = np.arange(top, bottom, dtype=np.float32)[:, None] + np.float32(0.5)
    x = np.arange(left, right, dtype=np.float32)[None, :] + np.float32(0.5)
    y, x = np.broadcast_arrays(y, x)
    return y, x


def _turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    return x * cosine + y * sine, y * cosine - x * sine


def _rectangle(half_width: float, half_height: float, radius: float) -> Outline:
    def distance(x: Array, y: Array) -> Array:
        dx = np.abs(x) - np.float32(half_width - radius)
        dy = np.abs(y) - np.float32(half_height - radius)
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
        return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0) - np.float32(radius), dtype=np.float32)

    return distance


def _ellipse(half_width: float, half_height: float) -> Outline:
    def distance(x: Array, y: Array) -> Array:
        u, v = x / np.float32(half_width), y / np.float32(half_height)
        level = np.hypot(u, v)
        slope = np.hypot(u / np.float32(half_width), v / np.float32(half_height))
        # First-order distance; exact enough within the pixel or two that antialiasing and shadows look at.
        return np.asarray(level * (level - 1) / (slope + np.float32(1e-6)), dtype=np.float32)

    return distance


def _bottle(half_width: float, half_height: float) -> Outline:
    neck_height = 0.34 * 2 * half_height
    body_half = half_height - 0.42 * neck_height
    body = _rectangle(half_width, body_half - 0.29 * neck_height, 0.45 * half_width)
    body_centre = half_height - (body_half - 0.29 * neck_height)
    neck = _rectangle(0.36 * half_width, 0.6 * neck_height, 0.08 * half_width)
    neck_centre = -half_height + 0.6 * neck_height
    blend = np.float32(max(0.35 * half_width, 0.5))

    def distance(x: Array, y: Array) -> Array:
        first = body(x, y - np.float32(body_centre))
        second = neck(x, y - np.float32(neck_centre))
        near = np.maximum(blend - np.abs(first - second), 0) / blend
        return np.asarray(np.minimum(first, second) - near * near * blend * 0.25, dtype=np.float32)

    return distance


def _make(rng: np.random.Generator, label: int, size: int) -> _Item:
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
        outline = _ellipse(*half)
    elif kind.name == "bottle":
        half = (width / 2, height / 2)
        outline = _bottle(*half)
    else:
        shorter = min(width, height)
        radius = shorter * {"bar": 0.3, "pole": 0.25, "brick": 0.12, "crate": 0.03}[kind.name]
        turn = rng.uniform(-1, 1) * {"bar": 0.06, "pole": 0.05, "brick": 0.1, "crate": 0.06}[kind.name]
        # The same for a turned rectangle with round corners: the inner rectangle's extents solve a 2x2 system.
        c, s = math.cos(turn), abs(math.sin(turn))
        p, q = width / 2 - radius, height / 2 - radius
        half = ((p * c - q * s) / (c * c - s * s) + radius, (q * c - p * s) / (c * c - s * s) + radius)
        outline = _rectangle(*half, radius)
    fraction = tuple(float(rng.uniform(0, min(1.0, max(size - side, 0)))) for side in (width, height))
    y, x = _grid(-1, math.ceil(height + fraction[1]) + 1, -1, math.ceil(width + fraction[0]) + 1)
    x, y = x - np.float32(fraction[0] + width / 2), y - np.float32(fraction[1] + height / 2)
    x, y = _turned(x, y, turn)
    return _Item(label, width, height, half, turn, outline, (fraction[0], fraction[1]), x, y, outline(x, y))


def _arrange(rng: np.random.Generator, size: int) -> list[_Item]:
    """Objects in drawing order, placed so that none is hidden by more than :data:`MAX_HIDDEN`."""
    count = int(rng.choice(9, p=[0.02, 0.06, 0.11, 0.16, 0.19, 0.18, 0.14, 0.09, 0.05]))
    weights = np.array([kind.weight for kind in CLASSES])
    labels = rng.choice(len(CLASSES), size=count, p=weights / weights.sum())
    items = [_make(rng, int(label), size) for label in labels]
    # Big things stand further back, by and large, else they would hide all others.
    depth = [math.log(max(item.width, item.height)) + rng.normal(0, 0.35) for item in items]
    items = [items[position] for position in np.argsort(depth)[::-1]]
    owner = np.full((size + 2, size + 2), -1, dtype=np.int16)  # one pixel of margin on each side
    placed: list[_Item] = []
    whole: list[int] = []  # pixels of each object
    left: list[int] = []  # and how many of them are still seen
    for item in items:
        mask = item.distance < 0
        rows, columns = mask.shape
        for _ in range(12):
            item.column = int(rng.integers(0, max(math.floor(size - item.width - item.fraction[0]), 0) + 1))
            item.row = int(rng.integers(0, max(math.floor(size - item.height - item.fraction[1]), 0) + 1))
            if any(_iou(item.box, other.box) > MAX_BOX_IOU for other in placed):
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


def _iou(first: tuple[float, float, float, float], second: tuple[float, float, float, float]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = (first[2] - first[0]) * (first[3] - first[1]) + (second[2] - second[0]) * (second[3] - second[1])
    return width * height / (areas - width * height)


# ------------------------------------------------------------------------------------------------------------ painting


def _cast_shadow(canvas: Array, item: _Item, light: _Light, rng: np.random.Generator) -> None:
    """Darken what lies under and beside an object, on the side away from the light."""
    size = canvas.shape[0]
    x1, y1, x2, y2 = item.box
    reach = min(item.width, item.height) * rng.uniform(0.15, 0.4)
    dx, dy = -light.direction[0] * reach, -light.direction[1] * reach
    soft = 1.5 + 0.5 * reach
    margin = math.ceil(soft)
    left, top = max(0, int(x1 + min(dx, 0)) - margin), max(0, int(y1 + min(dy, 0)) - margin)
    right = min(size, math.ceil(x2 + max(dx, 0)) + margin)
    bottom = min(size, math.ceil(y2 + max(dy, 0)) + margin)
    y, x = _grid(top, bottom, left, right)
    x, y = _turned(x - np.float32((x1 + x2) / 2 + dx), y - np.float32((y1 + y2) / 2 + dy), item.turn)
    alpha = np.clip(0.5 - item.outline(x, y) / np.float32(soft), 0, 1)
    canvas[top:bottom, left:right] *= (1 - np.float32(light.shadow) * alpha)[:, :, None]


def _paint(canvas: Array, item: _Item, light: _Light, noise: _Noise, colour: Array, rng: np.random.Generator) -> None:
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
    paint = _PAINTERS[CLASSES[item.label].name]
    rgb = paint(_Brush(x, y, u, v, distance, item.half, light, grain, rng, item.turn), colour)
    top, left = max(0, item.row - 1), max(0, item.column - 1)
    patch = canvas[top : top + x.shape[0], left : left + x.shape[1]]
    alpha = np.clip(np.float32(0.5) - distance, 0, 1)[:, :, None]
    patch += alpha * (rgb - patch)


@dataclass(frozen=True)
class _Brush:
    """What a painter needs: (h, w) fields over the object's patch."""

    x: Array  # pixels from the centre, along the object's own axes
    y: Array
    u: Array  # the same in half sides: -1..1 within the object
    v: Array
    distance: Array
    half: tuple[float, float]
    light: _Light
    grain: Array
    rng: np.random.Generator
    turn: float

    def bevel(self, width: float) -> Array:
        """Brightness of the edge: 1 inside, lighter where the edge faces the light and darker where it faces away."""
        near = np.clip(1 + self.distance / np.float32(max(width, 0.8)), 0, 1)
        across = np.abs(self.u) * np.float32(self.half[0]) - np.float32(self.half[0] - self.half[1])
        sideways = across > np.abs(self.v) * np.float32(self.half[1])
        facing = np.where(
            sideways,
            np.sign(self.u) * np.float32(self.light.direction[0]),
            np.sign(self.v) * np.float32(self.light.direction[1]),
        )
        return np.asarray(1 + 0.5 * near * facing, dtype=np.float32)


def _lit(colour: Array, shade: Array, glint: Array | float = 0.0) -> Array:
    return np.asarray(colour * shade[..., None] + np.asarray(glint, dtype=np.float32)[..., None], dtype=np.float32)


def _second(rng: np.random.Generator, colour: Array) -> Array:
    """A second colour that stands out against the first."""
    if rng.uniform() < 0.5:
        return _hsv(rng.uniform(), rng.uniform(0.0, 0.8), 0.95 if colour.mean() < 0.55 else 0.3)
    return np.asarray(colour * 0.45 if colour.mean() > 0.4 else colour * 0.5 + 0.5, dtype=np.float32)


def _blend(first: Array, second: Array, share: Array) -> Array:
    return np.asarray(first + (second - first) * share[..., None], dtype=np.float32)


def _edge(value: Array, width: float) -> Array:
    """0 below 0, 1 above `width`, straight between: an antialiased step."""
    return np.asarray(np.clip(value / np.float32(max(width, 1e-3)), 0, 1), dtype=np.float32)


def _paint_ball(brush: _Brush, colour: Array) -> Array:
    # Turn back: a ball's own turn moves its seam, not the light.
    x, y = _turned(brush.u, brush.v, -brush.turn)
    z = np.sqrt(np.maximum(1 - x * x - y * y, 0))
    seam = np.abs(brush.v - np.float32(0.25) * (1 - brush.u * brush.u)) - np.float32(0.18)
    colours = _blend(_second(brush.rng, colour), colour, _edge(seam, 1.2 / brush.half[0]))
    shade = brush.light.on(x, y, z) * (1 + 0.03 * brush.grain)
    return _lit(colours, shade, 0.55 * brush.light.glint(x, y, z, 30))


def _paint_melon(brush: _Brush, colour: Array) -> Array:
    z = np.sqrt(np.maximum(1 - brush.u**2 - brush.v**2, 0))
    # Stripes run from end to end like meridians: lines of equal v / (half height at that u).
    meridian = brush.v / np.sqrt(np.maximum(1 - brush.u**2, 0.02))
    stripes = np.sin(np.arcsin(np.clip(meridian, -1, 1)) * np.float32(brush.rng.integers(7, 10)) + 0.25 * brush.grain)
    colours = _blend(
        colour,
        np.asarray(colour * 0.5, dtype=np.float32),
        _edge(np.asarray(stripes - 0.1, dtype=np.float32), 0.5) * 0.85,
    )
    shade = brush.light.on(brush.u, brush.v, z) * (1 + 0.04 * brush.grain)
    return _lit(colours, shade, 0.25 * brush.light.glint(brush.u, brush.v, z, 14))


def _paint_bar(brush: _Brush, colour: Array) -> Array:
    z = np.sqrt(np.maximum(1 - brush.v**2, 0))
    bands = np.abs(np.abs(brush.u) - np.float32(0.78)) - np.float32(0.07)
    colours = _blend(_second(brush.rng, colour), colour, _edge(bands, 1.2 / brush.half[0]))
    shade = brush.light.on(0.0, brush.v, z) * (1 + 0.04 * brush.grain)
    return _lit(colours, shade, 0.45 * brush.light.glint(0.0, brush.v, z, 24))


def _paint_pole(brush: _Brush, colour: Array) -> Array:
    z = np.sqrt(np.maximum(1 - brush.u**2, 0))
    stripes = np.sin((brush.v * brush.half[1] + 0.8 * brush.u * brush.half[0]) * np.float32(2.6 / brush.half[0]))
    colours = _blend(colour, _second(brush.rng, colour), _edge(np.asarray(stripes, dtype=np.float32), 0.8))
    shade = brush.light.on(brush.u, 0.0, z) * (1 + 0.04 * brush.grain)
    return _lit(colours, shade, 0.3 * brush.light.glint(brush.u, 0.0, z, 24))


def _paint_bottle(brush: _Brush, colour: Array) -> Array:
    neck = brush.v < -0.42
    across = np.clip(np.where(neck, brush.u / 0.36, brush.u), -1, 1)
    z = np.sqrt(1 - across**2)
    second = _second(brush.rng, colour)
    label = np.maximum(np.abs(brush.v - np.float32(0.32)) - np.float32(0.22), 0)
    colours = _blend(second, colour, _edge(label, 1.0 / brush.half[1]))
    colours = _blend(colours, np.asarray(second * 0.6, dtype=np.float32), _edge(-0.82 - brush.v, 1.0 / brush.half[1]))
    shade = brush.light.on(across, 0.0, z) * (1 + 0.03 * brush.grain)
    return _lit(colours, shade, 0.6 * brush.light.glint(across, 0.0, z, 40))


def _paint_brick(brush: _Brush, colour: Array) -> Array:
    shade = (0.72 + 0.3 * brush.light.direction[2]) * brush.bevel(0.14 * brush.half[1]) * (1 + 0.13 * brush.grain)
    radius = 0.32 * brush.half[1]
    for place in (-0.52, 0.0, 0.52):
        hole = np.hypot(brush.x - np.float32(place * brush.half[0]), brush.y) - np.float32(radius)
        shade = shade * (1 - 0.65 * np.clip(0.5 - hole, 0, 1))
    return _lit(colour, np.asarray(shade, dtype=np.float32))


def _paint_crate(brush: _Brush, colour: Array) -> Array:
    half_width, half_height = brush.half
    board = 0.17 * half_height
    grain = 1 + 0.07 * brush.grain
    planks = np.abs((brush.v * 2.5 + 0.5) % 1 - 0.5) * np.float32(half_height / 2.5)  # pixels to the next gap
    inner = 0.62 * (0.45 + 0.55 * _edge(planks, 0.07 * half_height + 0.4))
    frame = np.minimum(half_width - np.abs(brush.x), half_height - np.abs(brush.y)) - np.float32(board * 1.3)
    norm = math.hypot(1 / half_width, 1 / half_height)
    diagonal = np.minimum(np.abs(brush.u - brush.v), np.abs(brush.u + brush.v)) / np.float32(norm)
    cross = diagonal - np.float32(board * 0.75)
    raised = np.minimum(frame, cross)  # negative on a board that lies on top
    shade = _blend(np.float32(1.0) * np.ones(1, np.float32), inner[..., None], _edge(raised, 1.0))[..., 0]
    rim = np.clip(1 - np.abs(raised - 0.6) / 1.1, 0, 1)
    shade = shade * (1 - 0.4 * rim) * brush.bevel(0.05 * half_height) * grain
    return _lit(colour, np.asarray(shade * (0.75 + 0.3 * brush.light.direction[2]), dtype=np.float32))


_PAINTERS: dict[str, Callable[[_Brush, Array], Array]] = {
    "ball": _paint_ball,
    "bar": _paint_bar,
    "bottle": _paint_bottle,
    "brick": _paint_brick,
    "crate": _paint_crate,
    "melon": _paint_melon,
    "pole": _paint_pole,
}


# ------------------------------------------------------------------------------------------------------------- camera


def _photograph(rng: np.random.Generator, canvas: Array, size: int) -> npt.NDArray[np.uint8]:
    """Uneven light, exposure, blur and sensor noise; then 8 bits."""
    y, x = _grid(0, size, 0, size)
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
