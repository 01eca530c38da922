"""A chart made for white ground, turned for dark ground.

The functions that make charts know only one set of colours, that of white ground. What a colour becomes on dark ground
depends on what it is used for: greys (ground, grids, text) and scales from the ground to its opposite are turned over,
text in a level's colour gets light enough to read, and colourful marks stay as they are unless they are very dark. What
is drawn on an image stays as it is: the image is the same on any ground.
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
    on_images = _data_on_images(spec)
    kept = {name: rows for name, rows in spec.get("datasets", {}).items() if name in on_images}
    rest = {key: part for key, part in spec.items() if key not in ("config", "datasets")}
    rest["datasets"] = {name: rows for name, rows in spec.get("datasets", {}).items() if name not in kept}
    turned_over: dict[str, Any] = _turn(rest, "mark")
    turned_over["datasets"] |= kept
    return turned_over | {"config": spec.get("config", {})}


def _is_photograph(part: Any) -> bool:
    """Whether a chart draws on an image: what stands out there is the same on any ground around it."""
    return any(_draws(layer, "image") for layer in part.get("layer", ()) if isinstance(layer, dict))


def _draws(part: dict[str, Any], kind: str) -> bool:
    """Whether a chart's mark is of a kind."""
    mark = part.get("mark")
    return mark == kind or (isinstance(mark, dict) and mark.get("type") == kind)


def _data_on_images(part: Any, inside: bool = False) -> set[str]:
    """Names of the data sets that are drawn on images."""
    if isinstance(part, list):
        return set().union(*(_data_on_images(item, inside) for item in part)) if part else set()
    if not isinstance(part, dict):
        return set()
    inside = inside or _is_photograph(part)
    own = {str(part["data"]["name"])} if inside and "name" in part.get("data", {}) else set()
    return own.union(*(_data_on_images(item, inside) for key, item in part.items() if key != "datasets"))


def _turn(part: Any, use: Use) -> Any:
    if isinstance(part, str):
        return _color(part, use) if _COLOR.fullmatch(part) else part
    if isinstance(part, list):
        return [_turn(item, use) for item in part]
    if not isinstance(part, dict):
        return part
    if _is_photograph(part):
        return {key: value if key == "layer" else _turn(value, use) for key, value in part.items()}
    is_text = _draws(part, "text")
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
