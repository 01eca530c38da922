"""Compiled loops from outcomes to figures: one pass over the detections that matched, class by class.

A `tables.Bitmap` has the detections of one configuration: a bit for each place that is a detection, and a list of those
that matched. Only true positives raise recall, and between two of them precision falls. So the detections that matched
determine the precision-recall curve; of the others only the number counts.
"""

from __future__ import annotations

import numpy as np

from anchorkit.evaluation.loops.compiling import (
    bit_at,
    compiled,
    compiled_without_counting,
    inlined,
    popcount,
    unsigned,
)
from anchorkit.evaluation.loops.matching import HIT, RANK
from anchorkit.evaluation.loops.tables import N_RECALLS, PLACE, PLACE_BITS

CLASSES_AT_ONCE = 8
"""How many classes are written to the precision together: as many as share a line of the processor's cache."""

_EPSILON = float(np.spacing(1))
_ONE = np.uint32(1)
_ALL_THRESHOLDS = np.uint64(2**31 - 1)


@compiled
def flip(n_flips, flips, bits):
    """Flip the bits of places (see `tables.Matching.place`) in their boxes' area ranges."""
    for j in range(n_flips):
        place = flips[j] & PLACE
        # Places outside the first area range, which only absurd boxes exceed, never come here.
        bits[0, place >> 6] ^= bit_at(place)
        for area in range(1, len(bits)):
            if flips[j] >> (PLACE_BITS + area) & 1:
                bits[area, place >> 6] ^= bit_at(place)


@compiled_without_counting
def coco_precision(area, n_thresholds, bitmap, classes, scratch, precision, n_found, n_early):
    """COCO's precision at the 101 recalls.

    pycocotools' monotone curve is the running maximum, from the right, of tp / (fp + tp + eps) at true positives; a
    recall looks up the first true positive that reaches it.

    For classes with boxes to be found, writes ``precision[t, r, column]``; ``n_found[t, column]``, how many boxes are
    found; and ``n_early[m, t, column]``, how many by detections with m of the `Rules.ranks` or fewer before them in
    their group.
    """
    rows, filled = precision.reshape((n_thresholds * N_RECALLS, precision.shape[2])), 0
    for klass in range(classes.n_real.shape[1]):
        column = classes.column[area, klass]
        if column < 0:
            continue
        n = _collect(klass, area, bitmap, classes, scratch)
        _count_early(n, n_thresholds, scratch, n_early[:, :, column])
        need_of, line = classes.need[area, klass], scratch.lines[filled]
        for t in range(n_thresholds):
            found = _false_positives(t, n, scratch)
            n_found[t, column] = found
            for i in range(found):
                tp = float(i + 1)
                scratch.curve[i] = tp / (scratch.wrong[i] + tp + _EPSILON)
            best = 0.0
            for i in range(found - 1, -1, -1):
                best = max(best, scratch.curve[i])
                scratch.curve[i] = best
            for r in range(N_RECALLS):
                need = need_of[r]
                line[unsigned(t * N_RECALLS + r)] = scratch.curve[unsigned(need - 1)] if need <= found else 0.0
        filled += 1
        if filled == CLASSES_AT_ONCE or column + 1 == precision.shape[2]:
            first = column + 1 - filled
            for row in range(len(rows)):
                for k in range(filled):
                    rows[row, unsigned(first + k)] = scratch.lines[unsigned(k), row]
            filled = 0


@compiled_without_counting
def voc_precision(start, bitmap, classes, scratch, precision, found):
    """Pascal VOC's monotone precision-recall curve of each class, at the first IoU threshold.

    Writes ``precision[start[class] + i]``, the best precision at true positive i or beyond (tp / (tp + fp)), for i
    below ``found[class]``.
    """
    for klass in range(classes.n_real.shape[1]):
        found[klass] = 0
        if classes.column[0, klass] < 0:
            continue
        found[klass] = _false_positives(0, _collect(klass, 0, bitmap, classes, scratch), scratch)
        best = 0.0
        for i in range(found[klass] - 1, -1, -1):
            tp = float(i + 1)
            best = max(best, tp / (tp + scratch.wrong[i]))
            precision[start[klass] + i] = best


