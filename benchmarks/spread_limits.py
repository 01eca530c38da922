"""What limits a search that is spread over workers, part by part: for the estimate in docs/cluster.md.

    python benchmarks/spread_limits.py

Processor seconds, and the most memory held. Nothing is spread here; `spread.py` does that.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import coco_scale
import numpy as np
from measuring import machine, run
from spread import memory

import anchorkit as ak
from anchorkit.cluster import shards
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.evaluation.loops import curves

PARTS = ("thresholds", "truth", "numbering", "board")
CLASSES, SHARDS = 80, 4


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(globals()[sys.argv[1]]()))
        return
    print(json.dumps(machine()), "\n")
    for part in PARTS:  # each in a process of its own, as memory is told by its highest mark
        print("\n".join(run("spread_limits", part)))


def thresholds() -> list[str]:
    """How many predictions a score threshold leaves, and what it costs."""
    made = coco_scale.files(5000)
    table = ak.PredictionTable.load(made.predictions)
    evaluator = ak.Evaluator(table, str(made.truth))
    said = []
    for least in (0.02, 0.05, 0.08, 0.1, 0.15):
        accuracy = evaluator.with_postprocess(score_threshold=least).accuracy(evaluator.layout.full)
        said.append(
            f"above {least:g}: {(table.score > least).sum() / 5000:.0f} predictions an image, AP {accuracy:.4f}"
        )
    return said


def truth() -> list[str]:
    """Reading annotated boxes from COCO's JSON."""
    made = coco_scale.files(20_000)
    before = memory()
    seconds = _processor(lambda: read_ground_truth(str(made.truth)))
    held = memory() - before
    boxes = len(read_ground_truth(str(made.truth)).area)
    return [f"reading {boxes:,} boxes: {1e6 * seconds / boxes:.1f} us and {held / boxes:.0f} bytes each"]


def numbering() -> list[str]:
    """Numbering the predictions of all shards, each sorted, on one worker."""
    random = np.random.default_rng(0)
    counts = np.full((SHARDS, CLASSES), 18_000_000 // (SHARDS * CLASSES))
    falling = [np.concatenate([np.sort(random.integers(0, 2**30, n).astype(np.uint32)) for n in row]) for row in counts]
    before = memory()
    seconds = _processor(lambda: shards.number(counts, *falling))
    return [
        f"numbering 18 M predictions: {seconds:.2f} s, {(memory() - before) / 18e6:.1f} bytes each beside the scores"
    ]


def board() -> list[str]:
    """Putting events on a board, of the size for 20,000 images and of the largest."""
    random = np.random.default_rng(0)
    said = []
    for places in (18_000_000, 268_000_000):
        bits = np.zeros((1, places // 64 + 1), np.uint64)
        flips = random.integers(0, places, places // 200).astype(np.uint32) | np.uint32(1 << 28)
        curves.flip(10, flips, bits)
        best = min(_processor(lambda flips=flips, bits=bits: curves.flip(len(flips), flips, bits)) for _ in range(5))
        said.append(f"an event on a board of {places / 1e6:.0f} M places: {1e9 * best / len(flips):.1f} ns")
    return said


def _processor(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
