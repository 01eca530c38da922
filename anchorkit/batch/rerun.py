"""Repeating a run: the same notebooks with the same parameters, and what comes out different."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from anchorkit.batch.plans import make_chain
from anchorkit.batch.runner import execute_chain
from anchorkit.errors import InputError
from anchorkit.runs.lock import locked
from anchorkit.runs.provenance import result_hashes
from anchorkit.runs.record import RECORD_FILE, RunRecord
from anchorkit.runs.results_table import run_summary


@dataclass(frozen=True)
class Difference:
    """One thing that differs between a run and its repetition.

    Attributes:
        kind: ``"figure"``, ``"file"``, ``"version"``, ``"commit"``, ``"machine"`` or ``"data"``.
        name: of the figure, file, package or fact.
        before: in the repeated run; None if it was not there.
        after: in the repetition.
    """

    kind: str
    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Repetition:
    """A run and its repetition.

    Attributes:
        folder: of the repetition.
        figures: how many figures were compared.
        files: how many files were compared.
        differences: what differs.
    """

    folder: Path
    figures: int
    files: int
    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether every figure and file of the run is equal in the repetition."""
        return not any(difference.kind in ("figure", "file") for difference in self.differences)


def rerun(run: str | Path, out: str | Path | None = None, progress: bool = True) -> Repetition:
    """Repeat a run in its own folder and report what differs.

    The notebooks are those in the run's folder, as they were executed then; the parameters are those of ``run.json``. A
    stopped repetition resumes.

    Args:
        run: the run's folder.
        out: folder of the repetition; by default beside the run, with ``-again`` after its name.
        progress: one line per notebook on standard error.

    Raises:
        InputError: the run is not finished or lacks its notebooks, or the folder holds something else.
        NotebookError: a cell failed.
    """
    source = Path(run).resolve()
    folder = (source.with_name(f"{source.name}-again") if out is None else Path(out)).resolve()
    record = _finished(source)
    if folder == source:
        raise InputError(f"{folder}: that is the run itself; give another --out")
    begun = RunRecord.read_if_there(folder)
    if begun is not None and begun.repeats != str(source):
        raise InputError(
            f"{folder / RECORD_FILE}: another run is there, not a repetition of {source}; give another --out"
        )
    known = {name: getattr(record, name) for name in ("profile", "data", "detector", "parameters", "sweep")}
    again = RunRecord.begin(**known, repeats=str(source), notebooks={} if begun is None else begun.notebooks)
    values = {stem: done.parameters for stem, done in record.notebooks.items()}
    notebooks = [source / "notebooks" / f"{stem}.ipynb" for stem in values]
    with locked(folder):
        execute_chain(folder, make_chain(notebooks, values), again, progress)
    return compare_runs(source, folder)


def compare_runs(before: str | Path, after: str | Path) -> Repetition:
    """The differences between two runs of the same notebooks.

    Figures are compared to the last bit, files by their SHA-256, and tables whose bytes differ by their values.

    Raises:
        InputError: a folder is not a run's, or a file in it is damaged.
    """
    first, second = Path(before), Path(after)
    was, now_is = _about(first), _about(second)
    figures = [run_summary(folder)["figures"] for folder in (first, second)]
    files = [result_hashes(folder) for folder in (first, second)]
    found = _differing("figure", *figures)
    found += [
        difference for difference in _differing("file", *files) if not _same_table(first, second, difference.name)
    ]
    recorded, packages = was.get("packages") or {}, now_is.get("packages") or {}
    if recorded:
        found += _differing("version", recorded, packages)
    for kind in ("commit", "machine", "data"):
        found += _differing(kind, was.get(kind) or {}, now_is.get(kind) or {}) if kind in was else []
    count = [len({*pair[0], *pair[1]}) for pair in (figures, files)]
    return Repetition(second, count[0], count[1], tuple(found))


def _finished(folder: Path) -> RunRecord:
    record = RunRecord.read(folder)
    if not record.finished or not record.notebooks:
        raise InputError(f"{folder / RECORD_FILE}: the run is not finished; run it to its end first")
    for stem in record.notebooks:
        if not (folder / "notebooks" / f"{stem}.ipynb").exists():
            raise InputError(f"{folder / 'notebooks' / stem}.ipynb: missing, so the executed source is unknown")
    return record


def _about(folder: Path) -> dict[str, Any]:
    """The provenance in a run's record; records of older versions have only the main packages."""
    record = RunRecord.read(folder)
    return dict(record.provenance or {"packages": {k: v for k, v in record.versions.items() if v}})


def _differing(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    names = list(dict.fromkeys([*before, *after]))
    # A record that names few packages has no information on the others.
    if kind == "version" and len(before) < len(after):
        names = [name for name in names if name in before]
    return [
        Difference(kind, name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _same_table(first: Path, second: Path, name: str) -> bool:
    """Whether two tables whose bytes differ have equal values: library versions write files differently."""
    places = first / name, second / name
    if not all(place.exists() for place in places) or places[0].suffix not in (".parquet", ".csv"):
        return False
    tables = [pd.read_csv(place) if place.suffix == ".csv" else pd.read_parquet(place) for place in places]
    return bool(tables[0].equals(tables[1]))
