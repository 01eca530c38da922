"""Metrics beside AP: their names, their arguments, and what a caller's own function is given."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pytest

from anchorkit.anchors import AnchorLayout, Level, Move, moves
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.figures import voc_average
from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.evaluation.metrics import FScore, Metric, VocAP, WeightedAP
from anchorkit.evaluation.referees import coco as reference
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable

from .cases import Case, random_case
from .properties import build


@pytest.fixture(scope="module")
def case() -> Case:
    """One whose figures differ, and with difficult boxes of several classes."""
    for seed in range(1000):
        case = random_case(seed)
        annotations = case.ground_truth["annotations"]
        if len({a["category_id"] for a in annotations if a["difficult"] and not a["iscrowd"]}) > 1:
            own = build(case)
            per_class = [value for value in own.per_class(own.full).values() if value > 0]
            if len(own.layout) > 4 and len(set(per_class)) > 1 and len(set(own.stats(own.full).values())) > 8:
                return case
    raise AssertionError("the generator makes no such case any more")


@pytest.fixture(scope="module")
def own(case) -> Evaluator:
    return build(case)


def test_every_figure_of_coco_can_be_the_metric(case, own):
    stats = own.stats(own.full)
    for name in reference.STATS:
        judged = build(case, metric=name)
        assert judged.metric == name
        assert judged.accuracy(judged.full) == stats[name]
        assert own.with_metric(name).accuracy(own.full) == stats[name]
        assert judged.stats(judged.full) == stats
    assert own.metric == "AP"
    assert own.accuracy(own.full) == stats["AP"]


def test_voc_by_name_and_by_class(own):
    for name, metric in (("voc07", VocAP(points=11)), ("voc", VocAP())):
        one, other = own.with_metric(name), own.with_metric(metric)
        assert one.accuracy(own.full) == other.accuracy(own.full)
        assert one.per_class(own.full) == other.per_class(own.full)
    assert own.with_metric("voc").accuracy(own.full) != own.with_metric("voc07").accuracy(own.full)


def test_difficult_is_a_word_of_vocs(case, own):
    easy = copy.deepcopy(case.ground_truth)
    for annotation in easy["annotations"]:
        annotation["difficult"] = 0
    other = build(Case(case.predictions, easy, 0))
    assert other.stats(own.full) == own.stats(own.full)
    assert other.with_metric(FScore(0.2)).accuracy(own.full) == own.with_metric(FScore(0.2)).accuracy(own.full)
    assert other.with_metric("voc").accuracy(own.full) != own.with_metric("voc").accuracy(own.full)


def test_voc_at_11_recalls_is_the_mean_of_the_best_precision_from_there_on():
    for n_real in range(1, 31):
        precision = np.linspace(1.0, 0.1, n_real)
        recall = np.arange(1, n_real + 1) / n_real
        for found in range(n_real + 1):
            best = [max(precision[:found][recall[:found] >= p], default=0.0) for p in np.arange(0.0, 1.1, 0.1)]
            assert voc_average(11, n_real, precision[:found]) == pytest.approx(sum(best) / 11)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_recall_weighs_beta_times_as_much(case, own, beta):
    rows = reference.select_rows(case.predictions, range(len(own.layout)))
    expected = reference.f_score(case.predictions, own.ground_truth, rows, 0.3, 0.5, beta)
    assert own.with_metric(FScore(0.3, 0.5, beta)).accuracy(own.full) == expected
    assert expected != reference.f_score(case.predictions, own.ground_truth, rows, 0.3, 0.5, 3.0)


def test_weights(own):
    per_class = {category: value for category, value in own.per_class(own.full).items() if value != -1}
    [first, second, *_] = per_class

    def weighted(weights):
        return own.with_metric(WeightedAP(weights)).accuracy(own.full)

    assert weighted({first: 2.0}) == pytest.approx(per_class[first])
    assert weighted({first: 3, second: 1}) == pytest.approx((3 * per_class[first] + per_class[second]) / 4)
    # A category without ground truth has no AP, and no weight.
    absent = [category for category, value in own.per_class(own.full).items() if value == -1]
    assert weighted({first: 1.0, **dict.fromkeys(absent, 5.0)}) == pytest.approx(per_class[first])
    assert weighted(dict.fromkeys(per_class, 1.0)) == pytest.approx(np.mean(list(per_class.values())))


def test_a_function_of_ones_own(own):
    asked = []

    def boxes_of_anchor_0(detections, ground_truth):
        assert isinstance(ground_truth, GroundTruth)
        asked.append(detections)
        return np.float32((detections["anchor"] == 0).mean() if len(detections) else 0)

    judged = own.with_metric(boxes_of_anchor_0)
    found = judged.accuracy(own.full)
    assert type(found) is float
    assert asked[-1].equals(own.detections(own.full))
    given = [Move((0,), "first"), Move((1, 2), "two"), Move(tuple(own.full), "all")]
    values = judged.children(own.full, given)
    assert values.dtype == np.float64
    assert values[0] == values[2] == 0.0
    assert values[1] == judged.accuracy(own.full.without([1, 2]))
    assert judged.stats(own.full) == own.stats(own.full)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_function_that_stops_leaves_the_evaluator_as_it_was(case, error):
    countdown = [5]

    def stops(detections, ground_truth):
        countdown[0] -= 1
        if countdown[0] == 0:
            raise error
        return len(detections) / 1000

    own = build(case, metric=stops)
    with pytest.raises(error):
        own.children(own.full, [*moves(own.full), *moves(own.full)])
    expected = [len(own.detections(own.full.without([anchor]))) / 1000 for anchor in own.full]
    assert own.children(own.full, moves(own.full)).tolist() == expected
    assert own.stats(own.full) == build(case).stats(own.full)


METRICS = [
    "AP",
    "AR10",
    "voc",
    "voc07",
    VocAP(points=None, iou=0.3),
    VocAP(points=11, iou=0.3),
    FScore(),
    FScore(score_threshold=0.3),
    FScore(iou=0.3),
    FScore(beta=2.0),
    WeightedAP({1: 1.0}),
    WeightedAP({1: 2.0, 3: 1.0}),
    WeightedAP({1: 1.0, 3: 1.0}),
    lambda detections, ground_truth: 0.5,
]


def test_names_tell_metrics_apart(own):
    # A ledger of a search knows by the name what its accuracies are.
    names = [own.with_metric(metric).metric for metric in METRICS]
    assert all(isinstance(name, str) and name and "\n" not in name for name in names)
    assert len(set(names)) == len(names)
    assert {own.with_metric(metric).fingerprint for metric in METRICS} == {own.fingerprint}


@pytest.mark.parametrize("other", [{"iou_thresholds": (0.5,)}, {"iou_thresholds": (0.5, 0.6)}, {"max_dets": (3, 7)}])
def test_a_ledger_can_tell_other_thresholds_and_limits(case, own, other):
    def identity(evaluator):
        return evaluator.metric, evaluator.fingerprint, evaluator.postprocess

    assert identity(build(case, **other)) != identity(own)
    assert identity(build(case, iou_thresholds=np.linspace(0.5, 0.95, 10), max_dets=[1, 10, 100])) == identity(own)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: "mAP", r"'mAP'\W+did"),
        (lambda: "ap50", r"'ap50'\W.*AP50"),
        (lambda: 50, "metric is 50"),
        (lambda: None, "metric is None"),
        (lambda: VocAP(points=7), "points is 7"),
        (lambda: VocAP(iou=0.0), "iou is 0.0"),
        (lambda: VocAP(iou=50), "iou is 50"),
        (lambda: FScore(score_threshold=1.5), "score_threshold is 1.5"),
        (lambda: FScore(iou=-0.5), "iou is -0.5"),
        (lambda: FScore(beta=0.0), "beta is 0.0"),
        (lambda: FScore(beta=float("nan")), "beta is nan"),
        (lambda: WeightedAP({}), "weight"),
        (lambda: WeightedAP({1: -1.0}), "weight.* -1.0"),
        (lambda: WeightedAP({1: float("nan")}), "weight.* nan"),
    ],
)
def test_a_bad_metric_is_refused(case, own, make, message):
    with pytest.raises(InputError, match=message):
        own.with_metric(make())
    with pytest.raises(InputError, match=message):
        build(case, metric=make())


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_to_measure_is_minus_one(case, metric):
    bare = build(Case(case.predictions, {**case.ground_truth, "annotations": []}, 0), metric=metric)
    if callable(metric) and not isinstance(metric, VocAP | FScore | WeightedAP):
        assert bare.accuracy(bare.full) == 0.5
    else:
        assert bare.accuracy(bare.full) == -1.0
        assert bare.children(bare.full, moves(bare.full)[:2]).tolist() == [-1.0, -1.0]


@pytest.mark.parametrize("metric", ["voc", "voc07", VocAP(iou=0.3), "AP", "AR10", FScore()])
def test_no_anchor_finds_nothing(own, metric):
    assert own.with_metric(metric).accuracy([]) == 0.0


def test_a_threshold_of_1_is_a_little_less_to_coco():
    # An IoU between 1 - 1e-10 and 1 reaches it in pycocotools, and not in VOCdevkit.
    post = PostProcess(score_threshold=0.0, topk=None, nms_iou=0.5, max_detections=None)
    layout = AnchorLayout("one", (8, 8), (Level("a", 1, 1, ((8.0, 8.0),)),))
    table = PredictionTable([1], [0], [1], [0.9], [[0.0, 0.0, 10.0, 10.0]], layout, post)
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 10 * (1 + 5e-11), 10], "area": 100}
    truth = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [box]}
    own = Evaluator(table, truth, iou_thresholds=(1.0,))
    assert own.accuracy([0]) == pytest.approx(1.0)
    assert own.with_metric(FScore(iou=1.0)).accuracy([0]) == pytest.approx(1.0)
    assert own.with_metric(VocAP(iou=1.0)).accuracy([0]) == 0.0
    parts = own.predictions, own.ground_truth, reference.select_rows(table, [0])
    assert reference.coco_ap(*parts, (1.0,))[0] == pytest.approx(1.0)
    assert reference.f_score(*parts, iou=1.0) == pytest.approx(1.0)
    assert reference.voc_ap(*parts, iou=1.0)[0] == 0.0


@dataclass(frozen=True)
class WorstClass(Metric):
    """A metric that the kit has never heard of: the AP of the worst class."""

    @property
    def name(self):
        return "worst class"

    def reader(self, coco, category_ids, ends):
        def read(reading):
            return min((v for v in reading.per_class(reading.precision()) if v >= 0), default=-1.0)

        return read

    def referee(self, found):
        return min((v for v in found.per_class.values() if v >= 0), default=-1.0), found.per_class


def test_a_metric_of_somebody_elses_is_one_class(case, own):
    worst = own.with_metric(WorstClass())
    expected = min(value for value in own.per_class(own.full).values() if value >= 0)
    assert worst.metric == "worst class"
    assert worst.accuracy(own.full) == build(case, metric=WorstClass()).accuracy(own.full) == expected
    step = moves(own.full)[:3]
    children = [min(v for v in own.per_class(own.full.without(move.anchors)).values() if v >= 0) for move in step]
    assert worst.children(own.full, step).tolist() == children
    assert worst.verify(6) == 0.0
    with pytest.raises(InputError, match=r"the bootstrap computes AP, .*, not worst class"):
        worst.bootstrap([own.full])


def test_a_function_of_the_detections_has_a_referee_too(own):
    assert own.with_metric(lambda detections, truth: float(detections["score"].sum())).verify(4) == 0.0
    given = []
    own.with_metric(lambda detections, truth: float(given.append(detections) or 0)).verify(1)
    # Once from the evaluator, once from the referee: with the same rows and types.
    assert all(given[0].equals(other) for other in given[1:])
    assert len(given) > 1


def test_a_copy_shares_what_it_lists_and_nothing_else(own):
    own.accuracy(own.full), own.fingerprint, own.bootstrap([own.full], draws=2)
    own.__dict__["stray"] = "must not be copied"
    try:
        copied = own.with_metric("AP50")
    finally:
        del own.__dict__["stray"]
    fresh = {"fingerprint", "_drawn"}  # made when they are asked for
    assert set(vars(copied)) == set(vars(own)) - fresh
    assert copied._accuracies == {}
    assert copied._accuracies is not own._accuracies
    assert copied._engines is own._engines
