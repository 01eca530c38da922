"""One configuration the usual way, without anything kept from the last one: NMS, conversion, evaluation.

    python benchmarks/rivals.py hotcoco PREDICTIONS TRUTH --one-core

Every rival gets the rows of the kept anchors out of a table in memory, runs NMS on them, hands the detections to its
evaluator the fastest way that its documentation knows, and evaluates them. What does not depend on the configuration
(reading files, sorting the table by score, indexing the ground truth) is done once and not timed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import clock, pin

from anchorkit.evaluation.referees import coco as reference
from anchorkit.predictions import PredictionTable

ALL_AREAS = [[0, 1e5**2]]


@dataclass(frozen=True)
class Rival:
    """The three steps of one configuration.

    Attributes:
        nms: the table's rows that the detector would output.
        convert: those rows as what the evaluator takes.
        evaluate: the 12 figures by their names.
        evaluate_ap: AP alone, where the evaluator can be told to look at one area range and one limit of detections.
    """

    nms: Callable[[], np.ndarray]
    convert: Callable[[np.ndarray], Any]
    evaluate: Callable[[Any], dict[str, float]]
    evaluate_ap: Callable[[Any], float] | None = None


# ---------------------------------------------------------------------------------------------------------- NMS


def numpy_nms(table: PredictionTable) -> Callable[[], np.ndarray]:
    """The authors' way, class by class and image by image in numpy."""
    return lambda: reference.select_rows(table, np.arange(len(table.layout)))


def torchvision_nms(table: PredictionTable) -> Callable[[], np.ndarray]:
    """`batched_nms` of torchvision, image by image. It shifts each class by a float32 offset: boxes are rounded.

    The table is sorted by score beforehand, since `batched_nms` breaks ties by nothing one can rely on.
    """
    import torch
    from torchvision.ops import batched_nms

    torch.set_num_threads(1)
    post = table.postprocess
    order, starts = by_image_and_score(table)
    boxes, scores = torch.from_numpy(table.boxes[order]), torch.from_numpy(table.score[order])
    classes = torch.from_numpy(table.category_id[order].astype(np.int64))
    anchors = torch.from_numpy(table.anchor[order].astype(np.int64))
    keep = torch.ones(len(table.layout), dtype=torch.bool)

    def run() -> np.ndarray:
        found = []
        for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            own = start + torch.nonzero(keep[anchors[start:end]]).squeeze(1)
            kept = batched_nms(boxes[own], scores[own], classes[own], post.nms_iou)
            found.append(own[kept[: post.max_detections]])
        return order[torch.cat(found).numpy()]

    return run


def numba_nms(table: PredictionTable) -> Callable[..., np.ndarray]:
    """A compiled NMS as one would write it oneself: per class, in float64, no further than the cap.

    What it returns takes a mask of the anchors to keep, by default all.
    """
    from numba import njit

    @njit(error_model="numpy")
    def run(keep, starts, anchor, klass, boxes, n_classes, iou, cap, out):
        n = 0
        # The kept boxes of each class as a chain, the last one first.
        last, before = np.empty(n_classes, np.int64), np.empty(len(anchor), np.int64)
        for image in range(len(starts) - 1):
            last[:] = -1
            first = n
            for row in range(starts[image], starts[image + 1]):
                if not keep[anchor[row]]:
                    continue
                x1, y1, x2, y2 = boxes[row]
                other = last[klass[row]]
                while other >= 0:
                    u1, v1, u2, v2 = boxes[other]
                    common = max(min(x2, u2) - max(x1, u1), 0.0) * max(min(y2, v2) - max(y1, v1), 0.0)
                    if common / ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - common) > iou:
                        break
                    other = before[other]
                if other >= 0:
                    continue
                before[row] = last[klass[row]]
                last[klass[row]] = row
                out[n] = row
                n += 1
                if n - first == cap:
                    break
        return n

    post = table.postprocess
    order, starts = by_image_and_score(table)
    boxes, anchor = table.boxes[order].astype(np.float64), table.anchor[order]
    ids, klass = np.unique(table.category_id[order], return_inverse=True)
    everything, out = np.ones(len(table.layout), np.bool_), np.empty(len(order), np.int64)
    cap = post.max_detections or len(order) + 1

    def select(keep: np.ndarray = everything) -> np.ndarray:
        return order[out[: run(keep, starts, anchor, klass, boxes, len(ids), post.nms_iou, cap, out)]]

    return select


