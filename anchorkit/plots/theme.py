"""The kit's look: one theme, one colour per level and one mark per aspect ratio, the same in every chart.

The level colours keep apart for people with red-, green- or blue-blindness and stand out on light and on dark ground
(the tests simulate both). Colour never carries a meaning alone: labels, shapes or positions say the same thing again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import altair as alt

INK = "#1f2328"
"""Text, and the unpruned detector."""
QUIET = "#5f6873"
"""Secondary text, axes and rules."""
GHOST = "#9aa3ad"
"""What is not kept: dropped anchors, random pruning, beaten configurations."""
GRID = "#e6e9ed"

LEVEL_COLORS = ("#1f5fe0", "#b03020", "#35655f", "#e87aa3", "#96951a", "#4aa6f8", "#914aac")
"""Colour of level 0, 1, 2 ...; a detector with more levels starts again from the first."""

SEARCH_COLOR = "#e8590c"
"""The frontier of the search, and what is pruned and not yet trained again."""
STAGE_COLORS = {"full": INK, "pruned": SEARCH_COLOR, "fine-tuned": "#6741d9", "retrained": "#0b8a5f"}
"""Colour of each stage of a configuration's life."""
OTHER_COLORS = ("#6741d9", "#0b8a5f", "#1c7ed6", "#c2255c", "#846358")
"""Colours of further frontiers that are laid beside the first."""

ASPECTS = ("square", "wide", "tall")
ASPECT_SHAPES = {
    "square": "M-.8,-.8H.8V.8H-.8Z",
    "wide": "M-1.25,-.55H1.25V.55H-1.25Z",
    "tall": "M-.55,-1.25H.55V1.25H-.55Z",
}
"""Mark of each aspect ratio (SVG paths in a square of side 2): it looks like what it stands for."""

FONT = "DejaVu Sans, Verdana, Segoe UI, Helvetica, Arial, sans-serif"
NAME = "anchorkit"


def level_color(level: int) -> str:
    """The colour of a level (0, 1, 2 ...), as ``#rrggbb``."""
    return LEVEL_COLORS[level % len(LEVEL_COLORS)]


def readable(color: str) -> str:
    """The colour, darkened where needed so that text in it reads well on white (contrast of 4.5 or more)."""
    lightness, chroma, hue = _to_oklch(color)
    while lightness > 0.2 and contrast(color, "#ffffff") < 4.5:
        lightness -= 0.02
        color = _from_oklch(lightness, chroma, hue)
    return color


def contrast(color: str, ground: str) -> float:
    """How much a colour stands out on a ground, 1 to 21 (WCAG 2); text wants 4.5, marks want 3."""
    first, second = (
        sum(w * _linear(int(c[i : i + 2], 16) / 255) for w, i in ((0.2126, 1), (0.7152, 3), (0.0722, 5)))
        for c in (color, ground)
    )
    return (max(first, second) + 0.05) / (min(first, second) + 0.05)


def level_shades(level: int, n: int) -> list[str]:
    """`n` colours near a level's own, for telling apart the anchors of one level.

    Hue and lightness swing around the level's colour, so that a panel still reads as "level 2" at a glance.
    """
    if n == 1:
        return [level_color(level)]
    lightness, chroma, hue = _to_oklch(level_color(level))
    shades = []
    for position in range(n):
        swing = 2.0 * position / (n - 1) - 1.0  # -1 .. 1
        tilt = 0.07 if position % 2 else -0.07  # neighbours in the list differ in lightness too
        shades.append(_from_oklch(min(max(lightness + tilt, 0.38), 0.72), max(chroma, 0.11), hue + swing * 0.95))
    return shades


def level_scale(levels: Iterable[int]) -> alt.Scale:
    """The colours of the levels that occur, each its own."""
    domain = sorted({int(level) for level in levels})
    return alt.Scale(domain=domain, range=[level_color(level) for level in domain])


def aspect(width: float, height: float) -> str:
    """``"wide"``, ``"tall"`` or ``"square"`` (sides within 20 % of each other)."""
    ratio = width / height
    return "wide" if ratio > 1.2 else "tall" if ratio < 1 / 1.2 else "square"


def setup() -> None:
    """Make charts show in a notebook with no network and in the kit's theme; calling it again changes nothing.

    Charts appear as SVG pictures; `altair.JupyterChart`, for charts to touch, is switched to its offline form.
    """
    alt.theme.enable(NAME)
    alt.renderers.enable("svg")
    alt.JupyterChart.enable_offline()


@alt.theme.register(NAME, enable=False)
def _theme() -> alt.theme.ThemeConfig:
    axis: dict[str, Any] = {
        "labelFontSize": 13,
        "titleFontSize": 14,
        "titleFontWeight": "normal",
        "titleColor": INK,
        "titlePadding": 10,
        "labelColor": QUIET,
        "labelPadding": 5,
        "gridColor": GRID,
        "domainColor": GHOST,
        "tickColor": GHOST,
        "tickSize": 4,
    }
    label: dict[str, Any] = {"labelFontSize": 13, "titleFontSize": 13, "labelColor": INK, "titleColor": QUIET}
    return {
        "config": {
            "font": FONT,
            "background": "#ffffff",
            "padding": 12,
            "view": {"stroke": "transparent", "continuousWidth": 560, "continuousHeight": 340},
            "axis": axis,  # type: ignore[typeddict-item]
            "legend": {**label, "titleFontWeight": "normal", "symbolSize": 130, "labelLimit": 320},  # type: ignore[typeddict-item]
            "header": {**label, "labelFontSize": 14},  # type: ignore[typeddict-item]
            "title": {
                "anchor": "start",
                "frame": "group",
                "fontSize": 17,
                "fontWeight": 600,
                "color": INK,
                "subtitleFontSize": 13,
                "subtitleColor": QUIET,
                "subtitlePadding": 5,
                "offset": 14,
            },
            "text": {"fontSize": 13, "color": INK},
            "line": {"strokeWidth": 2.5},
            "concat": {"spacing": 24},
        }
    }


def _to_oklch(color: str) -> tuple[float, float, float]:
    """Lightness 0..1, chroma and hue (radians) of ``#rrggbb`` in the OKLab space, where distance is what eyes see."""
    r, g, b = (_linear(int(color[i : i + 2], 16) / 255) for i in (1, 3, 5))
    long = math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
    middle = math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
    short = math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
    lightness = 0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short
    a = 1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short
    second = 0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short
    return lightness, math.hypot(a, second), math.atan2(second, a)


def _from_oklch(lightness: float, chroma: float, hue: float) -> str:
    """The inverse of `_to_oklch`; what no screen can show is clipped."""
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


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _gamma(value: float) -> float:
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
