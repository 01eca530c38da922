"""What the evaluator takes for each kind of question, in a process of its own.

    python benchmarks/ours.py answers PREDICTIONS TRUTH --threads 1 --one-core
    python benchmarks/ours.py memory PREDICTIONS TRUTH
    python benchmarks/ours.py search PREDICTIONS TRUTH --loss 0.02

The evaluator remembers accuracies, so no configuration is asked twice: `families` gives parents without a child in
common.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from coco_scale import generate
from measuring import clock, each, pin

import anchorkit as ak
from anchorkit.anchors import Configuration, Move, moves
from anchorkit.evaluation import Evaluator, building
from anchorkit.predictions import PredictionTable


class EnoughError(Exception):
    """Ends a search that has tried as many configurations as were asked for."""


class Counting:
    """An evaluator for a search, which ends it after `most` configurations."""

    def __init__(self, evaluator: Evaluator, most: int) -> None:
        self._evaluator = evaluator
        self.left = most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._evaluator, name)

    def children(self, c: Configuration, m: list[Move]) -> np.ndarray:
        """As the evaluator's, until there have been enough."""
        if self.left <= 0:
            raise EnoughError
        self.left -= len(m)
        return self._evaluator.children(c, m)


def families(evaluator: Evaluator) -> Iterator[Configuration]:
    """Parents that share no child: the full configuration, and it without two anchors, no anchor being in two pairs."""
    yield evaluator.full
    order = np.random.default_rng(0).permutation(len(evaluator.layout)).tolist()
    for a, b in zip(order[::2], order[1::2], strict=False):
        yield evaluator.full.without([a, b])


def warm_up(threads: int) -> None:
    """Have everything imported and compiled: ask every kind of question of two images."""
    table, truth = generate(2)
    with tempfile.TemporaryDirectory() as folder:
        table.save(Path(folder) / "two.parquet")
        evaluator = Evaluator(PredictionTable.load(Path(folder) / "two.parquet"), truth, threads=threads)
    own = moves(evaluator.full)
    evaluator.children(evaluator.full, own), evaluator.children_stats(evaluator.full, own)
    evaluator.with_postprocess(nms_iou=0.6).detections(evaluator.full)


