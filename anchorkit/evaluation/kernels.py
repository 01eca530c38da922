# mypy: allow-untyped-defs, allow-untyped-calls
"""The compiled loops of the evaluator.

Every kernel works on a range of images, groups or classes, releases the interpreter lock and writes only to what
belongs to its range, so that threads can share the work. Nothing here is random and no float is summed across
ranges: results do not depend on the number of threads.

Words: a *candidate* is a row of the table above the score threshold. Candidates are numbered image by image, in each
image best score first (ties: earlier row first); the *rank* of a candidate is its number minus that of the first
candidate of its image. A *group* is the candidates of one (image, class), rising. A *pair* is a candidate and an
annotated box of its group that overlap enough to match at one IoU threshold at least.

The outcome of a detection against the ground truth is a mask of bits: bit ``10 * area + threshold`` speaks of that
COCO area range (all, small, medium, large) and IoU threshold (0.50 to 0.95).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

N_THRESHOLDS = 10
N_RECALLS = 101
MAX_DETS = (1, 10, 100)
HIT_RANK_BIT = 40
"""In a hit mask, the two bits from here on tell the first of `MAX_DETS` that lets the detection through."""

_THRESHOLD_BITS = (1 << N_THRESHOLDS) - 1
_EPSILON = float(np.spacing(1))


def compiled(function: Function) -> Function:
    """Compile on first use and keep the machine code beside the module or in the user's cache; 0/0 is nan, as in C."""
    make = numba.njit(nogil=True, error_model="numpy")(function)
    # Where no folder can be written (a read-only container), compile anew in each process.
    with contextlib.suppress(RuntimeError):
        make.enable_caching()
    return cast(Function, make)


@compiled
def count_edges(first, last, group_start, members, boxes, limit, counts):
    """For each candidate of the groups, count the later ones of its group that it suppresses if it is kept.

    Invariant: candidate a suppresses b exactly if rank a < rank b and float64 IoU(a, b) > limit; a box without area
    has IoU 0 or 0/0 with any other and neither is above the limit.
    """
    near = limit * (1 - 1e-9)
    for group in range(first, last):
        end = group_start[group + 1]
        for p in range(group_start[group], end):
            a = members[p]
            x1, y1 = np.float64(boxes[a, 0]), np.float64(boxes[a, 1])
            x2, y2 = np.float64(boxes[a, 2]), np.float64(boxes[a, 3])
            area = (x2 - x1) * (y2 - y1)
            found = 0
            for q in range(p + 1, end):
                b = members[q]
                if _suppresses(x1, y1, x2, y2, area, boxes, b, near, limit):
                    found += 1
            counts[a] = found


@compiled
def fill_edges(first, last, group_start, members, boxes, limit, rank, edge_start, edges):
    """Write the ranks of what each candidate suppresses, rising, from ``edge_start`` on (see `count_edges`)."""
    near = limit * (1 - 1e-9)
    for group in range(first, last):
        end = group_start[group + 1]
        for p in range(group_start[group], end):
            a = members[p]
            at, stop = edge_start[a], edge_start[a + 1]
            if at == stop:
                continue
            x1, y1 = np.float64(boxes[a, 0]), np.float64(boxes[a, 1])
            x2, y2 = np.float64(boxes[a, 2]), np.float64(boxes[a, 3])
            area = (x2 - x1) * (y2 - y1)
            for q in range(p + 1, end):
                b = members[q]
                if _suppresses(x1, y1, x2, y2, area, boxes, b, near, limit):
                    edges[at] = rank[b]
                    at += 1


@compiled
def _suppresses(x1, y1, x2, y2, area, boxes, b, near, limit):
    """Whether IoU(a, b) > limit, a given by its sides and area."""
    bx1, bx2 = np.float64(boxes[b, 0]), np.float64(boxes[b, 2])
    width = min(x2, bx2) - max(x1, bx1)
    if width <= 0:
        return False
    by1, by2 = np.float64(boxes[b, 1]), np.float64(boxes[b, 3])
    height = min(y2, by2) - max(y1, by1)
    if height <= 0:
        return False
    common = width * height
    union = area + (bx2 - bx1) * (by2 - by1) - common
    # Most pairs are far from the limit: spare them the division.
    return common > near * union and common / union > limit


@compiled
def count_pairs(first, last, group_start, members, truth_start, truth_end, boxes, truth, crowd, limits, counts):
    """For each candidate, count the annotated boxes of its group with a COCO IoU of `limits[0]` or more."""
    for group in range(first, last):
        for p in range(group_start[group], group_start[group + 1]):
            candidate = members[p]
            found = 0
            for g in range(truth_start[group], truth_end[group]):
                if _coco_iou(boxes, candidate, truth, g, crowd[g]) >= limits[0]:
                    found += 1
            counts[candidate] = found


