"""How the objects of the shapes data set are shaded and textured. Colours are random and independent of the class."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from anchorkit.datasets.shapes_objects import Array, turned


@dataclass(frozen=True)
class Light:
    """Where a scene's light comes from and how strong it is."""

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


@dataclass(frozen=True)
class Brush:
    """What a painter needs: (h, w) fields over the object's patch."""

    x: Array  # pixels from the centre, along the object's own axes
    y: Array
    u: Array  # the same in half sides: -1..1 within the object
    v: Array
    distance: Array
    half: tuple[float, float]
    light: Light
    grain: Array
    rng: np.random.Generator
    turn: float

    def bevel(self, width: float) -> Array:
        """Brightness of the edge: 1 inside, lighter where the edge faces the light and darker where it faces away."""
        near = np.clip(1 + self.distance / np.float32(max(width, 0.8)), 0, 1)
        across = np.abs(self.u) * np.float32(self.half[0]) - np.float32(self.half[0] - self.half[1])
        sideways = across > np.abs(self.v) * np.float32(self.half[1])
        right, down = np.float32(self.light.direction[0]), np.float32(self.light.direction[1])
        facing = np.where(sideways, np.sign(self.u) * right, np.sign(self.v) * down)
        return np.asarray(1 + 0.5 * near * facing, dtype=np.float32)


def hsv(hue: float, saturation: float, value: float) -> Array:
    """RGB (3,) of a hue, saturation and value, all 0..1."""
    sector = np.array([hue * 6 % 6, (hue * 6 + 4) % 6, (hue * 6 + 2) % 6])
    full = np.clip(np.abs(sector - 3) - 1, 0, 1)
    return np.asarray(value * (1 - saturation + saturation * full), dtype=np.float32)


def _lit(colour: Array, shade: Array, glint: Array | float = 0.0) -> Array:
    return np.asarray(colour * shade[..., None] + np.asarray(glint, dtype=np.float32)[..., None], dtype=np.float32)


def _second(rng: np.random.Generator, colour: Array) -> Array:
    """A second colour in contrast to the first."""
    if rng.uniform() < 0.5:
        return hsv(rng.uniform(), rng.uniform(0.0, 0.8), 0.95 if colour.mean() < 0.55 else 0.3)
    return np.asarray(colour * 0.45 if colour.mean() > 0.4 else colour * 0.5 + 0.5, dtype=np.float32)


def _blend(first: Array, second: Array, share: Array) -> Array:
    return np.asarray(first + (second - first) * share[..., None], dtype=np.float32)


def _edge(value: Array, width: float) -> Array:
    """0 below 0, 1 above `width`, straight between: an antialiased step."""
    return np.asarray(np.clip(value / np.float32(max(width, 1e-3)), 0, 1), dtype=np.float32)


def _paint_ball(brush: Brush, colour: Array) -> Array:
    # Turn back: a ball's own turn moves its seam, not the light.
    x, y = turned(brush.u, brush.v, -brush.turn)
    z = np.sqrt(np.maximum(1 - x * x - y * y, 0))
    seam = np.abs(brush.v - np.float32(0.25) * (1 - brush.u * brush.u)) - np.float32(0.18)
    colours = _blend(_second(brush.rng, colour), colour, _edge(seam, 1.2 / brush.half[0]))
    shade = brush.light.on(x, y, z) * (1 + 0.03 * brush.grain)
    return _lit(colours, shade, 0.55 * brush.light.glint(x, y, z, 30))


def _paint_melon(brush: Brush, colour: Array) -> Array:
    z = np.sqrt(np.maximum(1 - brush.u**2 - brush.v**2, 0))
    # Stripes run from end to end like meridians: lines of equal v / (half height at that u).
    meridian = brush.v / np.sqrt(np.maximum(1 - brush.u**2, 0.02))
    stripes = np.sin(np.arcsin(np.clip(meridian, -1, 1)) * np.float32(brush.rng.integers(7, 10)) + 0.25 * brush.grain)
    dark = np.asarray(colour * 0.5, dtype=np.float32)
    colours = _blend(colour, dark, _edge(np.asarray(stripes - 0.1, dtype=np.float32), 0.5) * 0.85)
    shade = brush.light.on(brush.u, brush.v, z) * (1 + 0.04 * brush.grain)
    return _lit(colours, shade, 0.25 * brush.light.glint(brush.u, brush.v, z, 14))


def _paint_bar(brush: Brush, colour: Array) -> Array:
    z = np.sqrt(np.maximum(1 - brush.v**2, 0))
    bands = np.abs(np.abs(brush.u) - np.float32(0.78)) - np.float32(0.07)
    colours = _blend(_second(brush.rng, colour), colour, _edge(bands, 1.2 / brush.half[0]))
    shade = brush.light.on(0.0, brush.v, z) * (1 + 0.04 * brush.grain)
    return _lit(colours, shade, 0.45 * brush.light.glint(0.0, brush.v, z, 24))


def _paint_pole(brush: Brush, colour: Array) -> Array:
    z = np.sqrt(np.maximum(1 - brush.u**2, 0))
    stripes = np.sin((brush.v * brush.half[1] + 0.8 * brush.u * brush.half[0]) * np.float32(2.6 / brush.half[0]))
    colours = _blend(colour, _second(brush.rng, colour), _edge(np.asarray(stripes, dtype=np.float32), 0.8))
    shade = brush.light.on(brush.u, 0.0, z) * (1 + 0.04 * brush.grain)
    return _lit(colours, shade, 0.3 * brush.light.glint(brush.u, 0.0, z, 24))


def _paint_bottle(brush: Brush, colour: Array) -> Array:
    neck = brush.v < -0.42
    across = np.clip(np.where(neck, brush.u / 0.36, brush.u), -1, 1)
    z = np.sqrt(1 - across**2)
    second = _second(brush.rng, colour)
    label = np.maximum(np.abs(brush.v - np.float32(0.32)) - np.float32(0.22), 0)
    colours = _blend(second, colour, _edge(label, 1.0 / brush.half[1]))
    colours = _blend(colours, np.asarray(second * 0.6, dtype=np.float32), _edge(-0.82 - brush.v, 1.0 / brush.half[1]))
    shade = brush.light.on(across, 0.0, z) * (1 + 0.03 * brush.grain)
    return _lit(colours, shade, 0.6 * brush.light.glint(across, 0.0, z, 40))


def _paint_brick(brush: Brush, colour: Array) -> Array:
    shade = (0.72 + 0.3 * brush.light.direction[2]) * brush.bevel(0.14 * brush.half[1]) * (1 + 0.13 * brush.grain)
    radius = 0.32 * brush.half[1]
    for place in (-0.52, 0.0, 0.52):
        hole = np.hypot(brush.x - np.float32(place * brush.half[0]), brush.y) - np.float32(radius)
        shade = shade * (1 - 0.65 * np.clip(0.5 - hole, 0, 1))
    return _lit(colour, np.asarray(shade, dtype=np.float32))


def _paint_crate(brush: Brush, colour: Array) -> Array:
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


PAINTERS: dict[str, Callable[[Brush, Array], Array]] = {
    "ball": _paint_ball,
    "bar": _paint_bar,
    "bottle": _paint_bottle,
    "brick": _paint_brick,
    "crate": _paint_crate,
    "melon": _paint_melon,
    "pole": _paint_pole,
}
