"""Time one configuration in the evaluator and in numpy NMS + pycocotools, and check that both say the same.

    python benchmarks/evaluate_subset.py --images 500 --classes 6 --rows 200
    python benchmarks/evaluate_subset.py --images 5000 --classes 80 --rows 900 --no-reference

The data are made up: clusters of overlapping boxes of a few classes an image, as a detector with 30 anchors emits them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.evaluation import Evaluator, reference
from anchorkit.predictions import PostProcess, PredictionTable

ANCHORS = (4, 6, 6, 6, 4, 4)
CLUSTERS = 6


def synthetic(images: int, classes: int, rows: int, seed: int = 0) -> tuple[PredictionTable, dict[str, Any]]:
    """A table of `rows` rows an image and its ground truth, about 7 boxes an image, one in a hundred a crowd."""
    random = np.random.default_rng(seed)
    present = min(classes, 21)
    n = images * rows
    image = np.repeat(np.arange(images), rows)
    class_of = np.argsort(random.random((images, classes)), axis=1)[:, :present]
    which = np.minimum((random.random(n) ** 2 * present).astype(int), present - 1)
    cluster = random.integers(0, CLUSTERS, n)
    centre = random.uniform(0, 500, (images, present, CLUSTERS, 2))
    extent = np.exp(random.uniform(np.log(15), np.log(300), (images, present, CLUSTERS, 2)))
    size = extent[image, which, cluster] * np.exp(random.normal(0, 0.25, (n, 2)))
    middle = centre[image, which, cluster] + random.normal(0, 0.12, (n, 2)) * size
    levels = tuple(
        Level(f"level{i}", 1, 1, tuple((30.0 * (i + 1), 30.0 + a) for a in range(k))) for i, k in enumerate(ANCHORS)
    )
    table = PredictionTable(
        image + 1,
        random.integers(0, sum(ANCHORS), n),
        class_of[image, which] + 1,
        0.02 + 0.98 * random.random(n) ** 6,
        np.concatenate([middle - size / 2, middle + size / 2], axis=1),
        AnchorLayout("synthetic", (300, 300), levels),
        PostProcess(score_threshold=0.02, topk=None, topk_scope="class", nms_iou=0.45, max_detections=200),
    )
    annotations = []
    for i in range(images):
        for _ in range(7):
            c, k = int(random.random() ** 2 * present), int(random.integers(CLUSTERS))
            width, height = extent[i, c, k].tolist()
            x, y = (centre[i, c, k] - extent[i, c, k] / 2).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 1,
                    "category_id": int(class_of[i, c]) + 1,
                    "bbox": [x, y, width, height],
                    "area": 0.7 * width * height,
                    "iscrowd": int(random.random() < 0.01),
                }
            )
    return table, {
        "images": [{"id": i + 1} for i in range(images)],
        "categories": [{"id": c + 1, "name": f"class {c + 1}"} for c in range(classes)],
        "annotations": annotations,
    }


def median_ms(work: Callable[[], object], repeats: int = 9) -> float:
    """Milliseconds that a call takes, the first call left out."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    """Build, time and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--classes", type=int, default=6)
    parser.add_argument("--rows", type=int, default=200, help="rows an image")
    parser.add_argument("--no-reference", action="store_true", help="leave pycocotools out (minutes on large data)")
    options = parser.parse_args()
    table, truth = synthetic(options.images, options.classes, options.rows)
    start = time.perf_counter()
    evaluator = Evaluator(table, truth)
    print(f"{len(table):,} rows; built in {time.perf_counter() - start:.1f} s (the first time with compiling)")
    random = np.random.default_rng(1)
    for share in (1.0, 0.9, 0.5, 0.2):
        keep = np.flatnonzero(random.random(len(table.layout)) < share).tolist()
        # per_class is the work of `accuracy`, which would remember its answer.
        line = f"{len(keep):2d} anchors: AP {median_ms(lambda k=keep: evaluator.per_class(k)):7.2f} ms"
        line += f", 12 figures {median_ms(lambda k=keep: evaluator.stats(k)):7.2f} ms"
        if not options.no_reference:
            start = time.perf_counter()
            expected = reference.evaluate(table, evaluator.ground_truth, keep)
            line += f", numpy NMS + pycocotools {1000 * (time.perf_counter() - start):10.0f} ms"
            line += ", same bits" if evaluator.stats(keep) == expected.stats else ", BITS DIFFER"
        print(line)


if __name__ == "__main__":
    main()
