"""The page of a run: the result first, then how it was made. The page is one file and needs no network."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from anchorkit import plots
from anchorkit.errors import InputError
from anchorkit.files import write_text
from anchorkit.pages.joint import joint_section
from anchorkit.pages.notebooks import details, page, pictures, render_notebook
from anchorkit.pages.run_words import (
    beyond,
    card,
    configurations,
    first_words,
    headline,
    held,
    marked,
    to_ship,
    why_nothing,
)
from anchorkit.plots.frames import measures
from anchorkit.runs.folder import HANDOUT, read_findings
from anchorkit.runs.holding import Holding, read_holding
from anchorkit.runs.learning import Learning, read_learning
from anchorkit.runs.onnx_file import is_onnx
from anchorkit.runs.points import STAGES, Points, read_table
from anchorkit.runs.record import RunRecord, duration
from anchorkit.runs.results_table import read_search
from anchorkit.search.result import SearchResult

# The page draws these charts itself, from the numbers.
_DRAWN_HERE = re.compile(r"frontier|recovery|board|before_after", re.IGNORECASE)
_LARGEST_PICTURE = 1400


@dataclass(frozen=True)
class _Run:
    """The contents of a run's folder; None for what is not there yet."""

    record: RunRecord
    search: SearchResult | None
    holding: Holding | None
    learning: Learning | None
    random: pd.DataFrame | None
    points: Points | None
    figures: list[Path]
    notebooks: list[Path]


def write_index(run_dir: str | Path) -> Path:
    """Write ``index.html`` into a run's folder, from the files that the run has written so far.

    The page reads ``run.json``, ``search/``, ``retrained/points.csv``, ``figures/`` and ``notebooks/``. In place of a
    missing part it names the notebook that makes the part. It also renders each executed notebook as an HTML file.
    The page leaves out a notebook that it cannot render and a picture that it cannot read, and says why.

    Returns:
        The page's path.

    Raises:
        InputError: the folder does not exist, or a file in it is damaged.
    """
    folder = Path(run_dir)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; make a run with `anchorkit run`")
    run = _read(folder)
    name = run.record.name or "detector on data"
    parts = [_result(run, name), _handout(folder), _findings(folder), _training(run), _anchors(run)]
    parts += [joint_section(folder), _pictures(run), _making(run)]
    body = "\n".join(part for part in parts if part)
    target = folder / "index.html"
    write_text(target, page(f"{name}: which anchors it needs", body, "style.css"))
    return target


def _handout(folder: Path) -> str:
    """A link to the run's handout, where there is one."""
    if not (folder / HANDOUT).exists():
        return ""
    return (
        f'<p><a href="{HANDOUT}"><b>Try it yourself</b></a>: take anchors away and see what that does to AP. '
        "The handout is one file that works without a network and without Python, on a phone too.</p>"
    )


def _findings(folder: Path) -> str:
    """What the lessons found implausible in the data and in the predictions."""
    lines = [escape(str(finding)) for finding in read_findings(folder)]
    return f"<h2>Look at the data</h2><ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>" if lines else ""


def _read(folder: Path) -> _Run:
    record = RunRecord.read_if_there(folder) or RunRecord()
    search, drawn = read_search(folder), folder / "search" / "random.csv"
    random = read_table(drawn, ("accuracy", search.cost), "04_search") if search and drawn.exists() else None
    trained = Points.read_if_there(folder, ("boxes", "n_anchors"))
    # A notebook that is still being executed has a temporary name, which begins with a dot.
    executed = sorted(folder.glob("notebooks/[!.]*.ipynb"))
    notebooks = [path for path in executed if not path.name.endswith(".failed.ipynb")]
    return _Run(
        record,
        search,
        read_holding(folder),
        read_learning(folder),
        None if random is None or random.empty else random,
        trained,
        pictures(folder),
        notebooks,
    )