def by_image_and_score(table: PredictionTable) -> tuple[np.ndarray, np.ndarray]:
    """Rows above the threshold by image, best score first, and where each image starts."""
    rows = np.flatnonzero(table.score > np.float32(table.postprocess.score_threshold))
    order = rows[np.lexsort((-table.score[rows], table.image_id[rows]))]
    starts = np.flatnonzero(np.diff(table.image_id[order], prepend=-1, append=-1))
    return order, starts


# --------------------------------------------------------------------------------------- conversion and evaluation


def coco_rows(table: PredictionTable, rows: np.ndarray) -> np.ndarray:
    """Detections as float64 (N, 7): image, x, y, width, height, score, category."""
    found = np.empty((len(rows), 7))
    found[:, 0] = table.image_id[rows]
    found[:, 1:5] = table.boxes[rows]
    found[:, 3:5] -= found[:, 1:3]
    found[:, 5] = table.score[rows]
    found[:, 6] = table.category_id[rows]
    return found


def coco_dicts(table: PredictionTable, rows: np.ndarray) -> list[dict[str, Any]]:
    """Detections as the dicts that pycocotools and faster-coco-eval keep: made from lists, not from array elements."""
    boxes = table.boxes[rows].astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    columns = table.image_id[rows], table.category_id[rows], boxes, table.score[rows].astype(np.float64)
    return [
        {"image_id": image, "category_id": category, "bbox": box, "score": score}
        for image, category, box, score in zip(*(column.tolist() for column in columns), strict=True)
    ]


def named(values: Any) -> dict[str, float]:
    """The first 12 of a list of figures, by their names."""
    return dict(zip(reference.STATS, [float(value) for value in values[:12]], strict=True))


def summarized(judge: Any) -> dict[str, float]:
    """The figures of anything with the interface of COCOeval."""
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return named(judge.stats)


def mean_precision(judge: Any) -> float:
    """AP without the other figures."""
    judge.evaluate()
    judge.accumulate()
    precision = judge.eval["precision"]
    return float(np.mean(precision[precision > -1]))


