"""Lessons 9 and 21 in an empty folder, and what they leave there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import anchorkit as ak
from anchorkit.files import read_json
from anchorkit.pages.joint import joint_section
from anchorkit.pages.run import write_index
from anchorkit.pages.run_words import last_words
from anchorkit.runs.channels import JOINT, channel_folder

from .cells import execute

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> tuple[Path, dict[str, dict[str, Any]]]:
    patch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    folder = tmp_path_factory.mktemp("channels")
    few = {"images": 60, "channel_images": 16}
    ninth = execute("09_channels", folder, **few)
    made = (channel_folder(folder, 0.2) / "detector" / "model.safetensors").stat().st_mtime_ns
    both = execute("21_channels_and_anchors", folder, channel_ratios=[0.1], draws=40, finetune_epochs=1, **few)
    # The second lesson goes on from what the first one left.
    assert (channel_folder(folder, 0.2) / "detector" / "model.safetensors").stat().st_mtime_ns == made
    return folder, {"09": ninth, "21": both}


def test_what_was_cut_is_what_is_saved(run: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, left = run
    ninth = left["09"]
    again = ak.load_detector(channel_folder(folder, 0.2) / "detector")
    assert again.parameters == ninth["done"].parameters[1] == 506_375
    assert ninth["left"]["multiply-adds"] == ninth["done"].macs[1] == 77_276_313
    table = ak.PredictionTable.load(channel_folder(folder, 0.2) / "predictions.parquet")
    evaluator = ak.Evaluator(table, ninth["val"].ground_truth)
    assert ninth["small_ap"] == evaluator.accuracy(evaluator.full)
    assert set(ninth["arms"]) == {"nuclear", "random"}
    assert ninth["arms"]["nuclear"]["cut and folded"] > ninth["arms"]["random"]["cut alone"] + 10
    for name in ("groups", "scores", "widths"):
        assert (folder / "figures" / f"09_{name}.svg").is_file()


def test_the_joint_frontier_is_saved_and_its_choice_is_a_detector(
    run: tuple[Path, dict[str, dict[str, Any]]],
) -> None:
    folder, left = run
    both = left["21"]
    joint = ak.JointResult.load(folder / JOINT)
    assert joint.labels == (0.0, 0.1, 0.2)
    assert joint.frontier.equals(both["joint"].frontier)
    assert "channels" in pd.read_csv(folder / JOINT / "frontier.csv")
    chosen = joint.cheapest(0.01)
    assert both["chosen"].configuration == chosen.configuration
    assert both["kept"] == pytest.approx(chosen.accuracy, abs=1e-5)  # the network keeps the promise
    small = ak.load_detector(folder / JOINT / "detector")
    assert len(small.layout) == len(chosen.configuration)
    assert ak.costs.cost_of(small.layout.full, "total_flops") == chosen.cost
    assert read_json(folder / "figures.json")["joint.total_flops"] == chosen.cost


def test_the_points_compare_each_way_at_the_same_loss(run: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, left = run
    points, joint = pd.read_csv(folder / JOINT / "points.csv").set_index("point"), left["21"]["joint"]
    least = joint.baseline["accuracy"] - 0.01
    tried = joint.evaluated[joint.evaluated["accuracy"] >= least]
    assert points.loc["both", "total_flops"] == tried["total_flops"].min()
    assert points.loc["anchors", "total_flops"] == tried.query("channels == 0")["total_flops"].min()
    assert points.loc["channels", "n_anchors"] == points.loc["unpruned", "n_anchors"] == 30
    test = left["21"]["tests"][joint.labels.index(points.loc["both", "channels"])]
    kept = test.layout.configuration(keep=points.loc["both", "anchors"].split())
    assert points.loc["both", "test"] == pytest.approx(test.accuracy(kept))
    assert (points["low"] <= points["test"] - points.loc["unpruned", "test"] + 1e-12).all()
    assert (points["high"] >= points["test"] - points.loc["unpruned", "test"] - 1e-12).all()
    assert left["21"]["networks"][-1].parameters == points.loc["both", "parameters"]


def test_the_page_shows_it(run: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, left = run
    section = joint_section(folder)
    assert left["21"]["holds"].headline in section
    assert "60 images that took no part in the search" in section
    assert "channels removed" in section
    assert "both" in section
    assert section in write_index(folder).read_text()
    assert last_words(folder) == []  # there is no search of anchors alone
    assert np.isfinite(left["21"]["holds"].least)


def test_training_the_choice_is_one_more_row(run: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, left = run
    row = pd.read_csv(folder / JOINT / "points.csv").iloc[-1]
    assert row["point"] == "both, fine-tuned"
    student = ak.load_detector(folder / JOINT / "fine-tuned")
    table = ak.collect_predictions(student, left["21"]["data"].test, progress=False)
    evaluator = ak.Evaluator(table, left["21"]["data"].test.ground_truth)
    assert row["test"] == pytest.approx(evaluator.accuracy(evaluator.full))
    assert row["parameters"] == student.parameters
    assert "both, fine-tuned" in joint_section(folder)


def test_a_ratio_out_of_range_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ak.InputError, match=r"channel ratio 1\.2"):
        execute("09_channels", tmp_path, channel_ratio=1.2)
    assert not any(tmp_path.iterdir())
