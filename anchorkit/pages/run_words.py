"""The result of a run in words and tables: the headline, the figures, the configurations before and after."""

from __future__ import annotations

import math
from collections.abc import Collection
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from anchorkit.anchors import Configuration
from anchorkit.costs import cost_facts
from anchorkit.findings import nothing_can_be_told
from anchorkit.plots.frames import change, measures, points, unit
from anchorkit.runs.channels import JOINT
from anchorkit.runs.holding import Holding, read_holding
from anchorkit.runs.learning import Learning, read_learning
from anchorkit.runs.points import STAGES, Points
from anchorkit.runs.results_table import read_search
from anchorkit.search.result import NEGLIGIBLE_LOSS, SearchResult
from anchorkit.statistics.intervals import interval_words
from anchorkit.statistics.removal import points_of


def why_nothing(search: SearchResult, holding: Holding | None) -> str | None:
    """Why nothing can be told of this run, see `anchorkit.findings.nothing_can_be_told`; None where something can."""
    nothing = nothing_can_be_told(float(search.baseline["accuracy"]))
    return nothing or (holding.nothing if holding is not None else None)


def first_words(learning: Learning | None) -> str:
    """What is said before any result: that the detector has not learnt enough, and how it goes on. Empty if it has."""
    if learning is None or learning.is_settled:
        return ""
    # That an AP is too low for any conclusion is the headline itself.
    few = f"The detector trained for {learning.steps:,} steps." if learning.state == "too low" else learning.sentence
    return f"{few} {learning.advice}"


def headline(search: SearchResult, holding: Holding | None) -> str:
    """The result in one sentence: what holds on images that took no part in the search."""
    nothing = why_nothing(search, holding)
    if nothing:
        return nothing
    if holding is None:
        return "Searched, but not yet looked at on other images: run 04_search again"
    return holding.headline


def held(search: SearchResult, holding: Holding | None) -> Configuration | None:
    """The configuration that the headline is about; None where it names none."""
    if why_nothing(search, holding) or holding is None or not holding.n_removed:
        return None
    return search.layout.configuration(keep=holding.anchors)


def beyond(search: SearchResult, holding: Holding | None) -> list[str]:
    """What is said after the result: what more images may show, what these lack, and what the search measured."""
    parts = [] if holding is None else [text for text in (holding.hope, holding.gap) if text]
    return parts if why_nothing(search, holding) else [*parts, _on_the_search(search)]


def _on_the_search(search: SearchResult) -> str:
    """What was measured on the images of the search, and nothing more."""
    full, total = search.baseline, len(search.layout)
    chosen = search.cheapest(NEGLIGIBLE_LOSS)
    loss = points_of(NEGLIGIBLE_LOSS)
    if len(chosen) == total:
        found = f"every smaller set loses more than {loss} of AP"
    else:
        row = search.row(chosen)
        figures = [f"AP {points(full['accuracy'])} \N{RIGHTWARDS ARROW} {points(row['accuracy'])}"]
        for cost in dict.fromkeys(("head_flops", search.cost)):
            if cost in row.index:
                figures.append(f"{cost_facts(cost).words} {change(float(full[cost]), float(row[cost]))}")
        found = f"without {total - len(chosen)} of {total} anchors AP falls by at most {loss} ({', '.join(figures)})"
    return f"On the images of the search alone, which flatter what they chose, {found}."


