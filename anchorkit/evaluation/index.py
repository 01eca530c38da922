"""Everything about a table and its ground truth that does not depend on the configuration, computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from anchorkit.anchors import AnchorLayout
from anchorkit.errors import InputError
from anchorkit.evaluation import kernels
from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.predictions import PredictionTable

Array = npt.NDArray[Any]

IOU_THRESHOLDS = np.linspace(0.5, 0.95, kernels.N_THRESHOLDS)
RECALLS = np.linspace(0.0, 1.0, kernels.N_RECALLS)
AREA_RANGES = ((0.0, 1e5**2), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e5**2))
"""COCO's area ranges all, small, medium, large; both ends belong to each."""

MAX_EDGES = 2**31


@dataclass(frozen=True)
class Candidates:
    """The rows that take part, image by image in the order of the ground truth's ids, best score first.

    C candidates, I images, W words of 64 places.

    Attributes:
        row: int32 (C,), row of the table.
        anchor: uint16 (C,).
        klass: int32 (C,), index of the category in the ground truth; categories it lacks are numbered after those.
        image_start: int64 (I + 1,), first candidate of each image.
        edge_start: int64 (C + 1,); edges: uint16 or int32 (E,), ranks of what each candidate suppresses.
        place: int32 (C,), bit of the candidate in the order (class, score falling, image, rank), each class starting
            at a new word; -1 if its class has no ground truth to measure.
        slot: int32 (C,), position among the candidates with pairs, in the order of places; -1 without pairs.
        in_range: uint8 (C,), bit a is set if the box's area lies in `AREA_RANGES[a]`.
    """

    row: Array
    anchor: Array
    klass: Array
    image_start: Array
    edge_start: Array
    edges: Array
    place: Array
    slot: Array
    in_range: Array


@dataclass(frozen=True)
class Pairs:
    """Candidates and annotated boxes that overlap by 0.5 or more. S slots, P pairs.

    Attributes:
        start: int64 (S + 1,), first pair of each slot.
        truth: int32 (P,), annotated box; passed: uint8 (P,), number of IoU thresholds reached (1 to 10).
        slot_start: int64 (K + 1,), first slot of each class.
        place: int32 (S,) and in_range: uint8 (S,), those of the slot's candidate.
    """

    start: Array
    truth: Array
    passed: Array
    slot_start: Array
    place: Array
    in_range: Array


@dataclass(frozen=True)
class Truth:
    """The ground truth as the kernels use it. G boxes, K classes, 4 area ranges.

    Attributes:
        image_start: int64 (I + 1,), first box of each image.
        real: int64 (G,), outcome mask: set where the box is to be found, clear where it is ignored.
        crowd: bool (G,).
        n_real: int64 (4, K), boxes to be found.
        need: int32 (4, K, 101), true positives needed to reach each recall.
        column: int32 (4, K), position of the class among those with boxes to be found, or -1.
        word_start: int64 (K + 1,), first word of each class.
    """

    image_start: Array
    real: Array
    crowd: Array
    n_real: Array
    need: Array
    column: Array
    word_start: Array


@dataclass(frozen=True)
class Index:
    """What an evaluation needs beside the mask of kept anchors."""

    candidates: Candidates
    pairs: Pairs
    truth: Truth
    n_images: int
    n_classes: int
    n_all_classes: int
    topk: int