@compiled_without_counting
def outcomes_before(ends, t, bitmap, classes, scratch):
    """True and false positives at IoU threshold t among the detections at places before ``ends[class]``, all classes.

    Returns:
        Both counts.
    """
    right, wrong = 0, 0
    for klass in range(classes.n_real.shape[1]):
        for word in range(classes.place_word[klass], (ends[klass] + 63) >> 6):
            bits = bitmap.bits[0, word]
            if 64 * word + 64 > ends[klass]:
                bits &= bit_at(ends[klass]) - np.uint64(1)
            wrong += popcount(bits)
        for j in range(_collect(klass, 0, bitmap, classes, scratch)):
            if scratch.place[j] < ends[klass]:
                right += scratch.hit[j] >> t & 1
                wrong -= scratch.off[j] >> t & 1
    return right, wrong


@inlined
def _collect(klass, area, bitmap, classes, scratch):
    """Write down the detections of a class that matched anything, best first, and return how many there are.

    Of each: its place; how many detections of the class (in the area range) come before it; the IoU thresholds at which
    it hit a box to be found; those at which it is no false positive though it is counted among the detections.
    Invariant: `i` and `j` are the first entries of the two lists that have not come up.
    """
    bits = bitmap.bits[area]
    word = classes.place_word[klass]
    first, end = area << 32 | 64 * word, area << 32 | 64 * classes.place_word[klass + 1]
    i, j = _first_from(first, bitmap.at), _first_from(first, bitmap.new_at)
    counted, n = 0, 0
    while True:
        old = bitmap.at[unsigned(i)] if i < len(bitmap.at) else end
        new = bitmap.new_at[unsigned(j)] if j < len(bitmap.new_at) else end
        at = min(old, new)
        if at >= end:
            return n
        if new == at:
            outcome = bitmap.new_outcome[unsigned(j)]
            j += 1
        else:
            outcome = bitmap.outcome[unsigned(i)]
        i += old == at
        if outcome == 0:
            continue
        place = at & np.int64(PLACE)
        while word < place >> 6:
            counted += popcount(bits[unsigned(word)])
            word += 1
        scratch.place[unsigned(n)] = place
        scratch.before[unsigned(n)] = counted + popcount(bits[unsigned(word)] & (bit_at(place) - np.uint64(1)))
        scratch.hit[unsigned(n)] = np.uint32(outcome >> HIT & _ALL_THRESHOLDS)
        scratch.off[unsigned(n)] = np.uint32(outcome & _ALL_THRESHOLDS)
        scratch.rank[unsigned(n)] = np.uint32(outcome >> RANK)
        n += 1


@inlined
def _first_from(value, rising):
    """The first index at which a rising array has the value or more."""
    low, high = 0, len(rising)
    while low < high:
        middle = (low + high) >> 1
        if rising[unsigned(middle)] < value:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def _false_positives(t, n, scratch):
    """Write the number of false positives before each true positive at threshold t to `wrong`; return how many."""
    found, off, threshold = 0, 0, np.uint32(t)
    for j in range(n):
        scratch.wrong[unsigned(found)] = scratch.before[j] - off
        found += int(scratch.hit[j] >> threshold & _ONE)
        off += int(scratch.off[j] >> threshold & _ONE)
    return found


@inlined
def _count_early(n, n_thresholds, scratch, n_early):
    """Count the true positives of a class by rank and threshold, see `coco_precision`."""
    if len(n_early) == 0:
        return
    for m in range(len(n_early)):
        for t in range(n_thresholds):
            n_early[m, t] = 0
    for j in range(n):
        for m in range(scratch.rank[j], len(n_early)):
            for t in range(n_thresholds):
                n_early[m, t] += scratch.hit[j] >> t & 1