def pycocotools(table: PredictionTable, truth: dict[str, Any], nms: Callable[[], np.ndarray]) -> Rival:
    """Takes detections through `loadRes`."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    own = COCO()
    own.dataset = truth
    own.createIndex()
    return _through_dicts(table, own, lambda found: COCOeval(own, found, "bbox"), nms)


def faster_coco_eval(table: PredictionTable, truth: dict[str, Any], nms: Callable[[], np.ndarray]) -> Rival:
    """Takes detections through `loadRes`, without the matches that it would list as well."""
    from faster_coco_eval import COCO, COCOeval_faster

    own = COCO(truth)
    return _through_dicts(table, own, lambda found: COCOeval_faster(own, found, "bbox", extra_calc=False), nms)


def _through_dicts(
    table: PredictionTable, own: Any, judge_of: Callable[[Any], Any], nms: Callable[[], np.ndarray]
) -> Rival:
    """A rival with the interface of pycocotools: detections are a list of dicts, the judge is told by its `params`."""

    def evaluate_ap(found: Any) -> float:
        judge = judge_of(found)
        judge.params.areaRng, judge.params.areaRngLbl, judge.params.maxDets = ALL_AREAS, ["all"], [100]
        return mean_precision(judge)

    return Rival(
        nms, lambda rows: own.loadRes(coco_dicts(table, rows)), lambda found: summarized(judge_of(found)), evaluate_ap
    )


def hotcoco(table: PredictionTable, truth: dict[str, Any], nms: Callable[[], np.ndarray]) -> Rival:
    """Takes detections through `load_res` of an array."""
    from hotcoco import COCO, COCOeval

    own = COCO(truth)

    def evaluate_ap(found: Any) -> float:
        judge = COCOeval(own, found, "bbox")
        judge.params.area_rng, judge.params.area_rng_lbl, judge.params.max_dets = ALL_AREAS, ["all"], [100]
        return mean_precision(judge)

    return Rival(
        nms,
        lambda rows: own.load_res(coco_rows(table, rows)),
        lambda found: summarized(COCOeval(own, found, "bbox")),
        evaluate_ap,
    )


def vernier(table: PredictionTable, truth: dict[str, Any], nms: Callable[[], np.ndarray]) -> Rival:
    """Takes detections as an array (its own interface, strict mode); it has no way to ask for AP alone."""
    from vernier.instance import Bbox, CocoDataset, Evaluator

    own = CocoDataset.from_json(json.dumps(truth).encode())
    judge = Evaluator(iou=Bbox(), parity_mode="strict")
    return Rival(
        nms,
        lambda rows: coco_rows(table, rows),
        lambda found: named(judge.evaluate(own, found, num_threads=1).stats),
    )


RIVALS: dict[str, tuple[str, Callable[..., Any], Callable[..., Rival]]] = {
    "numpy + pycocotools": ("pycocotools", numpy_nms, pycocotools),
    "torchvision + pycocotools": ("torchvision", torchvision_nms, pycocotools),
    "numba + faster-coco-eval": ("faster_coco_eval", numba_nms, faster_coco_eval),
    "numba + hotcoco": ("hotcoco", numba_nms, hotcoco),
    "numba + vernier": ("vernier", numba_nms, vernier),
}
"""By name: the module it needs, its NMS, its evaluator. The first one is how the authors' code works."""

SLOW = tuple(name for name, (_, _, evaluator) in RIVALS.items() if evaluator is pycocotools)
"""Those without a compiled NMS and evaluation: once is enough, and they have nothing to compile."""


def missing(name: str) -> str | None:
    """What to install for a rival, or None if it is there."""
    module = RIVALS[name][0]
    return None if importlib.util.find_spec(module) else f"pip install {module.replace('_', '-')}"


def measure(name: str, predictions: Path, truth: Path, repeats: int) -> dict[str, Any]:
    """Time the steps of one rival on the full configuration; the first round, which may compile, is left out."""
    table = PredictionTable.load(predictions)
    _, nms, evaluator = RIVALS[name]
    rival = evaluator(table, json.loads(truth.read_text()), nms(table))
    times: dict[str, list[float]] = {"nms": [], "conversion": [], "evaluation": [], "evaluation_ap": []}
    answer: dict[str, Any] = {}
    warm = 0 if name in SLOW else 1
    for number in range(warm + repeats):
        seconds, rows = clock(rival.nms)
        took = {"nms": seconds}
        took["conversion"], found = clock(lambda rows=rows: rival.convert(rows))
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
            took["evaluation"], stats = clock(lambda found=found: rival.evaluate(found))
            if rival.evaluate_ap is not None:
                took["evaluation_ap"], answer["AP alone"] = clock(
                    lambda found=found, judge=rival.evaluate_ap: judge(found)
                )
        for step, seconds in took.items():
            times[step] += [seconds] if number >= warm else []
        answer |= {"stats": stats, "detections": len(rows)}
    return {**answer, "times": times}


def main() -> None:
    """Measure one rival and print the answer as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RIVALS)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one-core", action="store_true", help="keep to one core")
    options = parser.parse_args()
    if options.one_core:
        pin()
    print(json.dumps(measure(options.name, options.predictions, options.truth, options.repeats)))


if __name__ == "__main__":
    main()
