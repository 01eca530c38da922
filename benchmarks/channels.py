"""What channel pruning keeps without training, what it takes, and what it adds to anchor pruning.

`python benchmarks/channels.py` measures `tiny_ssd` on shapes: AP on 200 validation images after each score with and
without the fold, the time of the scores beside that of one epoch of training, and the joint frontier of four ratios.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

from measuring import clock, grid, human

import anchorkit as ak
from anchorkit.channels import IMPORTANCES, channel_pruning, gather_statistics
from anchorkit.detectors import Detector

RATIOS = (0.05, 0.1, 0.2, 0.35)
LOSSES = (0.005, 0.01, 0.02, 0.04, 0.06)
TRAINED_ON = 256


def evaluator_of(detector: Detector, split: ak.datasets.Split) -> ak.Evaluator:
    """Of a detector's raw predictions on a split."""
    return ak.Evaluator(ak.collect_predictions(detector, split, progress=False), split.ground_truth)


def points(detector: Detector, split: ak.datasets.Split) -> str:
    """AP in points."""
    evaluator = evaluator_of(detector, split)
    return f"{100 * evaluator.accuracy(evaluator.full):.1f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("scores", "time", "joint"), help="one of the three parts")
    parser.add_argument("--importance", default="surgeon", choices=sorted(IMPORTANCES), help="of the joint search")
    options = parser.parse_args()
    data = ak.load_dataset("shapes", progress=False)
    val = data.val.subset(200)
    detector = ak.load_detector("tiny_ssd", weights="shapes")
    if options.only in (None, "time"):
        part = replace(data, train=data.train.subset(TRAINED_ON), val=data.val.subset(2))
        trained = ak.load_detector("tiny_ssd", weights="shapes")
        both = []
        for _ in range(2):  # by turns; the second time everything is loaded
            scoring, _ = clock(lambda: gather_statistics(detector, data.train, images=64))
            epoch, _ = clock(lambda: ak.fit(trained, part, "tiny-finetune", epochs=1, progress=False))
            both.append((scoring, epoch * len(data.train) / TRAINED_ON))
        scoring, epoch = both[-1]
        print(f"scores from 64 images {human(scoring)}, one epoch of training {human(epoch)}: {scoring / epoch:.3f}\n")
    statistics = gather_statistics(detector, data.train, images=64)
    if options.only in (None, "scores"):
        rows = [("ratio", "importance", "cut alone", "with fold", "scoring and cutting")]
        for ratio in (0.2, 0.5):
            for name in ("random", "l1", "bn_scale", "nuclear", "surgeon"):
                plain = channel_pruning(detector, statistics, ratio=ratio, importance=name, fold=False)
                seconds, folded = clock(lambda: channel_pruning(detector, statistics, ratio=ratio, importance=name))  # noqa: B023
                found = (points(plain.detector, val), points(folded.detector, val))
                rows.append((f"{ratio}", name, *found, human(seconds)))
        print(grid(rows), f"\nwhole: {points(detector, val)}\n")
    if options.only in (None, "joint"):
        start = time.perf_counter()
        slim = [
            (ratio, ak.prune_channels(detector, statistics, ratio=ratio, importance=options.importance, progress=False))
            for ratio in RATIOS
        ]
        pairs = [(0.0, evaluator_of(detector, val)), *((ratio, evaluator_of(small, val)) for ratio, small in slim)]
        full = float(pairs[0][1].accuracy(pairs[0][1].full))
        both_ways = ak.joint_search(pairs, "total_flops", threshold=full - max(LOSSES) - 1e-9, progress=False)
        whole = both_ways.results[0]
        rows = [("loss, points", "anchors alone, M", "channels alone, M", "joint, M", "ratio", "anchors kept")]
        for loss in LOSSES:
            chosen = both_ways.cheapest(max_loss=loss)
            alone = float(whole.row(whole.cheapest(max_loss=loss))["total_flops"])
            # The first row of each search is the detector with all its anchors.
            channels = min(
                float(found.baseline["total_flops"])
                for found in both_ways.results
                if found.baseline["accuracy"] >= full - loss
            )
            costs = (f"{cost / 1e6:.1f}" for cost in (alone, channels, chosen.cost))
            rows.append((f"{100 * loss:g}", *costs, f"{chosen.channels:g}", str(len(chosen.configuration))))
        print(grid(rows))
        tried = len(both_ways.evaluated)
        print(f"{tried:,} configurations in {human(time.perf_counter() - start)}, {options.importance} with fold")


if __name__ == "__main__":
    main()
