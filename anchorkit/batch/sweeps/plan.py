"""From runs to steps: what several runs share is planned once.

A step is one notebook with its parameters, begun from the files that the step before it left. Its key is a digest of
all that: the notebook's source, its parameters (files and folders by content), the key of the step before, the version
of the kit. Runs whose first notebooks agree have the same first keys, and so the same steps.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from anchorkit import __version__
from anchorkit.batch.sweeps.sweep_file import SweepFile
from anchorkit.runs.provenance import content_hash

_KEY_FORMAT = 1
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Step:
    """One notebook, executed once for all runs that share it.

    Attributes:
        key: 16 hexadecimal digits; names the step's folder.
        notebook: the notebook.
        parameters: all of its parameters but ``run_dir``.
        before: key of the step whose files it begins with, or None.
    """

    key: str
    notebook: Path
    parameters: Mapping[str, Any]
    before: str | None


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        name: of its folder: what it varies, and a digest of all its parameters.
        given: the values that the sweep file gives it.
        varied: those of them that differ between runs.
        steps: keys of its steps, in order.
    """

    name: str
    given: Mapping[str, Any]
    varied: Mapping[str, Any]
    steps: tuple[str, ...]


@dataclass(frozen=True)
class SweepPlan:
    """Runs, and the steps they are made of.

    Attributes:
        file: what was planned.
        runs: in the order of the file.
        steps: by key; each is needed by one run or more, and stands behind the step it begins with.
    """

    file: SweepFile
    runs: tuple[PlannedRun, ...]
    steps: Mapping[str, Step]

    def users(self, key: str) -> list[PlannedRun]:
        """The runs that need a step."""
        return [run for run in self.runs if key in run.steps]


def make_plan(file: SweepFile) -> SweepPlan:
    """The runs and steps of a sweep.

    Raises:
        InputError: a notebook, or a file that a parameter names, cannot be read.
    """
    hash_of = cache(content_hash)  # a folder of data is read once, not once a run
    steps: dict[str, Step] = {}
    runs = []
    for given, values in zip(file.given, file.values, strict=True):
        before: str | None = None
        for notebook in file.notebooks:
            step = _step(notebook, values[notebook.stem], before, hash_of)
            steps.setdefault(step.key, step)
            before = step.key
        varied = {name: given[name] for name in file.varied if name in given}
        runs.append(PlannedRun(_name(file.name, varied, values), given, varied, _chain(steps, before)))
    return SweepPlan(file, tuple(runs), steps)


def _step(notebook: Path, parameters: Mapping[str, Any], before: str | None, hash_of: Callable[[Path], str]) -> Step:
    facts = {
        "format": _KEY_FORMAT,
        "anchorkit": __version__,
        "notebook": notebook.stem,
        "source": hash_of(notebook),
        "parameters": dict(parameters),
        "contents": _contents(parameters, hash_of),
        "before": before,
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return Step(key, notebook, parameters, before)


def _contents(parameters: Mapping[str, Any], hash_of: Callable[[Path], str]) -> dict[str, str]:
    """The content of whatever files and folders the parameters name: they may change while their names do not."""
    texts = {name: value for name, value in parameters.items() if isinstance(value, str)}
    places = {name: Path(value) for name, value in texts.items() if value.startswith("/")}
    return {name: hash_of(place) for name, place in places.items() if place.exists()}


def _chain(steps: Mapping[str, Step], last: str | None) -> tuple[str, ...]:
    keys: list[str] = []
    while last is not None:
        keys.append(last)
        last = steps[last].before
    return tuple(reversed(keys))


def _name(sweep: str, varied: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """A folder's name that people can read and no two runs share: ``cost=boxes,max_drop=0.01-1f3a9c``."""
    parts = [f"{name.rpartition('.')[2]}={_short(value)}" for name, value in varied.items()]
    text = re.sub(r"[^\w.,=+-]+", "_", ",".join(parts) or sweep).strip("._")[:_LONGEST_NAME]
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return f"{text}-{digest[:6]}"


def _short(value: Any) -> str:
    if isinstance(value, str) and value.startswith("/"):
        return Path(value).name
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "+".join(map(_short, value))
    return str(value)
