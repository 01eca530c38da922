"""The fast evaluator gives the bits of numpy NMS and pycocotools, whatever the configuration."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchorkit.anchors import AnchorLayout, Level, Move, moves
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator, evaluator, reference
from anchorkit.predictions import PostProcess, PredictionTable

from .cases import Case, random_anchors, random_case

CASES = 20_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 300


def build(case: Case) -> Evaluator:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # categories without ground truth are among the cases
        return Evaluator(case.predictions, case.ground_truth)


def assert_same_bits(own: Evaluator, keep: list[int]) -> None:
    expected = reference.evaluate(own.predictions, own.ground_truth, keep)
    assert own.stats(keep) == expected.stats
    assert own.accuracy(keep) == expected.stats["AP"]
    assert own.per_class(keep) == expected.per_class
    found, table = own.detections(keep), own.predictions
    assert np.array_equal(found["image_id"], table.image_id[expected.rows])
    assert np.array_equal(found["category_id"], table.category_id[expected.rows])
    assert np.array_equal(found["score"], table.score[expected.rows])
    assert np.array_equal(found[["x1", "y1", "x2", "y2"]].to_numpy(), table.boxes[expected.rows])
    assert np.array_equal(found["anchor"], table.anchor[expected.rows])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=CASES)
def test_same_bits_as_pycocotools(seed):
    case = random_case(seed)
    own = build(case)
    # Two in a row: nothing of the first may be left over in the second.
    random = np.random.default_rng(seed + 1)
    for _ in range(2):
        assert_same_bits(own, random_anchors(random, case.predictions.layout))


def test_the_cases_are_as_nasty_as_they_claim():
    """Guards the generator: every trap must be met often, or the property above proves little."""
    met = dict.fromkeys(("topk", "cap", "hundred", "ties", "no area", "crowd", "stranger", "no truth", "sizes"), 0)
    for seed in range(150):
        case = random_case(seed)
        own = build(case)
        found, post = own.detections(own.full), case.predictions.postprocess
        stats = own.stats(own.full)
        sizes = case.predictions.boxes[:, 2:] - case.predictions.boxes[:, :2]
        met["topk"] += own._index.topk > 0
        met["cap"] += found.groupby("image_id").size().max() == post.max_detections
        met["hundred"] += found.groupby(["image_id", "category_id"]).size().max() > 100
        met["ties"] += found.duplicated(["image_id", "category_id", "score"]).any()
        met["no area"] += (sizes == 0).any()
        met["crowd"] += any(annotation["iscrowd"] for annotation in case.ground_truth["annotations"])
        met["stranger"] += bool(case.predictions.check(case.ground_truth))
        met["no truth"] += not case.ground_truth["annotations"]
        met["sizes"] += stats["APs"] > 0 and max(stats["APm"], stats["APl"]) > 0
    assert min(met.values()) >= 3, met


@pytest.mark.parametrize("seed", range(20))
def test_threads_change_nothing(seed, monkeypatch):
    case = random_case(seed)
    alone = build(case)
    monkeypatch.setattr(evaluator, "ROWS_PER_THREAD", 1)
    monkeypatch.setattr(evaluator.os, "cpu_count", lambda: 3)
    shared = build(case)
    random = np.random.default_rng(seed)
    for _ in range(3):
        keep = random_anchors(random, case.predictions.layout)
        assert shared.stats(keep) == alone.stats(keep)
        assert shared.per_class(keep) == alone.per_class(keep)
        assert shared.detections(keep).equals(alone.detections(keep))


def interesting_case() -> Case:
    """A case with several anchors and an accuracy that depends on them."""
    for seed in range(1000):
        case = random_case(seed)
        own = build(case)
        if len(own.layout) > 4 and len({own.accuracy([anchor]) for anchor in range(len(own.layout))}) > 3:
            return case
    raise AssertionError("the generator makes no such case any more")


@pytest.fixture(scope="module")
def case() -> Case:
    return interesting_case()


@pytest.fixture(scope="module")
def own(case) -> Evaluator:
    return build(case)


def test_children_are_one_move_away(own):
    found = own.children(own.full, moves(own.full))
    assert found.dtype == np.float64
    assert found.tolist() == [own.accuracy(own.full.without([anchor])) for anchor in own.full]
    pair = Move((0, 2), "two")
    assert own.children(own.full, [pair]).tolist() == [own.accuracy(own.full.without([0, 2]))]
    assert own.children(own.full, []).shape == (0,)


def test_a_configuration_may_be_given_in_any_form(own):
    keep = own.layout.configuration(keep=[0, 3])
    expected = own.accuracy(keep)
    for form in ([0, 3], (3, 0), own.layout.ids[0:4:3], np.array([0, 3]), iter([0, 3])):
        assert own.accuracy(form) == expected


def test_a_configuration_of_another_layout_is_refused(own):
    other = AnchorLayout("other", (8, 8), (Level("a", 1, 1, ((8.0, 8.0),)),))
    with pytest.raises(InputError, match="their layouts differ"):
        own.accuracy(other.full)
    with pytest.raises(InputError, match="unknown anchor"):
        own.accuracy(["L9/1x1"])


def test_an_equal_layout_will_do(own):
    copied = AnchorLayout.from_dict(own.layout.to_dict())
    assert own.accuracy(copied.full) == own.accuracy(own.full)


def test_callers_may_share_an_evaluator(case):
    configurations = [case.predictions.layout.full.without([anchor]) for anchor in range(len(case.predictions.layout))]
    one = build(case)
    expected = [one.stats(configuration) for configuration in configurations]
    shared = build(case)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(shared.stats, configurations * 5)) == expected * 5


def test_verify_says_zero_and_would_notice(own, monkeypatch):
    assert own.verify(n=4, seed=1) == 0.0
    right = own.stats
    monkeypatch.setattr(own, "stats", lambda keep: {**right(keep), "APs": right(keep)["APs"] + 0.25})
    assert own.verify(n=2) == 0.25


def test_order_of_images_and_annotations_between_groups_does_not_matter(case):
    table = case.predictions
    order = np.argsort(-table.image_id, kind="stable")
    shuffled = PredictionTable(
        table.image_id[order],
        table.anchor[order],
        table.category_id[order],
        table.score[order],
        table.boxes[order],
        table.layout,
        table.postprocess,
    )
    truth = copy.deepcopy(case.ground_truth)
    truth["images"].reverse()
    truth["categories"].reverse()
    truth["annotations"].sort(key=lambda annotation: annotation["image_id"])
    again = build(Case(shuffled, truth, case.seed))
    first = build(case)
    assert again.stats(again.full) == first.stats(first.full)


def test_rows_of_unknown_categories_are_told_and_unknown_images_refused(case):
    table = case.predictions
    category = table.category_id.copy()
    category[:3] = 77
    image = table.image_id.copy()
    image[5] = 1
    rest = (table.score, table.boxes, table.layout, table.postprocess)
    with pytest.warns(UserWarning, match="rows have a category"):
        Evaluator(PredictionTable(table.image_id, table.anchor, category, *rest), case.ground_truth)
    with pytest.raises(InputError, match="column image_id, row 5"):
        Evaluator(PredictionTable(image, table.anchor, table.category_id, *rest), case.ground_truth)


@pytest.mark.parametrize("rank", [1, 2, 10, 11, 100, 101])
def test_the_limits_of_1_10_and_100_detections_are_exact(rank):
    """Of 120 detections that do not overlap, only that of the given rank hits the one annotated box."""
    n = 120
    left = 10.0 * np.arange(n)
    boxes = np.column_stack([left, np.zeros(n), left + 8, np.full(n, 8.0)])
    table = PredictionTable(
        np.ones(n, int),
        np.zeros(n, int),
        np.ones(n, int),
        np.linspace(0.9, 0.1, n),
        boxes,
        AnchorLayout("one", (8, 8), (Level("a", 1, 1, ((8.0, 8.0),)),)),
        PostProcess(score_threshold=0.0, topk=None, topk_scope="class", nms_iou=0.5, max_detections=None),
    )
    hit = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [left[rank - 1], 0, 8, 8], "area": 64, "iscrowd": 0}
    own = Evaluator(table, {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [hit]})
    stats = own.stats([0])
    assert [stats[name] for name in ("AR1", "AR10", "AR100")] == [rank <= 1, rank <= 10, rank <= 100]
    assert stats["AP"] == pytest.approx(1 / rank if rank <= 100 else 0)
    assert_same_bits(own, [0])


def test_no_ground_truth_at_all_is_minus_one(case):
    own = build(Case(case.predictions, {**case.ground_truth, "annotations": []}, 0))
    assert set(own.stats(own.full).values()) == {-1.0}
    assert own.accuracy(own.full) == -1.0


def test_no_anchor_at_all_finds_nothing(own):
    assert own.accuracy([]) == 0.0
    assert len(own.detections([])) == 0


def test_importing_the_package_loads_no_compiler():
    code = "import sys, anchorkit.evaluation, anchorkit.predictions; print({'numba', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_fingerprint_tells_data_apart_and_nothing_else():
    seed = next(seed for seed in range(99) if random_case(seed).ground_truth["annotations"])
    first, again, other = (build(random_case(number)).fingerprint for number in (seed, seed, 99))
    assert first == again != other
    changed = random_case(seed)
    changed.ground_truth["annotations"][0]["area"] += 1
    assert build(changed).fingerprint != first