def _result(run: _Run, name: str) -> str:
    when = str(run.record.finished or run.record.started or "")[:10]
    profile = run.record.profile
    over = " · ".join(escape(str(part)) for part in (name, profile and f"profile {profile}", when) if part)
    head = f'<p class="over">{over}</p>'
    if first := first_words(run.learning):
        head += f'<p class="first">{escape(first)}</p>'
    if run.search is None:
        missing = _missing("the search and its result", "04_search")
        return f"{head}<h1>{escape(name)}: no result yet</h1>{missing}"
    search = run.search
    full, nothing = search.baseline, why_nothing(search, run.holding)
    picks = marked(search, run.points, run.holding)
    chart = plots.frontier(
        search.frontier,
        search.cost,
        full=full.to_frame().T,
        random=run.random,
        evaluated=search.evaluated,
        chosen=picks,
        width=880,
        height=400,
    )
    note = (
        "Each point is a configuration that no other one beats in accuracy and "
        f"{escape(search.asked.cost.words)} at once; "
        f"{len(search.evaluated):,} were tried. Accuracy is measured on the validation images, which chose them, "
        "before any training."
    )
    return "".join(
        [
            head,
            f"<h1>{escape(headline(search, run.holding))}</h1>",
            "" if run.holding is None else f'<p class="lead">{escape(run.holding.evidence)}</p>',
            _shipped(run.points, nothing),
            *(f'<p class="quiet">{escape(text)}</p>' for text in beyond(search, run.holding)),
            _cards(run.holding, search),
            _figure(chart, note),
            "<h2>The configurations, before and after</h2>",
            configurations(search, run.points, picks, nothing),
        ]
    )


def _shipped(trained: Points | None, nothing: str | None) -> str:
    found = to_ship(trained, nothing)
    return "" if found is None else f"<p><b>{escape(found[0])}</b> {escape(found[1])}</p>"


def _cards(holding: Holding | None, search: SearchResult) -> str:
    """The figures of the headline's configuration: costs as counted, AP as measured on the images of the headline."""
    configuration = held(search, holding)
    if configuration is None or holding is None:
        return ""
    unpruned, after = holding.figures["unpruned"], holding.figures["unpruned"] + holding.figures["change"]
    full, row = search.baseline.copy(), search.row(configuration).copy()
    full["accuracy"], row["accuracy"] = unpruned, after
    cards = "".join(card(name, full, row) for name in measures() if name in row.index and pd.notna(row[name]))
    return f'<div class="cards">{cards}</div>'


def _training(run: _Run) -> str:
    head = "<h2>What training gives back</h2>"
    if is_onnx(str(run.record.detector)):
        return (
            f"{head}<p>An ONNX file cannot be trained. To fine-tune the pruned detector in the framework that made "
            "it, keep the filters that <code>retrained/A-pruned/model.json</code> lists under "
            "<code>kept_filters</code>.</p>"
        )
    if run.points is None or run.points.table["stage"].isin(STAGES[1:]).sum() == 0:
        return head + _missing("pruned detectors after training", "05_prune_and_retrain")
    cost = run.search.cost if run.search is not None and run.search.cost in run.points.table else "head_flops"
    rows = run.points.reported
    known = rows[rows["stage"].isin(("full", *STAGES))]
    note = "Pruned: without training. Fine-tuned: after a short training. Retrained: trained from fresh weights."
    return head + _figure(plots.recovery(known, cost, width=880, height=360), note)


def _anchors(run: _Run) -> str:
    kept = None if run.search is None else held(run.search, run.holding)
    if kept is None:
        return ""
    rows = [(a.id, a.level, a.width, a.height, a.index in kept) for a in kept.layout.anchors]
    board = pd.DataFrame(rows, columns=["anchor_id", "level", "width", "height", "kept"])
    note = "The configuration of the headline. Each level has the same colour in all charts."
    return "<h2>The anchors that stay</h2>" + _figure(plots.anchor_board(board), note)


def _pictures(run: _Run) -> str:
    """The pictures of the lessons and, under a separate heading, their charts."""
    shown = [path for path in run.figures if not _DRAWN_HERE.search(path.stem)]
    # Detections first: they show best what a detector does.
    shown.sort(key=lambda path: ("detection" not in path.stem.lower(), path.stem))
    charts = [path for path in shown if path.suffix.lower() == ".svg"]
    photos = [path for path in shown if path not in charts]
    missing = "" if photos else _missing("pictures of detections", "05_prune_and_retrain")
    parts = ["<h2>Detections on images</h2>", missing, *map(_picture, photos)]
    if charts:
        parts += ["<h2>More charts of the lessons</h2>", *map(_picture, charts)]
    return "".join(parts)


