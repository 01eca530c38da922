from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from anchorkit.errors import InputError
from anchorkit.search import SearchResult, search

from .toys import ToyEvaluator, toy_layout


@pytest.fixture(scope="module")
def result() -> SearchResult:
    """Accuracies by hand: anchors 0 and 1 on 64 cells each, 2 on 16. Taking 0 away gains, then 2 loses least."""
    evaluator = ToyEvaluator(toy_layout(2, 1))
    evaluator.accuracy_of = {
        0b111: 0.50,
        0b110: 0.51,
        0b101: 0.40,
        0b011: 0.48,
        0b100: 0.30,
        0b010: 0.45,
        0b001: 0.10,
    }.__getitem__
    return search(evaluator, "boxes", progress=False)


def masks(configurations):
    return [configuration.mask for configuration in configurations]


def test_the_frontier_is_a_table(result):
    assert masks(result.configurations) == [0b110, 0b010, 0b100]
    assert result.frontier["accuracy"].tolist() == [0.51, 0.45, 0.30]
    assert result.frontier["boxes"].tolist() == [80, 64, 16]
    assert result.frontier["anchors"].tolist() == ["L0/16x16 L1/8x32", "L0/16x16", "L1/8x32"]
    assert result.frontier["n_anchors"].tolist() == [2, 1, 1]
    assert result.baseline["accuracy"] == 0.50
    assert result.baseline["boxes"] == 144
    assert not {"order", "parent"} & set(result.frontier.columns)


def test_cheapest(result):
    assert result.cheapest().mask == 0b110
    assert result.cheapest(0.049).mask == 0b110
    assert result.cheapest(0.05).mask == 0b010  # 0.50 - 0.05 is 0.45 but for rounding
    assert result.cheapest(0.3).mask == 0b100
    assert result.cheapest(-0.01).mask == 0b110
    with pytest.raises(InputError, match=r"0\.5200 or more.*0\.5000.*0\.5100.*max_loss=-0\.0100"):
        result.cheapest(-0.02)
    for bad in (2, -1, float("nan")):
        with pytest.raises(InputError, match=r"2 points are 0\.02"):
            result.cheapest(bad)


def test_a_loss_is_allowed_but_for_rounding():
    evaluator = ToyEvaluator(toy_layout(2))
    evaluator.accuracy_of = {0b11: 0.8, 0b10: 0.7, 0b01: 0.1}.__getitem__
    assert 0.8 - 0.1 > 0.7
    assert search(evaluator, "boxes", progress=False).cheapest(0.1).mask == 0b10


def test_best(result):
    assert result.best(boxes=1000).mask == 0b110
    assert result.best(boxes=79).mask == 0b010
    assert result.best(boxes=64).mask == 0b010
    assert result.best(n_anchors=1).mask == 0b010
    assert result.best(n_anchors=1, head_flops=400).mask == 0b100
    with pytest.raises(InputError, match=r"boxes <= 15: the least there is boxes 16$"):
        result.best(boxes=15)
    with pytest.raises(InputError, match="one or more of boxes, head_flops, head_parameters, n_anchors"):
        result.best(flops=1)
    with pytest.raises(InputError, match="give a budget"):
        result.best()


def test_knee_and_hypervolume(result):
    assert result.knee().mask == 0b110  # 0.45 at 64 boxes lies below the chord from 0.51 at 80 to 0.30 at 16
    expected = ((144 - 80) * 0.51 + (80 - 64) * 0.45 + (64 - 16) * 0.30) / 144
    assert result.hypervolume() == pytest.approx(expected)


def test_saved_and_loaded_it_is_the_same(result, tmp_path):
    result.save(tmp_path / "found")
    again = SearchResult.load(tmp_path / "found")
    pd.testing.assert_frame_equal(again.frontier, result.frontier)
    pd.testing.assert_frame_equal(again.evaluated, result.evaluated)
    assert again.configurations == result.configurations
    assert (again.layout, again.cost, again.threshold) == (result.layout, result.cost, result.threshold)
    assert (again.strategy, again.moves) == ("algorithm1", "auto")
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [
        "evaluated.parquet",
        "frontier.csv",
        "search.json",
    ]
    about = json.loads((tmp_path / "found" / "search.json").read_text())
    assert about["full_accuracy"] == 0.50
    assert about["evaluated"] == len(result.evaluated)


def test_odd_accuracies_survive_the_csv(tmp_path):
    evaluator = ToyEvaluator(toy_layout(4, 2), steps=7**9)
    found = search(evaluator, "boxes", threshold=np.float64(0.1), progress=False)
    found.save(tmp_path)
    assert SearchResult.load(tmp_path).frontier["accuracy"].tolist() == found.frontier["accuracy"].tolist()
    assert SearchResult.load(tmp_path).threshold == 0.1
    search(evaluator, "boxes", threshold=np.float32(0.25), progress=False).save(tmp_path)
    assert SearchResult.load(tmp_path).threshold == 0.25


@pytest.mark.parametrize("name", ["search.json", "frontier.csv", "evaluated.parquet"])
def test_what_is_missing_or_cut_off_is_named(result, tmp_path, name):
    result.save(tmp_path)
    file = tmp_path / name
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(InputError, match=f"{name}: no such file"):
        SearchResult.load(tmp_path)
    file.write_bytes(content[:10])
    with pytest.raises(InputError, match=name):
        SearchResult.load(tmp_path)
    file.write_bytes(b"")
    with pytest.raises(InputError, match=name):
        SearchResult.load(tmp_path)


@pytest.mark.parametrize("name", ["frontier.csv", "evaluated.parquet"])
def test_a_table_without_rows_is_refused(result, tmp_path, name):
    result.save(tmp_path)
    if name == "frontier.csv":
        result.frontier.iloc[:0].to_csv(tmp_path / name, index=False)
    else:
        result.evaluated.iloc[:0].to_parquet(tmp_path / name, index=False)
    with pytest.raises(InputError, match=f"{name}: lacks rows"):
        SearchResult.load(tmp_path)


def test_another_version_is_refused(result, tmp_path):
    result.save(tmp_path)
    file = tmp_path / "search.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"version": 99}))
    with pytest.raises(InputError, match="version 99"):
        SearchResult.load(tmp_path)
    del about["strategy"]
    file.write_text(json.dumps(about))
    with pytest.raises(InputError, match="lacks 'strategy'"):
        SearchResult.load(tmp_path)
    file.write_text("[]")
    with pytest.raises(InputError, match="version None"):
        SearchResult.load(tmp_path)
