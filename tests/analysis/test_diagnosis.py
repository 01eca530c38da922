"""The errors of detections by kind: held against a naive reading of the definition, and against pycocotools."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from anchorkit.analysis.diagnosis import ERRORS, compare, diagnose
from anchorkit.errors import InputError

SEEDS = st.integers(0, 2**32 - 1)


def case(seed: int, crowds: bool = True) -> tuple[pd.DataFrame, dict[str, Any]]:
    """A few crowded images, and detections that make every kind of error."""
    rng = np.random.default_rng(seed)
    annotations, rows = [], []
    for image in (3, 5, 9):
        for _ in range(rng.integers(0, 5)):
            x, y, w, h = rng.uniform((0, 0, 15, 15), (60, 60, 50, 50)).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(rng.integers(1, 4)),
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(crowds and rng.random() < 0.15),
                }
            )
        here = [a for a in annotations if a["image_id"] == image]
        for _ in range(rng.integers(0, 12)):
            if here and rng.random() < 0.8:
                near = here[rng.integers(len(here))]
                x, y, w, h = near["bbox"] + rng.normal(0, rng.choice([1, 6, 14]), 4)
                category = near["category_id"] if rng.random() < 0.7 else int(rng.integers(1, 4))
            else:
                x, y, w, h = rng.uniform((0, 0, 15, 15), (60, 60, 50, 50))
                category = int(rng.integers(1, 4))
            box = np.array([x, y, x + max(w, 1), y + max(h, 1)], np.float32).tolist()
            rows.append([image, category, np.float32(rng.random()), *box])
    frame = pd.DataFrame(rows, columns=["image_id", "category_id", "score", "x1", "y1", "x2", "y2"])
    frame = frame.astype({"image_id": "int64", "category_id": "int64"})
    truth = {
        "images": [{"id": image} for image in (3, 5, 9)],
        "categories": [{"id": category} for category in (1, 2, 3)],
        "annotations": annotations,
    }
    return frame, truth


def ap50(rows: list[dict[str, Any]], truth: dict[str, Any]) -> float:
    """What pycocotools says."""
    with contextlib.redirect_stdout(io.StringIO()):
        cocos = []
        for annotations in (truth["annotations"], rows):
            coco = COCO()
            coco.dataset = {**truth, "annotations": annotations}
            coco.createIndex()
            cocos.append(coco)
        judge = COCOeval(*cocos, "bbox")
        judge.params.iouThrs = np.array([0.5])
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][0, :, :, 0, -1]
    return float(precision[precision > -1].mean()) if (precision > -1).any() else -1.0


def as_coco(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for number, row in enumerate(frame.to_dict("records"), 1):
        width, height = row["x2"] - row["x1"], row["y2"] - row["y1"]
        box = [row["x1"], row["y1"], width, height]
        about = {name: row[name] for name in ("image_id", "category_id", "score")}
        rows.append({**about, "id": number, "bbox": box, "area": width * height, "iscrowd": 0})
    return rows


def naive(frame: pd.DataFrame, truth: dict[str, Any]) -> tuple[dict[int, tuple[str, int]], dict[int, str]]:
    """The outcome of each detection (by its row) with the annotation it belongs to, and of each annotated box."""
    outcome: dict[int, tuple[str, int]] = {}
    state = {a["id"]: "missed" for a in truth["annotations"] if not a["iscrowd"]}
    rows = as_coco(frame)
    for image in (3, 5, 9):
        here = [a for a in truth["annotations"] if a["image_id"] == image]
        taken: set[int] = set()
        order = sorted((n for n, row in enumerate(rows) if row["image_id"] == image), key=lambda n: -rows[n]["score"])
        for n in order:
            row = rows[n]
            ious = [float(mask.iou([row["bbox"]], [a["bbox"]], [a["iscrowd"]])[0, 0]) for a in here]
            of = dict(zip((a["id"] for a in here), ious, strict=True))
            own = [a["id"] for a in here if a["category_id"] == row["category_id"] and not a["iscrowd"]]
            foreign = [a["id"] for a in here if a["category_id"] != row["category_id"] and not a["iscrowd"]]
            crowds = [a["id"] for a in here if a["category_id"] == row["category_id"] and a["iscrowd"]]
            free = [a for a in own if a not in taken and of[a] >= 0.5]
            best_own = max(own, key=of.__getitem__, default=None)
            best_foreign = max(foreign, key=of.__getitem__, default=None)
            if free:
                hit = max(free, key=of.__getitem__)
                taken.add(hit)
                outcome[n] = ("found", hit)
            elif any(of[a] >= 0.5 for a in crowds):
                outcome[n] = ("crowd", -1)
            elif best_own is not None and 0.1 <= of[best_own] < 0.5:
                outcome[n] = ("localisation", best_own)
            elif best_foreign is not None and of[best_foreign] >= 0.5:
                outcome[n] = ("classification", best_foreign)
            elif best_own is not None and of[best_own] >= 0.5:
                outcome[n] = ("duplicate", -1)
            elif all(of[a] <= 0.1 for a in own + foreign):
                outcome[n] = ("background", -1)
            else:
                outcome[n] = ("both", -1)
    for name in ("classification", "localisation", "found"):
        state |= {hit: name for found, hit in outcome.values() if found == name}
    return outcome, state


@given(SEEDS)
def test_outcomes_are_those_of_the_definition(seed: int) -> None:
    frame, truth = case(seed)
    found, expected = diagnose(frame, truth), naive(frame, truth)
    outcome = {float(frame["score"][n]): name for n, (name, _) in expected[0].items()}
    assert dict(zip(found.detections["score"].astype(float), found.detections["outcome"], strict=True)) == outcome
    real = [a for a in truth["annotations"] if not a["iscrowd"]]
    real.sort(key=lambda a: (a["image_id"], a["category_id"]))  # stable
    assert found.objects["outcome"].tolist() == [expected[1][a["id"]] for a in real]
    points_at = {float(frame["score"][n]): at for n, (_, at) in expected[0].items()}
    for row in found.detections.to_dict("records"):
        assert (real[row["object"]]["id"] if row["object"] >= 0 else -1) == points_at[row["score"]]


@given(SEEDS)
def test_ap50_is_that_of_pycocotools(seed: int) -> None:
    frame, truth = case(seed)
    assert diagnose(frame, truth).ap50 == ap50(as_coco(frame), truth)


@given(SEEDS, st.sets(st.sampled_from(ERRORS)))
def test_mending_gives_what_pycocotools_says_of_mended_detections(seed: int, errors: set[str]) -> None:
    frame, truth = case(seed)
    outcome, state = naive(frame, truth)
    rows = as_coco(frame)
    by_id = {a["id"]: a for a in truth["annotations"]}
    mended, given_to = [], set()
    for n in sorted(outcome, key=lambda n: -rows[n]["score"]):
        name, at = outcome[n]
        if name not in errors:
            mended.append(rows[n])
        elif at >= 0 and state[at] != "found" and at not in given_to:
            given_to.add(at)
            mended.append({**rows[n], "bbox": by_id[at]["bbox"], "category_id": by_id[at]["category_id"]})
    left = [a for a in truth["annotations"] if not ("missed" in errors and state.get(a["id"]) == "missed")]
    assert diagnose(frame, truth).ap50_without(errors) == pytest.approx(ap50(mended, {**truth, "annotations": left}))


@given(SEEDS)
def test_counts_add_up_and_mending_never_hurts(seed: int) -> None:
    frame, truth = case(seed)
    found = diagnose(frame, truth)
    errors = found.errors
    assert list(errors.index) == list(ERRORS)
    harmless = found.detections["outcome"].isin(["found", "crowd"]).sum()
    assert harmless + errors["count"].drop("missed").sum() == len(frame)
    counts = found.objects["outcome"].value_counts()
    assert counts["found"] == (found.detections["outcome"] == "found").sum()
    assert counts["missed"] == errors["count"]["missed"]
    assert len(found.objects) == sum(not a["iscrowd"] for a in truth["annotations"])
    assert (errors["dap"] >= -1e-12).all()
    assert (errors["dap"] <= 1 - max(found.ap50, 0) + 1e-12).all()


@given(SEEDS)
def test_without_any_error_the_detector_is_faultless(seed: int) -> None:
    frame, truth = case(seed)
    found = diagnose(frame, truth)
    left = (found.objects["outcome"] != "missed").any()
    assert found.ap50_without(ERRORS) == pytest.approx(1.0 if left else -1.0)


@given(SEEDS, st.floats(0, 1))
def test_a_comparison_is_that_of_its_parts(seed: int, share: float) -> None:
    frame, truth = case(seed)
    before = diagnose(frame, truth)
    after = diagnose(frame[np.random.default_rng(seed).random(len(frame)) < share], truth)
    table = compare(before, after)
    pd.testing.assert_series_equal(table["count_after"], after.errors["count"], check_names=False)
    pd.testing.assert_series_equal(table["dap_before"], before.errors["dap"], check_names=False)
    was = before.objects["outcome"] == "found"
    assert table["lost"].sum() == (was & (after.objects["outcome"] != "found")).sum()
    assert table["lost"][["both", "duplicate", "background"]].sum() == 0
    assert compare(before, before)["lost"].sum() == 0


def one_object(*rows: tuple[int, float, float]) -> pd.DataFrame:
    """Detections (class, score, x1) of 10 x 10 pixels beside an object of class 1 at x1 = 0."""
    columns = ["image_id", "category_id", "score", "x1", "y1", "x2", "y2"]
    return pd.DataFrame([[3, category, score, x, 0.0, x + 10, 10.0] for category, score, x in rows], columns=columns)


TRUTH = {
    "images": [{"id": 3}],
    "categories": [{"id": 1}, {"id": 2}],
    "annotations": [{"id": 1, "image_id": 3, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0}],
}


@pytest.mark.parametrize(
    ("rows", "outcomes", "state"),
    [
        ([(1, 0.9, 1)], ["found"], "found"),
        ([(1, 0.9, 1), (1, 0.8, 0)], ["found", "duplicate"], "found"),
        ([(1, 0.9, 5)], ["localisation"], "localisation"),
        ([(2, 0.9, 1)], ["classification"], "classification"),
        ([(2, 0.9, 5)], ["both"], "missed"),
        ([(1, 0.9, 50)], ["background"], "missed"),
        ([(2, 0.9, 1), (1, 0.8, 1)], ["classification", "found"], "found"),
        ([], [], "missed"),
    ],
)
def test_one_object(rows: list[tuple[int, float, float]], outcomes: list[str], state: str) -> None:
    found = diagnose(one_object(*rows), TRUTH)
    assert found.detections["outcome"].tolist() == outcomes
    assert found.objects["outcome"].tolist() == [state]
    if state != "found":
        error = "missed" if state == "missed" else state
        assert found.errors["dap"][error] == pytest.approx(1.0)


def test_what_coco_does_not_count_is_left_out() -> None:
    many = one_object(*[(1, 1 - number / 1000, 50.0) for number in range(130)], (7, 0.99, 0.0))
    found = diagnose(many, TRUTH)
    assert len(found.detections) == 100
    assert found.detections["score"].min() == pytest.approx(1 - 99 / 1000)


def test_nothing_to_find() -> None:
    found = diagnose(one_object((1, 0.9, 0.0)), {**TRUTH, "annotations": []})
    assert found.ap50 == -1.0
    assert (found.errors["dap"] == 0).all()


def test_bad_input() -> None:
    frame = one_object((1, 0.9, 0.0))
    with pytest.raises(InputError, match="lacks the column 'score'"):
        diagnose(frame.drop(columns="score"), TRUTH)
    with pytest.raises(InputError, match="image 8 is not among"):
        diagnose(frame.assign(image_id=8), TRUTH)
    found = diagnose(frame, TRUTH)
    with pytest.raises(InputError, match="unknown error 'blur'"):
        found.ap50_without(["blur"])
    with pytest.raises(InputError, match="different ground truths"):
        compare(found, diagnose(frame, {**TRUTH, "annotations": []}))
