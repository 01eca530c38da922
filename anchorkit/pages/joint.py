"""The part of a run's page about channels and anchors together, from what 21_channels_and_anchors left."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from anchorkit import plots
from anchorkit.costs import cost_facts
from anchorkit.plots.frames import change, points, signed, unit
from anchorkit.runs.channels import JOINT
from anchorkit.runs.holding import read_holding
from anchorkit.runs.points import read_table
from anchorkit.search.joint import JointResult

_MAKER = "21_channels_and_anchors"
_WAYS = {
    "unpruned": "unpruned",
    "anchors": "anchors alone",
    "channels": "channels alone",
    "both": "both",
    "both, fine-tuned": "both, fine-tuned",
}


def joint_section(folder: Path) -> str:
    """The joint frontier, what holds of it, and what each way saves for the allowed loss; empty without a joint search.

    Raises:
        InputError: a file of the run is damaged.
    """
    place = folder / JOINT
    if not (place / "search.json").exists():
        return ""
    joint, holding = JointResult.load(place), read_holding(folder, JOINT)
    parts = ["<h2>Channels and anchors together</h2>"]
    if holding is not None:
        said = (f"<b>{escape(holding.headline)}.</b>", escape(holding.evidence), escape(holding.hope))
        parts.append(f"<p>{' '.join(text for text in said if text)}</p>")
    picked = None
    table = place / "points.csv"
    rows = (
        read_table(table, ("point", "channels", "accuracy", "parameters", joint.cost), _MAKER)
        if table.exists()
        else None
    )
    if rows is not None:
        picked = rows[rows["point"] == "both"].assign(label="both")
    chart = joint.plot(width=880, height=400, chosen=picked)
    note = (
        "Each point is a detector with a share of its channels removed, and some of its anchors; its colour is the "
        "share. A thin line is what anchors alone offer at one share. "
        f"{len(joint.evaluated):,} configurations of {len(joint.labels)} detectors were tried. Accuracy is measured on "
        "the validation images, which chose them, without training."
    )
    parts.append(f'<figure><div class="sheet">{plots.to_svg(chart)}</div><figcaption>{note}</figcaption></figure>')
    if rows is not None:
        parts.append(_table(rows, joint.cost))
    return "".join(parts)


def _table(rows: pd.DataFrame, cost: str) -> str:
    """What is cheapest by each way within the allowed loss, with the AP on images that took no part in the choice."""
    whole = rows.iloc[0]
    scale, sizes = unit(cost, rows[cost]), unit("parameters", rows["parameters"])
    lines = []
    for row in rows.to_dict("records"):
        cells = [
            _WAYS.get(str(row["point"]), str(row["point"])),
            f"{100 * float(row['channels']):g} %",
            f"{int(row['n_anchors'])}",
            _with(scale.text(row[cost]), change(whole[cost], row[cost])),
            _with(sizes.text(row["parameters"]), change(whole["parameters"], row["parameters"])),
            points(row["accuracy"]),
            *([_on_test(row, whole)] if "test" in row else []),
        ]
        mark = ' class="base"' if row["point"] == "unpruned" else ""
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells[1:])
        lines.append(f"<tr{mark}><td>{escape(cells[0])}</td>{numbers}</tr>")
    titles = ["Channels removed", "Anchors", escape(cost_facts(cost).title), "Parameters", "AP on val"]
    titles += ["AP on test<br>change, 95 % interval"] if "test" in rows else []
    heads = "".join(f'<th class="number">{title}</th>' for title in titles)
    text = (
        "<p>The cheapest of each way within the loss that was allowed on the validation images, which chose them: that "
        "AP is flattered. The test images took no part.</p>"
    )
    return (
        f'{text}<div class="scroll"><table class="wide"><thead><tr><th>Removed</th>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _with(value: str, difference: str) -> str:
    return f"{value}<small>{difference}</small>" if difference and difference != "±0 %" else value


def _on_test(row: Mapping[Any, Any], whole: pd.Series[Any]) -> str:
    if row["point"] == "unpruned":
        return points(row["test"])
    change_of_ap, low, high = (signed(100 * value) for value in (row["test"] - whole["test"], row["low"], row["high"]))
    return f"{points(row['test'])}<small>{change_of_ap} ({low} to {high})</small>"
