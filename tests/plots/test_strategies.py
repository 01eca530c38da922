"""Charts that compare ways to choose anchors: what is drawn is what is true of the frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from anchorkit import plots
from anchorkit.errors import InputError

from . import chart_samples as samples
from .drawing import check_chart, values


def curves(n: int = 2, data: bool = False) -> pd.DataFrame:
    rows = []
    for number in range(n):
        for name in ("first set", "second set") if data else ("",):
            tried = np.geomspace(30, 1000 * (1 + number), 20).round()
            share = 1 - np.exp(-tried / 200 / (1 + number))
            rows.append(pd.DataFrame({"strategy": f"way {number}", "tried": tried, "share": share, "data": name}))
    frame = pd.concat(rows)
    return frame if data else frame.drop(columns="data")


def rivals() -> Any:
    return plots.rivals(
        samples.frontier(),
        {"one": samples.random_rows(500), "two": samples.frontier().iloc[::3]},
        random=samples.random_rows(900),
        full=samples.full(),
    )


CHARTS = {
    "rivals": rivals,
    "rivals, nothing else": lambda: plots.rivals(samples.frontier(), {}, "boxes", metric="voc07"),
    "budget": lambda: plots.budget_curves(curves(3)),
    "budget, two data sets": lambda: plots.budget_curves(curves(2, data=True)),
    "relative": lambda: plots.relative_frontiers(
        {"a": samples.frontier(), "b": samples.frontier().iloc[::2]}, {"a": samples.full(), "b": samples.full().iloc[0]}
    ),
}


def rows_of(chart: Any, series: str) -> list[dict[str, Any]]:
    return [row for row in values(chart) if row.get("series") == series]


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_valid_small_and_draws(name: str) -> None:
    check_chart(CHARTS[name]())


def test_the_lines_are_the_best_at_no_higher_cost() -> None:
    random = samples.random_rows(900)
    best = pd.DataFrame(rows_of(rivals(), "random: the best"))
    assert (best["x"].diff().dropna() > 0).all()
    assert (best["y"].diff().dropna() > 0).all()
    for x, y in zip(best["x"], best["y"], strict=True):
        cheap = random[random["head_flops"] <= x * 1e6 + 1]
        assert y == pytest.approx(100 * cheap["accuracy"].max(), abs=1e-3)


def test_the_band_holds_the_middle_of_what_costs_alike() -> None:
    random = samples.random_rows(900)
    bands = rows_of(rivals(), "random: 5 to 95 %")
    assert len(bands) > 8
    cost = (random["head_flops"] / 1e6).round(6)
    edges = np.linspace(0, cost.max() * (1 + 1e-9), 25)
    for band in bands:
        number = int(np.abs(edges - band["x"]).argmin())
        alike = random[(cost >= edges[number]) & (cost < edges[number + 1])]
        assert len(alike) >= 4
        assert edges[number + 1] == pytest.approx(band["x2"], abs=1e-4)
        assert 100 * alike["accuracy"].quantile(0.05) == pytest.approx(band["low"], abs=1e-2)
        assert 100 * alike["accuracy"].quantile(0.95) == pytest.approx(band["high"], abs=1e-2)


def test_relative_means_of_the_own_unpruned_detector() -> None:
    full = pd.DataFrame({"accuracy": [0.5], "boxes": [200]})
    frame = pd.DataFrame({"accuracy": [0.5, 0.25], "boxes": [100, 20]})
    chart = plots.relative_frontiers({"only": frame}, {"only": full}, "boxes")
    drawn = [r for rows in chart.to_dict()["datasets"].values() for r in rows if r.get("detector") == "only"]
    assert [(r["x"], r["y"]) for r in drawn] == [(10.0, 50.0), (50.0, 100.0)]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.rivals(samples.frontier(), {str(n): samples.frontier() for n in range(7)}), "7 rivals"),
        (lambda: plots.rivals(samples.frontier().iloc[:0], {}), "no rows"),
        (lambda: plots.rivals(samples.frontier(), {"x": pd.DataFrame({"accuracy": [1.0]})}), "head_flops"),
        (lambda: plots.budget_curves(curves(7)), "7 strategies"),
        (lambda: plots.budget_curves(curves().drop(columns="share")), "'share'"),
        (lambda: plots.relative_frontiers({"a": samples.frontier()}, {}), "no unpruned detector for 'a'"),
        (lambda: plots.relative_frontiers({}, {}), "frontiers: 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw()
