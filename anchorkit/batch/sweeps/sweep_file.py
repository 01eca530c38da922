"""Reading a sweep file: which notebooks, and which values each run gives to their parameters.

All errors of a file are reported in one message, before anything starts.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from anchorkit.batch.parameters import read_parameters
from anchorkit.batch.plans import LESSONS, ONNX_LESSON, Resolver, find_notebooks, profile_named
from anchorkit.bundled import notebooks_dir
from anchorkit.errors import InputError
from anchorkit.files import read_text
from anchorkit.suggest import did_you_mean

_KEYS = ("name", "notebooks", "profile", "base", "grid", "list", "on_finished")


@dataclass(frozen=True)
class SweepFile:
    """The content of a sweep file, checked against the notebooks.

    Attributes:
        name: of the sweep.
        source: the file.
        notebooks: in the order in which every run executes them.
        profile: name of the profile, or None for the notebooks' defaults.
        given: for each run, the values that ``base``, ``list`` and ``grid`` give, by ``NAME`` or ``NOTEBOOK.NAME``.
        varied: the names that ``list`` and ``grid`` give values to.
        values: for each run, by notebook, every parameter with its value; that of ``run_dir`` has no meaning.
        on_finished: called with the record of each run that has ended, or None.
    """

    name: str
    source: Path
    notebooks: tuple[Path, ...]
    profile: str | None
    given: tuple[dict[str, Any], ...]
    varied: tuple[str, ...]
    values: tuple[dict[str, dict[str, Any]], ...]
    on_finished: Callable[[dict[str, Any]], object] | None


def read_sweep(path: str | Path) -> SweepFile:
    """Read a sweep file and check all of it.

    Raises:
        InputError: the file cannot be read, or something in it does not fit. One message lists all errors: unknown
            keys and parameters, values of another type, missing files.
    """
    source = Path(path).resolve()
    problems: list[str] = []
    content = _content(source, problems)
    notebooks = _notebooks(content.get("notebooks", "lessons"), source.parent, problems)
    declared = {notebook.stem: _attempt(problems, None, read_parameters, notebook) for notebook in notebooks}
    named = content.get("profile")
    profile = {} if named is None else _attempt(problems, {}, profile_named, str(named))
    base = _attempt(problems, {}, _mapping, content, "base")
    grid = _attempt(problems, {}, _mapping, content, "grid")
    for name in [name for name, values in grid.items() if not isinstance(values, list) or not values]:
        problems.append(f"grid: {name}: a list of values is needed, as [1, 2]")
        del grid[name]
    entries = _attempt(problems, [{}], _entries, content.get("list"))
    callback = _attempt(problems, None, _callback, content.get("on_finished"), source.parent)

    varied = tuple(dict.fromkeys([*(name for entry in entries for name in entry), *grid]))
    for name in sorted({name for entry in entries for name in entry} & set(grid)):
        problems.append(f"{name} is in list and in grid; set it in only one of them")
    known = {stem: found for stem, found in declared.items() if found is not None}
    resolver = Resolver(known, {"run_dir": "every run gets a folder of its own"}, source.parent)
    if declared and len(known) == len(declared):
        base = _checked(resolver, base, "base", problems)
        grid = {
            name: [_checked(resolver, {name: value}, "grid", problems).get(name) for value in values]
            for name, values in grid.items()
        }
        entries = [_checked(resolver, entry, f"list, entry {n}", problems) for n, entry in enumerate(entries, 1)]
    if problems:
        raise InputError(f"{source}: " + "; ".join(dict.fromkeys(problems)))

    combinations = [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*grid.values())]
    given = tuple(base | entry | combination for entry in entries for combination in combinations)
    values = tuple(resolver.resolve(of_run, profile) for of_run in given)
    _no_doubles(source, given, values)
    name = str(content.get("name", source.stem))
    return SweepFile(name, source, tuple(notebooks), named, given, varied, values, callback)


def _attempt(problems: list[str], otherwise: Any, read: Callable[..., Any], *given: Any) -> Any:
    """What `read` returns; if it refuses, its message goes to `problems`."""
    try:
        return read(*given)
    except InputError as error:
        problems.append(str(error))
        return otherwise


class _UniqueKeys(yaml.SafeLoader):  # type: ignore[misc]  # publishes no types
    """Refuses a mapping with a duplicate key, where plain YAML takes the last one."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if str(key) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", key_node.start_mark)
            seen.add(str(key))
        return super().construct_mapping(node, deep)


