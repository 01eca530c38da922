"""The kit's look: one theme, one colour per level and one mark per aspect ratio, the same in every chart.

The level colours are distinguishable for people with red-, green- or blue-blindness and stand out on light and on dark
ground (the tests simulate both). Colour never carries a meaning alone: labels, shapes or positions say the same thing
again.

Charts are made in the colours of a light background, also where the page is dark; `turned` says what becomes
of a colour on dark ground, and `anchorkit.plots.dark` does it for a whole chart.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import altair as alt

from anchorkit.plots.oklch import from_oklch, linear, to_oklch

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
"""Mark of each aspect ratio (SVG paths in a square of side 2): it looks like that aspect ratio."""

FONT = "DejaVu Sans, Verdana, Segoe UI, Helvetica, Arial, sans-serif"
NAME = "anchorkit"
DARK_NAME = "anchorkit-dark"

_GREY = 0.03
_DARKEST, _BRIGHTEST = 0.23, 0.94  # OKLab lightness of the ground and of the text where the ground is dark


def level_color(level: int) -> str:
    """The colour of a level (0, 1, 2 ...), as ``#rrggbb``."""
    return LEVEL_COLORS[level % len(LEVEL_COLORS)]


def readable(color: str, ground: str = "#ffffff", least: float = 4.5) -> str:
    """The colour, darker or lighter where needed for a contrast to the ground in which text reads well."""
    lightness, chroma, hue = to_oklch(color)
    step = -0.02 if to_oklch(ground)[0] > 0.5 else 0.02
    while 0.2 < lightness < 0.97 and contrast(color, ground) < least:
        lightness += step
        color = from_oklch(lightness, chroma, hue)
    return color


def contrast(color: str, ground: str) -> float:
    """How much a colour stands out on a ground, 1 to 21 (WCAG 2); text wants 4.5, marks want 3."""
    first, second = (
        sum(w * linear(int(c[i : i + 2], 16) / 255) for w, i in ((0.2126, 1), (0.7152, 3), (0.0722, 5)))
        for c in (color, ground)
    )
    return (max(first, second) + 0.05) / (min(first, second) + 0.05)


def is_grey(color: str) -> bool:
    """Whether the colour is one of background, grid or text rather than one that encodes data."""
    return to_oklch(color)[1] <= _GREY


def turned(color: str) -> str:
    """The colour with its lightness turned over: white is the dark ground, ink is bright.

    It is what takes the place, on dark ground, of greys made for white ground, and of the colours of a scale that
    goes from the ground to its opposite. Colourful marks stay as they are: level colours stand out on both grounds.
    """
    lightness, chroma, hue = to_oklch(color)
    turned_over = _DARKEST + (1 - lightness) / (1 - to_oklch(INK)[0]) * (_BRIGHTEST - _DARKEST)
    return from_oklch(min(turned_over, 0.97), chroma, hue)


def level_shades(level: int, n: int) -> list[str]:
    """`n` colours near a level's own, for telling apart the anchors of one level.

    Hue and lightness swing around the level's colour, so that a panel still reads as "level 2" at a glance.
    """
    if n == 1:
        return [level_color(level)]
    lightness, chroma, hue = to_oklch(level_color(level))
    shades = []
    for position in range(n):
        swing = 2.0 * position / (n - 1) - 1.0  # -1 .. 1
        tilt = 0.07 if position % 2 else -0.07  # neighbours in the list differ in lightness too
        shades.append(from_oklch(min(max(lightness + tilt, 0.38), 0.72), max(chroma, 0.11), hue + swing * 0.95))
    return shades


def ordered_colors(n: int) -> list[str]:
    """`n` colours for steps of one thing, from dark blue over red to amber; neighbours differ in lightness too."""
    steps = [place / max(n - 1, 1) for place in range(n)]
    return [from_oklch(0.40 + 0.34 * step, 0.15, math.radians(275 + 155 * step)) for step in steps]


