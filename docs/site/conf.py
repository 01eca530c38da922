"""Settings of the site; `docs/make_site.py` gathers the sources and builds it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PyObject
from sphinx.environment import BuildEnvironment

sys.path.insert(0, str(Path(__file__).resolve().parent / "docs"))
import make_reference

from anchorkit import __version__

_PARAMETERS = re.compile(r"<dl>\n(?:<dd>.*?</dd>\n?)+</dl>", re.DOTALL)
_NO_HEADING = re.compile(r"<th[^>]*>(?:<p></p>)?</th>")
project = "anchorkit"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
root_doc = "index"
exclude_patterns = ["README.md", "docs/teaching/**.ipynb", "extra"]
if not (Path(__file__).parent / "docs" / "teaching").exists():
    exclude_patterns.append("teaching.md")
    suppress_warnings = ["toc.not_readable"]

# Notebooks come executed, or stay without outputs; pictures stand in place of widgets, so nothing is fetched.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, Any] = {}
nb_merge_streams = True
myst_heading_anchors = 4

autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
add_module_names = True
default_role = "name"
highlight_language = "none"
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "pydata_sphinx_theme"
html_title = "anchorkit"
html_static_path = ["_static"]
html_extra_path = ["extra"]
html_css_files = ["anchorkit.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_search_summary = False  # it would fetch pages, which a browser refuses on file://
html_sidebars: dict[str, list[str]] = {"handout": [], "docs/gallery": []}  # sections of one page
html_context = {"default_mode": "auto"}
html_theme_options = {
    "show_version_warning_banner": False,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    "navbar_end": ["theme-switcher"],
    "footer_start": [],
    "footer_end": [],
}


def setup(app: Sphinx) -> None:
    """Register what docstrings need."""
    app.add_role("name", _name)
    app.connect("autodoc-process-docstring", _link_pages)
    app.connect("html-page-context", _make_accessible)
    app.connect("env-updated", _add_aliases)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"


def _name(_: str, rawtext: str, text: str, *__: Any, **___: Any) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Text in single backticks: a link where it looks like a public name, else code."""
    code = nodes.literal(rawtext, text, classes=["xref", "py"])
    if not (text[0].isupper() or "." in text) or not text.replace(".", "").replace("_", "").isalnum():
        return [code], []
    target = text.replace("ak.", "anchorkit.", 1) if text.startswith("ak.") else text
    link = addnodes.pending_xref(rawtext, code, refdomain="py", reftype="obj", reftarget=target, refexplicit=False)
    return [link], []


def _link_pages(_: Sphinx, *rest: Any) -> None:
    """Where a docstring names a page of docs/, link it."""
    lines: list[str] = rest[-1]
    lines[:] = [make_reference.with_links(line) for line in lines]


def _make_accessible(*rest: Any) -> None:
    """Mend what axe reports: lists in signatures that are no definition lists, and headings of tables without text."""
    context: dict[str, Any] = rest[3]
    body = _PARAMETERS.sub(lambda found: re.sub(r"(</?)d[ld]>", r"\1span>", found[0]), context.get("body", ""))
    context["body"] = _NO_HEADING.sub("<td></td>", body)


def _add_aliases(_: Sphinx, environment: BuildEnvironment) -> None:
    """Names that two modules have lead to the one place where they are documented."""
    domain: Any = environment.get_domain("py")
    for alias, name in make_reference.aliases().items():
        found = domain.objects[name]
        domain.objects.setdefault(alias, found._replace(aliased=True))
        if name in domain.modules:
            domain.modules.setdefault(alias, domain.modules[name])
