"""What running lessons and running experiments share: which notebooks, with which parameters, done already or not."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anchorkit.batch.parameters import Parameter, read_parameters, require_known
from anchorkit.batch.profiles import PROFILES
from anchorkit.errors import InputError
from anchorkit.suggest import did_you_mean

LESSONS, EXPERIMENTS = "0[0-9]_*.ipynb", "1[0-9]_*.ipynb"
"""How the notebooks of each kind are named: lessons build on each other in this order, experiments stand alone."""


def find_notebooks(folder: Path, pattern: str) -> list[Path]:
    """The notebooks of one kind in a folder, in order.

    Raises:
        InputError: there are none.
    """
    found = sorted(folder.glob(pattern))
    if not found:
        raise InputError(f"{folder}: no notebooks named like {pattern[0]}0_name.ipynb")
    return found


def profile_named(name: str) -> Mapping[str, Mapping[str, Any]]:
    """The table of a profile: notebook stem -> parameter -> value.

    Raises:
        InputError: there is no such profile.
    """
    if name not in PROFILES:
        raise InputError(f"unknown profile {name!r}; {did_you_mean(name, PROFILES)}")
    return PROFILES[name]


def known_parameters(notebooks: Iterable[Path]) -> dict[str, Parameter]:
    """The parameters of several notebooks by name.

    Raises:
        InputError: as `read_parameters`, or two notebooks give one name different types.
    """
    found: dict[str, Parameter] = {}
    for notebook in notebooks:
        for name, parameter in read_parameters(notebook).items():
            if found.setdefault(name, parameter).type != parameter.type:
                raise InputError(f"{notebook}: {name} has type {parameter.type}, elsewhere {found[name].type}")
    return found


def plan_parameters(
    notebooks: Sequence[Path],
    common: Mapping[str, Any],
    profile: Mapping[str, Mapping[str, Any]],
    overrides: Mapping[str, Any],
    elsewhere: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """The parameters each notebook is executed with, by its stem: all of them, defaults included.

    Args:
        notebooks: the notebooks.
        common: values for every notebook that has the parameter.
        profile: values by notebook; they overrule the common ones.
        overrides: values that the user gave; they overrule all.
        elsewhere: parameters that the user gives in another way, and how: ``{"run_dir": "--out"}``.

    Raises:
        InputError: an unknown parameter, a value of another type, or one that is given elsewhere.
    """
    declared = {notebook.stem: read_parameters(notebook) for notebook in notebooks}
    known = {name for of_notebook in declared.values() for name in of_notebook}
    for name in sorted(set(elsewhere) & set(overrides)):
        raise InputError(f"-p {name}: use {elsewhere[name]} for that")
    require_known(overrides, known, "-p")
    plan: dict[str, dict[str, Any]] = {}
    for stem, parameters in declared.items():
        of_profile = profile.get(stem, {})
        require_known(of_profile, parameters, f"profile, {stem}")
        values = {name: parameter.default for name, parameter in parameters.items()}
        for source in (common, of_profile, overrides):
            for name in source.keys() & parameters.keys():
                values[name] = parameters[name].check(source[name], stem)
        plan[stem] = values
    return plan


def fingerprint(notebook: Path, values: Mapping[str, Any], inputs: Iterable[Path] = ()) -> str:
    """A digest of a notebook's source, the parameters it is executed with, and the files it reads.

    Args:
        notebook: the notebook as it is executed.
        values: all its parameters.
        inputs: files that its result depends on; those that do not exist count as missing.
    """
    digest = hashlib.sha256(notebook.read_bytes())
    digest.update(json.dumps(dict(values), sort_keys=True).encode())
    for path in inputs:
        content = b"missing"
        if path.is_file():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        digest.update(content)
    return digest.hexdigest()


def say(text: str, progress: bool) -> None:
    """Tell how far a run is, on standard error."""
    if progress:
        print(text, end="", file=sys.stderr, flush=True)
