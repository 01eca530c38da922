"""What must hold for every seed: the fast evaluator says what the referees say, to the last bit.

Each property takes a seed, draws a case and questions about it, and raises an AssertionError that names the question
and both answers. The tests run them under hypothesis; they can be run over a range of seeds by hand as well.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from anchorkit.anchors import AnchorLayout, Move, moves
from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.ground_truth import GroundTruth, read_ground_truth
from anchorkit.evaluation.referees import coco as reference
from anchorkit.predictions import PredictionTable

from .cases import Case, dense_case, random_anchors, random_case

Random = np.random.Generator

CALLS = ("accuracy", "stats", "per_class", "detections", "children", "children_stats")

IOU_THRESHOLDS: tuple[Any, ...] = (
    None,
    (0.5,),
    (0.75,),
    (1.0,),
    (0.05, 0.5),
    (0.3, 0.5, 0.75, 0.95),
    tuple(np.linspace(0.05, 1.0, 20).tolist()),
    tuple(np.linspace(0.5, 0.95, 20).tolist()),
)

MAX_DETS: tuple[tuple[int, ...], ...] = ((1, 10, 100), (1,), (2,), (100,), (3, 7), (5, 50, 300), (1, 2, 3))


class Referee:
    """The referees' answers for one table, each found once. A configuration is a bit mask."""

    def __init__(
        self,
        table: PredictionTable,
        truth: GroundTruth,
        iou_thresholds: Sequence[float] | None = None,
        max_dets: Sequence[int] = reference.MAX_DETS,
    ) -> None:
        self.table, self.truth, self.iou_thresholds, self.max_dets = table, truth, iou_thresholds, max_dets
        self._found: dict[Any, Any] = {}

    def rows(self, mask: int) -> np.ndarray:
        """The rows that are detections."""
        return self._once("rows", mask, lambda: reference.select_rows(self.table, keep(mask)))

    def stats(self, mask: int) -> dict[str, float]:
        return self._coco(mask)[0]

    def per_class(self, mask: int) -> dict[int, float]:
        return self._coco(mask)[1]

    def ap(self, mask: int) -> float:
        options = (self.iou_thresholds, self.max_dets[-1])
        return self._once("ap", mask, lambda: reference.coco_ap(self.table, self.truth, self.rows(mask), *options)[0])

    def _coco(self, mask: int) -> Any:
        options = (self.iou_thresholds, self.max_dets)
        return self._once("coco", mask, lambda: reference.coco_eval(self.table, self.truth, self.rows(mask), *options))

    def _once(self, what: str, mask: int, find: Callable[[], Any]) -> Any:
        if (what, mask) not in self._found:
            self._found[what, mask] = find()
        return self._found[what, mask]


def same_bits(seed: int) -> None:
    """Everything an evaluator says, for two configurations: nothing of the first is left over in the second."""
    _, own, referee, random = set_up(seed, 1)
    for _ in range(2):
        mask = random_mask(random, own.layout)
        for call in ("stats", "accuracy", "per_class", "detections"):
            check(call, own, referee, mask, random)


def walk(seed: int, calls: Sequence[str] = CALLS) -> None:
    """Near and far configurations one after the other, asked now for this and now for that."""
    _, own, referee, random = set_up(seed, 2)
    mask = own.full.mask
    path = []
    for _ in range(6):
        call = str(random.choice(calls))
        path.append(f"{call}({mask:b})")
        check(call, own, referee, mask, random, path)
        mask = step(random, own.layout, mask)


def children(seed: int, calls: Sequence[str] = ("children", "children_stats")) -> None:
    """Children by moves of every kind, of one parent and then of another, or of one of its children."""
    _, own, referee, random = set_up(seed, 3)
    mask = own.full.mask if random.random() < 0.4 else random_mask(random, own.layout)
    path = []
    for _ in range(2):
        for call in calls:
            path.append(f"{call}({mask:b})")
            check(call, own, referee, mask, random, path)
        mask = step(random, own.layout, mask)