def _picture(path: Path) -> str:
    caption = escape(re.sub(r"^\d+[_-]", "", path.stem).replace("_", " ").replace("-", " ").capitalize())
    kind = ' class="chart"' if path.suffix.lower() == ".svg" else ""
    try:
        source = _data_url(path)
    except InputError as error:
        return f'<p class="missing">Left out: {escape(str(error))}</p>'
    return (
        f'<figure><div class="sheet"><img{kind} src="{source}" alt="{caption}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _data_url(path: Path) -> str:
    """A picture inside the page; photographs as JPEG of moderate size."""
    if path.suffix.lower() == ".svg":
        return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()
    from PIL import Image

    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except OSError as error:
        raise InputError(f"{path}: not a picture, or cut off ({error})") from None
    picture.thumbnail((_LARGEST_PICTURE, 4 * _LARGEST_PICTURE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _making(run: _Run) -> str:
    """How the result was made: the notebooks with their times, the parameters, the versions."""
    parts = ["<h2>How it was made</h2>"]
    record, done = run.record, run.record.notebooks
    if run.notebooks:
        rows = []
        for path in run.notebooks:
            seconds = duration(done[path.stem].seconds) if path.stem in done else ""
            try:
                link = f'<a href="notebooks/{escape(path.stem)}.html">{escape(render_notebook(path))}</a>'
            except InputError as error:  # the result is worth more than the pages below it
                link = f'<span class="missing">Left out: {escape(str(error))}</span>'
            rows.append(
                f"<tr><td>{link}</td><td><a href='notebooks/{escape(path.name)}'>{escape(path.name)}</a></td>"
                f'<td class="number">{seconds}</td></tr>'
            )
        if done:
            rows.append(f'<tr><td>altogether</td><td></td><td class="number">{duration(record.seconds)}</td></tr>')
        head = '<thead><tr><th>As executed</th><th>Notebook</th><th class="number">Time</th></tr></thead>'
        parts.append(f'<div class="scroll"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>')
    else:
        parts.append(_missing("executed notebooks", "`anchorkit run`"))
    by_notebook = {stem: executed.parameters for stem, executed in done.items() if executed.parameters}
    given = _flat(record, ("profile", "data", "detector", "parameters"))
    parts.append(_details("Parameters", {**given, **by_notebook}))
    if run.learning is not None:
        learnt = run.learning
        facts = {"began with": learnt.begins_with, "steps": learnt.steps, "minutes": f"{learnt.minutes:.1f}"}
        parts.append(_details("Training", {**facts, "judged": learnt.sentence}))
    parts.append(_details("Seeds", record.seeds))
    about = _flat(record, ("anchorkit", "python", "platform", "started", "finished"))
    parts.append(_details("Versions", {**about, **record.versions}))
    if run.search is not None:
        search = run.search
        facts = {"strategy": search.strategy, "cost": search.cost, "threshold": search.threshold, "moves": search.moves}
        parts.append(_details("Search", {**facts, "tried": len(search.evaluated), "frontier": len(search.frontier)}))
    parts.append("<footer>Accuracy is AP 0.50:0.95 as COCO measures it. FLOPs are multiply-adds.</footer>")
    return "".join(parts)


def _flat(record: RunRecord, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(record, name)) not in (None, {}, "")}


def _details(title: str, values: Mapping[str, Any]) -> str:
    texts = {}
    for name, value in values.items():
        lines = [f"{key} = {item}" for key, item in value.items()] if isinstance(value, Mapping) else [str(value)]
        texts[str(name)] = "<br>".join(map(escape, lines))
    return details(title, texts)


def _figure(chart: plots.AnyChart, note: str) -> str:
    return f'<figure><div class="sheet">{plots.to_svg(chart)}</div><figcaption>{note}</figcaption></figure>'


def _missing(what: str, maker: str) -> str:
    return f'<p class="missing">Not there yet: {escape(what)}. Run {escape(maker)}.</p>'
