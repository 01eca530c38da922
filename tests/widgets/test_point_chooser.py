from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.errors import InputError
from anchorkit.widgets import PointChooser, front_end

from ..plots import chart_samples as samples


@dataclass
class Result:
    layout: AnchorLayout
    cost: str
    frontier: pd.DataFrame
    baseline: pd.Series[Any]

    @property
    def configurations(self) -> list[Configuration]:
        return [self.layout.configuration(keep=ids.split()) for ids in self.frontier["anchors"]]


@pytest.fixture
def result() -> Result:
    return Result(samples.layout(), "head_flops", samples.frontier(), samples.full().iloc[0])


def test_the_slider_goes_through_the_frontier(result: Result) -> None:
    chooser = PointChooser(result)
    seen = []
    for place in range(chooser.slider.max + 1):
        chooser.slider.value = place
        seen.append(chooser.selected)
        assert chooser.row["accuracy"] == result.frontier["accuracy"][result.configurations.index(chooser.selected)]
    assert seen == result.configurations


def test_it_starts_at_the_cheapest_point_that_loses_little(result: Result) -> None:
    full = result.baseline["accuracy"]
    for loss in (0.0, 0.002, 0.02, 0.5):
        enough = result.frontier[result.frontier["accuracy"] >= full - loss]
        row = PointChooser(result, loss).row
        if len(enough):
            assert row["head_flops"] == enough["head_flops"].min()
        else:
            assert row["accuracy"] == result.frontier["accuracy"].max()


def test_another_cost_leaves_out_what_is_beaten_in_it(result: Result) -> None:
    # The second of three points saves FLOPs and no boxes.
    rows = result.frontier.iloc[[2, 8, 14]].reset_index(drop=True)
    rows.loc[1, "boxes"] = rows.loc[0, "boxes"]
    chooser = PointChooser(Result(result.layout, "head_flops", rows, result.baseline), max_loss=0.9)
    chooser.slider.value = 1
    chooser.cost.value = "boxes"
    assert chooser.slider.max == 1
    assert chooser.row["accuracy"] == rows["accuracy"][0]
    chooser.slider.value = 1
    chooser.cost.value = "head_flops"
    assert chooser.row["accuracy"] == rows["accuracy"][2]
    assert chooser.slider.value == 2


def test_numbers_and_charts_follow_the_slider(result: Result) -> None:
    chooser = PointChooser(result)
    chooser.slider.value = 10
    numbers = chooser.numbers()
    assert numbers.loc["n_anchors"].tolist() == [30, len(chooser.selected)]
    assert numbers.loc["accuracy", "after"] == chooser.row["accuracy"]
    board = json.dumps(chooser.board_chart().to_dict())
    assert f"{len(chooser.selected)} of 30 anchors kept" in board
    marked = [
        row
        for rows in chooser.frontier_chart().to_dict()["datasets"].values()
        for row in rows
        if row.get("label") == "chosen"
    ]
    assert len(marked) == 1
    assert marked[0]["y"] == pytest.approx(100 * chooser.row["accuracy"], abs=1e-3)


def test_without_a_front_end_it_is_a_picture(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anchorkit.widgets.explorer.is_live", lambda: False)
    bundle = PointChooser(result)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "image/svg+xml"}
    assert len(bundle["image/svg+xml"]) < 120_000


def test_with_a_front_end_it_is_a_widget_that_redraws(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anchorkit.widgets.explorer.is_live", lambda: True)
    chooser = PointChooser(result)
    bundle = chooser._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    drawn = chooser._board.svg, chooser._frontier.svg
    seen = []
    for place in (0, 5):
        chooser.slider.value = place
        assert f">{len(chooser.selected)}</div>" in chooser._figures.value
        dropped = {name for name, look in chooser._board.classes.items() if look == "off"}
        assert dropped == set(result.layout.ids) - set(chooser.selected.ids)
        seen.append(chooser._frontier.pointer)
    assert seen[0] != seen[1]
    # What the slider moves is not drawn again.
    assert (chooser._board.svg, chooser._frontier.svg) == drawn
    assert "http://" not in drawn[1].replace("http://www.w3.org", "")


def test_a_point_that_is_picked_moves_the_slider(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anchorkit.widgets.explorer.is_live", lambda: True)
    chooser = PointChooser(result)
    chooser._repr_mimebundle_()
    chooser.cost.value = "boxes"
    for row in chooser._order[:3]:
        assert f'data-pick="{row}"' in chooser._frontier.svg
        chooser._frontier.pick(str(row))
        assert chooser.selected == result.configurations[row]


def test_bad_input(result: Result) -> None:
    with pytest.raises(InputError, match="no points"):
        PointChooser(Result(result.layout, "head_flops", result.frontier.iloc[:0], result.baseline))
    with pytest.raises(InputError, match="0.02"):
        PointChooser(result, max_loss=2)


@pytest.mark.parametrize(
    ("environment", "allow_stdin", "live"),
    [
        ({}, True, True),
        ({}, False, False),
        ({}, None, False),
        ({"ANCHORKIT_STATIC": "1"}, True, False),
        ({"ANCHORKIT_STATIC": "0"}, True, True),
        ({"SERVER_SOFTWARE": "voila/0.5.13"}, False, True),
    ],
)
def test_who_is_there(
    environment: dict[str, str], allow_stdin: bool | None, live: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANCHORKIT_STATIC", "SERVER_SOFTWARE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    message = {} if allow_stdin is None else {"content": {"allow_stdin": allow_stdin}}
    monkeypatch.setattr(front_end, "_request", lambda: message)
    assert front_end.is_live() is live


def test_outside_a_kernel_nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANCHORKIT_STATIC", raising=False)
    monkeypatch.delenv("SERVER_SOFTWARE", raising=False)
    assert not front_end.is_live()
    kernel = SimpleNamespace(get_parent=lambda channel: {"content": {"allow_stdin": True}})
    ipython = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=kernel))
    monkeypatch.setitem(sys.modules, "IPython", ipython)  # type: ignore[arg-type]
    assert front_end.is_live()
