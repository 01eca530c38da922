"""Channel pruning of every family: what is coupled, and what each step takes.

`python benchmarks/channel_families.py` prints a row per family: groups, parameters before and after 30 % of every
group, the processor time (one thread) of the pass, of the statistics and scores of 64 images and of the cut, how far
the cut network is from the masked one, and the most memory that its process held. `--latency` times the networks of cut
detectors in onnxruntime instead, interleaved with the whole one.
"""

from __future__ import annotations

import argparse
import json
import resource
from typing import Any

import numpy as np
import torch
from measuring import busy, grid, human, run

import anchorkit as ak
from anchorkit.channels import gather_statistics, prune_channels, refresh_norms
from anchorkit.channels.choosing import keep_by_quantiles
from anchorkit.detectors import Detector, cut_channels, masked_channels

FAMILIES = {  # with the input size at which torch can run 64 images on a CPU in a minute or two
    "tiny_ssd": None,
    "tiny_retinanet": None,
    "ssd300_vgg16": None,
    "ssdlite320_mobilenet_v3_large": None,
    "ssdlite300_mobilenet_v2": None,
    "retinanet_resnet50_fpn": (320, 320),
    "retinanet_resnet50_fpn_v2": (320, 320),
    "efficientdet_d0": None,
    "fasterrcnn_mobilenet_v3_large_320_fpn": (320, 320),
    "fasterrcnn_resnet50_fpn": (320, 320),
}
CLASSES, RATIO = 5, 0.3
TIMED = ("tiny_ssd", "ssdlite320_mobilenet_v3_large")
RATIOS = (0.2, 0.3, 0.5)
PUBLISHED = {
    "trunk 1 + trunk 2 + trunk 4 + trunk 8": 0.18,
    "trunk 16": 0.50,
    "trunk 32": 0.97,
    "pyramid 8 + pyramid 16 + pyramid 32": 0.865,
    "aggregation 16 + aggregation 32": 0.68,
}
"""The quantiles of Chu et al. for YOLOv4; they report 64.7 % fewer parameters and 34.9 % fewer multiply-adds."""


def data_of(images: int) -> ak.datasets.Dataset:
    """Images of shapes."""
    return ak.load_dataset("shapes", train=images, val=images, test=1, progress=False)


