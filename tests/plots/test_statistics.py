"""Charts of what is luck: what is drawn is what was told, few points and many."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from anchorkit import plots
from anchorkit.errors import InputError

from .drawing import drawn, values


def points(n: int = 12) -> pd.DataFrame:
    """A frontier that falls towards the cheap end, its costlier half safe."""
    change = 0.004 - 0.03 * np.linspace(0, 1, n) ** 2
    frame = pd.DataFrame({"head_flops": np.linspace(15e6, 6e6, n).round(), "n_anchors": np.arange(n, 0, -1)})
    return frame.assign(
        change=change, low=change - 0.004, high=change + 0.005, least=change - 0.008, safe=change - 0.008 > -0.005
    )


def budgets(n: int = 10) -> pd.DataFrame:
    frame = points(n)[["head_flops", "change"]].iloc[::-1]
    frame = frame.rename(columns={"change": "in_sample"})
    return frame.assign(cross_fitted=frame["in_sample"] - 0.006, luck=0.006, luck_low=0.003, luck_high=0.008)


@pytest.mark.parametrize("n", [1, 12, 300])
def test_every_point_with_its_interval_and_its_bound(n: int) -> None:
    frame = points(n)
    chart = plots.frontier_intervals(frame, full=2e7)
    rows = sorted((row for row in values(chart) if "least" in row and "label" not in row), key=lambda row: -row["x"])
    for name in ("change", "low", "high", "least"):
        assert [row[name] for row in rows] == pytest.approx((100 * frame[name]).round(4).tolist())
    assert [row["statement"] == "safe to remove" for row in rows] == frame["safe"].tolist()
    assert drawn(chart).std() > 5
    marks = {layer["mark"]["type"] for layer in chart.to_dict()["layer"]}
    assert ("area" in marks) == (n == 300)  # of many points a band
    assert ("tick" in marks) == (n != 300)


def test_the_cheapest_safe_point_is_marked_with_what_it_saves() -> None:
    frame = points()
    [marked] = [row for row in values(plots.frontier_intervals(frame, full=2e7)) if "label" in row]
    cheapest = frame[frame["safe"]]["head_flops"].min()
    assert marked["x"] == pytest.approx(cheapest / 1e6)
    assert marked["label"] == "cheapest safe: 13.4 M (\N{MINUS SIGN}33 %)"
    nothing = plots.frontier_intervals(frame.assign(safe=False), full=2e7)
    assert not [row for row in values(nothing) if "label" in row]


def test_the_margin_and_the_confidence_are_said() -> None:
    text = json.dumps(plots.frontier_intervals(points(), margin=0.02, confidence=0.9, metric="AP50").to_dict())
    for words in ("margin, 2", "90 % interval of one point", "90 % bound for all at once", "Change of AP50"):
        assert words in text


def test_deep_losses_do_not_press_the_rest_flat() -> None:
    frame = points()
    frame.loc[len(frame) - 1, ["change", "low", "least"]] = -0.9
    chart = plots.frontier_intervals(frame).to_dict()
    low, _ = chart["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert low > -10


def test_both_frontiers_their_distance_and_its_mean() -> None:
    frame = budgets()
    chart = plots.optimism(frame, interval=(0.004, 0.0075), confidence=0.9)
    rows = sorted((row for row in values(chart) if "luck" in row), key=lambda row: row["x"])
    columns = {"shown": "in_sample", "kept": "cross_fitted", "luck": "luck", "low": "luck_low", "high": "luck_high"}
    for name, column in columns.items():
        assert [row[name] for row in rows] == pytest.approx((100 * frame[column]).round(4).tolist())
    [told] = chart.to_dict()["title"]["subtitle"]
    assert told.startswith("0.60 points of the frontier are luck")
    assert told.endswith("(90 % interval 0.40 to 0.75)")
    assert "interval" not in plots.optimism(frame).to_dict()["title"]["subtitle"][0]
    assert [row["name"] for row in values(chart) if "name" in row] == ["unpruned", "none", "mean 0.60"]
    assert drawn(chart).std() > 5


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(InputError, match="lacks the column 'least'"):
        plots.frontier_intervals(points().drop(columns="least"))
    with pytest.raises(InputError, match="no rows"):
        plots.optimism(budgets().iloc[:0])
    with pytest.raises(InputError, match="too many for one chart"):
        plots.frontier_intervals(points(1001))
