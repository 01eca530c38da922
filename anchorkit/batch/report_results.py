"""The result of a run in words and tables: the headline, the figures, the configurations before and after."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd

from anchorkit.anchors import Configuration
from anchorkit.plots.frames import change, points, unit
from anchorkit.search.result import SearchResult

LITTLE = 0.002
"""The accuracy that the headline's configuration may lose: 0.2 points of AP."""

MEASURES = {
    "n_anchors": "Anchors",
    "boxes": "Boxes per image",
    "head_flops": "Head FLOPs",
    "total_flops": "Total FLOPs",
    "accuracy": "AP (points)",
}
STAGES = ("pruned", "fine-tuned", "retrained")


def headline(search: SearchResult, chosen: Configuration, row: pd.Series[Any]) -> str:
    """The result in one sentence."""
    full, total = search.baseline, len(search.layout)
    if len(chosen) == total:
        return f"All {total} anchors are needed: without any of them AP falls by more than {100 * LITTLE:.1f} points"
    parts = [f"AP {points(full['accuracy'])} \N{RIGHTWARDS ARROW} {points(row['accuracy'])}"]
    for cost in dict.fromkeys(("head_flops", search.cost)):
        if cost in row.index:
            difference = change(float(full[cost]), float(row[cost]))
            if difference != "±0 %":
                parts.insert(-1, f"{cost_name(cost)} {difference}")
    return f"{len(chosen)} of {total} anchors are enough: {', '.join(parts)}"


def after_training(table: pd.DataFrame | None) -> str:
    """A sentence on the cheapest trained point that is as good as the full detector, if there is one."""
    if table is None:
        return ""
    full = table[table["stage"] == "full"]
    trained = table[table["stage"].isin(STAGES[1:])]
    if full.empty or trained.empty:
        return ""
    base = full.iloc[0]
    good = trained[trained["accuracy"] >= float(base["accuracy"]) - LITTLE]
    if good.empty:
        best = trained.iloc[int(trained["accuracy"].argmax())]
        text = (
            f"Trained again, point {best['point']} ({best['stage']}) comes nearest to the full detector: "
            f"AP {points(best['accuracy'])} against {points(base['accuracy'])}."
        )
    else:
        best = good.iloc[int(good["head_flops"].argmin())]
        saved = change(base["head_flops"], best["head_flops"])
        text = (
            f"After training (point {best['point']}, {best['stage']}), {int(best['n_anchors'])} of "
            f"{int(base['n_anchors'])} anchors reach AP {points(best['accuracy'])} against {points(base['accuracy'])} "
            f"of the full detector, with {'as many' if saved == '±0 %' else saved} head FLOPs."
        )
    splits = set(table["split"]) if "split" in table else set()
    where = f" Measured on the {splits.pop()} images." if len(splits) == 1 else ""
    return f'<p class="lead">{escape(text + where)}</p>'


def marked(search: SearchResult, trained: pd.DataFrame | None) -> pd.DataFrame:
    """The configurations that the page talks about: the retrained points or, without them, three of the search."""
    if trained is not None and search.cost in trained:
        pruned = trained[trained["stage"] == "pruned"]
        known = pruned[pruned["anchors"].isin(search.frontier["anchors"])] if "anchors" in pruned else pruned.iloc[:0]
        if len(known):
            rows = search.frontier.set_index("anchors").loc[list(known["anchors"])].reset_index()
            rows = rows.assign(label=known["point"].astype(str).to_numpy(), why="")
            of_headline = row_of(search, search.cheapest(LITTLE))
            if of_headline["anchors"] not in set(rows["anchors"]):
                more = of_headline.to_frame().T.assign(label="headline", why="")
                rows = pd.concat([rows, more], ignore_index=True).infer_objects()
            return rows.sort_values("accuracy", ascending=False, kind="stable")
    picks: dict[Configuration, str] = {}
    for loss, why in ((0.0, "loses nothing"), (LITTLE, "loses 0.2 points at most"), (0.01, "loses 1 point at most")):
        picks.setdefault(search.cheapest(loss), why)
    picks.pop(search.layout.full, None)
    rows = pd.DataFrame([row_of(search, pick) for pick in picks], columns=search.frontier.columns)
    letters = [chr(ord("A") + place) for place in range(len(rows))]
    return rows.assign(label=letters, why=list(picks.values()))


