"""Compiled loops from outcomes to COCO's precision, for data sets that contain every image as often as its weight says.

`DRAWS` data sets are computed at once: the same few instructions count for all of them, and a detection is fetched once
for all.

When a detection occurs w times in a row with the same outcome, precision rises with every hit, so only the last of w
hits can be part of the monotone curve: w copies cost as much as one. Where several detections of one image tie in
score, all of them come once per copy; these few are written out.
"""

from __future__ import annotations

import numpy as np

from anchorkit.evaluation.loops.compiling import compiled_without_counting, inlined, unsigned
from anchorkit.evaluation.loops.tables import N_RECALLS, RECALLS

DRAWS = 16
"""Data sets computed at once: a cache line holds one number for each of them."""

_EPSILON = float(np.spacing(1))


@compiled_without_counting
def weighted_precision(weights, steps, to_find, n_thresholds, scratch, lines, n_columns):
    """COCO's precision at the 101 recalls in `DRAWS` data sets.

    Args:
        weights: uint16 (I, DRAWS), copies of each image in each data set.
        steps: see `tables.Steps`; its classes are those of `to_find`.
        to_find: see `tables.ToFind`.
        n_thresholds: IoU thresholds.
        scratch: see `tables.WeighingScratch`.
        lines: float64 (DRAWS, thresholds, classes, 101), written: the first ``n_columns[draw]`` classes count.
        n_columns: int64 (DRAWS,), written: classes with a box to be found in each data set.
    """
    for b in range(DRAWS):
        n_columns[b] = 0
    for klass in range(len(to_find.start) - 1):
        _count(to_find.start[klass], to_find.start[klass + 1], to_find.image, weights, scratch.n_real)
        for b in range(DRAWS):
            scratch.column[b] = -1
            if scratch.n_real[b] > 0:
                scratch.column[b] = n_columns[b]
                n_columns[b] += 1
                _needed(scratch.n_real[b], scratch.need[b])
        n = _lay_out(klass, weights, steps, scratch)
        for t in range(n_thresholds):
            n_hits = _curve(t, n, scratch)
            for b in range(DRAWS):
                if scratch.column[b] >= 0:
                    _look_up(b, n_hits, scratch, lines[b, t, scratch.column[b]])


@compiled_without_counting
def spread(lines, n_columns, out):
    """Put the precision of one data set in the order in which pycocotools sums it.

    Args:
        lines: float64 (thresholds, classes, 101).
        n_columns: the classes that count, the first ones.
        out: float64, written: (thresholds, 101, n_columns), flat.
    """
    for t in range(len(lines)):
        base = t * N_RECALLS * n_columns
        # Eight classes at a time fill whole lines of the cache.
        for first in range(0, n_columns, 8):
            last = min(first + 8, n_columns)
            for r in range(N_RECALLS):
                for column in range(first, last):
                    out[unsigned(base + r * n_columns + column)] = lines[t, unsigned(column), unsigned(r)]


@inlined
def _count(begin, end, image, weights, total):
    """Sum the weights of some images."""
    for b in range(DRAWS):
        total[b] = 0
    for i in range(begin, end):
        row = unsigned(image[unsigned(i)])
        for b in range(DRAWS):
            total[b] += weights[row, b]


@inlined
def _needed(n_real, need):
    """Write the true positives needed for each recall, compared as pycocotools compares: floats n / n_real."""
    for r in range(N_RECALLS):
        n = int(np.ceil(RECALLS[r] * n_real))
        while n > 0 and (n - 1) / n_real >= RECALLS[r]:
            n -= 1
        while n / n_real < RECALLS[r]:
            n += 1
        # At recall 0, too, pycocotools uses the first true positive.
        need[r] = max(n, 1)


@inlined
def _lay_out(klass, weights, steps, scratch):
    """Write the detections of a class that matched something, in order, copies of ties written out.

    Of each: its outcome, its copies in each data set, and the number of detections before it.

    Returns:
        How many there are.
    """
    counted = scratch.counted
    for b in range(DRAWS):
        counted[b] = 0
    n = 0
    for step in range(steps.class_step[klass], steps.class_step[klass + 1]):
        for i in range(steps.fill_start[step], steps.fill_start[step + 1]):
            row = unsigned(steps.fill_image[unsigned(i)])
            for b in range(DRAWS):
                counted[b] += weights[row, b]
        begin, end = steps.item_start[step], steps.item_start[step + 1]
        row = unsigned(steps.image[step])
        # A single detection: all copies at once. Ties of an image: one copy of all of them after the other.
        copies = np.int64(1)
        if end - begin > 1:
            for b in range(DRAWS):
                copies = max(copies, np.int64(weights[row, b]))
        for copy in range(copies):
            for item in range(begin, end):
                scratch.hit[n], scratch.off[n] = steps.hit[item], steps.off[item]
                is_counted = np.int32(steps.counted[item])
                for b in range(DRAWS):
                    times = np.int32(weights[row, b])
                    if end - begin > 1:
                        times = np.int32(times > copy)
                    scratch.times[n, b] = times
                    scratch.before[n, b] = counted[b]
                    counted[b] += is_counted * times
                n += 1
    return n


@inlined
def _curve(t, n, scratch):
    """Write the monotone precision-recall curve at threshold t: true positives so far, and precision there or beyond.

    One with no copies in a data set is not higher than the one before it, and no recall ends there.

    Returns:
        How many hits there are.
    """
    right, off = scratch.right, scratch.off_so_far
    for b in range(DRAWS):
        right[b] = 0
        off[b] = 0
    m = 0
    for i in range(n):
        if scratch.hit[i] >> t & 1:
            for b in range(DRAWS):
                right[b] += scratch.times[i, b]
                scratch.found[m, b] = right[b]
                tp = float(right[b])
                scratch.curve[m, b] = tp / (float(scratch.before[i, b] - off[b]) + tp + _EPSILON)
            m += 1
        if scratch.off[i] >> t & 1:
            for b in range(DRAWS):
                off[b] += scratch.times[i, b]
    best = scratch.best
    for b in range(DRAWS):
        best[b] = 0.0
    for i in range(m - 1, -1, -1):
        for b in range(DRAWS):
            best[b] = max(best[b], scratch.curve[i, b])
            scratch.curve[i, b] = best[b]
    return m


@inlined
def _look_up(b, n_hits, scratch, line):
    """Write the precision of one data set at each recall."""
    i = 0
    for r in range(N_RECALLS):
        while i < n_hits and scratch.found[unsigned(i), b] < scratch.need[b, r]:
            i += 1
        line[r] = scratch.curve[unsigned(i), b] if i < n_hits else 0.0
