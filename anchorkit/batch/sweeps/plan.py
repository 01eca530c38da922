"""From the runs of a sweep to steps: a step that several runs share is planned once.

Runs whose first notebooks agree have the same first keys (see `anchorkit.batch.plans`), and so the same steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from anchorkit.batch.plans import Step, make_chain
from anchorkit.batch.sweeps.sweep_file import SweepFile
from anchorkit.runs.provenance import content_hash, facts_hash

_LONGEST_NAME = 80


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        name: of its folder: the varied values, and a digest of all parameters.
        given: the values that the sweep file sets.
        varied: those of them that differ between runs.
        steps: keys of its steps, in order.
    """

    name: str
    given: Mapping[str, Any]
    varied: Mapping[str, Any]
    steps: tuple[str, ...]


@dataclass(frozen=True)
class SweepPlan:
    """Runs, and the steps that they consist of.

    Attributes:
        file: the sweep file.
        runs: in the order of the file.
        steps: by key; each is needed by at least one run and comes after the step that it starts from.
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
    hash_of = cache(content_hash)  # reads a folder of data once, not once per run
    steps: dict[str, Step] = {}
    runs = []
    for given, values in zip(file.given, file.values, strict=True):
        chain = make_chain(file.notebooks, values, hash_of)
        steps |= {step.key: step for step in chain if step.key not in steps}
        varied = {name: given[name] for name in file.varied if name in given}
        runs.append(PlannedRun(_name(file.name, varied, chain), given, varied, tuple(step.key for step in chain)))
    return SweepPlan(file, tuple(runs), steps)


def _name(sweep: str, varied: Mapping[str, Any], chain: Sequence[Step]) -> str:
    """A readable folder name that no two runs share: ``cost=boxes,max_drop=0.01-1f3a9c``."""
    parts = [f"{name.rpartition('.')[2]}={_short(value)}" for name, value in varied.items()]
    text = re.sub(r"[^\w.,=+-]+", "_", ",".join(parts) or sweep).strip("._")[:_LONGEST_NAME]
    values = {step.name: dict(step.parameters) for step in chain}
    return f"{text}-{facts_hash(values)[:6]}"


def _short(value: Any) -> str:
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "+".join(map(_short, value))
    return str(value)
