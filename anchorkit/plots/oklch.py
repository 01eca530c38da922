"""Colours as lightness, chroma and hue in the OKLab space (Ottosson 2020), where distance is what eyes see."""

from __future__ import annotations

import math


def to_oklch(color: str) -> tuple[float, float, float]:
    """Lightness 0..1, chroma and hue (radians) of ``#rrggbb``."""
    r, g, b = (linear(int(color[i : i + 2], 16) / 255) for i in (1, 3, 5))
    long = math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
    middle = math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
    short = math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
    lightness = 0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short
    a = 1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short
    second = 0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short
    return lightness, math.hypot(a, second), math.atan2(second, a)


def from_oklch(lightness: float, chroma: float, hue: float) -> str:
    """The inverse of `to_oklch`; what no screen can show is clipped."""
    a, second = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * second) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * second) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * second) ** 3
    channels = (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
    return "#" + "".join(f"{round(255 * _gamma(min(max(value, 0.0), 1.0))):02x}" for value in channels)


def linear(value: float) -> float:
    """One channel (0..1) of a colour as a screen's file has it, as light."""
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _gamma(value: float) -> float:
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