def dense(seed: int) -> None:
    """Children and walks where boxes overlap in chains."""
    random, case = np.random.default_rng([seed, 7]), dense_case(seed)
    own, referee = build(case), Referee(case.predictions, read_ground_truth(case.ground_truth))
    mask = own.full.mask
    path = []
    for _ in range(3):
        call = str(random.choice(["children", "children", "children_stats", "accuracy"]))
        path.append(f"{call}({mask:b})")
        check(call, own, referee, mask, random, path)
        check("detections", own, referee, mask, random, path)
        mask = step(random, own.layout, mask)


def postprocess(seed: int) -> None:
    """An evaluator with other post-processing is that of a table with it, and leaves the one it came from alone."""
    case, own, referee, random = set_up(seed, 4)
    family = [(own, referee)]
    for _ in range(2):
        source, its_referee = family[int(random.integers(len(family)))]
        changes = random_changes(random)
        post = dataclasses.replace(its_referee.table.postprocess, **changes)
        new = source.with_postprocess(**changes)
        same(f"postprocess after {changes}", new.postprocess, post)
        family.append((new, Referee(case.predictions.with_postprocess(post), referee.truth)))
        for evaluator, judge in (family[-1], family[int(random.integers(len(family)))]):
            mask = random_mask(random, own.layout)
            path = [str(judge.table.postprocess), f"{mask:b}"]
            for call in ("accuracy", "detections", str(random.choice(["stats", "per_class", "children"]))):
                check(call, evaluator, judge, mask, random, path)


def options(seed: int) -> None:
    """Any IoU thresholds and limits on detections; other post-processing leaves them as they are."""
    random = np.random.default_rng([seed, 5])
    case, chosen = random_case(seed), random_options(random)
    own = build(case, **chosen)
    referee = Referee(case.predictions, read_ground_truth(case.ground_truth), **chosen)
    path = [str(chosen)]
    if random.random() < 0.3:
        changes = random_changes(random)
        own = own.with_postprocess(**changes)
        post = dataclasses.replace(referee.table.postprocess, **changes)
        referee = Referee(case.predictions.with_postprocess(post), referee.truth, **chosen)
        path.append(str(changes))
    for call in ("stats", "children", "per_class", "accuracy", "children_stats"):
        check(call, own, referee, random_mask(random, own.layout), random, path)


def metrics(seed: int) -> None:
    """Every metric: of configurations and of children."""
    random = np.random.default_rng([seed, 6])
    case, chosen = random_case(seed), random_options(random) if random.random() < 0.3 else {}
    own = build(case, **chosen)
    referee = Referee(case.predictions, read_ground_truth(case.ground_truth), **chosen)
    path = [str(chosen)]
    for _ in range(2):
        metric, expected = random_metric(random, referee)
        judged = own.with_metric(metric) if random.random() < 0.5 else build(case, metric=metric, **chosen)
        mask = random_mask(random, own.layout)
        path.append(f"{metric}({mask:b})")
        same(f"accuracy in {path}", judged.accuracy(keep(mask)), expected(mask))
        given = random_moves(random, own.layout, mask)[:4]
        found = judged.children(own.layout.configuration(keep(mask)), given).tolist()
        same(f"children by {names(given)} in {path}", found, [expected(mask & ~bits(move)) for move in given])
        mask = step(random, own.layout, mask)
        same(f"accuracy of {mask:b} after {path}", judged.accuracy(keep(mask)), expected(mask))
        if metric in ("voc", "voc07"):
            points = 11 if metric == "voc07" else None
            per_class = reference.voc_ap(referee.table, referee.truth, referee.rows(mask), points)[1]
            same(f"per_class of {mask:b} after {path}", judged.per_class(keep(mask)), per_class)


PROPERTIES = {f.__name__: f for f in (same_bits, walk, children, dense, postprocess, options, metrics)}


