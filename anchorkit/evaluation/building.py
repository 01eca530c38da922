"""Building the tables of `loops.tables` that do not depend on the configuration."""

from __future__ import annotations

import itertools
import math

import numpy as np

from anchorkit.anchors import AnchorLayout
from anchorkit.errors import InputError
from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.evaluation.loops import overlaps
from anchorkit.evaluation.loops.tables import (
    AREA_RANGES,
    N_RECALLS,
    NO_PLACE,
    PLACE,
    PLACE_BITS,
    RECALLS,
    Array,
    Candidates,
    Classes,
    Matching,
    Suppressions,
)
from anchorkit.evaluation.metrics import MatchingRules
from anchorkit.evaluation.sorting import ROWS_AT_ONCE, SortedRows, starts_of
from anchorkit.evaluation.threads import Sharing, balanced
from anchorkit.postprocess import PostProcess

ROOM_AT_ONCE = 2**18
"""Words of suppressions for which memory is allocated at once during the search for overlaps."""

MOST_REDUCED = 2**14
"""Groups with more members are not reduced (see `loops.dropping`): their sets would take much memory and time."""


def build_candidates(rows: SortedRows, layout: AnchorLayout, post: PostProcess) -> Candidates:
    """The candidates that take part, by anchor; without those at or below the score threshold of `post`.

    Memory: A words of 8 bytes per 64 candidates of an image (rounded up), and 4 bytes per candidate where a top-k
    binds.
    """
    word_start = words_of_images(rows)
    by_anchor = np.zeros(len(layout) * int(word_start[-1]), np.uint64)
    n_above = rows.n_above(post.score_threshold)
    overlaps.collect_by_anchor(rows.image_start, word_start, n_above, rows.anchor, len(layout), by_anchor)
    scope, binds = binding_topk(rows, layout, post)
    rows.forget("anchor")
    return Candidates(rows.image_start, word_start, by_anchor, binds, scope)


