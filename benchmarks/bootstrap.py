"""How fast a bootstrap draw is: weights in the evaluator, beside matching the resampled data set anew.

    python benchmarks/bootstrap.py                 500 and 5,000 images of made-up data of the size of COCO
    python benchmarks/bootstrap.py --images 500    fewer

Everything uses one core and one configuration, the full one; times are processor time, which other work on the machine
disturbs less than the clock on the wall. The evaluator's time for a draw is that of AP under weights, gathering
included, divided by the draws. The rivals get the data set of a draw written out (images, boxes and
detections of a finished NMS, not timed), take the detections in (conversion) and tell AP alone (evaluation). Their
answers are compared with ours.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import coco_scale
import numpy as np
from measuring import Times, busy, grid, human, machine, pin
from rivals import RIVALS, missing

from anchorkit.evaluation import Evaluator
from anchorkit.predictions import PredictionTable

RIVAL_NAMES = ("numpy + pycocotools", "numba + hotcoco", "numba + faster-coco-eval")
"""Those that can tell AP alone, each with its evaluator; their NMS takes no part here."""


def written_out(
    table: PredictionTable, truth: dict[str, Any], counts: dict[int, int]
) -> tuple[PredictionTable, dict[str, Any]]:
    """The data set in which each image stands so many times, with ids next to each other."""
    by_image: dict[int, list[dict[str, Any]]] = {}
    for box in truth["annotations"]:
        by_image.setdefault(box["image_id"], []).append(box)
    order = np.argsort(table.image_id, kind="stable")
    ids = np.array(sorted(counts))
    starts, ends = (np.searchsorted(table.image_id[order], ids, side) for side in ("left", "right"))
    rows, row_image, boxes, n = [], [], [], 0
    for image_id, start, end in zip(ids.tolist(), starts.tolist(), ends.tolist(), strict=True):
        for _ in range(counts[image_id]):
            n += 1
            rows.append(order[start:end])
            row_image.append(np.full(end - start, n))
            boxes += [{**box, "image_id": n} for box in by_image.get(image_id, [])]
    row = np.concatenate(rows)
    copied = PredictionTable(
        np.concatenate(row_image), table.anchor[row], table.category_id[row], table.score[row], table.boxes[row],
        table.layout, table.postprocess,
    )  # fmt: skip
    numbered = [{**box, "id": number} for number, box in enumerate(boxes, start=1)]
    images = [{"id": number, "width": 640, "height": 640} for number in range(1, n + 1)]
    return copied, {"images": images, "categories": truth["categories"], "annotations": numbered}


def detections_of(evaluator: Evaluator) -> PredictionTable:
    """What is left after NMS and cap, as a table."""
    found = evaluator.detections(evaluator.full)
    return PredictionTable.from_pandas(found, evaluator.layout, evaluator.postprocess)


def measure(images: int, draws: int, repeats: int) -> dict[str, Any]:
    """Time a draw of ours and of the rivals, and compare what they say."""
    files = coco_scale.files(images)
    truth = json.loads(files.truth.read_text())
    evaluator = Evaluator(PredictionTable.load(files.predictions), truth, threads=1)
    full, ids = evaluator.full, evaluator.ground_truth.image_ids
    evaluator.accuracy(full)
    random = np.random.default_rng(0)
    weights = np.stack([np.bincount(random.integers(images, size=images), minlength=images) for _ in range(draws)])
    evaluator.weighted([full], weights[:16])  # compiled
    ours = [busy(lambda: evaluator.weighted([full], weights))[0] / draws for _ in range(repeats)]
    told = evaluator.weighted([full], weights[:repeats])[:, 0]
    found: dict[str, Any] = {"images": images, "draws": draws, "ours": ours, "rivals": {}}
    table = detections_of(evaluator)
    found["detections"] = len(table)
    for name in RIVAL_NAMES:
        if missing(name):
            print(f"{name}: not installed ({missing(name)})")
            continue
        seconds, differences = [], []
        for draw in range(repeats):
            copied, copies = written_out(table, truth, dict(zip(ids.tolist(), weights[draw].tolist(), strict=True)))
            rows = np.arange(len(copied))
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
                rival = RIVALS[name][2](copied, copies, lambda: np.arange(0))
                conversion, converted = busy(lambda rival=rival, rows=rows: rival.convert(rows))
                evaluation, ap = busy(lambda rival=rival, converted=converted: rival.evaluate_ap(converted))
            seconds.append((conversion, evaluation))
            differences.append(abs(ap - float(told[draw])))
        found["rivals"][name.split(" + ")[1]] = {"seconds": seconds, "largest difference": max(differences)}
    return found


def main() -> None:
    """Measure and print; keep the figures as JSON if a file is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[500, 5000], help="numbers of images (500 5000)")
    parser.add_argument("--draws", type=int, default=2000, help="draws of ours that are timed together (2000)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of ours, and draws of the rivals (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all figures here as well")
    options = parser.parse_args()
    pin()
    sys.stdout.reconfigure(line_buffering=True)
    about = machine()
    print(f"{about['processor']}, load average {about['load'] or 0:.2f}; one core, one configuration, AP")
    everything = {"machine": about, "sizes": []}
    for images in options.images:
        found = measure(images, options.draws, options.repeats)
        everything["sizes"].append(found)
        ours = Times(tuple(found["ours"]))
        rows: list[tuple[str, ...]] = [("a draw", "time", "conversion + evaluation", "against ours", "difference")]
        rows.append(("weights in the evaluator", str(ours), "", "", ""))
        for name, rival in found["rivals"].items():
            parts = np.median(np.array(rival["seconds"]), axis=0)
            whole = float(parts.sum())
            rows.append(
                (
                    f"{name} on the data set written out",
                    human(whole),
                    f"{human(parts[0])} + {human(parts[1])}",
                    f"{whole / ours.median:,.0f} x",
                    f"{rival['largest difference']:.1g}",
                )
            )
        print(f"\n{images:,} images, {found['detections']:,} detections")
        print(grid(rows))
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