def to_ship(trained: Points | None, nothing: str | None) -> tuple[str, str] | None:
    """The detector to ship and why, a sentence or two each; None before any pruned detector was measured.

    Args:
        trained: the measured detectors.
        nothing: why nothing can be told of the run, or None.
    """
    if trained is None:
        return None
    table = trained.table
    if not (table["stage"] == "full").any() or not table["stage"].isin(STAGES).any():
        return None
    rows, shipment = trained.reported, trained.shipment
    base = rows[rows["stage"] == "full"].iloc[0]
    if nothing or nothing_can_be_told(float(base["accuracy"])):
        return "No detector to ship.", "Training after pruning tells nothing either."
    if not shipment.pruned:
        return "To ship: the unpruned detector.", shipment.why
    best = rows[(rows["point"].astype(str) == shipment.point) & (rows["stage"] == shipment.stage)].iloc[0]
    saved = change(base["head_flops"], best["head_flops"])
    lead = "To ship" if trained.examined(shipment.point, shipment.stage) else "Candidate to ship"
    what = (
        f"{lead}: {shipment.point} {shipment.stage} with {int(best['n_anchors'])} of {int(base['n_anchors'])} anchors "
        f"and {'as many' if saved == '±0 %' else saved} head FLOPs."
    )
    return what, shipment.why


def nothing_told(run_dir: str | Path) -> str | None:
    """Why nothing can be told of a run, by its search and its statement; None where something can.

    Raises:
        InputError: a file of the run is damaged.
    """
    search = read_search(Path(run_dir))
    return None if search is None else why_nothing(search, read_holding(run_dir))


def last_words(run_dir: str | Path) -> list[str]:
    """What a run found, in the words of its page, for the end of a command: a line per statement.

    Raises:
        InputError: a file of the run is damaged.
    """
    search, holding = read_search(Path(run_dir)), read_holding(run_dir)
    if search is None:
        return []
    lines = [text for text in (first_words(read_learning(run_dir)), f"{headline(search, holding)}.") if text]
    if holding is not None:
        lines += [text for text in (holding.evidence, holding.hope, holding.gap) if text]
    shipped = to_ship(Points.read_if_there(run_dir, ("n_anchors",)), why_nothing(search, holding))
    lines += [] if shipped is None else [" ".join(shipped)]
    joint = read_holding(run_dir, JOINT)
    if joint is not None and joint.nothing is None:
        lines.append(f"Channels and anchors together: {joint.headline}. {joint.evidence}")
    return lines


def marked(search: SearchResult, trained: Points | None, holding: Holding | None) -> pd.DataFrame:
    """The configurations on the page: the trained points or, without them, three points of the search.

    That of the headline is among them.
    """
    holds = held(search, holding)
    if trained is not None and search.cost in trained.table:
        rows = trained.reported
        pruned = rows[rows["stage"] == "pruned"]
        known = pruned[pruned["anchors"].isin(search.frontier["anchors"])] if "anchors" in pruned else pruned.iloc[:0]
        if len(known):
            rows = search.frontier.set_index("anchors").loc[list(known["anchors"])].reset_index()
            rows = rows.assign(label=known["point"].astype(str).to_numpy(), why="")
            if holds is not None and " ".join(holds.ids) not in set(rows["anchors"]):
                more = search.row(holds).to_frame().T.assign(label="headline", why="")
                rows = pd.concat([rows, more], ignore_index=True).infer_objects()
            return rows.sort_values("accuracy", ascending=False, kind="stable")
    picks: dict[Configuration, str] = {}
    nothing = why_nothing(search, holding)
    if holds is not None:
        picks[holds] = "the headline"
    for loss in (0.0, NEGLIGIBLE_LOSS, 0.01):
        why = f"loses at most {100 * loss:g} {'point' if loss == 0.01 else 'points'}" if loss else "loses nothing"
        picks.setdefault(search.cheapest(loss), "" if nothing else why)
    picks.pop(search.layout.full, None)
    rows = pd.DataFrame([search.row(pick) for pick in picks], columns=search.frontier.columns)
    letters = [chr(ord("A") + place) for place in range(len(rows))]
    return rows.assign(label=letters, why=list(picks.values()))