def build_index(predictions: PredictionTable, truth: GroundTruth, pool: ThreadPoolExecutor, n_threads: int) -> Index:
    """Sort the rows, find what suppresses what and what could match what.

    Memory that stays, in bytes: 27 a candidate + 2 an edge (4 if an image has more than 65,536 candidates) + 5 a pair
    and 13 a candidate with pairs. While building, up to 60 a candidate more.

    Raises:
        InputError: there would be more than 2**31 edges; raise the score threshold.
    """
    post = predictions.postprocess
    rows = np.flatnonzero(predictions.score > np.float32(post.score_threshold)).astype(np.int32)
    image = np.searchsorted(truth.image_ids, predictions.image_id[rows]).astype(np.int32)
    falling = _falling(predictions.score[rows])
    order = np.argsort((image.astype(np.uint64) << np.uint64(30)) | falling, kind="stable")
    rows, image, falling = rows[order], image[order], falling[order]
    del order
    n_images, n_classes = len(truth.image_ids), len(truth.category_ids)
    image_start = np.searchsorted(image, np.arange(n_images + 1)).astype(np.int64)
    rank = (np.arange(len(rows)) - image_start[image]).astype(np.int32)
    klass, n_all_classes = _classes(predictions.category_id[rows], truth.category_ids)
    boxes = predictions.boxes[rows]
    area = (boxes[:, 2].astype(np.float64) - boxes[:, 0]) * (boxes[:, 3].astype(np.float64) - boxes[:, 1])
    in_range = _in_ranges(area)

    group_key = image.astype(np.int64) * n_all_classes + klass
    members = np.argsort(group_key, kind="stable").astype(np.int32)
    sorted_key = group_key[members]
    group_first = np.flatnonzero(np.diff(sorted_key, prepend=-1))
    group_start = np.append(group_first, len(rows)).astype(np.int64)
    keys = sorted_key[group_first]
    del group_key, sorted_key
    parts = balanced(group_start, n_threads * 4 if n_threads > 1 else 1)

    counts = np.zeros(len(rows), np.int32)
    each(pool, parts, kernels.count_edges, group_start, members, boxes, float(post.nms_iou), counts)
    edge_start = _starts(counts)
    if edge_start[-1] > MAX_EDGES:
        raise InputError(
            f"{predictions.source}: {edge_start[-1]:,} pairs of boxes suppress each other, which would not fit in "
            "memory: write the table with a higher score_threshold, or evaluate fewer images"
        )
    small = bool(np.diff(image_start).max(initial=0) <= 65536)
    edges = np.empty(edge_start[-1], np.uint16 if small else np.int32)
    each(pool, parts, kernels.fill_edges, group_start, members, boxes, float(post.nms_iou), rank, edge_start, edges)

    facts = _truth(truth, klass, n_images, n_classes)
    measured = np.append((facts.column >= 0).any(axis=0), np.zeros(n_all_classes - n_classes, np.bool_))
    by_class = np.argsort((klass.astype(np.uint64) << np.uint64(30)) | falling, kind="stable")
    by_class = by_class[measured[klass[by_class]]]
    class_of = klass[by_class]
    class_first = np.searchsorted(class_of, np.arange(n_classes + 1))
    place = np.full(len(rows), -1, np.int32)
    place[by_class] = np.arange(len(by_class)) - class_first[class_of] + 64 * facts.word_start[class_of]

    truth_key = truth.image.astype(np.int64) * n_all_classes + truth.category
    in_class = measured[keys % max(n_all_classes, 1)] if len(keys) else np.zeros(0, np.bool_)
    truth_start = np.searchsorted(truth_key, keys).astype(np.int64)
    truth_end = np.where(in_class, np.searchsorted(truth_key, keys, side="right"), truth_start).astype(np.int64)
    limits = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)
    shared = (group_start, members, truth_start, truth_end, boxes, truth.boxes, truth.crowd, limits)
    counts[:] = 0
    each(pool, parts, kernels.count_pairs, *shared, counts)
    paired = by_class[counts[by_class] > 0]
    slot = np.full(len(rows), -1, np.int32)
    slot[paired] = np.arange(len(paired))
    pair_start = _starts(counts[paired])
    pair_truth = np.empty(pair_start[-1], np.int32)
    pair_passed = np.empty(pair_start[-1], np.uint8)
    pair_iou = np.empty(pair_start[-1], np.float64)
    each(pool, parts, kernels.fill_pairs, *shared, slot, pair_start, pair_truth, pair_passed, pair_iou)

    return Index(
        Candidates(
            rows,
            predictions.anchor[rows].astype(np.uint16),
            klass,
            image_start,
            edge_start,
            edges,
            place,
            slot,
            in_range,
        ),
        Pairs(
            pair_start,
            pair_truth,
            pair_passed,
            np.searchsorted(klass[paired], np.arange(n_classes + 1)).astype(np.int64),
            place[paired],
            in_range[paired],
        ),
        facts,
        n_images,
        n_classes,
        n_all_classes,
        _binding_topk(predictions, image, klass, rows, n_all_classes),
    )


def each(pool: ThreadPoolExecutor, parts: Array, kernel: Callable[..., None], *arguments: Any) -> None:
    """Call ``kernel(first, last, *arguments)`` for every part ``parts[i]:parts[i + 1]``, shared among threads."""
    share(pool, [partial(kernel, parts[i], parts[i + 1], *arguments) for i in range(len(parts) - 1)])


