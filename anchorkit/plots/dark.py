"""A chart made for white ground, turned for dark ground.

The functions that make charts know only one set of colours, that of white ground. What a colour becomes on dark ground
depends on what it is used for: greys (ground, grids, text) and scales from the ground to its opposite are turned over,
text in a level's colour gets light enough to read, and colourful marks stay as they are unless they are very dark.
"""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

from anchorkit.plots.theme import DARK, is_grey, readable, turned

_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_TEXTS = ("labelColor", "titleColor", "subtitleColor", "title", "ink")
"""Keys below which every colour is one of text; ``ink`` is what the kit calls a data field with such colours."""
_MARK_CONTRAST = 2.5
"""The level colours have it on both grounds; only their darkest shades change."""

Use: TypeAlias = Literal["mark", "text", "scale"]


def on_dark(spec: dict[str, Any]) -> dict[str, Any]:
    """The Vega-Lite specification with all colours turned for dark ground, but the theme's, which has a dark form."""
    turned_over: dict[str, Any] = _turn({key: part for key, part in spec.items() if key != "config"}, "mark")
    return turned_over | {"config": spec.get("config", {})}


def _turn(part: Any, use: Use) -> Any:
    if isinstance(part, str):
        return _color(part, use) if _COLOR.fullmatch(part) else part
    if isinstance(part, list):
        return [_turn(item, use) for item in part]
    if not isinstance(part, dict):
        return part
    mark = part.get("mark")
    is_text = mark == "text" or (isinstance(mark, dict) and mark.get("type") == "text")
    # A scale of colours over numbers goes from what is like the ground to what is most unlike it.
    is_ramp = part.get("type") == "quantitative"
    turned_over = {}
    for key, value in part.items():
        if key in _TEXTS or (is_text and key in ("mark", "encoding")):
            below: Use = "text"
        else:
            below = "scale" if is_ramp and key == "scale" else use
        turned_over[key] = _turn(value, below)
    return turned_over


def _color(color: str, use: Use) -> str:
    if is_grey(color) or use == "scale":
        return turned(color)
    return readable(color, DARK.ground) if use == "text" else readable(color, DARK.ground, _MARK_CONTRAST)
