"""The page of a sweep: a row and a small picture per run, searchable and sortable, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from anchorkit.batch.sweeps.plan import PlannedRun, SweepPlan
from anchorkit.batch.sweeps.thumbnails import read_frontier, thumbnails
from anchorkit.files import replacing, write_text
from anchorkit.pages.notebooks import page, pictures
from anchorkit.plots.frames import points, unit
from anchorkit.runs.record import RunRecord
from anchorkit.runs.results_table import run_summary

_LEGEND = (
    "The small pictures have one scale. Horizontal: the share of the searched cost that is left. Vertical: the AP, "
    "with a line at that of the full detector (the dot). A run's own frontier is orange, those of all runs are grey; "
    "click it for the whole chart. "
)
# The figures of a search that are worth a column: its title, and the figure as text.
_COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "accuracy": ("AP", points),
    "head_flops": ("Head FLOPs", lambda flops: unit("head_flops", [flops]).text(flops)),
    "held.removed": ("Anchors that can go", "{:.0f}".format),
    "held.saved": ("Saved by that", lambda saved: f"{100 * saved:.0f} %"),
    "free.saved": ("Saved on the images of the search", lambda saved: f"{100 * saved:.0f} %"),
    "hypervolume": ("Hypervolume", "{:.4f}".format),
    "tried": ("Tried", "{:,}".format),
}


def write_sweep_page(folder: Path, plan: SweepPlan) -> Path:
    """Write ``index.html``, and a picture of each run into ``pictures/``.

    Raises:
        InputError: a file of a run is damaged, or the page cannot be written.
    """
    rows = [_Row(folder, run) for run in plan.runs]
    varied = [name for name in plan.file.varied if len({str(row.varied.get(name)) for row in rows}) > 1]
    figures = list(dict.fromkeys(name for row in rows for name in row.figures))
    heads = [("", name) for name in ("Run", *varied, "State")]
    heads += [(' class="number"', name) for name in (*figures, "Minutes")]
    cells = "".join(f'<th scope="col"{kind}><button type="button">{escape(name)}</button></th>' for kind, name in heads)
    frontiers = {row.name: row.frontier for row in rows if row.frontier is not None}
    shared, small = thumbnails(frontiers)
    body = "".join(row.html(varied, figures, small.get(row.name)) for row in rows)
    counts = {state: sum(row.state == state for row in rows) for state in ("done", "failed", "to do")}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    notebooks = ", ".join(notebook.stem for notebook in plan.file.notebooks)
    script = (resources.files("anchorkit.pages") / "templates" / "sweep.js").read_text(encoding="utf-8")
    content = (
        f'<p class="over">a sweep over {escape(notebooks)}</p><h1>{escape(plan.file.name)}: {escape(said)}</h1>'
        '<p><label>Show runs with <input id="wanted" type="search" placeholder="boxes 0.02"></label> '
        f'<span id="shown" class="quiet" aria-live="polite"></span></p>{shared if frontiers else ""}'
        f'<div class="scroll"><table id="runs" class="wide"><thead><tr><td></td>{cells}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f"<footer>{_LEGEND if frontiers else ''}"
        "AP is COCO's 0.50:0.95, in points, on the validation images. Anchors that can go: with the confidence and the "
        "margin that the run's page names, on images that took no part in the search. Saved on the images of the "
        "search: the share of the searched cost that goes without a loss there, which flatters. Hypervolumes are of "
        "the searched cost, down to each run's own threshold; <code>anchorkit compare</code> compares them down to the "
        "same loss. All figures of all runs: "
        '<a href="results.parquet">results.parquet</a>.</footer>'
        f"<script>{script}</script>"
    )
    write_text(folder / "index.html", page(plan.file.name, content, "style.css", "sweep.css"))
    return folder / "index.html"


class _Row:
    """What the page shows about one run."""

    def __init__(self, folder: Path, run: PlannedRun) -> None:
        place = folder / "runs" / run.name
        self.name, self.varied = run.name, run.varied
        record = RunRecord.read_if_there(place) or RunRecord()
        current = (record.sweep or {}).get("steps") == list(run.steps)
        summary = run_summary(place) if current else {}
        self.state = "to do" if not current else "failed" if "error" in summary else "done"
        self.error = summary["error"]["message"].splitlines()[0] if "error" in summary else ""
        self.seconds = summary.get("seconds")
        self.figures = _shown(summary.get("figures", {}))
        self.page = f"runs/{quote(run.name)}/index.html" if (place / "index.html").exists() else None
        done = self.state == "done"
        self.nothing = summary.get("nothing")
        self.picture = _picture(folder, place, run.name) if done else None
        self.frontier = read_frontier(place) if done else None

    def html(self, varied: list[str], figures: list[str], thumbnail: str | None) -> str:
        name = escape(self.name).replace(",", ",<wbr>")
        link = f'<a href="{self.page}">{name}</a>' if self.page else name
        shown = thumbnail or (f'<img loading="lazy" src="{self.picture}" alt="">' if self.picture else "")
        if self.picture:
            shown = f'<a href="{self.picture}">{shown}</a>'
        cells = [f"<td>{escape(str(self.varied.get(name, '')))}</td>" for name in varied]
        note = self.error or self.nothing
        state = f"{self.state}<small>{escape(note)}</small>" if note else self.state
        numbers = [self.figures.get(name) for name in figures]
        numbers.append(None if self.seconds is None else (self.seconds / 60, f"{self.seconds / 60:.1f}"))
        for number in numbers:
            value, text = number if number is not None else ("", "")
            cells.append(f'<td class="number" data-value="{value}">{escape(text)}</td>')
        cells.insert(len(varied), f'<td class="{self.state.replace(" ", "-")}">{state}</td>')
        return f'<tr><td class="picture">{shown}</td><td>{link}</td>{"".join(cells)}</tr>'


def _shown(figures: Mapping[str, Any]) -> dict[str, tuple[float, str]]:
    """The figures worth a column, each as a number to sort by and a text: those of the search, and a notebook's own."""
    known = {name: column for name, column in _COLUMNS.items() if name in figures}
    if not known:
        return {name: (value, f"{value:.6g}") for name, value in figures.items()}
    return {title: (figures[name], text(figures[name])) for name, (title, text) in known.items()}


def _picture(folder: Path, run: Path, name: str) -> str | None:
    """The picture of a run, copied beside the page: its frontier, or else its first figure."""
    found = sorted(pictures(run), key=lambda path: "frontier" not in path.stem)
    if not found:
        return None
    target = folder / "pictures" / f"{name}{found[0].suffix.lower()}"
    with replacing(target) as temporary:
        shutil.copyfile(found[0], temporary)
    return f"pictures/{quote(target.name)}"
