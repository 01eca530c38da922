"""The result of a run in words and tables: the headline, the figures, the configurations before and after."""

from __future__ import annotations

from collections.abc import Collection
from html import escape
from typing import Any

import pandas as pd

from anchorkit.anchors import Configuration
from anchorkit.costs import cost_facts
from anchorkit.findings import nothing_can_be_told
from anchorkit.plots.frames import change, measures, points, unit
from anchorkit.runs.points import STAGES, Points
from anchorkit.search.result import NEGLIGIBLE_LOSS, SearchResult


def headline(search: SearchResult, chosen: Configuration, row: pd.Series[Any]) -> str:
    """The result in one sentence."""
    full, total = search.baseline, len(search.layout)
    nothing = nothing_can_be_told(float(full["accuracy"]))
    if nothing:
        return nothing
    if len(chosen) == total:
        loss = f"{100 * NEGLIGIBLE_LOSS:g} points"
        return f"All {total} anchors are needed: without any of them AP falls by more than {loss}"
    parts = [f"AP {points(full['accuracy'])} \N{RIGHTWARDS ARROW} {points(row['accuracy'])}"]
    for cost in dict.fromkeys(("head_flops", search.cost)):
        if cost in row.index:
            difference = change(float(full[cost]), float(row[cost]))
            if difference != "±0 %":
                parts.insert(-1, f"{cost_facts(cost).words} {difference}")
    return f"{len(chosen)} of {total} anchors are enough: {', '.join(parts)}"


def after_training(trained: Points | None) -> str:
    """A sentence on the detector to ship, if any pruned detector has been trained."""
    if trained is None:
        return ""
    table = trained.table
    if not (table["stage"] == "full").any() or not table["stage"].isin(STAGES[1:]).any():
        return ""
    rows = trained.reported
    point, stage = trained.shipped
    base = rows[rows["stage"] == "full"].iloc[0]
    nothing = nothing_can_be_told(float(base["accuracy"]))
    if nothing:
        return f'<p class="lead">{escape(nothing)}; nor does training after pruning say anything.</p>'
    best = rows[(rows["point"].astype(str) == point) & (rows["stage"] == stage)].iloc[0]
    saved = change(base["head_flops"], best["head_flops"])
    when = "Before any" if stage == STAGES[0] else "After"
    text = (
        f"{when} training (point {point}, {stage}), {int(best['n_anchors'])} of {int(base['n_anchors'])} anchors reach "
        f"AP {points(best['accuracy'])} against {points(base['accuracy'])} of the full detector, "
        f"with {'as many' if saved == '±0 %' else saved} head FLOPs."
    )
    where = f" Measured on the {best['split']} images." if "split" in rows else ""
    rule = (
        f" It is the cheapest that loses at most {100 * trained.max_loss:g} points on the validation images."
        if trained.loss_kept
        else f" All lose more than {100 * trained.max_loss:g} points on the validation images; this one loses least."
    )
    return f'<p class="lead">{escape(text + where + rule)}</p>'


def marked(search: SearchResult, trained: Points | None) -> pd.DataFrame:
    """The configurations on the page: the trained points or, without them, three points of the search."""
    if trained is not None and search.cost in trained.table:
        rows = trained.reported
        pruned = rows[rows["stage"] == "pruned"]
        known = pruned[pruned["anchors"].isin(search.frontier["anchors"])] if "anchors" in pruned else pruned.iloc[:0]
        if len(known):
            rows = search.frontier.set_index("anchors").loc[list(known["anchors"])].reset_index()
            rows = rows.assign(label=known["point"].astype(str).to_numpy(), why="")
            of_headline = search.row(search.cheapest(NEGLIGIBLE_LOSS))
            if of_headline["anchors"] not in set(rows["anchors"]):
                more = of_headline.to_frame().T.assign(label="headline", why="")
                rows = pd.concat([rows, more], ignore_index=True).infer_objects()
            return rows.sort_values("accuracy", ascending=False, kind="stable")
    picks: dict[Configuration, str] = {}
    nothing = nothing_can_be_told(float(search.baseline["accuracy"]))
    for loss in (0.0, NEGLIGIBLE_LOSS, 0.01):
        why = f"loses at most {100 * loss:g} {'point' if loss == 0.01 else 'points'}" if loss else "loses nothing"
        picks.setdefault(search.cheapest(loss), "" if nothing else why)
    picks.pop(search.layout.full, None)
    rows = pd.DataFrame([search.row(pick) for pick in picks], columns=search.frontier.columns)
    letters = [chr(ord("A") + place) for place in range(len(rows))]
    return rows.assign(label=letters, why=list(picks.values()))


def configurations(search: SearchResult, trained: Points | None, marked: pd.DataFrame) -> str:
    """The table of configurations: unpruned, pruned and, below, after training."""
    full = search.baseline
    titles = {name: title for name, title in measures().items() if name in full.index and pd.notna(full[name])}
    heads = "".join(f'<th class="number">{escape(title)}</th>' for title in titles.values())
    rows = [f'<tr class="base"><td>unpruned</td>{_cells(full, None, titles)}</tr>']
    for _, row in marked.iterrows():
        why = f"<br><small class='quiet'>{escape(row['why'])}</small>" if row["why"] else ""
        rows.append(f"<tr><td><b>{escape(str(row['label']))}</b> pruned{why}</td>{_cells(row, full, titles)}</tr>")
    if trained is not None:
        rows += _trained_rows(trained, titles)
    kept = "".join(
        f"<p><b>{escape(str(row['label']))}</b> keeps <span class='ids'>{escape(str(row['anchors']))}</span></p>"
        for _, row in marked.iterrows()
    )
    return (
        f'<div class="scroll"><table class="wide"><thead><tr><th>Configuration</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f"<details><summary>The anchors that each configuration keeps</summary>{kept}</details>"
    )


def _trained_rows(trained: Points, measures: Collection[str]) -> list[str]:
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
    rows = [f'<tr class="group"><td colspan="{len(measures) + 1}">{escape(where)}</td></tr>']
    if base is not None:
        rows.append(f'<tr class="base"><td>unpruned</td>{_cells(base, None, measures)}</tr>')
    best = None if base is None else trained.shipped
    for _, row in rest.sort_values("point", kind="stable").iterrows():
        mark = ' class="best"' if (str(row["point"]), row["stage"]) == best else ""
        label = f"<b>{escape(str(row['point']))}</b> {escape(str(row['stage']))}"
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
        shift = "" if before is None else f"{100 * (value - before):+.1f}".replace("-", "\N{MINUS SIGN}")
        return points(value), shift
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