def level_scale(levels: Iterable[int]) -> alt.Scale:
    """The colours of the levels that occur, each its own."""
    domain = sorted({int(level) for level in levels})
    return alt.Scale(domain=domain, range=[level_color(level) for level in domain])


def aspect(width: float, height: float) -> str:
    """``"wide"``, ``"tall"`` or ``"square"`` (sides within 20 % of each other)."""
    ratio = width / height
    return "wide" if ratio > 1.2 else "tall" if ratio < 1 / 1.2 else "square"


@dataclass(frozen=True)
class Look:
    """Colours of the text and boxes beside charts on a page, each as ``#rrggbb``."""

    ground: str
    ink: str
    quiet: str
    rule: str


LIGHT = Look("#ffffff", INK, QUIET, GRID)
DARK = Look(turned(LIGHT.ground), turned(INK), turned(QUIET), turned(GRID))


def is_dark() -> bool:
    """Whether charts are drawn on dark ground at present; see `setup`."""
    return alt.theme.active == DARK_NAME


def look() -> Look:
    """The colours of the present ground."""
    return DARK if is_dark() else LIGHT


def setup(dark: bool = False) -> None:
    """Make charts show in a notebook with no network and in the kit's theme; calling it again changes nothing.

    Charts appear as SVG pictures; `altair.JupyterChart`, for charts to touch, is switched to its offline form.

    Args:
        dark: draw everything on dark ground from now on: charts, explorers and what `save` writes.
    """
    alt.theme.enable(DARK_NAME if dark else NAME)
    alt.renderers.enable(DARK_NAME if dark else "svg")
    _offline_when_made()


def _offline_when_made() -> None:
    """Bundling the scripts of `altair.JupyterChart` takes a second and 70 MB, so it waits until one is made."""
    made = alt.JupyterChart.__init__
    if hasattr(made, "__wrapped__"):
        return

    @functools.wraps(made)
    def make(chart: alt.JupyterChart, *args: Any, **options: Any) -> None:
        alt.JupyterChart.enable_offline()  # nothing, the second time
        made(chart, *args, **options)

    alt.JupyterChart.__init__ = make  # type: ignore[assignment, method-assign]


@alt.theme.register(NAME, enable=False)
def _light_theme() -> alt.theme.ThemeConfig:
    return {"config": _config(LIGHT, GHOST)}  # type: ignore[typeddict-item]


@alt.theme.register(DARK_NAME, enable=False)
def _dark_theme() -> alt.theme.ThemeConfig:
    return {"config": _config(DARK, turned(GHOST))}  # type: ignore[typeddict-item]


def _config(look: Look, line: str) -> dict[str, Any]:
    label = {"labelFontSize": 13, "titleFontSize": 13, "labelColor": look.ink, "titleColor": look.quiet}
    return {
        "font": FONT,
        "background": look.ground,
        "padding": 12,
        "view": {"stroke": "transparent", "continuousWidth": 560, "continuousHeight": 340},
        "axis": {
            "labelFontSize": 13,
            "titleFontSize": 14,
            "titleFontWeight": "normal",
            "titleColor": look.ink,
            "titlePadding": 10,
            "labelColor": look.quiet,
            "labelPadding": 5,
            "gridColor": look.rule,
            "domainColor": line,
            "tickColor": line,
            "tickSize": 4,
        },
        "legend": {**label, "titleFontWeight": "normal", "symbolSize": 130, "labelLimit": 320},
        "header": {**label, "labelFontSize": 14},
        "title": {
            "anchor": "start",
            "frame": "group",
            "fontSize": 17,
            "fontWeight": 600,
            "color": look.ink,
            "subtitleFontSize": 13,
            "subtitleColor": look.quiet,
            "subtitlePadding": 5,
            "offset": 14,
        },
        "text": {"fontSize": 13, "color": look.ink},
        "line": {"strokeWidth": 2.5},
        "concat": {"spacing": 24},
    }