def words_of_images(rows: SortedRows) -> Array:
    """`Candidates.word_start`."""
    return starts_of((np.diff(rows.image_start) + 63) // 64)


def build_suppressions(
    rows: SortedRows,
    nms_iou: float,
    binds: Array,
    work: Sharing,
    room: float = math.inf,
    most_reduced: int | None = None,
) -> tuple[SortedRows, Suppressions]:
    """Which members suppress which, without those that are never kept. Memory: 12 bytes per candidate, 10 per entry.

    Args:
        rows: the candidates.
        nms_iou: members suppress where their IoU is above it.
        binds: uint8 (I,), 1 where a top-k may remove members: all of them stay.
        work: threads.
        room: bytes that the table may take.
        most_reduced: groups with more members are not reduced, see `loops.dropping`; None for `MOST_REDUCED`.

    Returns:
        The candidates that are kept under some configuration; and for these, what each suppresses.

    Raises:
        InputError: the table would take more than `room` bytes.
    """
    never = np.zeros(len(rows), np.bool_)
    try:
        most_reduced = MOST_REDUCED if most_reduced is None else most_reduced
        found = _find_overlaps(rows, nms_iou, binds, work, room, most_reduced, never)
    except MemoryError:
        raise _too_many_overlaps(rows, room) from None
    own, counts, word, mask = (np.concatenate(column) for column in zip(*found, strict=True))
    del found
    entry_start = starts_of(counts)
    all_rows, rows = rows, rows.without(never)
    if rows is not all_rows:
        all_rows.forget()
    image_group = np.searchsorted(rows.group_image, np.arange(rows.n_images + 1)).astype(np.int64)
    parts = balanced(rows.image_start, work.n_parts)
    groups = rows.image_start, image_group, rows.group_start, rows.members, own, entry_start, word, mask
    in_order = np.empty_like(own)
    n_entries = np.zeros(len(own), np.uint32)
    nothing = np.empty(0, np.uint32), np.empty(0, np.uint64)
    work.each(parts, overlaps.by_rank, *groups, in_order, n_entries, *nothing)
    start = starts_of(n_entries)
    if start[-1] >= 2**32:
        raise InputError(
            f"{rows.predictions.source}: {start[-1]:,} words of overlapping boxes are too many: use a higher "
            "score_threshold, or evaluate fewer images"
        )
    if 10 * start[-1] > room:
        raise _too_many_overlaps(rows, room)
    filled = np.empty(int(start[-1]), np.uint32), np.empty(int(start[-1]), np.uint64)
    start = start.astype(np.uint32)
    if len(filled[0]):
        work.each(parts, overlaps.by_rank, *groups, in_order, start, *filled)
    return rows, Suppressions(in_order, start, *filled)


def _too_many_overlaps(rows: SortedRows, room: float) -> InputError:
    return InputError(
        f"{rows.predictions.source}: so many of its {len(rows):,} boxes overlap that the evaluation does not fit "
        f"in {megabytes(room)} of memory: raise the score_threshold, evaluate fewer images, or allow more "
        "(memory_limit)"
    )


def _find_overlaps(
    rows: SortedRows, nms_iou: float, binds: Array, work: Sharing, room: float, most_reduced: int, never: Array
) -> list[tuple[Array, Array, Array, Array]]:
    """What `overlaps.fill_suppressions` finds, part by part: own words, numbers of words, words and masks.

    Marks the members that are `never` kept.

    Raises:
        MemoryError: the parts together would take more than `room` bytes.
    """
    full = (np.diff(rows.group_start) + 63) // 64 - 1
    # The most there can be: every member has every word after its own.
    most = starts_of(32 * full * (full + 1))
    topk = binds[rows.group_image] > 0
    members, table = rows.members, rows.predictions
    entries: list[int] = []

    def fill(first: int, last: int) -> tuple[Array, Array, Array, Array]:
        row = rows.row[members[rows.group_start[first] : rows.group_start[last]]]
        boxes, anchor = np.take(table.boxes, row, axis=0), np.take(table.anchor, row)
        own, counts = np.empty(len(row), np.uint64), np.empty(len(row), np.int32)
        size = int(most[last] - most[first])
        words, masks = np.empty(size, np.uint32), np.empty(size, np.uint64)
        stay, n = overlaps.fill_suppressions(
            first, last, rows.group_start, boxes, anchor, float(nms_iou), most_reduced, topk, never, own, counts, words,
            masks,
        )  # fmt: skip
        entries.append(n)
        if 2 * 10 * sum(entries) > room:
            raise MemoryError
        # Copies free the memory that was not needed.
        return own[:stay].copy(), counts[:stay].copy(), words[:n].copy(), masks[:n].copy()

    n_parts = max(work.n_parts, int(most[-1]) // ROOM_AT_ONCE, len(rows) // ROWS_AT_ONCE)
    return work.each(np.unique(balanced(rows.group_start, n_parts)) if len(rows) else np.zeros(2, np.int64), fill)


def build_matching(
    rows: SortedRows, truth: GroundTruth, rules: MatchingRules, work: Sharing
) -> tuple[Matching, Classes]:
    """Which candidates can match which annotated boxes under some rules.

    Memory in bytes: 8 per candidate, 1 / 8 per candidate and group of its image, 13 per candidate with pairs, 5 per
    pair.
    """
    ignored, real = boxes_to_find(truth, rules)
    n_real, need, column = recalls(truth, real)
    known = np.ones(rows.n_classes, np.bool_) if rules.every_class else (column >= 0).any(axis=0)
    measured = np.append(known, np.zeros(rows.n_all_classes - rows.n_classes, np.bool_))

    by_class, class_first = _in_class_order(rows, measured)

    # Pairs, in the order of places.
    truth_key = truth.image.astype(np.int64) * rows.n_all_classes + truth.category
    group_key = rows.group_image * rows.n_all_classes + rows.group_class
    in_class = measured[rows.group_class]
    truth_start = np.searchsorted(truth_key, group_key).astype(np.int64)
    truth_end = np.where(in_class, np.searchsorted(truth_key, group_key, side="right"), truth_start).astype(np.int64)
    limits = np.array(rules.thresholds)
    shared = (
        rows.group_start, rows.members, truth_start, truth_end, rows.boxes, truth.boxes,
        np.zeros(len(truth), np.bool_) if rules.voc else truth.crowd,
        limits if rules.voc else np.minimum(limits, 1 - 1e-10), rules.voc,
    )  # fmt: skip
    n_pairs = np.zeros(len(rows), np.int32)
    parts = balanced(rows.group_start, work.n_parts)
    work.each(parts, overlaps.count_pairs, *shared, n_pairs)

    inside = np.ones(len(rows), np.uint8)
    if not rules.voc:
        sides = rows.boxes[:, 2:].astype(np.float64) - rows.boxes[:, :2]
        inside = _in_ranges(sides[:, 0] * sides[:, 1])
        del sides
    place_word = starts_of((np.diff(class_first) + 63) // 64)
    if 64 * int(place_word[-1]) >= PLACE:
        raise InputError(f"{rows.predictions.source}: over {PLACE:,} predictions are too many: evaluate fewer images")
    # A place is the position in this order, except that each class begins a new word.
    shift = (64 * place_word - class_first)[:-1].astype(np.int32)
    place_of = np.arange(len(by_class), dtype=np.int32) + np.repeat(shift, np.diff(class_first))
    place = np.full(len(rows), NO_PLACE, np.uint32)
    place[by_class] = place_of.astype(np.uint32) | inside[by_class].astype(np.uint32) << np.uint32(PLACE_BITS)
    paired_class = np.searchsorted(class_first, np.flatnonzero(n_pairs[by_class]), side="right") - 1
    most_pairs = int(np.bincount(paired_class, minlength=1).max())
    del by_class, place_of
    slot = np.full(len(rows), -1, np.int32)
    with_pairs = np.flatnonzero(n_pairs)
    slot[with_pairs] = np.arange(len(with_pairs))
    pair_start = starts_of(n_pairs[with_pairs]).astype(np.int32)
    pair_truth = np.empty(pair_start[-1], np.int32)
    pair_passed = np.empty(pair_start[-1], np.uint8)
    pair_iou = np.empty(pair_start[-1], np.float64)
    work.each(parts, overlaps.fill_pairs, *shared, slot, pair_start, pair_truth, pair_passed, pair_iou)
    del pair_iou
    rows.forget("boxes", "klass")
    # Groups that have pairs, or that may have more detections than count.
    sizes = np.diff(rows.group_start)
    some = np.add.reduceat(np.append(n_pairs[rows.members], 0), rows.group_start[:-1]) > 0 if len(rows) else sizes > 0
    long = in_class & (sizes > rules.max_dets[-1])
    chosen = np.flatnonzero((some & in_class) | long)
    image_group = np.searchsorted(rows.group_image[chosen], np.arange(rows.n_images + 1)).astype(np.int64)
    word_start = words_of_images(rows)
    paired = np.zeros(64 * word_start[-1], np.bool_)
    image = np.searchsorted(rows.image_start, with_pairs, side="right") - 1
    paired[64 * word_start[image] + with_pairs - rows.image_start[image]] = True
    members_start = starts_of(np.diff(image_group) * np.diff(word_start))
    members = np.zeros(int(members_start[-1]), np.uint64)
    overlaps.collect_members(
        rows.image_start, rows.group_start, rows.members, chosen, rows.group_image[chosen], image_group, members_start,
        members,
    )  # fmt: skip
    return (
        Matching(
            place=place,
            slot=slot,
            slot_start=np.searchsorted(with_pairs, rows.image_start).astype(np.int64),
            inside=inside[with_pairs],
            paired=np.packbits(paired, bitorder="little").view(np.uint64),
            image_group=image_group,
            members=members,
            members_start=members_start,
            long=long[chosen].astype(np.uint8),
            truth_start=truth_start[chosen],
            truth_count=(truth_end - truth_start)[chosen].astype(np.int32),
            pair_start=pair_start,
            pair_truth=pair_truth,
            pair_passed=pair_passed,
            real=real,
            crowd=ignored.astype(np.uint8),
        ),
        Classes(place_word, most_pairs, n_real, need, column),
    )


def _in_class_order(rows: SortedRows, measured: Array) -> tuple[Array, Array]:
    """The candidates of measured classes, class by class, score falling, then rising; and the first of each class."""
    counts = np.where(measured, np.bincount(rows.klass, minlength=rows.n_all_classes), 0)
    first = starts_of(counts)
    key = np.empty(first[-1], np.uint64)
    overlaps.sort_by_class(rows.klass, rows.falling, measured, first[:-1].copy(), key)
    rows.forget("falling")
    for begin, end in itertools.pairwise(first.tolist()):
        key[begin:end].sort()
    return (key & np.uint64(0xFFFFFFFF)).astype(np.int32), first[: rows.n_classes + 1]


def _in_ranges(area: Array) -> Array:
    """uint8: a bit for each of the area ranges in which an area lies, both ends belonging to the range."""
    bits = np.zeros(len(area), np.uint8)
    for number, (low, high) in enumerate(AREA_RANGES):
        bits |= ((area >= low) & (area <= high)).astype(np.uint8) << np.uint8(number)
    return bits


def boxes_to_find(truth: GroundTruth, rules: MatchingRules) -> tuple[Array, Array]:
    """Bool (G,): which annotated boxes are ignored; and `Matching.real`."""
    ignored = truth.crowd | truth.difficult if rules.voc else truth.crowd
    in_range = np.ones(len(truth), np.uint8) if rules.voc else _in_ranges(truth.area)
    return ignored, np.where(ignored, np.uint8(0), in_range)


def recalls(truth: GroundTruth, real: Array) -> tuple[Array, Array, Array]:
    """`Classes.n_real`, `need` and `column`, of `Matching.real`."""
    n_classes = len(truth.category_ids)
    n_real = np.zeros((len(AREA_RANGES), n_classes), np.int64)
    need = np.zeros((len(AREA_RANGES), n_classes, N_RECALLS), np.int32)
    column = np.full((len(AREA_RANGES), n_classes), -1, np.int32)
    for area in range(len(AREA_RANGES)):
        n_real[area] = np.bincount(truth.category[real >> area & 1 == 1], minlength=n_classes)
        for k in np.flatnonzero(n_real[area]):
            # As in pycocotools, floats n / n_real are compared with the recalls.
            reached = np.searchsorted(np.arange(n_real[area, k] + 1) / n_real[area, k], RECALLS, side="left")
            # At recall 0, too, pycocotools uses the first true positive.
            need[area, k] = np.maximum(reached, 1)
        column[area, n_real[area] > 0] = np.arange((n_real[area] > 0).sum())
    return n_real, need, column


def binding_topk(rows: SortedRows, layout: AnchorLayout, post: PostProcess) -> tuple[Array, Array]:
    """`Candidates.scope` and `binds`."""
    binds = np.zeros(rows.n_images, np.uint8)
    nothing = np.empty(0, np.int32)
    if post.topk is None or not len(rows):
        return nothing, binds
    if post.topk_scope == "class":
        scope, count = rows.klass, rows.n_all_classes
    elif post.topk_scope == "level":
        level = np.array([anchor.level for anchor in layout.anchors], np.int32)
        scope, count = level[rows.anchor], len(layout.levels)
    else:
        scope, count = np.zeros(len(rows), np.int32), 1
    image = np.repeat(np.arange(rows.n_images), np.diff(rows.image_start))
    most = np.bincount(image * count + scope, minlength=rows.n_images * count).reshape(rows.n_images, count).max(axis=1)
    binds[most > post.topk] = 1
    return (scope if binds.any() else nothing), binds


def megabytes(n: float) -> str:
    return f"{n / 1e6:,.0f} MB"