def _content(source: Path, problems: list[str]) -> dict[str, Any]:
    text, _ = read_text(source)
    try:
        content = yaml.load(text, _UniqueKeys)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"{source}: {where}{getattr(error, 'problem', None) or error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{source}: a mapping is needed with some of {', '.join(_KEYS)}")
    for key in content:
        if key not in _KEYS:
            problems.append(f"unknown key {key!r}, {did_you_mean(str(key), _KEYS)}")
    name = content.get("name", source.stem)
    if not str(name).strip() or "/" in str(name) or str(name).startswith("."):
        problems.append(f"name {name!r}: a folder's name is needed")
    return content


def _notebooks(asked: Any, folder: Path, problems: list[str]) -> list[Path]:
    shipped = notebooks_dir()
    if asked == "lessons":
        # The tour has no run_dir: it neither reads nor writes files of a run.
        lessons = [path for path in find_notebooks(shipped, LESSONS) if path.stem != ONNX_LESSON]
        return [path for path in lessons if "run_dir" in read_parameters(path)]
    names = asked if isinstance(asked, list) else [asked]
    found: list[Path] = []
    for name in names:
        is_path = str(name).endswith(".ipynb")
        place = folder / str(name) if is_path else shipped / f"{name}.ipynb"
        if place.is_file():
            found.append(place.resolve() if is_path else place)
        elif is_path:
            problems.append(f"notebooks: {place}: no such notebook")
        else:
            known = ["lessons", *(path.stem for path in shipped.glob("[0-9]*.ipynb"))]
            problems.append(f"notebooks: unknown notebook {name!r}, {did_you_mean(str(name), known)}")
    stems = [path.stem for path in found]
    for stem in sorted({stem for stem in stems if stems.count(stem) > 1}):
        problems.append(f"notebooks: {stem} is named twice")
    return found


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict | None):
        raise InputError(f"{key}: NAME: VALUE lines are needed")
    return {str(name): each for name, each in (value or {}).items()}


def _entries(entries: Any) -> list[dict[str, Any]]:
    if entries is None:
        return [{}]
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError("list: entries are needed, each with NAME: VALUE lines")
    return [{str(name): value for name, value in entry.items()} for entry in entries]


def _callback(name: Any, folder: Path) -> Callable[[dict[str, Any]], object] | None:
    if name is None:
        return None
    module, colon, function = str(name).partition(":")
    if not colon:
        raise InputError(f"on_finished: {name}: package.module:function is needed")
    if str(folder) not in sys.path:  # a module beside the sweep file
        sys.path.append(str(folder))
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # the user's module may raise anything; the message reports it
        raise InputError(f"on_finished: {name} cannot be imported ({type(error).__name__}: {error})") from None
    if not callable(found):
        raise InputError(f"on_finished: {name} is not a function")
    return found  # type: ignore[no-any-return]


def _checked(resolver: Resolver, values: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    """Values in their parameters' types, as YAML reads them; errors are added to `problems`."""
    checked = {}
    for name, value in values.items():
        try:
            for parameter in resolver.named(name, where):
                # YAML reads 1e-3 as text: a number only has an exponent there if it has a point.
                if parameter.type == "float" and isinstance(value, str):
                    with contextlib.suppress(ValueError):
                        value = float(value)
                if isinstance(value, bool) and parameter.type == "str":
                    raise InputError(
                        f"{where}: {parameter.name} is {value}; YAML reads no, yes, on and off so; put them in quotes"
                    )
            checked[name] = resolver.check(name, value, where)
        except InputError as error:
            problems.append(str(error))
    return checked


def _no_doubles(source: Path, given: tuple[dict[str, Any], ...], values: tuple[dict[str, Any], ...]) -> None:
    for later, own in enumerate(values):
        first = values.index(own)
        if first < later:
            said = ", ".join(f"{name}={value}" for name, value in given[later].items())
            raise InputError(f"{source}: runs {first + 1} and {later + 1} are the same ({said}); remove one of them")
