from __future__ import annotations

import pandas as pd
import pytest

from anchorkit import plots
from anchorkit.errors import InputError

from .drawing import values


def configurations() -> pd.DataFrame:
    rows = [
        ("one", 0.50, 1000, "a"),
        ("one", 0.48, 500, "a"),
        ("one", 0.40, 700, "a"),  # beaten by the one above
        ("two", 0.51, 900, "b"),
        ("two", 0.45, 400, "b"),
    ]
    return pd.DataFrame(rows, columns=["run", "accuracy", "boxes", "param.kind"])


def test_only_what_no_other_of_its_run_beats_is_drawn_in_points() -> None:
    chart = plots.run_frontiers(configurations(), "boxes")
    drawn = {(row["run"], row["x"], row["y"]) for row in values(chart)}
    assert drawn == {("one", 1000, 50), ("one", 500, 48), ("two", 900, 51), ("two", 400, 45)}
    assert chart.to_dict()["title"] == "Frontiers of 2 runs"


def test_colour_by_a_setting_keeps_the_runs_apart() -> None:
    frame = pd.concat([configurations(), configurations().assign(run=lambda rows: rows["run"] + " again")])
    spec = plots.run_frontiers(frame, "boxes", by="param.kind").to_dict()
    line = spec["layer"][0]["encoding"]
    assert line["detail"]["field"] == "run"
    assert line["color"]["scale"]["domain"] == ["a", "b"]
    assert line["color"]["title"] == "kind"
    assert len(set(line["color"]["scale"]["range"])) == 2


def test_no_more_groups_than_colours() -> None:
    frame = pd.concat([configurations().assign(run=f"run {number}") for number in range(8)])
    with pytest.raises(InputError, match="8 values, more than 7 colours"):
        plots.run_frontiers(frame, "boxes")
    with pytest.raises(InputError, match="lacks the column 'head_flops'"):
        plots.run_frontiers(configurations())


def effects() -> tuple[pd.DataFrame, pd.DataFrame]:
    frame = pd.DataFrame(
        [{"size": size, "kind": kind, "y": size + len(kind)} for size in (10, 9) for kind in ("a", "bb")]
    )
    found = pd.DataFrame({"parameter": ["size", "kind"], "explained": [0.5, 0.5], "by_chance": [0.3, 0.3]})
    return frame, found


def test_a_panel_a_setting_with_its_values_in_order() -> None:
    frame, found = effects()
    chart = plots.setting_effects(frame, found, "y")
    panels = chart.to_dict()["vconcat"][0]["hconcat"]
    assert [panel["title"]["text"] for panel in panels] == ["size", "kind"]
    assert panels[0]["title"]["subtitle"] == "explains 50 % (by chance 30 %)"
    assert panels[0]["layer"][0]["encoding"]["x"]["sort"] == ["9", "10"]
    means = [row["y"] for row in values(chart) if "shift" not in row]
    assert sorted(means) == [10.5, 10.5, 11.5, 11.5]


def test_dots_of_one_value_stand_side_by_side() -> None:
    frame, found = effects()
    dots = pd.DataFrame([row for row in values(plots.setting_effects(frame, found, "y")) if "shift" in row])
    assert not dots.duplicated(["value", "shift"]).any()
    assert dots["shift"].between(-0.5, 0.5).all()


def test_effects_of_what_is_not_there() -> None:
    frame, found = effects()
    with pytest.raises(InputError, match="lacks the column 'z'"):
        plots.setting_effects(frame, found, "z")
    with pytest.raises(InputError, match="lacks the column 'explained'"):
        plots.setting_effects(frame, found[["parameter"]], "y")
