"""What a run says first: made once, written into its folder, and read again with the same words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from anchorkit.evaluation import Evaluator
from anchorkit.runs.holding import cross_fitted_change, find_what_holds, read_holding
from anchorkit.search import SearchResult, search
from anchorkit.search.joint import joint_search

from ..statistics.simulated import some_images

OPTIONS: dict[str, Any] = {"margin": 0.03, "draws": 100}


def searched(own: Evaluator, folder: Path) -> SearchResult:
    result = search(own, "head_flops", threshold=own.accuracy(own.full) - 0.05, progress=False)
    result.save(folder / "search")
    return result


@pytest.fixture(scope="module")
def own() -> Evaluator:
    return some_images(150, 1)


def test_test_images_are_preferred(own: Evaluator, tmp_path: Path) -> None:
    result, other = searched(own, tmp_path), some_images(150, 2)
    assert read_holding(tmp_path) is None
    found = find_what_holds(tmp_path, own, result, other, names={1: "small", 2: "large"}, **OPTIONS)
    assert (found.folds, found.tried) == (0, 0)
    assert found.n_removed > 0
    holding = read_holding(tmp_path)
    assert holding is not None
    assert str(holding) == str(found)
    assert holding.anchors == found.configuration.ids
    assert not holding.cross_fitted
    assert "150 images that took no part in the search" in holding.evidence
    kept = other.accuracy(found.configuration)
    assert f"AP {100 * other.accuracy(other.full):.1f} \N{RIGHTWARDS ARROW} {100 * kept:.1f}" in holding.evidence
    assert cross_fitted_change(tmp_path, 10**9) is None
    # Every point that loses no more than the margin on the search's images is looked at, and no other.
    candidates = result.frontier["accuracy"] >= own.accuracy(own.full) - OPTIONS["margin"]
    assert 1 < candidates.sum() < len(result.frontier)
    assert found.points["head_flops"].tolist() == result.frontier.loc[candidates, "head_flops"].tolist()


@pytest.mark.parametrize("few", [None, 12])
def test_without_enough_test_images_it_is_cross_fitted(own: Evaluator, tmp_path: Path, few: int | None) -> None:
    result = searched(own, tmp_path)
    found = find_what_holds(tmp_path, own, result, None if few is None else some_images(few, 3), **OPTIONS)
    holding = read_holding(tmp_path)
    assert holding is not None
    assert holding.cross_fitted
    assert "150 images, each with a choice made without it" in str(holding)
    table = pd.read_csv(tmp_path / "search" / "cross_fitted.csv")
    assert cross_fitted_change(tmp_path, table["head_flops"].min() - 1) is None
    dearest = table.loc[table["head_flops"].idxmax()]
    assert cross_fitted_change(tmp_path, 10**9) == (dearest["change"], dearest["low"], dearest["high"])
    assert found.folds == 5


def test_a_few_images_or_a_hopeless_detector_tell_nothing_and_search_nothing(tmp_path: Path) -> None:
    few = some_images(12, 4)
    result = searched(few, tmp_path)
    find_what_holds(tmp_path, few, result, **OPTIONS)
    holding = read_holding(tmp_path)
    assert holding is not None
    assert str(holding.nothing).startswith("12 images are too few")
    assert (holding.headline, holding.n_removed, holding.hope) == (holding.nothing, 0, "")
    assert not list((tmp_path / "search").glob("ledger-*"))


def test_another_search_in_the_folder_has_no_statement(own: Evaluator, tmp_path: Path) -> None:
    find_what_holds(tmp_path, own, searched(own, tmp_path), some_images(150, 2), **OPTIONS)
    search(own, "boxes", threshold=own.accuracy(own.full) - 0.01, progress=False).save(tmp_path / "search")
    assert read_holding(tmp_path) is None
    assert json.loads((tmp_path / "search" / "holds.json").read_text())["metric"] == "AP"


def test_a_joint_search_has_a_statement_of_its_own(tmp_path: Path) -> None:
    both = some_images(80, 1), some_images(80, 1, slim=True)
    threshold = both[0].accuracy(both[0].full) - 0.06
    joint = joint_search(zip((0, 0.3), both, strict=True), "head_flops", threshold=threshold, progress=False)
    joint.save(tmp_path / "channels" / "joint")
    options: dict[str, Any] = {"place": "channels/joint", "margin": 0.2, "draws": 40}
    others = some_images(80, 2), some_images(80, 2, slim=True)
    on_test = find_what_holds(tmp_path, both, joint, others, **options)
    read = read_holding(tmp_path, "channels/joint")
    assert read is not None
    assert str(read) == str(on_test)
    assert "without 30 % of the channels" in read.headline
    assert "80 images that took no part in the search" in read.evidence
    assert read_holding(tmp_path) is None  # of the search of anchors there is none
    fitted = find_what_holds(tmp_path, both, joint, **options)
    assert fitted.folds == 5
    assert (tmp_path / "channels" / "joint" / "cross_fitted.csv").is_file()
    assert sorted((tmp_path / "channels" / "joint").glob("ledger-*/*.jsonl"))  # the folds go on after a kill
