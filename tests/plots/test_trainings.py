"""Charts of repeated trainings and of sets of anchors: what is drawn is what was measured."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from anchorkit import plots
from anchorkit.errors import InputError
from anchorkit.plots.theme import INK, SEARCH_COLOR, level_color

from .drawing import drawn, values


def table() -> pd.DataFrame:
    rows = [("unpruned", "100 %", seed, accuracy, 8e6) for seed, accuracy in enumerate((0.40, 0.42, 0.44))]
    rows += [("pruned", "50 %", seed, 0.35 + seed / 100, 4e6) for seed in range(3)]
    rows += [("by hand", "s1a1", seed, 0.30, 5e6) for seed in range(3)]
    return pd.DataFrame(rows, columns=["treatment", "point", "seed", "accuracy", "head_flops"])


def board(kept: bool | None = None) -> pd.DataFrame:
    frame = pd.DataFrame(
        [("L0/10x10", 0, 10.0, 10.0), ("L0/20x10", 0, 20.0, 10.0), ("L2/90x80", 2, 90.0, 80.0)],
        columns=["anchor_id", "level", "width", "height"],
    )
    return frame if kept is None else frame.assign(kept=[True, kept, True])


def test_every_seed_every_mean_and_the_band_of_the_base() -> None:
    chart = plots.trainings(table())
    found = values(chart)
    seeds = [row for row in found if "seed" in row]
    assert sorted((row["treatment"], row["x"], row["y"]) for row in seeds if row["treatment"] != "by hand") == [
        *(("pruned", 4.0, y) for y in (35.0, 36.0, 37.0)),
        *(("unpruned", 8.0, y) for y in (40.0, 42.0, 44.0)),
    ]
    means = {row["treatment"]: row["y"] for row in found if "point" in row and "seed" not in row}
    assert means == {"unpruned": 42.0, "pruned": 36.0, "by hand": 30.0}
    assert [row for row in found if "y2" in row] == [{"y": 40.0, "y2": 44.0, "mean": 42.0}]
    assert "million multiply-adds" in json.dumps(chart.to_dict())
    assert drawn(chart).std() > 5


def test_a_strip_for_each_treatment_with_its_interval_and_its_cost() -> None:
    chart = plots.training_strips(table().assign(n_anchors=[30] * 3 + [12] * 3 + [9] * 3))
    found = values(chart)
    dots = [(row["strip"], row["y"]) for row in found if "seed" in row]
    assert sorted(dots) == sorted(
        [*(("unpruned: 100 %", y) for y in (40.0, 42.0, 44.0)), *(("pruned: 50 %", y) for y in (35.0, 36.0, 37.0))]
        + [("by hand: s1a1", 30.0)] * 3
    )
    means = {row["strip"]: row for row in found if "low" in row}
    assert list(means) == ["unpruned: 100 %", "pruned: 50 %", "by hand: s1a1"]
    assert means["pruned: 50 %"]["what"] == "12 anchors, 50 % of head FLOPs"
    # Student's quantile for three values is 4.303.
    assert means["pruned: 50 %"]["high"] == pytest.approx(36.0 + 4.303 / 3**0.5, abs=1e-3)
    assert (means["by hand: s1a1"]["low"], means["by hand: s1a1"]["high"]) == (30.0, 30.0)
    assert [row for row in found if "y2" in row] == [{"y": 40.0, "y2": 44.0, "m": 42.0}]
    assert drawn(chart).std() > 5


def test_strips_of_one_seed_and_without_a_base() -> None:
    one = table().assign(n_anchors=9).query("seed == 0 and treatment != 'unpruned'")
    chart = plots.training_strips(one)
    assert not any("y2" in row for row in values(chart))
    assert all(row["low"] == row["high"] for row in values(chart) if "low" in row)
    assert drawn(chart).std() > 5


def test_the_base_is_ink_and_stages_have_their_colours() -> None:
    spec = json.dumps(plots.trainings(table(), base="by hand").to_dict())
    scale = json.loads(spec[spec.index('{"domain": ["unpruned"') :].split("}")[0] + "}")
    colors = dict(zip(scale["domain"], scale["range"], strict=True))
    assert (colors["by hand"], colors["pruned"]) == (INK, SEARCH_COLOR)
    assert len(set(colors.values())) == 3


def test_without_the_base_there_is_no_band() -> None:
    assert not any("y2" in row for row in values(plots.trainings(table().query("treatment != 'unpruned'"))))


def test_sets_are_drawn_to_one_scale() -> None:
    chart = plots.anchor_sets({"all": board(), "some": board(False)}, notes={"some": "cheap"}, frame=96)
    found = values(chart)
    boxes = [row for row in found if "id" in row]
    assert len(boxes) == 5  # level 2 is the same in both sets, and equal data is kept once
    assert {(row["x"], row["x2"], row["y"], row["y2"]) for row in boxes if row["id"] == "L2/90x80"} == {
        (-45.0, 45.0, -40.0, 40.0)
    }
    assert [row["kept"] for row in boxes if row["id"] == "L0/20x10"] == [True, False]
    assert {row["color"] for row in boxes} == {level_color(0), level_color(2)}
    spec = chart.to_dict()
    domains = [
        layer["encoding"]["x"]["scale"]["domain"]
        for line in spec["vconcat"]
        for cell in line["hconcat"]
        for layer in cell["layer"]
        if "scale" in layer["encoding"]["x"]
    ]
    assert all(domain == domains[0] for domain in domains)
    titles = [cell["title"]["text"] for line in spec["vconcat"] for cell in line["hconcat"][1:]]
    assert titles == ["level 0: 2", "level 2: 1", "1 of 2", "1"]
    assert {"name": "some", "note": "cheap"} in found
    assert drawn(chart).std() > 5


@pytest.mark.parametrize(
    ("draw", "complaint"),
    [
        (lambda: plots.trainings(table().drop(columns="seed")), "table: the frame lacks the column 'seed'"),
        (lambda: plots.trainings(table().iloc[:0]), "table: the frame has no rows"),
        (lambda: plots.trainings(table(), "boxes"), "lacks the column 'boxes'"),
        (lambda: plots.training_strips(table()), "lacks the column 'n_anchors'"),
        (lambda: plots.anchor_sets({"all": board().drop(columns="width")}), "all: the frame lacks the column 'width'"),
        (lambda: plots.anchor_sets({}), "sets: "),
    ],
)
def test_bad_frames(draw: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        draw()
