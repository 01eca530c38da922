"""Write the reference of the site: every public name from its docstring, every command from its parser.

`docs/make_site.py` calls it. Its pages are never committed, so they cannot go stale.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import anchorkit as ak
from anchorkit import cli
from anchorkit.files import write_text

GROUPS: dict[str, tuple[str, ...]] = {
    "Data and predictions": ("datasets", "predictions", "preprocessing"),
    "Anchors and what they cost": ("anchors", "costs"),
    "Detectors": ("detectors", "onnx", "testing"),
    "Accuracy": ("evaluation", "metrics", "cluster"),
    "Search": ("search", "search.joint"),
    "What a set of images can show": ("statistics",),
    "Training, channels and speed": ("training", "channels", "latency"),
    "What the detections show": (
        "analysis",
        "redundancy",
        "diagnosis",
        "analysis.per_image",
        "analysis.takeovers",
        "analysis.kmeans_anchors",
    ),
    "Charts and explorers": ("plots", "widgets"),
    "Runs and notebooks": (
        "batch",
        "batch.parameters",
        "runs",
        "runs.folder",
        "runs.points",
        "runs.learning",
        "runs.trainings",
        "runs.detectors",
        "runs.selection",
        "runs.answers",
        "runs.compare",
        "runs.results_table",
        "handout",
    ),
    "Errors, findings and files": ("errors", "findings", "files"),
}
"""The modules of the reference, under the names that ``anchorkit`` has for them, as a reader looks for them."""
SHORT_LIST_ONLY = ("batch.parameters",)
"""Modules that share a name with the short list and are private otherwise."""
_PAGE = re.compile(r"\bdocs/(\w+)\.md\b")
_WIDTH = 80
"""Characters in a line of a command's usage."""


@dataclass(frozen=True)
class Entry:
    """A public name.

    Attributes:
        name: under which it is documented, such as ``anchorkit.prune``.
        thing: what it is.
        alias: its other public name, such as ``anchorkit.detectors.prune``; None without one.
        short: how the short list calls it, such as ``ak.prune``; None if it is not in it.
    """

    name: str
    thing: Any
    alias: str | None = None
    short: str | None = None


def module_named(name: str) -> ModuleType:
    """The module that ``anchorkit`` has under a name, such as ``diagnosis`` for ``anchorkit.analysis.diagnosis``."""
    try:
        return importlib.import_module(f"anchorkit.{name}")
    except ModuleNotFoundError:
        found: ModuleType = getattr(ak, name)
        return found


@cache
def entries(name: str) -> list[Entry]:
    """What the page of a module documents: names of the short list first, then the others in alphabetical order."""
    module, found = module_named(name), []
    for inner in _public_in(module):
        thing = getattr(module, inner)
        if inner == name and inner in ak.__all__:  # `ak.search` is the module, which can be called
            found.append(Entry(f"anchorkit.{name}.{inner}", thing, short=f"ak.{inner}"))
        elif inner in ak.__all__ and getattr(ak, inner) is thing:
            found.append(Entry(f"anchorkit.{inner}", thing, f"anchorkit.{name}.{inner}", f"ak.{inner}"))
        elif name not in SHORT_LIST_ONLY:
            found.append(Entry(f"anchorkit.{name}.{inner}", thing))
    return sorted(found, key=lambda entry: (entry.short is None, entry.alias is not None, entry.name.lower()))


def _public_in(module: ModuleType) -> list[str]:
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if not isinstance(getattr(module, name), ModuleType)]
    own = [name for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__]
    return [name for name in own if not name.startswith("_")]


def aliases() -> dict[str, str]:
    """Every second public name, and the one under which it is documented."""
    found = {}
    for module in (module for modules in GROUPS.values() for module in modules):
        if (real := module_named(module).__name__) != f"anchorkit.{module}":
            found[real] = f"anchorkit.{module}"
            found |= {f"{real}.{entry.name.rpartition('.')[2]}": entry.name for entry in entries(module)}
        found |= {entry.alias: entry.name for entry in entries(module) if entry.alias}
    return found


def write_reference(folder: Path) -> None:
    """Write the pages into a folder: an index, one page per module, and the commands."""
    for modules in GROUPS.values():
        for module in modules:
            write_text(folder / f"{module}.rst", module_page(module))
    write_text(folder / "commands.rst", commands_page())
    write_text(folder / "index.rst", index_page())


