"""The points of a run, and the one rule for which of them is shipped."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from anchorkit.batch.parameters import read_parameters
from anchorkit.bundled import notebooks_dir
from anchorkit.errors import InputError
from anchorkit.runs.points import CROSS_FITTED, UNPRUNED, Points
from anchorkit.search.result import NEGLIGIBLE_LOSS


def points_of(rows: dict[tuple[str, str, str], tuple[float, int]]) -> pd.DataFrame:
    names = ["point", "stage", "split", "accuracy", "head_flops"]
    return pd.DataFrame([(*key, *values) for key, values in rows.items()], columns=names)


def test_what_to_ship_is_chosen_on_validation_images() -> None:
    rows = {
        ("unpruned", "full", "val"): (0.600, 100),
        ("unpruned", "full", "test"): (0.590, 100),
        ("A", "pruned", "val"): (0.600, 70),
        ("A", "pruned", "test"): (0.560, 70),
        ("A", "fine-tuned", "val"): (0.599, 70),
        ("A", "fine-tuned", "test"): (0.550, 70),
        ("B", "fine-tuned", "val"): (0.590, 50),
        ("B", "fine-tuned", "test"): (0.700, 50),
    }
    assert Points(points_of(rows)).shipped == ("A", "fine-tuned")  # as cheap as A pruned, and not picked for it
    assert Points(points_of(rows), 0.02).shipped == ("B", "fine-tuned")
    assert Points(points_of(rows), -0.1).shipped == ("A", "pruned")  # none gains so much: the best there is
    of_test = points_of({key: row for key, row in rows.items() if key[2] == "test"})
    assert Points(of_test).shipped == ("B", "fine-tuned")
    with pytest.raises(InputError, match="run 05_prune_and_retrain"):
        _ = Points(points_of(dict(list(rows.items())[:2]))).shipped


def measured(**of: dict[str, float]) -> Points:
    """Points A (cheaper) and B, fine-tuned, beside a full detector of AP 0.40 on both splits: accuracies by split."""
    rows = {("unpruned", "full", "val"): (0.40, 100), ("unpruned", "full", "test"): (0.40, 100)}
    for point, splits in of.items():
        for split in ("val", "test"):
            rows[point, "fine-tuned", split] = (splits[split], 50 if point == "A" else 70)
    table = points_of(rows)
    ends = {(point, end): splits.get(end, float("nan")) for point, splits in of.items() for end in ("low", "high")}
    for end in ("low", "high"):
        table[end] = [
            ends.get((point, end), 0.0) if split == "test" else float("nan")
            for point, split in zip(table["point"], table["split"], strict=True)
        ]
    return Points(table)


def test_the_test_images_confirm_leave_open_or_refute() -> None:
    good = {"val": 0.40, "test": 0.40, "low": -0.001, "high": 0.004}
    confirmed = measured(A=good, B=good).shipment
    assert (confirmed.point, confirmed.why) == (
        "A",
        "The cheapest that loses at most 0.2 points on the validation images, confirmed on the test images: "
        "AP 40.0 \N{RIGHTWARDS ARROW} 40.0, a change of 0.00 (95 % interval -0.10 to +0.40).",
    )
    left_open = measured(A={**good, "low": -0.03}).shipment
    assert "Neither confirmed nor refuted on the test images" in left_open.why
    refuted = measured(A={**good, "test": 0.37, "low": -0.04, "high": -0.01}, B=good).shipment
    assert refuted.point == "B"
    assert "A fine-tuned loses more than 0.2 points on the test images" in refuted.why
    assert "(95 % interval -4.00 to -1.00)" in refuted.why


def test_what_lost_most_of_its_ap_is_never_shipped() -> None:
    """On the validation images of a small data set one anchor was as good as all, on the test images it was not."""
    lost = {"val": 0.40, "test": 0.09}
    points = measured(A=lost, B={"val": 0.40, "test": 0.39})
    assert points.shipped == ("B", "fine-tuned")
    assert "A fine-tuned lost most of its AP on the test images (AP 40.0" in points.shipment.why
    none_left = measured(A=lost, B=lost)
    assert none_left.shipped == UNPRUNED
    assert not none_left.shipment.pruned
    assert none_left.shipment.why.startswith("No pruned detector can be shipped: A fine-tuned lost most of its AP")
    assert none_left.shipment.folder("run") == Path("run/detector")
    assert none_left.looked_at == ("A", "fine-tuned")
    far = Points(measured(A={"val": 0.30, "test": 0.15}).table)  # loses more than allowed, and then most of it
    assert far.shipped == UNPRUNED


def test_without_test_images_the_cross_fit_may_refute() -> None:
    rows = {
        ("unpruned", "full", "val"): (0.40, 100),
        ("unpruned", "full", CROSS_FITTED): (0.40, 100),
        ("A", "pruned", "val"): (0.40, 50),
        ("A", "pruned", CROSS_FITTED): (0.15, 50),
        ("B", "pruned", "val"): (0.40, 70),
        ("B", "pruned", CROSS_FITTED): (0.39, 70),
    }
    points = Points(points_of(rows))
    assert points.reported_split == "val"
    assert points.shipped == ("B", "pruned")
    assert "A pruned lost most of its AP in the cross-fit" in points.shipment.why
    alone = Points(points_of({key: row for key, row in rows.items() if key[2] == "val"}))
    assert alone.shipment.why.endswith("No other images have confirmed it.")


def test_of_a_hardly_trained_detector_nothing_is_shipped() -> None:
    rows = {("unpruned", "full", "val"): (0.04, 100), ("A", "pruned", "val"): (0.04, 50)}
    shipment = Points(points_of(rows)).shipment
    assert not shipment.pruned
    assert "is hardly trained" in shipment.why


def test_the_loss_of_a_run_is_recorded_and_read_again(tmp_path: Path) -> None:
    table = points_of(
        {
            ("unpruned", "full", "val"): (0.600, 100),
            ("A", "fine-tuned", "val"): (0.599, 70),
            ("B", "fine-tuned", "val"): (0.596, 50),
        }
    )
    Points(table).write(tmp_path)
    assert Points.read(tmp_path).max_loss == NEGLIGIBLE_LOSS
    assert Points.read(tmp_path).shipped == ("A", "fine-tuned")
    (tmp_path / "run.json").write_text(
        json.dumps({"format": 1, "notebooks": {"06_report": {"parameters": {"max_loss": 0.005}}}})
    )
    assert Points.read(tmp_path).shipped == ("B", "fine-tuned")  # a run from before the loss had a file
    Points(table, max_loss=0.003).record_loss(tmp_path)
    assert (Points.read(tmp_path).max_loss, Points.read(tmp_path).shipped) == (0.003, ("A", "fine-tuned"))
    assert Points.read(tmp_path).loss_kept
    assert not Points(table, max_loss=0.0005).loss_kept
    assert Points(table, max_loss=0.0005).shipped == ("A", "fine-tuned")
    (tmp_path / "retrained" / "max_loss.json").write_text('{"max_loss": "much"}')
    with pytest.raises(InputError, match=r"max_loss\.json: max_loss is 'much'"):
        Points.read(tmp_path)


def test_points_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    assert Points.read_if_there(tmp_path) is None
    with pytest.raises(InputError, match="run the notebook 05_prune_and_retrain first"):
        Points.read(tmp_path)
    (tmp_path / "retrained").mkdir()
    path = tmp_path / "retrained" / "points.csv"
    path.write_text("point,stage,accuracy\nA,pruned,0.5\n")
    with pytest.raises(InputError, match=r"points\.csv: lacks the column 'head_flops'"):
        Points.read(tmp_path)
    path.write_text("point,stage,accuracy,head_flops\n")
    assert Points.read_if_there(tmp_path) is None


@pytest.mark.parametrize("name", sorted(path.stem for path in notebooks_dir().glob("*.ipynb")))
def test_max_loss_is_the_same_in_every_lesson(name: str) -> None:
    parameters = read_parameters(notebooks_dir() / f"{name}.ipynb")
    if "max_loss" in parameters:
        assert parameters["max_loss"].default == NEGLIGIBLE_LOSS
