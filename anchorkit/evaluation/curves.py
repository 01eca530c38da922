# mypy: allow-untyped-defs, allow-untyped-calls
"""Compiled loops from outcomes to figures: one pass over the detections that matched, class by class.

A *board* shows the detections of one configuration: a bit for each place that is a detection, and the outcomes by
position, with a bit for each that is not 0. Only true positives raise recall, and between two of them precision falls:
so a precision-recall curve is all in the detections that matched, and of the others only their number counts.
"""

from __future__ import annotations

import numpy as np

from anchorkit.evaluation.compiling import (
    bit_at,
    compiled,
    compiled_without_counting,
    inlined,
    lowest_bit,
    popcount,
    position,
    unsigned,
)
from anchorkit.evaluation.matching import HIT, RANK
from anchorkit.evaluation.tables import N_RECALLS, PLACE, PLACE_BITS

_EPSILON = float(np.spacing(1))
_ALL_THRESHOLDS = np.uint64(2**31 - 1)


@compiled
def flip(n_flips, flips, bits):
    """Flip the bits of places (see `tables.Matching.place`) in the area ranges of their boxes. Twice is as if never."""
    if len(bits) == 1:
        for j in range(n_flips):
            place = flips[j] & PLACE
            bits[0, place >> 6] ^= bit_at(place)
        return
    for j in range(n_flips):
        place = flips[j] & PLACE
        bits[0, place >> 6] ^= bit_at(place)
        for area in range(1, len(bits)):
            if flips[j] >> (PLACE_BITS + area - 1) & 1:
                bits[area, place >> 6] ^= bit_at(place)


@compiled
def exchange(n_changes, change_at, change_to, outcome, active):
    """Exchange outcomes with those of the events. Twice is as if never. `active` has a bit for each that is not 0."""
    for j in range(n_changes):
        at, new = change_at[j], change_to[j]
        old = outcome[at]
        outcome[at], change_to[j] = new, old
        if (old == 0) != (new == 0):
            active[at >> 6] ^= bit_at(at)


@compiled_without_counting
def coco_precision(area, n_thresholds, board, classes, track, precision, n_found, n_early):
    """COCO's precision at the 101 recalls.

    pycocotools' monotone curve is the running maximum, from the right, of tp / (fp + tp + eps) at true positives; a
    recall looks up the first true positive that reaches it.

    For classes with boxes to be found, writes ``precision[t, r, column]``; ``n_found[t, column]``, how many boxes are
    found; and ``n_early[m, t, column]``, how many by detections with m of the `Rules.ranks` or fewer before them in
    their group.
    """
    for klass in range(classes.n_real.shape[1]):
        column = classes.column[area, klass]
        if column < 0:
            continue
        n = _collect(klass, area, board, classes, track)
        _count_early(n, n_thresholds, track, n_early[:, :, column])
        need_of = classes.need[area, klass]
        for t in range(n_thresholds):
            found = _false_positives(t, n, track)
            n_found[t, column] = found
            for i in range(found):
                tp = float(i + 1)
                track.curve[i] = tp / (track.curve[i] + tp + _EPSILON)
            best = 0.0
            for i in range(found - 1, -1, -1):
                best = max(best, track.curve[i])
                track.curve[i] = best
            for r in range(N_RECALLS):
                need = need_of[r]
                track.line[r] = track.curve[unsigned(need - 1)] if need <= found else 0.0
            for r in range(N_RECALLS):
                precision[t, r, column] = track.line[r]


@compiled_without_counting
def voc_precision(start, board, classes, track, precision, found):
    """Pascal VOC's monotone precision-recall curve of each class, at the first IoU threshold.

    Writes ``precision[start[class] + i]``, the best precision at true positive i or beyond (tp / (tp + fp)), for i
    below ``found[class]``.
    """
    for klass in range(classes.n_real.shape[1]):
        found[klass] = 0
        if classes.column[0, klass] < 0:
            continue
        found[klass] = _false_positives(0, _collect(klass, 0, board, classes, track), track)
        best = 0.0
        for i in range(found[klass] - 1, -1, -1):
            tp = float(i + 1)
            best = max(best, tp / (tp + track.curve[i]))
            precision[start[klass] + i] = best


@compiled_without_counting
def outcomes_before(ends, t, board, classes, track):
    """True and false positives at IoU threshold t among the detections at places before ``ends[class]``, all classes.

    Returns:
        Both counts.
    """
    right, wrong = 0, 0
    for klass in range(classes.n_real.shape[1]):
        for word in range(classes.place_word[klass], (ends[klass] + 63) >> 6):
            bits = board.bits[0, word]
            if 64 * word + 64 > ends[klass]:
                bits &= bit_at(ends[klass]) - np.uint64(1)
            wrong += popcount(bits)
        for j in range(_collect(klass, 0, board, classes, track)):
            if track.place[j] < ends[klass]:
                right += track.hit[j] >> t & 1
                wrong -= track.off[j] >> t & 1
    return right, wrong


@inlined
def _collect(klass, area, board, classes, track):
    """Write down the detections of a class that matched anything, best first, and return how many there are.

    Of each: its place; how many detections of the class (in the area range) come before it; the IoU thresholds at which
    it hit a box to be found; those at which it is no false positive though it is counted among the detections.
    """
    n_positions = len(classes.place)
    bits = board.bits[area]
    word = classes.place_word[klass]
    counted, n = 0, 0
    for w in range(classes.position_word[klass], classes.position_word[klass + 1]):
        waiting = board.active[area * (n_positions >> 6) + w]
        while waiting != 0:
            bit = lowest_bit(waiting)
            waiting ^= bit
            at = 64 * w + position(bit)
            place = np.int64(classes.place[unsigned(at)])
            while word < place >> 6:
                counted += popcount(bits[unsigned(word)])
                word += 1
            outcome = board.outcome[unsigned(area * n_positions + at)]
            track.place[n] = place
            track.before[n] = counted + popcount(bits[unsigned(word)] & (bit_at(place) - np.uint64(1)))
            track.hit[n] = np.int64(outcome >> HIT & _ALL_THRESHOLDS)
            track.off[n] = np.int64(outcome & _ALL_THRESHOLDS)
            track.rank[n] = np.int64(outcome >> RANK)
            n += 1
    return n


@inlined
def _false_positives(t, n, track):
    """Write the number of false positives before each true positive at threshold t to `curve`; return how many."""
    found, off = 0, 0
    for j in range(n):
        track.curve[unsigned(found)] = track.before[j] - off
        found += track.hit[j] >> t & 1
        off += track.off[j] >> t & 1
    return found


@inlined
def _count_early(n, n_thresholds, track, n_early):
    """Count the true positives of a class by rank and threshold, see `coco_precision`."""
    if len(n_early) == 0:
        return
    for m in range(len(n_early)):
        for t in range(n_thresholds):
            n_early[m, t] = 0
    for j in range(n):
        for m in range(track.rank[j], len(n_early)):
            for t in range(n_thresholds):
                n_early[m, t] += track.hit[j] >> t & 1
