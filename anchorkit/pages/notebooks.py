"""Renders executed notebooks as HTML pages that load nothing from the network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from anchorkit.errors import InputError
from anchorkit.files import write_text
from anchorkit.plots.export import drop_remote_references

_WIDGET = "application/vnd.jupyter.widget-view+json"
_PICTURES = ("image/svg+xml", "image/png", "image/jpeg", "text/html")
_PICTURE_KINDS = (".svg", ".png", ".jpg", ".jpeg")


def render_notebook(notebook: Path) -> str:
    """Write ``NAME.html`` next to an executed ``NAME.ipynb``.

    The page contains no scripts, style sheets or pictures from the network. It shows the static picture in the notebook
    in place of each widget.

    Returns:
        The page's title.

    Raises:
        InputError: the file is not a notebook, nbconvert cannot render it, or the page cannot be written.
    """
    import nbformat

    try:
        content: Any = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    except Exception as error:  # nbformat raises many kinds of errors for a broken file
        reason = (str(error).splitlines() or ["broken"])[0]
        raise InputError(f"{notebook}: not a notebook, or cut off ({reason}); execute it again") from None
    title = _title(content) or notebook.stem
    target = notebook.with_suffix(".html")
    # Rendering takes seconds, and a page is often written again. The digest does not depend on the clock.
    mark = f"<!-- of {hashlib.sha256(notebook.read_bytes()).hexdigest()} -->"
    if not target.exists() or mark not in target.read_text(encoding="utf-8"):
        try:
            body = drop_remote_references(_cells(content))
        except Exception as error:  # nbconvert stands on a dozen libraries, and any of them may fail
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{notebook}: nbconvert cannot render it ({reason}); `anchorkit doctor` may say why"
            ) from None
        back = f'{mark}<p class="over"><a href="../index.html">the run</a></p>'
        write_text(target, page(title, back + body, "style.css", "notebook.css"))
    return title


def page(title: str, body: str, *styles: str) -> str:
    """An HTML page: the kit's template with style sheets (files in the templates folder) and a body."""
    templates = resources.files("anchorkit.pages") / "templates"
    style = "\n".join((templates / name).read_text(encoding="utf-8") for name in styles)
    frame = Template((templates / "index.html").read_text(encoding="utf-8"))
    return frame.substitute(title=escape(title), style=style, body=body)


def details(title: str, texts: Mapping[str, str]) -> str:
    """A table that a click opens, of names and their values as HTML; empty if there are none."""
    rows = "".join(f"<tr><td>{escape(name)}</td><td><code>{text}</code></td></tr>" for name, text in texts.items())
    table = f'<div class="scroll"><table>{rows}</table></div>'
    return f"<details><summary>{escape(title)}</summary>{table}</details>" if texts else ""


def pictures(run: Path) -> list[Path]:
    """The charts and pictures that the notebooks of a run left."""
    return sorted(path for path in run.glob("figures/*") if path.suffix.lower() in _PICTURE_KINDS)


def keep_static(content: Any) -> None:
    """Leave the static picture of every widget of an executed notebook in its place, and drop the widgets' state."""
    for cell in content.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if any(kind in data for kind in _PICTURES):
                data.pop(_WIDGET, None)
            elif _WIDGET in data:
                data.clear()
                data["text/plain"] = "(a widget: open the notebook to use it)"
    content.metadata.pop("widgets", None)


def _cells(content: Any) -> str:
    from nbconvert import HTMLExporter

    keep_static(content)
    exporter: Any = HTMLExporter(template_name="basic")  # type: ignore[no-untyped-call]
    exporter.mathjax_url = exporter.require_js_url = exporter.jquery_url = exporter.mermaid_js_url = ""
    exporter.exclude_anchor_links = True
    body, _ = exporter.from_notebook_node(content)
    return str(body).replace("No description has been provided for this image", "output of the cell above")


def _title(content: Any) -> str | None:
    for cell in content.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^#\s+(.+)$", cell.source, re.MULTILINE)):
            return re.sub(r"[*`_]", "", found.group(1)).strip()
    return None
