"""What an incremental evaluator has to read for a child of the full configuration, and how fast memory can be read.

    python benchmarks/floor.py PREDICTIONS TRUTH --one-core

The reckoning knows nothing of the evaluator. It assumes plain flat tables, and counts those cache lines (64 bytes)
of them that hold something about what a child changes:

- starts: for each detection that comes or goes, where its edges begin (4 bytes a row);
- edges: what it suppresses (2 bytes each, in the order of the rows);
- counts: of each suppressed row, how many kept boxes suppress it (2 bytes a row);
- places: where in its class's order of scores the detection stands (4 bytes a row);
- bits: that it is there (1 bit a row in that order);
- matches: of every detection that overlaps an annotated box, in groups where such a one comes or goes, what it matches
  (8 bytes a row that overlaps an annotated box, in the order of places).

Rows stand image by image, best score first. Reading the precision-recall curve is not counted.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numba
import numpy as np
from measuring import clock, pin
from rivals import by_image_and_score, numba_nms

from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.predictions import PredictionTable

LINE = 64
LARGE = 64 * 2**20  # of 8 bytes: 512 MB, more than any cache


@numba.njit(error_model="numpy")
def overlap(a, b):
    """IoU of two boxes x1 y1 x2 y2."""
    common = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


@numba.njit
def count_edges(starts, klass, boxes, iou, n_edges):
    """How many later rows of its image and class each row suppresses."""
    before = np.empty(len(klass), np.int64)
    last = np.empty(klass.max() + 1, np.int64)
    for image in range(len(starts) - 1):
        last[:] = -1
        for row in range(starts[image], starts[image + 1]):
            other = last[klass[row]]
            while other >= 0:
                n_edges[other] += overlap(boxes[other], boxes[row]) > iou
                other = before[other]
            before[row] = last[klass[row]]
            last[klass[row]] = row


@numba.njit
def mark_suppressed(changed, end, klass, boxes, iou, marks):
    """Mark what the changed rows suppress; `end` is the end of each one's image."""
    for j in range(len(changed)):
        row = changed[j]
        for other in range(row + 1, end[j]):
            if klass[other] == klass[row] and overlap(boxes[row], boxes[other]) > iou:
                marks[other] = True


@numba.njit
def find_pairs(starts, klass, boxes, truth_start, truth_class, truth_boxes, paired):
    """Mark the rows that overlap an annotated box of their class by half or more."""
    for image in range(len(starts) - 1):
        for row in range(starts[image], starts[image + 1]):
            for g in range(truth_start[image], truth_start[image + 1]):
                if truth_class[g] == klass[row] and overlap(boxes[row], truth_boxes[g]) >= 0.5:
                    paired[row] = True


@numba.njit
def pick(values, at):
    """Sum some elements."""
    total = 0.0
    for j in range(len(at)):
        total += values[at[j]]
    return total


def lines(offsets: np.ndarray, size: float) -> int:
    """Cache lines that hold the elements at `offsets` of an array of elements of `size` bytes."""
    return len(np.unique((offsets * size).astype(np.int64) // LINE))


def lines_of_ranges(first: np.ndarray, last: np.ndarray, size: int) -> int:
    """Cache lines that hold the elements ``first[i]:last[i]``, ranges that rise and do not overlap."""
    some = last > first
    begin, end = first[some] * size // LINE, (last[some] * size - 1) // LINE
    # A line that one range ends in may be the one that the next begins in.
    return int((end - begin + 1).sum() - (begin[1:] == end[:-1]).sum())


def reckon(table: PredictionTable, truth_path: Path) -> dict[str, Any]:
    """Bytes that a child must read, by kind, on average over the children of the full configuration."""
    truth = read_ground_truth(truth_path)
    order, starts = by_image_and_score(table)
    boxes, iou = table.boxes[order].astype(np.float64), table.postprocess.nms_iou
    # A class that has no annotated box counts for NMS, and has neither bits nor matches.
    ids = np.union1d(truth.category_ids, table.category_id)
    klass = np.searchsorted(ids, table.category_id[order])
    image_of = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    n_edges, paired = np.zeros(len(order), np.int64), np.zeros(len(order), np.bool_)
    count_edges(starts, klass, boxes, iou, n_edges)
    edge_start = np.concatenate(([0], np.cumsum(n_edges)))
    own_images = np.searchsorted(truth.image_ids, table.image_id[order[starts[:-1]]])
    annotated = np.concatenate([truth.boxes[:, :2], truth.boxes[:, :2] + truth.boxes[:, 2:]], axis=1)
    bounds = np.searchsorted(truth.image, np.append(own_images, len(truth.image_ids)))
    truth_class = np.searchsorted(ids, truth.category_ids[truth.category])
    find_pairs(starts, klass, boxes, bounds, truth_class, annotated, paired)
    in_class = np.lexsort((-table.score[order], klass))
    place, slot = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    place[in_class] = np.arange(len(order))
    slot[in_class] = np.cumsum(paired[in_class]) - 1

    nms = numba_nms(table)
    position = np.empty(len(table), np.int64)
    position[order] = np.arange(len(order))
    full = np.zeros(len(order), np.bool_)
    full[position[nms()]] = True
    group = image_of * len(ids) + klass
    parts: dict[str, list[int]] = {name: [] for name in ("starts", "edges", "counts", "places", "bits", "matches")}
    n_changed, n_images = [], []
    for anchor in range(len(table.layout)):
        own = np.zeros(len(order), np.bool_)
        own[position[nms(np.arange(len(table.layout)) != anchor)]] = True
        changed = np.flatnonzero(own != full)
        suppressed = np.zeros(len(order), np.bool_)
        mark_suppressed(changed, starts[image_of[changed] + 1], klass, boxes, iou, suppressed)
        anew = np.isin(group, group[changed[paired[changed]]]) & paired & (own | full)
        parts["starts"].append(lines(changed, 4))
        parts["edges"].append(lines_of_ranges(edge_start[changed], edge_start[changed + 1], 2))
        parts["counts"].append(lines(np.flatnonzero(suppressed), 2))
        parts["places"].append(lines(changed, 4))
        parts["bits"].append(lines(place[changed], 1 / 8))
        parts["matches"].append(lines(slot[anew], 8))
        n_changed.append(len(changed))
        n_images.append(len(np.unique(image_of[changed])))
    sizes = {name: LINE * float(np.mean(counted)) for name, counted in parts.items()}
    return {
        "parts": sizes,
        "bytes": sum(sizes.values()),
        "changed": float(np.mean(n_changed)),
        "images": float(np.mean(n_images)),
    }


def memory_speed() -> dict[str, float]:
    """Bytes a second: of a large array read in one piece, and of lines picked out of it in order, one in eight."""
    values = np.ones(LARGE)
    in_one_piece = min(clock(values.sum)[0] for _ in range(5))
    per_line = LINE // values.itemsize
    at = np.sort(np.random.default_rng(0).choice(LARGE // per_line, LARGE // per_line // 8, replace=False)) * per_line
    pick(values, at[:1])
    picking = min(clock(lambda: pick(values, at))[0] for _ in range(5))
    return {"bandwidth": values.nbytes / in_one_piece, "picking": LINE * len(at) / picking}


def main() -> None:
    """Reckon, measure, and print the answer as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--one-core", action="store_true", help="keep to one core")
    options = parser.parse_args()
    if options.one_core:
        pin()
    print(json.dumps({**memory_speed(), **reckon(PredictionTable.load(options.predictions), options.truth)}))


if __name__ == "__main__":
    main()