def check(call: str, own: Evaluator, referee: Referee, mask: int, random: Random, path: Sequence[str] = ()) -> None:
    """Ask one thing about one configuration."""
    what = f"{call} of {mask:b} in {list(path)}"
    configuration = own.layout.configuration(keep(mask))
    if call == "accuracy":
        same(what, own.accuracy(configuration), referee.ap(mask))
    elif call == "detections":
        same_detections(what, own, configuration, referee.rows(mask))
    elif call in ("stats", "per_class"):
        same(what, getattr(own, call)(configuration), getattr(referee, call)(mask))
    else:
        given = random_moves(random, own.layout, mask)[: 4 if call == "children" else 2]
        if random.random() < 0.1:  # more than are looked at together; `children` may see that they are few
            given = given * 40
        what = f"{what} by {names(given)}"
        masks = [mask & ~bits(move) for move in given]
        if call == "children":
            found = own.children(configuration, given)
            same(f"type of {what}", (found.dtype, found.shape), (np.dtype(np.float64), (len(given),)))
            same(what, found.tolist(), [referee.ap(child) for child in masks])
        else:
            same(what, list(own.children_stats(configuration, given)), [referee.stats(child) for child in masks])


def same(what: str, found: Any, expected: Any) -> None:
    if found == expected:
        return
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        differs = [number for number, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]]
        what, found, expected = f"{what}, number {differs[0]}", found[differs[0]], expected[differs[0]]
    if isinstance(found, dict) and isinstance(expected, dict) and found.keys() == expected.keys():
        differs = [key for key in expected if found[key] != expected[key]]
        found, expected = ({key: side[key] for key in differs} for side in (found, expected))
    raise AssertionError(f"{what}: {found!r}, and the referee says {expected!r}")


def same_detections(what: str, own: Evaluator, configuration: Any, rows: np.ndarray) -> None:
    found, table = own.detections(configuration), own.predictions
    columns = ["image_id", "category_id", "score", "x1", "y1", "x2", "y2", "anchor"]
    same(f"columns of {what}", found.columns.tolist(), columns)
    expected = [table.image_id, table.category_id, table.score, *table.boxes.T, table.anchor]
    for name, values in zip(columns, expected, strict=True):
        same(f"{name} of {what}", found[name].tolist(), values[rows].tolist())


def set_up(seed: int, stream: int) -> tuple[Case, Evaluator, Referee, Random]:
    case = random_case(seed)
    referee = Referee(case.predictions, read_ground_truth(case.ground_truth))
    return case, build(case), referee, np.random.default_rng([seed, stream])


