"""All runs of a sweep as one table: parameters, versions, times, costs, accuracies.

A row is one measurement in one run; facts of the whole run are repeated in each of its rows. docs/sweeps.md has the
columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from anchorkit.costs import COSTS
from anchorkit.errors import InputError
from anchorkit.files import read_json, replacing
from anchorkit.findings import nothing_can_be_told
from anchorkit.runs.holding import read_holding
from anchorkit.runs.points import Points
from anchorkit.runs.record import RECORD_FILE, RunRecord
from anchorkit.search.frontier import unbeaten
from anchorkit.search.result import NEGLIGIBLE_LOSS, SearchResult

_MEASURES = ("accuracy", *COSTS, "n_anchors", "anchors")


def write_results(runs: Sequence[str | Path], path: str | Path) -> pd.DataFrame:
    """Write the table of some runs as Parquet.

    Args:
        runs: their folders; missing ones are left out.
        path: the file.

    Raises:
        InputError: a file of a run is damaged, or the table cannot be written.
    """
    table = results_table([run for run in runs if (Path(run) / RECORD_FILE).exists()])
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
    return table


def results_table(runs: Iterable[str | Path]) -> pd.DataFrame:
    """The table of some runs; see the module's description for its columns.

    Raises:
        InputError: a folder is not a run's, or a file in it is damaged.
    """
    rows: list[dict[str, Any]] = []
    for run in map(Path, runs):
        common, search = _common(run, RunRecord.read(run)), read_search(run)
        rows.append({**common, "what": "run", **_whole(search)})
        rows += [{**common, "what": "configuration", **row} for row in _configurations(search)]
        rows += [{**common, "what": "point", **row} for row in _points(run)]
    first = ["run", "state", "what", "point", "stage", "split", *_MEASURES]
    table = pd.DataFrame(rows)
    return table.reindex(columns=[*first, *(name for name in table.columns if name not in first)])


def run_summary(run: str | Path) -> dict[str, Any]:
    """A run in numbers: ``parameters`` by name, ``figures`` by name, ``seconds``, and ``error`` if it failed.

    ``nothing`` says why nothing can be told of it, or is None; then ``figures`` has what holds on images that took no
    part in the search, as ``held.removed`` (anchors) and ``held.saved`` (0..1).

    Raises:
        InputError: the folder is not a run's, or a file in it is damaged.
    """
    folder = Path(run)
    record = RunRecord.read(folder)
    common = _common(folder, record)
    figures = {name.removeprefix("figure."): value for name, value in common.items() if name.startswith("figure.")}
    figures |= {name: value for name, value in _whole(read_search(folder)).items() if isinstance(value, int | float)}
    for row in _points(folder):
        place = f"{row['point']}.{row['stage']}.{row['split']}"
        figures |= {f"{place}.{name}": row[name] for name in ("accuracy", "head_flops") if name in row}
    parameters = {name.removeprefix("param."): value for name, value in common.items() if name.startswith("param.")}
    holding, full = read_holding(folder), figures.get("accuracy")
    nothing = nothing_can_be_told(float(full)) if full is not None else None
    nothing = nothing or (None if holding is None else holding.nothing)
    if nothing:
        # What a hopeless detector saves at no loss is no result.
        figures = {name: value for name, value in figures.items() if not name.endswith(".saved")}
    elif holding is not None:
        figures |= {"held.removed": holding.n_removed, "held.saved": float(holding.figures["saved"])}
    summary = {"nothing": nothing, "parameters": parameters, "figures": figures, "seconds": common["seconds"]}
    return summary | ({"error": record.error} if record.error else {})


def _common(run: Path, record: RunRecord) -> dict[str, Any]:
    about = record.provenance or {}
    common: dict[str, Any] = {
        "run": (record.sweep or {}).get("run") or run.name,
        "state": record.state,
        "seconds": round(record.seconds, 2),
        **{f"seconds.{stem}": executed.seconds for stem, executed in record.notebooks.items()},
        **{f"param.{name}": value for name, value in _parameters(record).items()},
        **{f"version.{name}": version for name, version in record.versions.items()},
        "version.anchorkit": record.anchorkit,
        "version.python": record.python,
        "data": record.data,
        "data.fingerprint": (about.get("data") or {}).get("fingerprint"),
        "detector": record.detector,
        "commit": (about.get("commit") or {}).get("hash"),
    }
    figures = read_json(run / "figures.json") if (run / "figures.json").exists() else {}
    if not isinstance(figures, dict) or not all(isinstance(value, int | float) for value in figures.values()):
        raise InputError(f"{run / 'figures.json'}: numbers by name are needed")
    return common | {f"figure.{name}": value for name, value in figures.items()}


def _parameters(record: RunRecord) -> dict[str, Any]:
    """Parameters by name where the notebooks of the run agree, else by NOTEBOOK.NAME; lists as text."""
    values: dict[str, dict[str, Any]] = {}
    for stem, executed in record.notebooks.items():
        for name, value in executed.parameters.items():
            if name != "run_dir":
                values.setdefault(name, {})[stem] = str(value) if isinstance(value, list) else value
    flat: dict[str, Any] = {}
    for name, by_notebook in values.items():
        if len(set(by_notebook.values())) == 1:
            flat[name] = next(iter(by_notebook.values()))
        else:
            flat |= {f"{stem}.{name}": value for stem, value in by_notebook.items()}
    return flat


def read_search(run: Path) -> SearchResult | None:
    """The search of a run; None if there is none, or it is not finished: search.json is written last."""
    return SearchResult.load(run / "search") if (run / "search" / "search.json").exists() else None


def _whole(search: SearchResult | None) -> dict[str, Any]:
    """The full detector, and the figures of the search."""
    if search is None:
        return {}
    full = search.baseline
    found = {name: full[name] for name in _MEASURES if name in full.index}
    found |= {"searched_cost": search.cost, "threshold": search.threshold, "tried": len(search.evaluated)}
    found |= {"on_frontier": len(search.frontier), "hypervolume": search.hypervolume()}
    for name, loss in (("free", 0.0), ("little", NEGLIGIBLE_LOSS)):
        enough = search.evaluated[search.evaluated["accuracy"] >= full["accuracy"] - loss]
        found[f"{name}.{search.cost}"] = enough[search.cost].min()
        found[f"{name}.saved"] = 1.0 - float(enough[search.cost].min()) / float(full[search.cost])
    return {name: _plain(value) for name, value in found.items()}


def _configurations(search: SearchResult | None) -> list[dict[str, Any]]:
    """The configurations that no other one that was tried beats in accuracy and some cost."""
    if search is None:
        return []
    tried = search.evaluated
    kept: set[int] = set()
    for cost in (name for name in COSTS if name in tried and tried[name].notna().all()):
        kept.update(unbeaten(tried["accuracy"], tried[cost]))
    return _plain_rows(tried.iloc[sorted(kept)][[name for name in _MEASURES if name in tried]])


def _points(run: Path) -> list[dict[str, Any]]:
    points = Points.read_if_there(run, ("split",))
    if points is None:
        return []
    return _plain_rows(points.table[[name for name in ("point", "stage", "split", *_MEASURES) if name in points.table]])


def _plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    """A number of numpy as Python's own."""
    return value.item() if hasattr(value, "item") else value