@compiled
def fill_pairs(
    first, last, group_start, members, truth_start, truth_end, boxes, truth, crowd, limits, slot, pair_start,
    pair_truth, pair_passed, pair_iou
):  # fmt: skip
    """Write the pairs of each candidate that has a slot, from ``pair_start[slot]`` on.

    Invariant: pairs stand in the order in which pycocotools prefers them: IoU falling, of equal ones the later
    annotated box first; `pair_passed` is the number of IoU thresholds that the IoU reaches.
    """
    for group in range(first, last):
        for p in range(group_start[group], group_start[group + 1]):
            candidate = members[p]
            if slot[candidate] < 0:
                continue
            start = pair_start[slot[candidate]]
            end = start
            for g in range(truth_start[group], truth_end[group]):
                iou = _coco_iou(boxes, candidate, truth, g, crowd[g])
                if iou < limits[0]:
                    continue
                at = end
                while at > start and pair_iou[at - 1] <= iou:
                    pair_iou[at] = pair_iou[at - 1]
                    pair_truth[at] = pair_truth[at - 1]
                    pair_passed[at] = pair_passed[at - 1]
                    at -= 1
                passed = 0
                for t in range(N_THRESHOLDS):
                    passed += iou >= limits[t]
                pair_iou[at] = iou
                pair_truth[at] = g
                pair_passed[at] = passed
                end += 1


@compiled
def _coco_iou(boxes, d, truth, g, crowd):
    """IoU as pycocotools computes it: on x y width height, and on the detection's area alone for a crowd."""
    dx, dy = np.float64(boxes[d, 0]), np.float64(boxes[d, 1])
    dw, dh = np.float64(boxes[d, 2]) - dx, np.float64(boxes[d, 3]) - dy
    gx, gy, gw, gh = truth[g, 0], truth[g, 1], truth[g, 2], truth[g, 3]
    width = min(dw + dx, gw + gx) - max(dx, gx)
    if width <= 0:
        return 0.0
    height = min(dh + dy, gh + gy) - max(dy, gy)
    if height <= 0:
        return 0.0
    common = width * height
    area = dw * dh
    return common / area if crowd else common / (area + gw * gh - common)


@compiled
def select(
    first, last, image_start, anchor, keep, scope, scope_of_anchor, n_scopes, topk, cap, edge_start, edges, chosen,
    n_chosen
):  # fmt: skip
    """Decide which candidates of each image the detector would output if it had only the anchors with ``keep`` set.

    Top-k, NMS and cap in one pass over the candidates, best first. Invariant: when a candidate comes up, `taken`
    counts the better candidates of its scope that take part, and `dead` marks exactly those that a better output
    suppresses; so whether it is output never depends on what comes after, and the pass may stop at the cap.

    ``chosen[image_start[i]:][:n_chosen[i]]`` are the ranks of the outputs of image i, rising. A candidate's scope for
    the top-k is ``scope[candidate]`` if that array is not empty, else ``scope_of_anchor[anchor]``; `topk` 0 means none.
    """
    most = 0
    for image in range(first, last):
        most = max(most, image_start[image + 1] - image_start[image])
    dead = np.zeros(most, np.uint8)
    taken = np.zeros(n_scopes, np.int64)
    for image in range(first, last):
        start, end = image_start[image], image_start[image + 1]
        dead[: end - start] = 0
        if topk > 0:
            taken[:] = 0
        n = 0
        for i in range(start, end):
            if keep[anchor[i]] == 0:
                continue
            if topk > 0:
                s = scope[i] if len(scope) > 0 else scope_of_anchor[anchor[i]]
                if taken[s] == topk:
                    continue
                taken[s] += 1
            if dead[i - start] != 0:
                continue
            chosen[start + n] = i - start
            n += 1
            if n == cap:
                break
            for e in range(edge_start[i], edge_start[i + 1]):
                dead[edges[e]] = 1
        n_chosen[image] = n


