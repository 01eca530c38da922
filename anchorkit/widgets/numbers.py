"""Figures before and after, as large numbers side by side."""

from __future__ import annotations

from html import escape

import pandas as pd

from anchorkit.anchors import Configuration
from anchorkit.costs import cost_facts, known_costs
from anchorkit.plots.frames import change, measures, points, signed, unit
from anchorkit.plots.theme import look
from anchorkit.widgets.html_parts import text_style


def costs_of(before: Configuration, after: Configuration) -> pd.DataFrame:
    """Anchors and known costs of two configurations, for `numbers_html`: columns before and after."""
    costs = ({"n_anchors": len(one), **known_costs(one)} for one in (before, after))
    return pd.DataFrame(dict(zip(("before", "after"), costs, strict=True)), dtype=float)


def numbers_html(numbers: pd.DataFrame, was: str = "was", metric: str = "AP") -> str:
    """Each figure after, how it changed, and what it was before; in as many rows as the page needs.

    Args:
        numbers: columns ``before`` and ``after``; rows are costs by name, ``n_anchors`` and ``accuracy`` (0..1).
        was: the word before the earlier figure.
        metric: what the accuracy is, such as ``"AP50"``.
    """
    cells = []
    for name, (before, after) in numbers.iterrows():
        title = measures().get(str(name)) or cost_facts(str(name)).title
        if name == "accuracy":
            title = f"{metric} (points)"
            texts = points(before), points(after), signed(100 * (after - before))
        else:
            scale = unit(str(name), [float(before)])
            texts = scale.text(float(before)), scale.text(float(after)), change(float(before), float(after))
        cells.append(
            '<div style="min-width:8.4em">'
            f'<div style="color:{look().quiet}">{escape(title)}</div>'
            f'<div style="font-size:20px;font-weight:600">{texts[1]}</div>'
            f"<div>{texts[2]}, {escape(was)} {texts[0]}</div></div>"
        )
    return f'<div style="{text_style()}display:flex;flex-wrap:wrap;gap:4px 14px">{"".join(cells)}</div>'
