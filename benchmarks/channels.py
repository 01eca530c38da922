"""What channel pruning keeps without training, what it takes, and what it adds to anchor pruning.

`python benchmarks/channels.py` measures `tiny_ssd` on shapes: AP on 200 validation images after each score with and
without the fold, the time of the scores beside that of one epoch of training, the joint frontier of four ratios, and a
fold with a constant term, which the kit does not use.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections import defaultdict
from dataclasses import replace

import numpy as np
import torch
from measuring import clock, grid, human

import anchorkit as ak
from anchorkit.channels import IMPORTANCES, ChannelStatistics, channel_pruning, gather_statistics
from anchorkit.channels.folding import coefficients, oriented_weight
from anchorkit.channels.statistics import batches_of
from anchorkit.detectors import Detector, masked_channels, watch_maps

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


def means_of(statistics: ChannelStatistics, split: ak.datasets.Split) -> dict[str, tuple[np.ndarray, int]]:
    """What each reader gets: the mean of each channel over the images and cells of the statistics, and their number."""
    sums: dict[str, list[torch.Tensor]] = defaultdict(list)
    for batch in batches_of(statistics.detector, split, statistics.images, seed=0):
        watch_maps(
            statistics.channels,
            statistics.detector,
            batch,
            lambda layer, features, _: sums[layer].append(features.double().transpose(0, 1).flatten(1)),
        )
    maps = {layer: torch.cat(parts, 1) for layer, parts in sums.items()}
    return {layer: (each.mean(1).numpy(), each.shape[1]) for layer, each in maps.items()}


def with_constant(
    statistics: ChannelStatistics, keep: dict[str, list[int]], means: dict[str, tuple[np.ndarray, int]]
) -> Detector:
    """The masked detector after a fold of which each gone channel also leaves a constant in the reader's bias."""
    detector = copy.deepcopy(statistics.detector)
    for group in statistics.channels.groups:
        kept = np.array(keep[group.name])
        gone = np.setdiff1d(np.arange(group.atoms), kept)
        for reader in group.readers:
            mean, cells = means[reader.layer]
            weight = oriented_weight(detector, reader.layer)
            covariance = statistics.gram(reader) - cells * np.outer(mean, mean)
            shares = coefficients(covariance, kept, gone)
            cut = weight[:, gone].clone()
            weight[:, kept] += torch.einsum("og...,kg->ok...", cut.double(), torch.from_numpy(shares)).float()
            left = torch.from_numpy(mean[gone] - shares.T @ mean[kept])
            shift = torch.einsum("og,g->o", cut.double().flatten(2).sum(2), left).float()
            layer = detector.module.get_submodule(reader.layer)
            layer.bias = torch.nn.Parameter(shift if layer.bias is None else layer.bias.data + shift)
    return masked_channels(detector, keep, channels=statistics.channels)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("scores", "time", "joint", "constant"), help="one of the parts")
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
    if options.only in (None, "constant"):
        means = means_of(statistics, data.train)
        rows = [("ratio", "importance", "fold", "fold with a constant")]
        for ratio in (0.2, 0.5):
            for name in ("random", "nuclear", "surgeon"):
                done = channel_pruning(detector, statistics, ratio=ratio, importance=name)
                affine = with_constant(statistics, done.keep, means)
                rows.append((f"{ratio}", name, points(done.detector, val), points(affine, val)))
        print(grid(rows), "\n")
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