def build(case: Case, **arguments: Any) -> Evaluator:
    """An evaluator of a case; of every fifth one that works with three threads."""
    arguments.setdefault("threads", 3 if case.seed % 5 == 4 else 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # categories without ground truth are among the cases
        return Evaluator(case.predictions, case.ground_truth, **arguments)


def keep(mask: int) -> list[int]:
    """The anchors of a bit mask."""
    return [anchor for anchor in range(mask.bit_length()) if mask >> anchor & 1]


def bits(move: Move) -> int:
    return sum(1 << anchor for anchor in set(move.anchors))


def names(given: Sequence[Move]) -> str:
    return " ".join(str(move.anchors) for move in given[:8])


def random_mask(random: Random, layout: AnchorLayout) -> int:
    return sum(1 << anchor for anchor in random_anchors(random, layout))


def step(random: Random, layout: AnchorLayout, mask: int) -> int:
    """A configuration to go to: some anchors fewer, some more, some of both, far away, all, none, or the same."""
    some = random_mask(random, layout) & random_mask(random, layout)
    one = 1 << int(random.integers(len(layout)))
    far = random_mask(random, layout)
    places = [mask & ~one, mask | one, mask & ~some, mask | some, mask ^ some, far, layout.full.mask, 0, mask]
    chances = [0.25, 0.15, 0.1, 0.1, 0.1, 0.15, 0.08, 0.02, 0.05]
    return places[int(random.choice(len(places), p=chances))]


def random_moves(random: Random, layout: AnchorLayout, mask: int) -> list[Move]:
    """Moves of every kind, shuffled: one anchor, several, a level, a shape on all levels, everything, nothing."""
    configuration = layout.configuration(keep(mask))
    kept = list(configuration)
    found = moves(configuration, "anchor")
    if random.random() < 0.5:
        found += moves(configuration, "shared")
    for _ in range(2):
        if kept:
            several = np.sort(random.choice(kept, int(random.integers(1, len(kept) + 1)), replace=False))
            found.append(Move(tuple(several.tolist()), "several"))
    if random.random() < 0.3:
        found.append(Move(tuple(kept), "everything"))
    if random.random() < 0.1:
        found.append(Move((), "nothing"))
    if random.random() < 0.1:
        found.append(Move((int(random.integers(len(layout))),), "perhaps gone already"))
    return [found[position] for position in random.permutation(len(found))]


def random_changes(random: Random) -> dict[str, Any]:
    """Some of the five settings of a post-processing."""
    every: dict[str, tuple[Any, ...]] = {
        "nms_iou": (0.0, 0.2, 0.3, 0.45, 0.5, 0.7, 0.9, 1.0),
        "score_threshold": (0.0, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0),
        "topk": (None, None, 1, 2, 3, 10, 60),
        "topk_scope": ("class", "level", "image"),
        "max_detections": (None, 1, 2, 4, 20, 100, 300),
    }
    chosen = [name for name in every if random.random() < 0.35]
    return {name: every[name][int(random.integers(len(every[name])))] for name in chosen}


def random_options(random: Random) -> dict[str, Any]:
    """IoU thresholds and limits on detections."""
    return {
        "iou_thresholds": IOU_THRESHOLDS[int(random.integers(len(IOU_THRESHOLDS)))],
        "max_dets": MAX_DETS[int(random.integers(len(MAX_DETS)))],
    }


def random_metric(random: Random, referee: Referee) -> tuple[Any, Callable[[int], Any]]:
    """A metric as a caller gives it, and the referee's value of it for a configuration."""
    from anchorkit.evaluation.metrics import FScore, VocAP, WeightedAP

    table, truth, rows = referee.table, referee.truth, referee.rows
    kind = str(random.choice(["coco", "voc", "voc07", "VocAP", "FScore", "WeightedAP", "callable"]))
    iou = float(random.choice([0.1, 0.3, 0.5, 0.75, 1.0]))
    if kind == "coco":
        thresholds = referee.iou_thresholds or (0.5, 0.75)
        absent = {"AP50"} if 0.5 not in thresholds else set()
        absent |= {"AP75"} if 0.75 not in thresholds else set()
        name = str(random.choice([name for name in referee.stats(0) if name not in absent]))
        return name, lambda mask: referee.stats(mask)[name]
    if kind in ("voc", "voc07"):
        points = 11 if kind == "voc07" else None
        return kind, lambda mask: reference.voc_ap(table, truth, rows(mask), points)[0]
    if kind == "VocAP":
        points = 11 if random.random() < 0.5 else None
        return VocAP(points, iou), lambda mask: reference.voc_ap(table, truth, rows(mask), points, iou)[0]
    if kind == "FScore":
        least, beta = float(random.choice([0.0, 0.1, 0.25, 0.5, 0.9])), float(random.choice([0.5, 1.0, 2.0]))
        options = (least, iou, beta, referee.max_dets[-1])
        return FScore(least, iou, beta), lambda mask: reference.f_score(table, truth, rows(mask), *options)
    if kind == "WeightedAP":
        named = truth.category_ids[random.random(len(truth.category_ids)) < 0.8].tolist()
        weights = {int(category): float(random.choice([0.5, 1.0, 3.0])) for category in named} or {1: 1.0}
        return WeightedAP(weights), lambda mask: weighted(weights, referee.per_class(mask))

    def value_of(detections: Any, ground_truth: GroundTruth) -> float:
        return (31 * len(detections) + int(detections["anchor"].sum()) + len(ground_truth)) % 97 / 97

    def expected(mask: int) -> float:
        return (31 * len(rows(mask)) + int(table.anchor[rows(mask)].sum()) + len(truth)) % 97 / 97

    return value_of, expected


class Nearly(float):
    """A number whose definition does not say in which order to add."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int | float) and abs(self - float(other)) < 1e-12

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = float.__hash__


def weighted(weights: dict[int, float], per_class: dict[int, float]) -> float:
    """The mean AP of the categories with ground truth by weight; -1 if they have none."""
    measured = {category: weights.get(category, 0.0) for category, value in per_class.items() if value != -1}
    total = sum(measured.values())
    if total == 0:
        return -1.0
    return Nearly(sum(weight * per_class[category] for category, weight in measured.items()) / total)