def configurations(search: SearchResult, trained: Points | None, marked: pd.DataFrame, nothing: str | None) -> str:
    """The table of configurations: unpruned, pruned and, below, after training."""
    full = search.baseline
    titles = {name: title for name, title in measures().items() if name in full.index and pd.notna(full[name])}
    heads = "".join(f'<th class="number">{escape(title)}</th>' for title in titles.values())
    rows = [
        _group("measured on the validation images, which chose them: AP is flattered", titles),
        f'<tr class="base"><td>unpruned</td>{_cells(full, None, titles)}</tr>',
    ]
    for _, row in marked.iterrows():
        why = f"<br><small class='quiet'>{escape(row['why'])}</small>" if row["why"] else ""
        rows.append(f"<tr><td><b>{escape(str(row['label']))}</b> pruned{why}</td>{_cells(row, full, titles)}</tr>")
    if trained is not None:
        rows += _trained_rows(trained, titles, nothing)
    kept = "".join(
        f"<p><b>{escape(str(row['label']))}</b> keeps <span class='ids'>{escape(str(row['anchors']))}</span></p>"
        for _, row in marked.iterrows()
    )
    return (
        f'<div class="scroll"><table class="wide"><thead><tr><th>Configuration</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f"<details><summary>The anchors that each configuration keeps</summary>{kept}</details>"
    )


def _group(title: str, measures: Collection[str]) -> str:
    return f'<tr class="group"><td colspan="{len(measures) + 1}">{escape(title)}</td></tr>'


def _trained_rows(trained: Points, measures: Collection[str], nothing: str | None) -> list[str]:
    shown, split = trained.reported, trained.reported_split or ""
    # On the validation images, the rows above already have the pruned points; on the test images they are new.
    rest = shown[shown["stage"].isin(STAGES if split == "test" else STAGES[1:])]
    if rest.empty:
        return []
    full = shown[shown["stage"] == "full"]
    base = full.iloc[0] if len(full) else None
    where = f"measured on the {split} images" if split else "after training"
    if split == "test":
        where += ", which were not used to choose"
    rows = [_group(where, measures)]
    if base is not None:
        rows.append(f'<tr class="base"><td>unpruned</td>{_cells(base, None, measures)}</tr>')
    best = None if base is None or nothing else trained.shipped
    for _, row in rest.sort_values("point", kind="stable").iterrows():
        own = str(row["point"]), str(row["stage"])
        mark, note = (' class="best"', "<br><small class='quiet'>to ship</small>") if own == best else ("", "")
        label = f"<b>{escape(own[0])}</b> {escape(own[1])}{note}"
        rows.append(f"<tr{mark}><td>{label}</td>{_cells(row, base, measures)}</tr>")
    return rows


def _cells(row: pd.Series[Any], base: pd.Series[Any] | None, measures: Collection[str]) -> str:
    cells = []
    for name in measures:
        if name not in row.index or pd.isna(row[name]):
            cells.append('<td class="number"></td>')
            continue
        value, difference = _texts(name, row, base)
        small = f"<small>{difference}</small>" if difference else ""
        cells.append(f'<td class="number">{value}{small}</td>')
    return "".join(cells)


def _texts(measure: str, row: pd.Series[Any], base: pd.Series[Any] | None) -> tuple[str, str]:
    """A measure and its change relative to the base, as text."""
    value = float(row[measure])
    before = None if base is None else float(base[measure])
    if measure == "accuracy":
        shift = "" if before is None else f"{100 * (value - before):+.1f}"
        ends = [float(row[name]) for name in ("low", "high") if before is not None and name in row.index]
        if ends and not any(map(math.isnan, ends)):
            shift += f" ({interval_words(*ends)})"
        return points(value), shift.replace("-", "\N{MINUS SIGN}")
    text = unit(measure, [value if before is None else before]).text(value)
    return text, "" if before is None else change(before, value)


def card(measure: str, full: pd.Series[Any], row: pd.Series[Any]) -> str:
    """One measure in large type, with its change and its value before."""
    value, difference = _texts(measure, row, full)
    before, _ = _texts(measure, full, None)
    return (
        f'<div class="card"><div class="name">{escape(measures()[measure])}</div><div class="value">{value}</div>'
        f'<div class="change">{difference}, was {before}</div></div>'
    )