def index_page() -> str:
    """The doors to the reference: the short list by subject, then all modules."""
    parts = [
        _title("Reference", "="),
        "All names work after ``import anchorkit as ak``. What is not listed here is private and may change in any "
        "version.\n",
        ".. py:module:: anchorkit\n\n.. py:data:: __version__\n\n   The version, as text.\n",
        ".. toctree::\n   :maxdepth: 1\n\n   commands\n   ../docs/files\n",
    ]
    for group, modules in GROUPS.items():
        parts.append(_title(group, "-"))
        short = [entry for module in modules for entry in entries(module) if entry.short]
        rows = [(f":py:obj:`{entry.short} <{entry.name}>`", _first(entry.thing)) for entry in short]
        if rows:
            parts.append(_table(rows))
        parts.append(".. toctree::\n   :maxdepth: 1\n\n" + "".join(f"   {module}\n" for module in modules))
    return "\n".join(parts)


def module_page(name: str) -> str:
    """The page of one public module."""
    module = module_named(name)
    intro = with_links(inspect.getdoc(module) or "")
    parts = [
        _title(f"anchorkit.{name}", "="),
        f".. py:module:: anchorkit.{name}\n",
        f"{intro}\n",
    ]
    inner = [part for part in getattr(module, "__all__", ()) if isinstance(getattr(module, part), ModuleType)]
    if inner:
        links = ", ".join(f":py:mod:`{part} <{getattr(module, part).__name__}>`" for part in inner)
        parts.append(f"Modules: {links}.\n")
    parts += [_entry_text(entry) for entry in entries(name)]
    return "\n".join(parts)


def _entry_text(entry: Entry) -> str:
    thing = entry.thing
    if inspect.isclass(thing):
        foreign = [base.__name__ for base in thing.__mro__ if not base.__module__.startswith("anchorkit")]
        kind = "autoexception" if issubclass(thing, BaseException) else "autoclass"
        return f".. {kind}:: {entry.name}\n   :members:\n   :inherited-members: {', '.join(foreign)}\n"
    if inspect.isroutine(thing):
        return f".. autofunction:: {entry.name}\n"
    said = with_links(f"{_constant_doc(entry.name.rpartition('.')[2], thing)}\n\n{_value(thing)}")
    module, _, name = entry.name.rpartition(".")
    return f".. py:data:: {name}\n   :module: {module}\n\n" + "".join(f"   {line}\n" for line in said.splitlines())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "Names: " + ", ".join(f"``{name}``" for name in value)
    return f"Value: ``{value!r}``" if isinstance(value, int | float | str | tuple) else ""


def _constant_doc(name: str, value: Any) -> str:
    """The docstring below the assignment of a constant, wherever in the package that is."""
    for module in _package():
        if vars(module).get(name) is not value:
            continue
        body = ast.parse(inspect.getsource(module)).body
        for statement, after in pairwise(body):
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            if not any(isinstance(target, ast.Name) and target.id == name for target in targets):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                return inspect.cleandoc(str(after.value.value))
    raise SystemExit(f"{name}: a public constant without a docstring below it")


@cache
def _package() -> list[ModuleType]:
    names = [found.name for found in pkgutil.walk_packages(ak.__path__, "anchorkit.")]
    return [importlib.import_module(name) for name in names if not name.endswith("__main__")]


def commands_page() -> str:
    """The page of the command line."""
    parser, commands = cli.make_parser()
    epilog = (parser.epilog or "").replace("IDS", "``IDS``", 1)
    parts = [_title("Commands", "="), f"{parser.description} {epilog}\n"]
    for name, command in commands.items():
        parts += [_title(f"anchorkit {name}", "-"), f".. program:: anchorkit {name}\n", *_command(command)]
    return "\n".join(parts)


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    said = parser.description or ""
    yield f"{_escaped(said[:1].upper() + said[1:])}. {_escaped(parser.epilog)}\n"
    formatter = argparse.HelpFormatter(parser.prog, width=_WIDTH)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    usage = formatter.format_help()
    yield ".. code-block:: text\n\n" + "".join(f"   {line}\n" for line in usage.splitlines())
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        default = action.dest.upper() if action.option_strings else action.dest
        value = formatter._format_args(action, default) if action.nargs != 0 else ""
        if action.choices is not None and action.metavar is None:
            value = f"{{{','.join(map(str, action.choices))}}}"
        names = [f"{option} {value}".strip() for option in action.option_strings] or [value]
        yield f".. option:: {', '.join(names)}\n\n   {_escaped(formatter._expand_help(action))}\n"


def _first(thing: Any) -> str:
    """The first sentence of a docstring."""
    said = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return said.split(". ")[0].removesuffix(".") + "."


def with_links(text: str) -> str:
    """The text with links where it names a page of docs/."""
    return _PAGE.sub(r":doc:`docs/\1.md </docs/\1>`", text)


def _escaped(text: str | None) -> str:
    return with_links(re.sub(r"[\\*`]|_(?=\W|$)", r"\\\g<0>", text or ""))


def _title(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(f"   * - {name}\n     - {said}\n" for name, said in rows)
    return f".. list-table::\n   :widths: 30 70\n\n{cells}"