def measure(name: str, size: tuple[int, int] | None, images: int) -> dict[str, object]:
    """One row, in this process."""
    torch.set_num_threads(1)
    data = data_of(images)
    detector = ak.load_detector(name, categories=CLASSES, size=size, seed=0)
    if any(isinstance(layer, torch.nn.BatchNorm2d) for layer in detector.module.modules()):
        detector = refresh_norms(detector, data.train, 16)  # with those of fresh weights, a deep map is all zeros
    following, channels = min((busy(lambda: ak.coupled_channels(detector)) for _ in range(2)), key=lambda done: done[0])
    scoring, _ = busy(lambda: gather_statistics(detector, data.train, images, channels=channels))
    keep = {group.name: range(int(RATIO * group.atoms), group.atoms) for group in channels.groups}
    cutting, small = busy(lambda: cut_channels(detector, keep, channels=channels))
    return {
        "size": "{}x{}".format(*detector.layout.input_size),
        "groups": len(channels.groups),
        "parameters": [detector.parameters, small.parameters],
        "seconds": [following, scoring, cutting],
        "apart": _apart(small, masked_channels(detector, keep, channels=channels)),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


@torch.no_grad()
def _apart(small: Detector, masked: Detector) -> float:
    """The largest difference of what two networks say, relative to what the second says."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, *small.layout.input_size, generator=generator)
    ours, theirs = (detector.channel_network().eval()(image) for detector in (small, masked))
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True))


def families(names: list[str], images: int) -> None:
    """Print a row per family, each measured in a process of its own."""
    heads = ("family", "input", "groups", "parameters", f"{RATIO:.0%} fewer", "pass", f"{images} images", "cut")
    rows = [(*heads, "cut - masked", "memory")]
    for name in names:
        row = run("channel_families", "--family", name, "--images", str(images))
        parameters, seconds = (f"{count:,}" for count in row["parameters"]), map(human, row["seconds"])
        memory = "{:,.0f} MB".format(row["memory"])
        rows.append((name, row["size"], str(row["groups"]), *parameters, *seconds, f"{row['apart']:.0e}", memory))
    print(grid(rows))


def latency(names: list[str], repeats: int) -> None:
    """Print how long the networks of cut detectors take in onnxruntime, as a share of the whole one's."""
    data = data_of(32)
    images = [data.val.image(image_id) for image_id in data.val.image_ids]
    rows = [("family", "ratio", "widths", "multiply-adds", "network", "95 %")]
    for name in names:
        shipped = {"weights": "shapes"} if name == "tiny_ssd" else {"categories": CLASSES, "seed": 0}
        detector = ak.load_detector(name, **shipped)
        statistics = gather_statistics(detector, data.train, 8, nuclear=False)
        detectors, facts = {"whole": detector}, {}
        for ratio in RATIOS:
            for widths, multiple in (("free", 1), ("multiples of 8", 8), ("multiples of 16", 16)):
                small = prune_channels(
                    detector, statistics, ratio=ratio, importance="l1", multiple_of=multiple, progress=False
                )
                detectors[f"{ratio} {multiple}"] = small
                macs = [ak.costs.cost_of(each.layout.full, "total_flops") for each in (detector, small)]
                facts[f"{ratio} {multiple}"] = str(ratio), widths, f"{macs[1] / macs[0]:.3f}"
        report = ak.measure_latency(detectors, images, runtime="onnxruntime", repeats=repeats, progress=False)
        for key, fact in facts.items():
            found = report.compare("whole", key, part="network", clock="processor")
            rows.append((name, *fact, f"{found.ratio:.3f}", f"{found.low:.3f} to {found.high:.3f}"))
    print(grid(rows))


def published(weights: str | None, seeds: int) -> None:
    """Print what YOLOv4 loses by the published quantiles, a row per draw of scales and rule."""
    rows = [("scales", "rule", "parameters", "multiply-adds")]
    for seed in range(1 if weights else seeds):
        how: dict[str, Any] = {"weights": weights} if weights else {"categories": 20, "seed": seed}
        detector = ak.load_detector("yolov4", size=(416, 416), **how)
        channels = ak.coupled_channels(detector)
        state, generator = detector.module.state_dict(), np.random.default_rng(seed)
        scales = {  # for each group (norms, atoms)
            group.name: np.stack(
                [
                    np.abs(state[f"{norm.layer}.weight"].numpy()[norm.channels[:, 0]])
                    if weights
                    else generator.random(group.atoms)
                    for norm in group.norms
                ]
            )
            for group in channels.groups
        }
        # The dearest layers, with the most parameters per channel, lose nothing as long as others can.
        dear = {group.name: np.full(group.atoms, group.parameters / group.atoms) for group in channels.groups}
        scores = {"mean": {name: found.mean(0) for name, found in scales.items()}, "dearest": dear}
        rules = {
            rule: {name: len(kept) for name, kept in keep_by_quantiles(channels, of, PUBLISHED).items()}
            for rule, of in scores.items()
        }
        rules["any"] = {}  # a channel stays if one of the layers that share it wants it
        for parts, quantile in PUBLISHED.items():
            groups = [group for group in channels.groups if f"{group.part} {group.stride}" in parts.split(" + ")]
            limit = np.quantile(np.concatenate([scales[group.name].ravel() for group in groups]), quantile)
            for group in groups:
                stay = int((scales[group.name] > limit).any(0).sum())
                rules["any"][group.name] = max(stay, 1, group.atoms // 100)
        for rule, kept in rules.items():
            shares = (channels.parameters(kept) / channels.parameters(), channels.macs(kept) / channels.macs())
            rows.append((weights or f"random {seed}", rule, *(f"{share - 1:+.1%}" for share in shares)))
    print(grid(rows))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="FAMILY", help="all by default")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--latency", action="store_true", help="time the networks of cut detectors")
    parser.add_argument("--repeats", type=int, default=100, help="rounds of --latency")
    parser.add_argument("--published", action="store_true", help="cut YOLOv4 by the published quantiles")
    parser.add_argument("--weights", help="of darknet's YOLOv4, for --published")
    parser.add_argument("--family", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.family:
        print(json.dumps(measure(options.family, FAMILIES[options.family], options.images)))
    elif options.published:
        published(options.weights, 3)
    elif options.latency:
        latency(options.names or TIMED, options.repeats)
    else:
        families(options.names or list(FAMILIES), options.images)


if __name__ == "__main__":
    main()
