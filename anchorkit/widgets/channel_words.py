"""What the channel explorer says: a choice in words, and the table of choices that were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anchorkit.plots.frames import points, unit
from anchorkit.widgets.html_parts import block, quiet


def choice(selected: Mapping[str, Any]) -> str:
    """Arguments of `anchorkit.prune_channels` in words."""
    share = f"{100 * selected['ratio']:.3g} % of the channels go" if selected.get("ratio") is not None else ""
    share = share or f"at most {100 * selected['flops']:.3g} % of the multiply-adds stay"
    return f"{share} ({selected['importance']}{', fold' if selected['fold'] else ''})"


def table(measured: Sequence[Mapping[str, Any]], whole: tuple[int, int], accuracy: float | None) -> str:
    """The choices that were measured, as HTML.

    Args:
        measured: see `anchorkit.ChannelExplorer.measured`.
        whole: multiply-adds and parameters of the unpruned detector.
        accuracy: AP of the unpruned detector, 0..1, if it is known.
    """
    if not measured:
        return block(quiet("Nothing measured yet."))
    lines = [] if accuracy is None else [("unpruned", "", *whole, accuracy)]
    for one in measured:
        by_ratio = one.get("ratio") is not None
        share = f"{100 * one['ratio']:.3g} % go" if by_ratio else f"{100 * one['flops']:.3g} % of the FLOPs stay"
        how = f"{one['importance']}{'' if one['fold'] else ', no fold'}"
        lines.append((share, how, one["macs"], one["parameters"], one["accuracy"]))
    scale, sizes = unit("total_flops", [whole[0]]), unit("parameters", [whole[1]])
    cells = [
        f"<tr><td>{share}</td><td>{how}</td><td>{scale.text(spent)}</td><td>{sizes.text(size)}</td>"
        f"<td><b>{points(found)}</b></td></tr>"
        for share, how, spent, size, found in lines
    ]
    head = "<tr><th>channels</th><th>score</th><th>FLOPs</th><th>parameters</th><th>AP</th></tr>"
    style = "text-align:left;border-spacing:10px 2px;margin-left:-10px"
    return block(f'<table style="{style}">{head}{"".join(cells)}</table>', 13)