def configurations(search: SearchResult, trained: pd.DataFrame | None, marked: pd.DataFrame) -> str:
    """The table: unpruned, pruned and, below, after training."""
    full = search.baseline
    measures = [name for name in MEASURES if name in full.index and pd.notna(full[name])]
    heads = "".join(f'<th class="number">{MEASURES[name]}</th>' for name in measures)
    rows = [f'<tr class="base"><td>unpruned</td>{_cells(full, None, measures)}</tr>']
    for _, row in marked.iterrows():
        why = f"<br><small class='quiet'>{escape(row['why'])}</small>" if row["why"] else ""
        rows.append(f"<tr><td><b>{escape(str(row['label']))}</b> pruned{why}</td>{_cells(row, full, measures)}</tr>")
    if trained is not None:
        rows += _trained_rows(trained, measures)
    kept = "".join(
        f"<p><b>{escape(str(row['label']))}</b> keeps <span class='ids'>{escape(str(row['anchors']))}</span></p>"
        for _, row in marked.iterrows()
    )
    return (
        f'<div class="scroll"><table class="wide"><thead><tr><th>Configuration</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f"<details><summary>The anchors that each keeps</summary>{kept}</details>"
    )


def _trained_rows(table: pd.DataFrame, measures: list[str]) -> list[str]:
    trained = table[table["stage"].isin(STAGES[1:])]
    if trained.empty:
        return []
    full = table[table["stage"] == "full"]
    base = full.iloc[0] if len(full) else None
    split = f", measured on the {table['split'].iloc[0]} images" if "split" in table else ""
    rows = [f'<tr class="group"><td colspan="{len(measures) + 1}">after training{escape(str(split))}</td></tr>']
    if base is not None:
        rows.append(f'<tr class="base"><td>unpruned</td>{_cells(base, None, measures)}</tr>')
    best = trained.index[trained["accuracy"] >= (float(base["accuracy"]) if base is not None else 1.0) - LITTLE]
    cheapest = trained.loc[best, "head_flops"].idxmin() if len(best) else None
    for index, row in trained.iterrows():
        mark = ' class="best"' if index == cheapest else ""
        label = f"<b>{escape(str(row['point']))}</b> {escape(str(row['stage']))}"
        rows.append(f"<tr{mark}><td>{label}</td>{_cells(row, base, measures)}</tr>")
    return rows


def _cells(row: pd.Series[Any], base: pd.Series[Any] | None, measures: list[str]) -> str:
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
    """A measure and its change against the base, as people read them."""
    value = float(row[measure])
    before = None if base is None else float(base[measure])
    if measure == "accuracy":
        shift = "" if before is None else f"{100 * (value - before):+.1f}".replace("-", "\N{MINUS SIGN}")
        return points(value), shift
    text = unit(measure, [value if before is None else before]).text(value)
    return text, "" if before is None else change(before, value)


def card(measure: str, full: pd.Series[Any], row: pd.Series[Any]) -> str:
    """One measure, large, with what it was."""
    value, difference = _texts(measure, row, full)
    before, _ = _texts(measure, full, None)
    return (
        f'<div class="card"><div class="name">{MEASURES[measure]}</div><div class="value">{value}</div>'
        f'<div class="change">{difference}, was {before}</div></div>'
    )


def row_of(search: SearchResult, configuration: Configuration) -> pd.Series[Any]:
    """The frontier's row of a configuration."""
    return search.frontier.iloc[search.configurations.index(configuration)]


def cost_name(cost: str) -> str:
    """A cost within a sentence."""
    return {"head_flops": "head FLOPs", "total_flops": "total FLOPs"}.get(cost, cost.replace("_", " "))
