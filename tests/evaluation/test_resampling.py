"""AP under weights is what pycocotools says of the data set written out, copy by copy, to the last bit."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.bootstrapping import Bootstrap, ByImage
from anchorkit.evaluation.ground_truth import GroundTruth, read_ground_truth
from anchorkit.evaluation.metrics import FScore
from anchorkit.evaluation.referees import coco as reference
from anchorkit.predictions import PredictionTable

from .cases import Case, dense_case, random_case
from .properties import build

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
pytestmark = pytest.mark.filterwarnings("ignore:.*have a category that")
CASES = 5_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 150


def written_out(table: PredictionTable, truth: GroundTruth, counts: list[int]) -> tuple[PredictionTable, GroundTruth]:
    """The data set in which each image stands so many times, as images of their own with ids next to each other."""
    rows: list[int] = []
    row_image: list[int] = []
    boxes: list[int] = []
    box_image: list[int] = []
    n = 0
    for image, (image_id, count) in enumerate(zip(truth.image_ids.tolist(), counts, strict=True)):
        own_rows = np.flatnonzero(table.image_id == image_id).tolist()
        own_boxes = np.flatnonzero(truth.image == image).tolist()
        for _ in range(count):
            rows += own_rows
            row_image += [n + 1] * len(own_rows)
            boxes += own_boxes
            box_image += [n] * len(own_boxes)
            n += 1
    columns = (column[rows] for column in (table.anchor, table.category_id, table.score, table.boxes))
    g = np.array(boxes, np.int64)
    return (
        PredictionTable(row_image, *columns, table.layout, table.postprocess),
        GroundTruth(
            np.arange(1, n + 1),
            truth.category_ids,
            np.array(box_image, np.int32),
            *(getattr(truth, name)[g] for name in ("category", "boxes", "area", "crowd", "difficult")),
        ),
    )


def referee(table: PredictionTable, truth: GroundTruth, rows: np.ndarray) -> dict[str, float]:
    if len(truth.image_ids) == 0:  # pycocotools cannot take a set without images
        return dict.fromkeys(FIGURES, -1.0)
    return reference.coco_eval(table, truth, rows)[0]


def set_up(seed: int) -> tuple[np.random.Generator, Case, GroundTruth, Evaluator, np.ndarray]:
    random = np.random.default_rng([seed, 8])
    case = (random_case if random.random() < 0.7 else dense_case)(seed)
    truth, own = read_ground_truth(case.ground_truth), build(case)
    n = len(truth.image_ids)
    weights = np.stack([np.bincount(random.integers(n, size=n), minlength=n), random.integers(0, 5, n)])
    return random, case, truth, own, weights


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=CASES)
def test_weights_give_the_bits_of_the_data_set_written_out(seed):
    random, case, truth, own, weights = set_up(seed)
    keep = np.flatnonzero(random.random(len(own.layout)) < 0.7).tolist()
    found = {figure: own.with_metric(figure).weighted([keep], weights)[:, 0] for figure in FIGURES}
    for draw, counts in enumerate(weights.tolist()):
        table, copied = written_out(case.predictions, truth, counts)
        expected = referee(table, copied, reference.select_rows(table, keep))
        assert {figure: found[figure][draw] for figure in FIGURES} == {f: expected[f] for f in FIGURES}, counts


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=CASES // 3)
def test_images_may_be_seen_with_different_configurations(seed):
    random, case, truth, own, weights = set_up(seed)
    keeps = [np.flatnonzero(random.random(len(own.layout)) < share).tolist() for share in (0.5, 0.8, 0.8)]
    part = random.integers(0, 3, len(truth.image_ids))
    mixed = ByImage(tuple(own.layout.configuration(keep=keep) for keep in keeps), part)
    found = own.weighted([mixed], weights)[:, 0]
    for draw, counts in enumerate(weights.tolist()):
        table, copied = written_out(case.predictions, truth, counts)
        part_of_copy = np.repeat(part, counts)
        rows = [reference.select_rows(table, keep) for keep in keeps]
        rows = [own_rows[part_of_copy[table.image_id[own_rows] - 1] == k] for k, own_rows in enumerate(rows)]
        joined = np.concatenate(rows)
        joined = joined[np.argsort(table.image_id[joined], kind="stable")]
        assert found[draw] == referee(table, copied, joined)["AP"]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=CASES // 3)
def test_a_subset_is_what_pycocotools_says_of_its_images(seed):
    random, case, truth, own, _ = set_up(seed)
    chosen = truth.image_ids[random.random(len(truth.image_ids)) < 0.6].tolist()
    random.shuffle(chosen)
    part = own.subset(chosen)
    rows = reference.select_rows(case.predictions, np.arange(len(own.layout)))
    rows = rows[np.isin(case.predictions.image_id[rows], chosen)]
    counts = np.isin(truth.image_ids, chosen).astype(int)
    assert part.accuracy(own.full) == own.weighted([own.full], counts[None])[0, 0]
    if chosen:
        dictionary = case.ground_truth
        alone = {
            "images": [image for image in dictionary["images"] if image["id"] in chosen],
            "categories": dictionary["categories"],
            "annotations": [box for box in dictionary["annotations"] if box["image_id"] in chosen],
        }
        expected = reference.coco_eval(case.predictions, read_ground_truth(alone), rows)[0]
        assert part.stats(own.full) == expected


def test_the_cases_have_what_makes_weights_hard():
    """Ties within an image of which one is a hit, in an image that stands several times; classes that a draw lacks."""
    met = dict.fromkeys(("ties with a hit", "a class that a draw lacks", "a draw with nothing to be found"), 0)
    for seed in range(150):
        _, case, truth, own, weights = set_up(seed)
        table = case.predictions
        rows = reference.select_rows(table, np.arange(len(own.layout)))
        key = list(zip(table.image_id[rows], table.category_id[rows], table.score[rows], strict=True))
        often = set(truth.image_ids[weights.max(axis=0) > 1].tolist())
        met["ties with a hit"] += (
            len({k for k in key if k[0] in often and key.count(k) > 1}) > 0 and own.stats(own.full)["AP50"] > 0
        )
        for counts in weights:
            there = counts[truth.image[~truth.crowd]] > 0
            classes = set(truth.category[~truth.crowd].tolist())
            left = set(truth.category[~truth.crowd][there].tolist())
            met["a class that a draw lacks"] += 0 < len(left) < len(classes)
            met["a draw with nothing to be found"] += len(left) == 0 < len(classes)
    assert min(met.values()) >= 5, met


@pytest.fixture(scope="module")
def own() -> Evaluator:
    for seed in range(1000):
        case = random_case(seed)
        found = build(case)
        if len(found.ground_truth.image_ids) > 4 and found.accuracy(found.full) > 0.1 and len(found.layout) > 5:
            return found
    raise AssertionError("the generator makes no such case any more")


def test_draws_are_paired_and_repeatable(own):
    first = own.bootstrap([own.full, [0, 1, 2]], draws=40, seed=3)
    assert (first.drawn.shape, first.full_drawn.shape) == ((40, 2), (40,))
    assert (first.drawn[:, 0] == first.full_drawn).all()
    assert (first.changes[:, 0] == 0).all()
    assert first.full_accuracy == own.accuracy(own.full)
    assert first.accuracy.tolist() == [own.accuracy(own.full), own.accuracy([0, 1, 2])]
    fresh = own.with_metric("AP")
    assert np.array_equal(fresh.bootstrap([[0, 1, 2]], draws=40, seed=3).drawn, first.drawn[:, 1:])
    assert not np.array_equal(fresh.bootstrap([own.full], draws=40, seed=4).full_drawn, first.full_drawn)
    # Few draws are the first of many.
    assert np.array_equal(fresh.bootstrap([own.full], draws=9, seed=3).full_drawn, first.full_drawn[:9])


def test_a_draw_is_as_many_images_with_replacement(own):
    from anchorkit.evaluation.resampling import Weights

    counts = Weights.drawn(7, 3000, seed=0).counts
    assert (counts.sum(axis=1) == 7).all()
    assert abs(counts.mean() - 1) < 1e-12
    assert abs((counts == 0).mean() - (6 / 7) ** 7) < 0.02


def test_threads_and_what_was_asked_before_change_nothing(own):
    random = np.random.default_rng(0)
    weights = random.integers(0, 4, (50, len(own.ground_truth.image_ids)))
    case = (own.predictions, own.ground_truth)
    several = Evaluator(*case, threads=3)
    several.children(several.full, [])
    several.accuracy([1, 2])
    alone = Evaluator(*case, threads=1)
    assert np.array_equal(several.weighted([[0, 3], [1]], weights), alone.weighted([[0, 3], [1]], weights))


def test_an_interrupted_bootstrap_goes_on(own, monkeypatch):
    from anchorkit.evaluation.resampling import Resampler

    fresh, told = own.with_metric("AP50"), []
    figures = Resampler.figures

    def few(self, steps, weights):
        if len(weights.counts) > 1:
            told.append(1)
            if len(told) == 3:
                raise KeyboardInterrupt
        return figures(self, steps, weights)

    monkeypatch.setattr(Resampler, "figures", few)
    asked = [[0], [1], [2]]
    with pytest.raises(KeyboardInterrupt):
        fresh.bootstrap(asked, draws=20)
    found = fresh.bootstrap(asked, draws=20)
    assert len(told) == 3 + 2  # the full one and the first were there
    assert np.array_equal(found.drawn, own.with_metric("AP50").bootstrap(asked, draws=20).drawn)


def test_the_oldest_draws_are_forgotten_where_memory_ends(own, monkeypatch):
    from anchorkit.evaluation import bootstrapping
    from anchorkit.evaluation.resampling import Resampler

    fresh, told = own.with_metric("AP50"), []
    figures = Resampler.figures
    monkeypatch.setattr(Resampler, "figures", lambda self, *asked: told.append(1) or figures(self, *asked))
    monkeypatch.setattr(bootstrapping, "MOST_BYTES_REMEMBERED", 2 * 8 * (20 + 1))  # two configurations
    fresh.bootstrap([[0], [1], [2]], draws=20)
    assert len(told) == 4  # with the full one
    told.clear()
    fresh.bootstrap([[2]], draws=20)
    assert len(told) == 1  # the full one again


def test_draws_without_a_box_to_be_found_do_not_count():
    drawn, full = np.array([[0.25], [-1.0], [0.5]]), np.array([0.125, -1.0, 0.25])
    found = Bootstrap("AP", (), np.array([0.25]), 0.25, drawn, full, 2, 0)
    assert found.changes.tolist() == [[0.125], [0.25]]
    nothing = Bootstrap("AP", (), np.array([-1.0]), -1.0, drawn[1:2], full[1:2], 2, 0)
    with pytest.raises(InputError, match="none of 1 draws has a box to be found for AP"):
        nothing.changes  # noqa: B018


def test_more_boxes_than_can_be_counted_are_refused():
    case, n = random_case(3), 33_000
    table = case.predictions
    box = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81}
    truth = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [{"id": i + 1, **box} for i in range(n)]}
    empty = PredictionTable([], [], [], [], [], table.layout, table.postprocess)
    own = Evaluator(empty, truth)
    assert own.weighted([own.full], [[60_000]]).tolist() == [[0.0]]
    with pytest.raises(InputError, match="65,535 copies of an image are too many to count"):
        own.weighted([own.full], [[65_535]])


def test_other_thresholds_and_limits_count(own):
    options = {"iou_thresholds": (0.3, 0.5), "max_dets": (1, 2)}
    other = Evaluator(own.predictions, own.ground_truth, **options)
    ones = np.ones((1, len(own.ground_truth.image_ids)), int)
    assert other.weighted([other.full], ones)[0, 0] == other.accuracy(other.full)
    assert other.with_metric("AP75").weighted([other.full], ones)[0, 0] == -1.0  # 0.75 is not among them


def test_what_cannot_be_asked_is_refused(own):
    n = len(own.ground_truth.image_ids)
    for metric in ("voc07", "AR100", FScore()):
        with pytest.raises(InputError, match="the bootstrap computes AP, AP50"):
            own.with_metric(metric).bootstrap([own.full], draws=4)
    for draws in (0, True, 2.5):
        with pytest.raises(InputError, match=f"draws is {draws}"):
            own.bootstrap([own.full], draws=draws)
    with pytest.raises(InputError, match="weights has shape"):
        own.weighted([own.full], np.ones((2, n + 1), int))
    for bad in (np.full((1, n), -1), np.full((1, n), 0.5), np.full((1, n), 2**16)):
        with pytest.raises(InputError, match="whole numbers from 0 to 65535"):
            own.weighted([own.full], bad)
    with pytest.raises(InputError, match="part has 1 entries"):
        own.weighted([ByImage((own.full,), np.zeros(1, int))], np.ones((1, n), int))
    with pytest.raises(InputError, match="must name one of 1 configurations"):
        ByImage((own.full,), np.ones(n, int))
    image_id = int(own.ground_truth.image_ids[0])
    with pytest.raises(InputError, match="there is no image 99999999"):
        own.subset([image_id, 99999999])
    with pytest.raises(InputError, match="named twice"):
        own.subset([image_id, image_id])


def test_a_subset_keeps_the_options_and_warns_of_nothing(own):
    half = own.ground_truth.image_ids[::2]
    other = own.with_postprocess(max_detections=2).with_metric("AP50")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        part = other.subset(half)
    assert (part.postprocess, part.metric) == (other.postprocess, "AP50")
    assert part.ground_truth.image_ids.tolist() == half.tolist()
    assert part.verify(4) == 0.0
    assert part.fingerprint != own.fingerprint