def share(pool: ThreadPoolExecutor, calls: Sequence[Callable[[], None]]) -> None:
    """Make the calls, shared among threads, and wait for all of them."""
    if len(calls) == 1:
        calls[0]()
        return
    jobs = [pool.submit(call) for call in calls]
    try:
        for job in jobs:
            job.result()
    finally:
        # After Ctrl-C too, nothing may go on writing to memory that the next evaluation uses.
        for job in jobs:
            job.cancel()
        wait(jobs)


def balanced(start: Array, n: int) -> Array:
    """Cut the things whose items begin at `start` into `n` ranges with about as many items each: (n + 1,) bounds."""
    cuts = np.searchsorted(start, np.linspace(0, start[-1], n + 1)[1:-1])
    return np.concatenate(([0], cuts, [len(start) - 1])).astype(np.int64)


def _falling(score: Array) -> Array:
    """Keys of 30 bits that rise as the score (0..1: its bits sort like integers) falls, equal for equal scores."""
    # + 0.0 turns -0.0, whose bits are large, into 0.0, which it equals.
    return np.uint64(0x3F800000) - (score + np.float32(0)).view(np.uint32).astype(np.uint64)


def _classes(category_id: Array, known: Array) -> tuple[Array, int]:
    """Index of each category id among the known ones; strangers are numbered after them. And how many there are."""
    strangers = np.setdiff1d(category_id, known)
    everything = np.concatenate((known, strangers)).astype(np.int64)
    order = np.argsort(everything, kind="stable")
    index = order[np.searchsorted(everything[order], category_id)] if len(category_id) else np.zeros(0)
    return index.astype(np.int32), len(everything)


def _in_ranges(area: Array) -> Array:
    bits = np.zeros(len(area), np.uint8)
    for position, (low, high) in enumerate(AREA_RANGES):
        bits |= ((area >= low) & (area <= high)).astype(np.uint8) << np.uint8(position)
    return bits


def _starts(counts: Array) -> Array:
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def _truth(truth: GroundTruth, klass: Array, n_images: int, n_classes: int) -> Truth:
    ten = (1 << kernels.N_THRESHOLDS) - 1
    real = np.zeros(len(truth), np.int64)
    n_real = np.zeros((len(AREA_RANGES), n_classes), np.int64)
    need = np.zeros((len(AREA_RANGES), n_classes, kernels.N_RECALLS), np.int32)
    column = np.full((len(AREA_RANGES), n_classes), -1, np.int32)
    ranges = _in_ranges(truth.area)
    for a in range(len(AREA_RANGES)):
        inside = (ranges >> np.uint8(a) & 1).astype(np.bool_) & ~truth.crowd
        real |= np.where(inside, ten << kernels.N_THRESHOLDS * a, 0)
        n_real[a] = np.bincount(truth.category[inside], minlength=n_classes)
        for k in np.flatnonzero(n_real[a]):
            # The recalls are found where pycocotools finds them: by comparing floats n / n_real with the cut-offs.
            need[a, k] = np.searchsorted(np.arange(n_real[a, k] + 1) / n_real[a, k], RECALLS, side="left")
        valid = n_real[a] > 0
        column[a, valid] = np.arange(valid.sum())
    words = -(-np.bincount(klass, minlength=n_classes)[:n_classes] // 64)
    image_start = np.searchsorted(truth.image, np.arange(n_images + 1)).astype(np.int64)
    return Truth(image_start, real, truth.crowd, n_real, need, column, _starts(words))


def _binding_topk(predictions: PredictionTable, image: Array, klass: Array, rows: Array, n_classes: int) -> int:
    """The top-k, or 0 if no image has more rows in one scope than that, so that it cannot change anything."""
    post = predictions.postprocess
    if post.topk is None or not len(rows):
        return 0
    if post.topk_scope == "class":
        scope, count = klass, n_classes
    elif post.topk_scope == "level":
        scope, count = levels_of(predictions.layout)[predictions.anchor[rows]], len(predictions.layout.levels)
    else:
        scope, count = np.zeros(len(rows), np.int32), 1
    key = np.sort(image.astype(np.int64) * count + scope)
    edges = np.flatnonzero(np.diff(key, prepend=-1, append=-1))
    return post.topk if np.diff(edges).max() > post.topk else 0


def levels_of(layout: AnchorLayout) -> Array:
    """int32 (A,): level of each anchor."""
    return np.array([anchor.level for anchor in layout.anchors], np.int32)
