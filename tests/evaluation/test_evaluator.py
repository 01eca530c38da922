"""What an Evaluator promises beside equal bits: its arguments, its refusals, and the limits of its figures."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anchorkit.anchors import AnchorLayout, Level, Move, moves
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.evaluation.referees import coco as reference
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable

from .cases import Case, random_anchors, random_case
from .properties import CALLS, Referee, build, check, same

POST = PostProcess(score_threshold=0.0, topk=None, topk_scope="class", nms_iou=0.5, max_detections=None)
ONE = AnchorLayout("one", (8, 8), (Level("a", 1, 1, ((8.0, 8.0),)),))


def check_all(own: Evaluator, mask: int) -> None:
    """Every call about one configuration, against the referee."""
    referee = Referee(own.predictions, own.ground_truth)
    for call in CALLS:
        check(call, own, referee, mask, np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(20))
def test_threads_change_nothing(seed):
    case = random_case(seed)
    alone, shared = build(case, threads=1), build(case, threads=3)
    random = np.random.default_rng(seed)
    for _ in range(3):
        keep = random_anchors(random, case.predictions.layout)
        assert shared.stats(keep) == alone.stats(keep)
        assert shared.per_class(keep) == alone.per_class(keep)
        assert shared.detections(keep).equals(alone.detections(keep))
        given = moves(alone.layout.configuration(keep))
        assert np.array_equal(shared.children(keep, given), alone.children(keep, given))
        assert shared.children_stats(keep, given[:3]) == alone.children_stats(keep, given[:3])


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

    def ask(evaluator: Evaluator, number: int) -> Any:
        configuration = configurations[number % len(configurations)]
        call = CALLS[number % len(CALLS)]
        if call.startswith("children"):
            return list(getattr(evaluator, call)(configuration, moves(configuration)))
        found = getattr(evaluator, call)(configuration)
        return found.to_dict() if call == "detections" else found

    alone, shared, questions = build(case), build(case), range(7 * len(configurations))
    expected = [ask(alone, number) for number in questions]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda number: ask(shared, number), questions)) == expected


@pytest.mark.parametrize("other", [{}, {"iou_thresholds": [0.3, 0.6], "max_dets": (3, 7)}, {"metric": "voc"}])
def test_verify_says_zero(case, other):
    assert build(case, **other).verify(n=4, seed=1) == 0.0
    assert build(case, **other).with_postprocess(nms_iou=0.3, max_detections=4).verify(n=3) == 0.0


@pytest.mark.parametrize("by", [0.25, -0.25])
@pytest.mark.parametrize("call", ["accuracy", "stats", "children_stats", "per_class"])
def test_verify_would_notice(own, monkeypatch, call, by):
    def wrong(figures):
        if not isinstance(figures, dict):
            return figures + by
        name = list(figures)[-1]
        return {**figures, name: figures[name] + by}

    right = getattr(own, call)
    in_list = call == "children_stats"
    monkeypatch.setattr(
        own, call, lambda *asked: [wrong(f) for f in right(*asked)] if in_list else wrong(right(*asked))
    )
    assert own.verify(n=2) == pytest.approx(0.25)


def test_what_does_not_fit_is_refused_with_the_figure_and_advice(case):
    with pytest.raises(InputError, match=r"\d.*(MB|GB|MiB|GiB|bytes)") as caught:
        build(case, memory_limit=1000)
    assert "\n" not in str(caught.value)
    assert any(word in str(caught.value) for word in ("score_threshold", "fewer", "topk", "raise", "memory_limit"))
    assert build(case, memory_limit=2**32).accuracy([0]) == build(case).accuracy([0])


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
        ONE,
        POST,
    )
    hit = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [left[rank - 1], 0, 8, 8], "area": 64, "iscrowd": 0}
    own = Evaluator(table, {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [hit]})
    stats = own.stats([0])
    assert [stats[name] for name in ("AR1", "AR10", "AR100")] == [rank <= 1, rank <= 10, rank <= 100]
    assert stats["AP"] == pytest.approx(1 / rank if rank <= 100 else 0)
    check_all(own, 1)


def test_a_child_that_shows_one_more_than_the_limit_is_cut():
    """The cap is full; without the box of class 2 the third one of class 1 is shown, and is beyond the limit of 2."""
    layout = AnchorLayout("two", (8, 8), (Level("a", 1, 1, ((8.0, 8.0), (9.0, 9.0))),))
    post = PostProcess(**{**POST.to_dict(), "max_detections": 3})
    boxes = [[20.0 * i, 0, 20 * i + 10, 10] for i in range(4)]
    table = PredictionTable([1] * 4, [1, 0, 0, 0], [2, 1, 1, 1], [0.9, 0.8, 0.7, 0.6], boxes, layout, post)
    hit = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [60, 0, 10, 10], "area": 100}
    truth = {"images": [{"id": 1}], "categories": [{"id": 1}, {"id": 2}], "annotations": [hit]}
    for limit, expected in ((2, 0.0), (3, 1 / 3)):
        own = Evaluator(table, truth, max_dets=(limit,))
        assert own.accuracy(own.full) == 0.0
        assert own.children(own.full, [Move((1,), "")]).tolist() == [pytest.approx(expected)]


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


def test_every_column_of_the_predictions_has_its_part_in_the_fingerprint():
    case = scored([0.9, 0.8, 0.7])
    frame = case.predictions.to_pandas()
    other = {"category_id": 2, "score": 0.75, "x1": 41.0, "y1": 1.0, "x2": 49.0, "y2": 9.0, "anchor": 1, "image_id": 2}
    layout = AnchorLayout("two", (8, 8), (Level("a", 1, 1, ((8.0, 8.0), (9.0, 9.0))),))
    ids = {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1}, {"id": 2}]}

    def fingerprint(frame):
        table = PredictionTable.from_pandas(frame, layout, POST)
        return Evaluator(table, {**case.ground_truth, **ids}).fingerprint

    found = {fingerprint(frame)}
    for name, value in other.items():
        changed = frame.copy()
        changed.loc[2, name] = value
        found.add(fingerprint(changed))
    assert len(found) == 1 + len(other)


def test_how_images_are_interleaved_does_not_change_the_fingerprint():
    random = np.random.default_rng(0)
    n = 3000
    frame = pd.DataFrame(dict.fromkeys(("category_id", "x2", "y2"), np.ones(n, int)) | dict.fromkeys(("x1", "y1"), 0))
    frame = frame.assign(image_id=random.integers(1, 4, n), anchor=0, score=random.random(n))
    truth = {"images": [{"id": i} for i in (1, 2, 3)], "categories": [{"id": 1}], "annotations": []}
    in_order = frame.sort_values("image_id", kind="stable")
    first, second = (Evaluator(PredictionTable.from_pandas(f, ONE, POST), truth).fingerprint for f in (frame, in_order))
    assert first == second


def scored(scores: list[float], **post: Any) -> Case:
    """A detection and an annotated box for each score, far apart."""
    n = len(scores)
    boxes = np.array([[20.0 * i, 0, 20 * i + 10, 10] for i in range(n)])
    settings = {**POST.to_dict(), **post}
    ones = np.ones(n, int)
    table = PredictionTable(ones, ones * 0, ones, scores, boxes, ONE, PostProcess(**settings))
    annotations = [
        {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": [20 * i, 0, 10, 10], "area": 100} for i in range(n)
    ]
    return Case(table, {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": annotations}, 0)


def test_a_score_at_the_threshold_is_not_above_it():
    # 0.1 is no float32: the table holds the one next to it, and it is that one which is compared.
    case = scored([0.1, 0.100001], score_threshold=0.1)
    assert len(build(case).detections([0])) == 1
    loose = build(scored([0.1, 0.100001]))
    assert len(loose.detections([0])) == 2
    assert len(loose.with_postprocess(score_threshold=0.1).detections([0])) == 1
    assert len(build(case).with_postprocess(score_threshold=0.0999).detections([0])) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"nms_iou": 0.05},
        {"topk": 1},
        {"topk": 2, "topk_scope": "image"},
        {"topk": 1, "topk_scope": "level"},
        {"max_detections": 1},
    ],
)
def test_each_setting_alone_is_that_of_a_new_evaluator(case, change):
    own = build(case)
    own.stats(own.full)  # what is shared is there
    post = dataclasses.replace(case.predictions.postprocess, **change)
    fresh = build(Case(case.predictions.with_postprocess(post), case.ground_truth, 0))
    changed = own.with_postprocess(**change)
    assert changed.detections(own.full).equals(fresh.detections(own.full))
    assert not changed.detections(own.full).equals(own.detections(own.full))
    assert changed.stats(own.full) == fresh.stats(own.full)


@pytest.mark.parametrize("scope", ["class", "level", "image"])
def test_one_more_than_the_top_k_is_one_too_many(scope):
    for topk in (1, 2, 3):
        own = build(scored([0.9, 0.8, 0.7], topk=topk, topk_scope=scope))
        assert len(own.detections([0])) == topk


def test_other_post_processing_leaves_the_first_evaluator_alone(case):
    own = build(case)
    first = own.stats(own.full)
    new = own.with_postprocess(nms_iou=0.2, topk=2, topk_scope="image", max_detections=1, score_threshold=0.3)
    assert new.postprocess == PostProcess(0.3, 2, "image", 0.2, 1)
    assert own.postprocess == case.predictions.postprocess
    check_all(build(Case(case.predictions.with_postprocess(new.postprocess), case.ground_truth, 0)), own.full.mask)
    new.stats(new.full)
    assert own.stats(own.full) == first
    back = new.with_postprocess(**own.postprocess.to_dict())
    assert back.postprocess == own.postprocess
    assert back.stats(back.full) == first
    assert own.with_postprocess().stats(own.full) == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nms_iou": 1.5}, "nms_iou is 1.5"),
        ({"score_threshold": -0.1}, "score_threshold is -0.1"),
        ({"topk": 0}, "topk is 0"),
        ({"topk_scope": "row"}, "topk_scope is 'row'"),
        ({"max_detections": 2.5}, "max_detections is 2.5"),
    ],
)
def test_bad_post_processing_is_refused(own, changes, message):
    with pytest.raises(InputError, match=message):
        own.with_postprocess(**changes)


@pytest.mark.parametrize(
    "thresholds",
    [[], [0.5, 1.5], [-0.5], [0.0, 0.5], [float("nan")], ["half"], [0.6, 0.5], [0.5, 0.5], np.linspace(0.1, 0.9, 32)],
)
def test_bad_iou_thresholds_are_refused(case, thresholds):
    with pytest.raises(InputError, match="iou_thresholds"):
        build(case, iou_thresholds=thresholds)


@pytest.mark.parametrize("max_dets", [(), (0, 10), (1, 2.5), ("x",), 100, (10, 1), (10, 10), (1, 2, 3, 4), (True, 10)])
def test_bad_limits_are_refused(case, max_dets):
    with pytest.raises(InputError, match="max_dets"):
        build(case, max_dets=max_dets)


def test_the_limits_name_the_recalls(case):
    own = build(case, max_dets=(3, 7))
    assert list(own.stats(own.full)) == ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR3", "AR7", "ARs", "ARm", "ARl"]
    assert list(build(case).stats([0])) == list(reference.STATS)


def test_ids_may_begin_anywhere():
    """Ids of images, categories and annotations: 0, negative, large, in any order."""
    case = next(case for case in map(random_case, range(99)) if len(set(case.predictions.image_id.tolist())) > 2)
    truth, table = copy.deepcopy(case.ground_truth), case.predictions
    images = {entry["id"]: 10**12 * (n - 1) for n, entry in enumerate(sorted(truth["images"], key=lambda e: e["id"]))}
    categories = {entry["id"]: n for n, entry in enumerate(sorted(truth["categories"], key=lambda e: e["id"]))}
    for entry in truth["images"]:
        entry["id"] = images[entry["id"]]
    for entry in truth["categories"]:
        entry["id"] = categories[entry["id"]]
    for number, entry in enumerate(truth["annotations"]):
        entry["image_id"], entry["category_id"] = images[entry["image_id"]], categories[entry["category_id"]]
        entry["id"] = 7 * (number - 3) if number != 3 else 1
    moved = PredictionTable(
        [images[i] for i in table.image_id.tolist()],
        table.anchor,
        [categories.get(k, 77) for k in table.category_id.tolist()],
        table.score,
        table.boxes,
        table.layout,
        table.postprocess,
    )
    expected = build(case).stats(range(len(table.layout)))
    own = build(Case(moved, truth, 0))
    assert own.stats(own.full) == expected
    check_all(own, own.full.mask)


def test_an_annotation_with_id_0_counts_like_any_other():
    """pycocotools takes the id 0 for no match; read_ground_truth counts anew."""
    case = scored([0.9, 0.8, 0.7])
    expected = build(case).stats([0])
    assert expected["AP"] == 1.0
    for annotation in case.ground_truth["annotations"]:
        annotation["id"] -= 1
    with pytest.warns(UserWarning, match="id 0"):
        own = Evaluator(case.predictions, case.ground_truth)
    assert own.stats([0]) == expected


@pytest.mark.parametrize("what", ["image", "category", "annotation"])
def test_what_occurs_twice_in_the_ground_truth_is_refused(case, what):
    truth = copy.deepcopy(case.ground_truth)
    entries = truth["categories" if what == "category" else f"{what}s"]
    entries.append(dict(entries[0]))
    with pytest.raises(InputError, match=f"{what} id {entries[0]['id']} occurs twice"):
        build(Case(case.predictions, truth, 0))


def test_more_rows_in_an_image_than_16_bits_count():
    random = np.random.default_rng(0)
    n, spots = 66_000, 200
    left = 100.0 * random.integers(0, spots, n)
    boxes = np.column_stack([left, np.zeros(n), left + 10, random.integers(6, 14, n)])
    layout = AnchorLayout("two", (8, 8), (Level("a", 1, 1, ((8.0, 8.0), (9.0, 9.0))),))
    score = random.integers(1, 5000, n) / 5000
    columns = (np.ones(n, int), random.integers(0, 2, n), random.integers(1, 4, n), score, boxes)
    table = PredictionTable(*columns, layout, POST)
    annotations = [
        {"id": i + 1, "image_id": 1, "category_id": 1 + i % 3, "bbox": [100 * i, 0, 10, 10], "area": 100}
        for i in range(90)
    ]
    truth = {"images": [{"id": 1}], "categories": [{"id": k} for k in (1, 2, 3)], "annotations": annotations}
    own = Evaluator(table, truth)
    referee = Referee(table, read_ground_truth(truth))
    for mask in (3, 1):
        check("detections", own, referee, mask, random)
        check("accuracy", own, referee, mask, random)
    same("children", own.children([0, 1], [Move((0,), ""), Move((1,), "")]).tolist(), [referee.ap(2), referee.ap(1)])


def test_more_anchors_images_and_classes_than_a_word_has_bits():
    random = np.random.default_rng(0)
    n, n_anchors, n_images, n_classes = 4000, 70, 66, 67
    levels = (Level("a", 4, 4, ((8.0, 8.0),) * 66), Level("b", 2, 2, ((16.0, 16.0),) * 4))
    boxes = random.integers(0, 12, (n, 4)).astype(float)
    boxes[:, 2:] += boxes[:, :2]
    # Most in a few images and classes, so that groups are not of one box each.
    image, category = (np.minimum(random.geometric(0.08, n), most) for most in (n_images, n_classes))
    table = PredictionTable(
        image,
        random.integers(0, n_anchors, n),
        category,
        random.integers(0, 257, n) / 256,
        boxes,
        AnchorLayout("many", (64, 64), levels),
        PostProcess(score_threshold=0.1, topk=None, topk_scope="class", nms_iou=0.4, max_detections=20),
    )
    chosen = random.permutation(n)[:400].tolist()
    annotations = [
        {
            "id": number + 1,
            "image_id": int(image[row]),
            "category_id": int(category[row]),
            "bbox": [*boxes[row, :2].tolist(), *(boxes[row, 2:] - boxes[row, :2]).tolist()],
            "area": float(random.choice([100, 2000, 20000])),
            "iscrowd": int(random.random() < 0.15),
        }
        for number, row in enumerate(chosen)
    ]
    ids = ("images", n_images), ("categories", n_classes)
    truth = {**{key: [{"id": i + 1} for i in range(count)] for key, count in ids}, "annotations": annotations}
    own = Evaluator(table, truth)
    referee = Referee(table, read_ground_truth(truth))
    mask = own.full.mask
    check("stats", own, referee, mask, random)
    gone = [Move((a,), "") for a in (0, 63, 64, 65, 69)] + [Move(tuple(range(66)), ""), Move((3, 64, 69), "")]
    found = own.children(own.full, gone).tolist()
    same("children", found, [referee.ap(own.full.without(move.anchors).mask) for move in gone])
    check("accuracy", own, referee, own.full.without(range(60)).mask, random)
    # Of more children than are looked at together, each is what it is alone.
    one_by_one = Evaluator(table, truth)
    alone = [one_by_one.accuracy(own.full.without([anchor])) for anchor in own.full]
    assert Evaluator(table, truth).children(own.full, moves(own.full)).tolist() == alone
