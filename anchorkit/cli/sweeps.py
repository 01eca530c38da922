"""Commands for many runs: ``sweep``, ``compare``, ``rerun``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anchorkit.cli.answers import EXIT_FAILED, Answer, count, points, table
from anchorkit.cli.options import AddCommand, add_cost, add_json, add_scheduler
from anchorkit.errors import InputError
from anchorkit.runs.record import duration

if TYPE_CHECKING:
    from anchorkit.batch.sweeps.estimate import SweepEstimate

_SHOWN_DIFFERENCES = 12


def add_commands(add: AddCommand) -> None:
    sweep = add("sweep", sweep_command, "run the notebooks over a grid or list of parameters; skip finished runs")
    sweep.add_argument(
        "file", type=Path, metavar="SWEEP", help="a YAML file (see docs/sweeps.md and examples/sweep.yaml)"
    )
    sweep.add_argument("--out", type=Path, metavar="DIR", help="the sweep's folder (default: sweeps/NAME)")
    sweep.add_argument(
        "--jobs", type=int, metavar="N", help="notebooks to execute side by side (default: 1; on a cluster: all)"
    )
    add_scheduler(sweep)
    sweep.add_argument("--retry-failed", action="store_true", help="try failed runs again")
    sweep.add_argument(
        "--dry-run", action="store_true", help="show the plan and an estimate of time and disk space; start nothing"
    )
    add_json(sweep)

    compare = add("compare", compare_command, "compare runs: rank their frontiers, and find the setting that mattered")
    compare.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="runs' or sweeps' folders")
    add_cost(compare)
    compare.add_argument(
        "--max-loss", type=float, metavar="X", help="accuracy that may be lost, 0..1 (default: 0.002, 0.2 points)"
    )
    add_json(compare)

    rerun = add("rerun", rerun_command, "repeat a run and list the differences")
    rerun.add_argument("run", type=Path, metavar="RUN", help="a finished run's folder")
    rerun.add_argument("--out", type=Path, metavar="DIR", help="the folder of the repetition (default: RUN-again)")
    add_json(rerun)


def sweep_command(options: argparse.Namespace) -> Answer:
    """``anchorkit sweep``: many runs of the same notebooks."""
    if options.dry_run:
        return _dry_run(options)
    from anchorkit.batch.sweeps import run_sweep

    summary = run_sweep(options.file, options.out, options.jobs, options.retry_failed, scheduler=options.scheduler)
    index = summary.folder / "index.html"
    text = [f"{len(summary.done)} runs done, {len(summary.failed)} failed: open {index} in a browser"]
    text += [f"  {name}: {message.splitlines()[0]}" for name, message in summary.failed.items()]
    if summary.failed:
        text.append("Give --retry-failed to try these again")
    files = {"sweep": str(summary.folder), "index": str(index), "results": str(summary.folder / "results.parquet")}
    data = {**files, "done": list(summary.done), "failed": dict(summary.failed)}
    return Answer("\n".join(text), data, exit_code=EXIT_FAILED if summary.failed else 0)


def compare_command(options: argparse.Namespace) -> Answer:
    """``anchorkit compare``: rank runs, and find the settings that mattered."""
    from anchorkit.runs.compare import main_effects, nothing_told_of, open_results, rank_runs, varied_parameters
    from anchorkit.search.result import NEGLIGIBLE_LOSS

    max_loss = NEGLIGIBLE_LOSS if options.max_loss is None else options.max_loss
    if not 0 <= max_loss < 1:
        raise InputError(f"--max-loss {max_loss:g}: an accuracy from 0 to 1 is needed (0.002 is 0.2 points)")
    results = open_results(options.runs)
    ranked, names = rank_runs(results, options.cost, max_loss), varied_parameters(results)
    header = ("run", "rank", "hypervolume", "AP", "AP kept", options.cost, "saved", "anchors")
    untold = nothing_told_of(results)
    text = [f"{run}: {nothing}" for run, nothing in untold.items()]
    for number, group in ranked.groupby("group", sort=True):
        records = group.to_dict("records")
        rows = []
        for row in records:
            accurate = (f"{row['hypervolume']:.4f}", points(row["full"]), points(row["accuracy"]))
            cheap = (count(row["cheapest"]), f"{100 * row['saved']:.0f} %", str(row["n_anchors"]))
            rows.append((str(row["run"]), str(row["rank"]), *accurate, *cheap))
        said = f"down to a loss of {100 * records[0]['loss']:.1f} points"
        several = ranked["group"].max() > 1
        heading = f"Group {number}: its data or anchors differ from the other groups; " if several else ""
        text += [f"{heading}hypervolume in {options.cost}, {said}", table(header, rows)]
    effects = None
    if names and len(ranked) >= 3 and len(set(ranked["hypervolume"])) > 1 and ranked["group"].max() == 1:
        effects = main_effects(ranked, "hypervolume", names)
        columns = ("effect on the hypervolume", "by up to", "explains", "by chance", "best")
        lines = []
        for row in effects.to_dict("records"):
            shares = (f"{100 * row[name]:.0f} %" for name in ("explained", "by_chance"))
            lines.append((row["parameter"], f"{row['spread']:.4f}", *shares, row["best"]))
        text.append(table(columns, lines))
    data: dict[str, Any] = {
        "runs": _records(ranked),
        "nothing_told": untold,
        "effects": None if effects is None else _records(effects),
    }
    return Answer("\n".join(text), data)


def rerun_command(options: argparse.Namespace) -> Answer:
    """``anchorkit rerun``: repeat a run and list the differences."""
    from anchorkit.batch.rerun import rerun

    again = rerun(options.run, options.out)
    word = "reproduced" if again.same else "not reproduced"
    text = [
        f"{again.figures} figures and {again.files} files compared: the run was {word}. "
        f"The repetition is in {again.folder}"
    ]
    # The most important first: figures, then files, then possible reasons.
    for kind in ("figure", "file", "data", "version", "commit", "machine"):
        found = [difference for difference in again.differences if difference.kind == kind]
        text += [
            f"  {kind} {one.name}: {_brief(one.before)}, now {_brief(one.after)}" for one in found[:_SHOWN_DIFFERENCES]
        ]
        if len(found) > _SHOWN_DIFFERENCES:
            text.append(f"  and {len(found) - _SHOWN_DIFFERENCES} more of this kind (--json lists all)")
    data = dataclasses.asdict(again) | {"folder": str(again.folder), "same": again.same}
    return Answer("\n".join(text), data)


def _dry_run(options: argparse.Namespace) -> Answer:
    from anchorkit.batch.sweeps.estimate import estimate_sweep
    from anchorkit.batch.sweeps.plan import make_plan
    from anchorkit.batch.sweeps.sweep import sweep_folder
    from anchorkit.batch.sweeps.sweep_file import read_sweep

    plan = make_plan(read_sweep(options.file))
    folder = sweep_folder(plan, options.out)
    found = estimate_sweep(plan, folder)
    data = {
        "sweep": str(folder),
        "runs": [{"name": run.name, "given": dict(run.given), "state": found.runs[run.name]} for run in plan.runs],
        "notebooks": [dataclasses.asdict(entry) for entry in found.notebooks],
        "seconds": found.seconds,
        "new_bytes": found.new_bytes,
    }
    return Answer(_plan_text(found, folder, options.jobs or 1), data)


def _plan_text(found: SweepEstimate, folder: Path, jobs: int) -> str:
    rows = []
    for entry in found.notebooks:
        expected = _expected(entry.seconds, entry.new_bytes) if entry.to_do else ("", "")
        rows.append((entry.notebook, str(entry.runs), str(entry.steps), str(entry.to_do), *expected))
    time, room = _expected(found.seconds, found.new_bytes)
    side = f", {duration(found.seconds / jobs)} at best with {jobs} side by side" if found.seconds and jobs > 1 else ""
    states = list(found.runs.values())
    said = ", ".join(f"{states.count(state)} {state}" for state in ("to do", "done", "failed") if state in states)
    lines = [f"{len(states)} runs in {folder}: {said}"]
    lines += [f"  {name}{'' if state == 'to do' else f' ({state})'}" for name, state in found.runs.items()]
    lines.append(table(("notebook", "runs", "executed", "to do", "time", "disk"), rows))
    lines.append(
        f"In total: time {time}{side}; disk {room}. Estimated from earlier runs with the most similar parameters."
    )
    return "\n".join(lines)


def _expected(seconds: float | None, new_bytes: float | None) -> tuple[str, str]:
    time = "unknown" if seconds is None else duration(seconds)
    return time, "unknown" if new_bytes is None else f"{new_bytes / 1e6:,.1f} MB"


def _brief(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return f"{text[:12]}..." if len(text) == 64 else text  # a digest


def _records(frame: Any) -> list[dict[str, Any]]:
    """Rows with values that JSON can represent."""
    import json

    return list(json.loads(frame.to_json(orient="records", double_precision=15)))
