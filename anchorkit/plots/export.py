"""Charts as files and as text that need no network."""

from __future__ import annotations

import hashlib
import re
import threading
from pathlib import Path
from typing import Any, TypeAlias

import altair as alt
from PIL import Image

from anchorkit.errors import InputError
from anchorkit.files import replacing, write_text
from anchorkit.plots.dark import on_dark
from anchorkit.plots.theme import DARK_NAME, NAME, is_dark

AnyChart: TypeAlias = (
    alt.Chart | alt.LayerChart | alt.ConcatChart | alt.HConcatChart | alt.VConcatChart | alt.FacetChart
)
"""What the functions of this package return, and what `save` takes."""

_THEME = threading.Lock()  # Altair's theme is one for the whole process, and explorers draw on threads, too
_REMOTE = re.compile(r"<(?:script|link|img)\b[^>]*\b(?:src|href)\s*=\s*[\"']?(?:https?:)?//", re.IGNORECASE)


def save(chart: AnyChart | Image.Image, path: str | Path) -> Path:
    """Write a chart in the kit's theme, or a picture with boxes; the ending of `path` says how.

    ``.png`` is written at twice the size, ``.svg`` as it is, ``.html`` as a page of its own that loads nothing from
    the network. A picture is written as it is, as ``.png`` only. The file appears whole or not at all.

    Raises:
        InputError: another ending, or the file cannot be written.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if isinstance(chart, Image.Image):
        if kind != ".png":
            raise InputError(f"{target}: a picture is saved as .png, not {target.suffix or 'without an ending'!r}")
        with replacing(target) as temporary:
            chart.save(temporary, format="PNG")
        return target
    if kind not in (".png", ".svg", ".html"):
        raise InputError(
            f"{target}: a chart is saved as .png, .svg or .html, not {target.suffix or 'without an ending'!r}"
        )
    if kind == ".svg":
        write_text(target, to_svg(chart))
        return target
    dark = is_dark()
    with _THEME, alt.theme.enable(DARK_NAME if dark else NAME), replacing(target) as temporary:
        if dark:
            chart = alt.Chart.from_dict(on_dark(chart.to_dict(validate=False)))
        if kind == ".png":
            chart.save(str(temporary), format="png", scale_factor=2)
        else:
            chart.save(str(temporary), format="html", inline=True)
            if remote_references(temporary.read_text(encoding="utf-8")):
                raise RuntimeError(f"{target}: the page would load a script from the network")
    return target


def to_svg(chart: AnyChart) -> str:
    """The chart as SVG text in the kit's theme, safe to put inline beside other charts."""
    with _THEME:
        dark = is_dark()
        with alt.theme.enable(DARK_NAME if dark else NAME):
            # Checking against the schema takes longer than drawing; the tests do it for every chart of the kit.
            spec = chart.to_dict(validate=False)
    return _drawn(on_dark(spec) if dark else spec)


def _show_on_dark(spec: dict[str, Any], **_: Any) -> dict[str, str]:
    """Altair's renderer while everything is drawn on dark ground."""
    return {"image/svg+xml": _drawn(on_dark(spec))}


alt.renderers.register(DARK_NAME, _show_on_dark)


def _drawn(spec: dict[str, Any]) -> str:
    import vl_convert

    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    text: str = vl_convert.vegalite_to_svg(spec, vl_version=version)
    # Vega numbers its clip paths from 0 in every chart; two charts inline on one page would use each other's.
    mark = hashlib.sha1(text.encode()).hexdigest()[:8]
    text = re.sub(r'\bid="([^"]+)"', rf'id="\1-{mark}"', text)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#\1-{mark})", text)


def remote_references(html: str) -> list[str]:
    """The scripts, style sheets and pictures that an HTML page would fetch from the network."""
    return [match.group(0) for match in _REMOTE.finditer(html)]


def drop_remote_references(html: str) -> str:
    """The page without the scripts, style sheets and pictures that it would fetch from the network."""
    while match := _REMOTE.search(html):
        end = html.index(">", match.start()) + 1 if ">" in html[match.start() :] else len(html)
        if match.group(0).lower().startswith("<script"):
            closing = re.compile(r"</script\s*>", re.IGNORECASE).search(html, end)
            end = closing.end() if closing else len(html)
        html = html[: match.start()] + html[end:]
    return html