@compiled
def match(
    first, last, n_areas, image_start, chosen, n_chosen, klass, place, slot, in_range, pair_start, pair_truth,
    pair_passed, truth_image_start, real, crowd, n_classes, bits, matched, hit
):  # fmt: skip
    """Match the outputs of each image to its annotated boxes, at all IoU thresholds and area ranges at once.

    Invariant: outputs come best first, as in pycocotools; ``used[g]`` has a bit for each threshold and area range in
    which box g is taken; `open_` has a bit where the output has no match yet. An output takes the real box it
    prefers among those free, else an ignored one; a crowd is never used up.

    Writes, for outputs among the best 100 of their group: in ``bits[area]`` the bit at the candidate's place if its
    area is in the range; and for candidates with pairs, by slot, `matched` (anything matched) and `hit` (a real box).
    """
    everything = (np.int64(1) << (N_THRESHOLDS * n_areas)) - 1
    # The same ten bits for each area range.
    repeat = np.int64(0)
    for area in range(n_areas):
        repeat |= np.int64(1) << (N_THRESHOLDS * area)
    seen = np.zeros(n_classes, np.int64)
    g0 = truth_image_start[first]
    used = np.zeros(truth_image_start[last] - g0, np.int64)
    for image in range(first, last):
        seen[:] = 0
        for j in range(image_start[image], image_start[image] + n_chosen[image]):
            i = image_start[image] + chosen[j]
            p = place[i]
            if p < 0:
                continue
            order = seen[klass[i]]
            seen[klass[i]] = order + 1
            if order >= MAX_DETS[2]:
                continue
            for area in range(n_areas):
                if in_range[i] >> area & 1:
                    bits[area, p >> 6] |= np.uint64(1) << np.uint64(p & 63)
            s = slot[i]
            if s < 0:
                continue
            open_ = everything
            for q in range(pair_start[s], pair_start[s + 1]):
                g = pair_truth[q]
                m = open_ & real[g] & ~used[g - g0] & (((np.int64(1) << pair_passed[q]) - 1) * repeat)
                used[g - g0] |= m
                open_ ^= m
            hit[s] = (everything ^ open_) | (np.int64((order >= MAX_DETS[0]) + (order >= MAX_DETS[1])) << HIT_RANK_BIT)
            if open_ != 0:
                for q in range(pair_start[s], pair_start[s + 1]):
                    g = pair_truth[q]
                    m = open_ & ~real[g] & (((np.int64(1) << pair_passed[q]) - 1) * repeat)
                    if not crowd[g]:
                        m &= ~used[g - g0]
                        used[g - g0] |= m
                    open_ ^= m
            matched[s] = everything ^ open_


@compiled
def accumulate(
    first, last, area, word_start, bits, slot_start, slot_place, slot_in_range, matched, hit, n_real, need, column,
    n_columns, precision, true_positives
):  # fmt: skip
    """Turn the outcomes of each class into its precision at the 101 recalls, for one area range.

    Only true positives raise recall, and between two of them precision falls, so pycocotools' monotone curve is the
    running maximum, from the right, of the precision at true positives. Invariant: at a slot, `before` is the number
    of set bits of the class at places before the slot's, `off` counts those of them that are no false positive at a
    threshold because they matched.

    ``need[class]``: true positives needed for each recall. Writes ``precision[(t * 101 + r) * n_columns + column]``
    and ``true_positives[m, t, class]`` for each m of `MAX_DETS`.
    """
    shift = N_THRESHOLDS * area
    for k in range(first, last):
        if column[k] < 0:
            continue
        curve = np.zeros((N_THRESHOLDS, n_real[k]))
        hits = np.zeros((len(MAX_DETS), N_THRESHOLDS), np.int64)
        found = np.zeros(N_THRESHOLDS, np.int64)
        off = np.zeros(N_THRESHOLDS, np.int64)
        word = word_start[k]
        full_words = 0
        for s in range(slot_start[k], slot_start[k + 1]):
            m = matched[s] >> shift & _THRESHOLD_BITS
            if m == 0:
                continue
            place = slot_place[s]
            while word < place >> 6:
                for part in range(bits.shape[0]):
                    full_words += _popcount(bits[part, area, word])
                word += 1
            before = full_words
            below = (np.uint64(1) << np.uint64(place & 63)) - np.uint64(1)
            for part in range(bits.shape[0]):
                before += _popcount(bits[part, area, word] & below)
            h = hit[s] >> shift & _THRESHOLD_BITS
            rank = hit[s] >> HIT_RANK_BIT
            inside = slot_in_range[s] >> area & 1
            for t in range(N_THRESHOLDS):
                if m >> t & 1 == 0:
                    continue
                if h >> t & 1:
                    found[t] += 1
                    hits[rank, t] += 1
                    tp = float(found[t])
                    curve[t, found[t] - 1] = tp / (float(before - off[t]) + tp + _EPSILON)
                off[t] += inside
        for t in range(N_THRESHOLDS):
            for n in range(found[t] - 2, -1, -1):
                curve[t, n] = max(curve[t, n], curve[t, n + 1])
            for r in range(N_RECALLS):
                n = max(need[k, r], 1)
                value = curve[t, n - 1] if n <= found[t] else 0.0
                precision[(t * N_RECALLS + r) * n_columns + column[k]] = value
            total = 0
            for j in range(len(MAX_DETS)):
                total += hits[j, t]
                true_positives[j, t, k] = total


@compiled
def _popcount(word):
    """Number of set bits of a uint64; LLVM knows the pattern and emits one instruction."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))
