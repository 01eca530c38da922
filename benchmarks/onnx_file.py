"""What cutting anchors out of a file gains and costs, on a user's images: the frontier, with intervals and times.

    python benchmarks/onnx_file.py yolo-fastest-1.1.onnx DATA/coco_subset --split train -p preset=darknet
    python benchmarks/onnx_file.py yolo-fastest-1.1.cfg DATA/coco_subset --split train

Searches by boxes, cuts the file at every point of the frontier that loses at most `--max-loss`, runs the cut files over
the images again, and times them in turn with the whole file. Prints a table. Of darknet's files (the .weights lie
beside the .cfg), the cut .cfg and .weights are read and run again, and so is an ONNX file that is made of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anchorkit as ak
from anchorkit.datasets import Split
from anchorkit.detectors import Detector, export_darknet
from anchorkit.onnx import OnnxDetector
from anchorkit.runs.onnx_file import open_onnx, parse_facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("data")
    parser.add_argument("--split", default="val")
    parser.add_argument("-p", dest="facts", action="append", metavar="NAME=VALUE")
    parser.add_argument("--max-loss", type=float, default=0.02, help="0..1 (default: 0.02, two points)")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime", "openvino"])
    options = parser.parse_args()

    split = ak.load_dataset(options.data).splits()[options.split]
    begun = time.perf_counter()
    whole = opened(options.file, options.facts, split)
    print(f"understood in {time.perf_counter() - begun:.1f} s\n{whole}", file=sys.stderr)
    predictions = ak.collect_predictions(whole, split)
    evaluator = ak.Evaluator(predictions, split.ground_truth)
    full = evaluator.stats(evaluator.full)
    begun = time.perf_counter()
    result = ak.search(evaluator, cost="boxes", threshold=max(full["AP"] - options.max_loss, 0.0))
    searched = time.perf_counter() - begun
    print(f"{len(split)} images, AP {100 * full['AP']:.4f}, AP50 {100 * full['AP50']:.2f}; ", end="")
    print(f"{len(result.evaluated)} configurations searched in {searched:.1f} s")
    print(ak.safe_to_remove(evaluator, result, margin=0.005))
    changes = ak.frontier_changes(evaluator, result).set_index("anchors")

    images = [split.image(image_id) for image_id in split.image_ids[:100]]
    files, rows = {"whole": whole}, []
    with tempfile.TemporaryDirectory() as folder:
        for number, chosen in enumerate(result.configurations):
            if chosen == result.layout.full:
                continue
            name = f"cut-{number}"
            begun = time.perf_counter()
            small = ak.prune(whole, chosen)
            seconds = time.perf_counter() - begun
            runs = written(small, Path(folder) / name, split)
            sizes = " + ".join(f"{file.stat().st_size / 1e6:.2f}" for file, _ in runs)
            promise, found = evaluator.accuracy(chosen), [ap(again, split) for _, again in runs]
            same = ", ".join("equal" if value == promise else f"{100 * (value - promise):+.2g}" for value in found)
            files[name] = small
            rows.append((chosen, ak.costs.costs(small.layout.full), sizes, same, seconds))
        print("| kept | boxes | total MACs | file | AP | change, 95 % | jointly | AP of the cut file, run | cut in |")
        print("|---|---|---|---|---|---|---|---|---|")
        for chosen, costs, sizes, same, seconds in rows:
            change = changes.loc[" ".join(chosen.ids)]
            print(
                f"| {' '.join(chosen.ids)} | {costs['boxes']:,} | {costs['total_flops'] / 1e6:.1f} M "
                f"| {sizes} MB | {100 * evaluator.accuracy(chosen):.2f} "
                f"| {100 * change['change']:+.2f} ({100 * change['low']:+.2f} to {100 * change['high']:+.2f}) "
                f"| {100 * change['least']:+.2f} | {same} | {seconds:.1f} s |"
            )
        for runtime in options.runtimes:
            report = ak.measure_latency(files, images, runtime=runtime, repeats=options.rounds)
            medians = report.frame.pivot_table(index="detector", columns="part", values="cpu_ms")
            print(f"\n{runtime}, {options.rounds} rounds, 1 thread, {report.machine['cpu']}")
            for name in files:
                parts = " + ".join(f"{medians.loc[name, part]:.2f}" for part in ("network", "postprocess"))
                compared = "" if name == "whole" else f"; {report.compare('whole', name, clock='processor')}"
                print(f"{name}: {parts} ms{compared}")


def opened(file: Path, facts: list[str] | None, split: Split) -> Detector | OnnxDetector:
    """The detector that a file is."""
    if file.suffix == ".cfg":
        return ak.load_detector(file, weights=file.with_suffix(".weights"), categories=split.categories)
    return open_onnx(file, parse_facts(facts), split.categories)


def written(small: Any, path: Path, split: Split) -> list[tuple[Path, Any]]:
    """The files of a cut detector, and each read again."""
    if isinstance(small, OnnxDetector):
        file = small.save(path.with_suffix(".onnx"))
        return [(file, small)]
    cfg = export_darknet(small, path.with_suffix(".cfg"))
    model = ak.export_onnx(small, path.with_suffix(".onnx"))
    return [(cfg.with_suffix(".weights"), opened(cfg, None, split)), (model, ak.load_onnx(model))]


def ap(detector: Detector | OnnxDetector, split: Split) -> float:
    """AP (0..1) of a detector on the images."""
    found = ak.Evaluator(ak.collect_predictions(detector, split, progress=False), split.ground_truth)
    return found.accuracy(found.full)


if __name__ == "__main__":
    main()