def memory(predictions: Path, truth: Path, threads: int) -> dict[str, Any]:
    """Bytes of memory at most, after each step: what the imports take, the table, the evaluator, its answers."""
    found = {"imports": peak()}
    table = PredictionTable.load(predictions)
    found["loaded"] = peak()
    evaluator = Evaluator(table, truth, threads=threads)
    evaluator.accuracy(evaluator.full)
    found["built"] = peak()
    evaluator.children(evaluator.full, moves(evaluator.full))
    found["asked children"] = peak()
    evaluator.stats(evaluator.full)
    found["asked all figures"] = peak()
    return found


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux's getrusage would count what the parent held when it made this process.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def answers(predictions: Path, truth: Path, threads: int, repeats: int) -> dict[str, Any]:
    """Seconds of every kind of question, each a list of repeats; and the answers that rivals are compared with.

    Tables are loaded and evaluators built `repeats` times, and questions asked of five times as many families or
    subsets.
    """
    warm_up(threads)
    found: dict[str, Any] = {"load": [], "build": []}
    for _ in range(repeats):
        seconds, table = clock(lambda: PredictionTable.load(predictions))
        found["load"].append(seconds)
        seconds, evaluator = clock(lambda table=table: Evaluator(table, truth, threads=threads))
        found["build"].append(seconds)
        found.setdefault("first accuracy", []).append(clock(lambda e=evaluator: e.accuracy(e.full))[0])
    full = evaluator.full
    found |= {"stats": evaluator.stats(full), "detections": len(evaluator.detections(full)), "rows": len(table)}
    found |= {"memory": sum(evaluator.memory.values()), **left(evaluator)}
    found["accuracy"] = evaluator.accuracy(full)

    every = list(families(evaluator))[: 5 * repeats]
    children, figures = [], []
    # The last family makes room for what children change; its time does not count.
    for number, parent in enumerate([every[-1], *every[:-1]]):
        own = moves(parent)
        evaluator.accuracy(parent)
        children += each([partial(evaluator.children, parent, own)], per=len(own))[not number :]
        evaluator.stats(parent)
        figures += each([partial(evaluator.children_stats, parent, own)], per=len(own))[not number :]
    found |= {"child": children, "stats of a child": figures}

    if threads == 1:  # the profiler sees its own thread alone
        found["where"] = where_time_goes(evaluator)

    random = np.random.default_rng(1)
    n = len(evaluator.layout)
    halves = [random.choice(n, n // 2, replace=False).tolist() for _ in range(5 * repeats)]
    found["subset"] = each(partial(evaluator.accuracy, half) for half in halves)
    seconds, other = clock(lambda: evaluator.with_postprocess(nms_iou=0.6))
    found["other NMS"] = [seconds]
    found["other NMS, first accuracy"] = [clock(lambda: other.accuracy(full))[0]]
    seconds, other = clock(lambda: evaluator.with_postprocess(max_detections=100))
    found["other cap"] = [seconds]
    found["other cap, first accuracy"] = [clock(lambda: other.accuracy(full))[0]]
    return found


def left(evaluator: Evaluator) -> dict[str, int]:
    """How many rows and suppressions the tables have."""
    tables = evaluator._index
    bits = [np.bitwise_count(words).sum() for words in (tables.suppressions.own, tables.suppressions.mask)]
    return {"rows left": len(tables.rows), "suppressions": int(sum(bits))}


def where_time_goes(evaluator: Evaluator) -> dict[str, float]:
    """Shares of the time of `children` by function, compiled loops counting for who calls them."""
    # Three anchors away: none of these children has been asked.
    parent = evaluator.full.without(np.random.default_rng(2).choice(len(evaluator.layout), 3, replace=False).tolist())
    evaluator.accuracy(parent)
    profile = cProfile.Profile()
    profile.runcall(evaluator.children, parent, moves(parent))
    stats = pstats.Stats(profile)
    own: dict[str, float] = {}
    for (file, _, name), (_, _, seconds, _, _) in stats.stats.items():
        place = "numpy and Python themselves" if file == "~" else f"{Path(file).stem}.{name}"
        own[place] = own.get(place, 0) + seconds / stats.total_tt
    return dict(sorted(own.items(), key=lambda item: -item[1])[:6])


def verify(predictions: Path, truth: Path, threads: int, n: int) -> dict[str, Any]:
    """The largest difference to numpy NMS and pycocotools over some configurations, the full one among them."""
    evaluator = Evaluator(PredictionTable.load(predictions), truth, threads=threads)
    return {"configurations": n, "largest difference": evaluator.verify(n)}


def search(predictions: Path, truth: Path, threads: int, loss: float, most: int) -> dict[str, Any]:
    """A whole Algorithm 1 search by head FLOPs, with its bookkeeping and a ledger on disk."""
    evaluator = Evaluator(PredictionTable.load(predictions), truth, threads=threads)
    threshold = evaluator.accuracy(evaluator.full) - loss
    counting = Counting(evaluator, most)
    whole = True
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        try:
            result = ak.search(
                counting, cost="head_flops", threshold=threshold, ledger=Path(folder) / "ledger", progress=False
            )
        except EnoughError:
            whole = False
        seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "configurations": len(result.evaluated) if whole else most - counting.left,
        "whole": whole,
        "loss": loss,
        "frontier": len(result.frontier) if whole else None,
    }


def main() -> None:
    """Measure one thing and print the answer as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("answers", "memory", "search", "verify"))
    parser.add_argument("predictions", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loss", type=float, default=0.02, help="of AP, that the search accepts")
    parser.add_argument("--most", type=int, default=20_000, help="configurations after which the search is ended")
    parser.add_argument("--one-core", action="store_true", help="keep to one core")
    parser.add_argument("--keep-all", action="store_true", help="leave no rows and suppressions out of the tables")
    options = parser.parse_args()
    if options.one_core:
        pin()
    if options.keep_all:
        building.MOST_REDUCED = -1
    arguments = (options.predictions, options.truth, options.threads)
    if options.what == "search":
        found = search(*arguments, options.loss, options.most)
    elif options.what == "answers":
        found = answers(*arguments, options.repeats)
    elif options.what == "verify":
        found = verify(*arguments, options.repeats)
    else:
        found = memory(*arguments)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
