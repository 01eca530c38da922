"""Random prediction tables and ground truths, small but nasty: what the exact evaluator is tested on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.predictions import PostProcess, PredictionTable


@dataclass(frozen=True)
class Case:
    """A table and the ground truth (COCO dict) it is measured against."""

    predictions: PredictionTable
    ground_truth: dict[str, Any]
    seed: int

    def __repr__(self) -> str:
        images, boxes = len(self.ground_truth["images"]), len(self.ground_truth["annotations"])
        return f"Case(seed={self.seed}: {len(self.predictions)} rows, {images} images, {boxes} boxes)"


def random_case(seed: int) -> Case:
    """A case that depends on the seed alone.

    Scores come in a few steps (ties), boxes stand on an integer grid (equal IoUs) and some have no area; annotated
    boxes are often copies of each other or of predictions, some are crowds, some difficult, some classes have crowds
    only, some none; some predicted classes are unknown to the ground truth; image ids are unsorted; images are
    interleaved; levels may be empty; top-k in all scopes, the cap and the 100 detections of a class bind now and then.
    A few boxes lie outside all area ranges; now and then all do.
    """
    random = np.random.default_rng(seed)
    layout = random_layout(random)
    n_images = int(random.choice([1, 2, 3, 5, 8]))
    image_ids = random.choice(np.arange(2, 60) * random.choice([1, 7_000_000_000]), n_images, replace=False)
    n_classes = int(random.choice([0, 1, 2, 4], p=[0.03, 0.3, 0.37, 0.3]))
    category_ids = random.choice(np.arange(1, 30), n_classes, replace=False)
    # Sides of objects: within one area range, or across the borders 32 and 96.
    side = float(random.choice([8, 16, 40, 130]))
    grid = bool(random.random() < 0.7)
    crowded = random.random() < 0.15
    # All boxes of one size, on a lattice so fine that neighbours match: few IoUs, each met many times.
    lattice = random.random() < 0.25
    if lattice:
        n_images, n_classes = 1, min(n_classes, 1)
        image_ids, category_ids = image_ids[:1], category_ids[:n_classes]

    def draw_boxes(n: int) -> np.ndarray:
        """(n, 4) x y width height."""
        if lattice:
            boxes = np.full((n, 4), 12.0)
            boxes[:, 0] = 2 * random.integers(0, 12, n)
            boxes[:, 1] = 6 * random.integers(0, 2, n)
            return boxes
        corner = random.uniform(-2, side, (n, 2))
        extent = random.uniform(0, side, (n, 2)) if random.random() < 0.8 else random.uniform(side / 2, side, (n, 2))
        if random.random() < 0.2:
            extent = random.choice([31.0, 32.0, 33.0, 96.0], (n, 2))
        boxes = np.concatenate([corner, extent], axis=1)
        if grid:
            boxes = np.round(boxes / random.choice([1, 4])) * random.choice([1, 3])
        boxes[random.random(n) < 0.04, 2 + int(random.integers(2))] = 0
        return boxes

    n_truth = int(random.choice([0, 1, 6, 25], p=[0.08, 0.12, 0.5, 0.3])) if n_classes else 0
    if crowded and n_truth:
        n_truth = 80
    truth = draw_boxes(n_truth)
    if n_truth > 3 and not lattice:
        copies = random.integers(0, n_truth, n_truth // 4)
        truth[random.integers(0, n_truth, len(copies))] = truth[copies]
    crowd_only = set(category_ids[random.random(n_classes) < 0.15].tolist())
    used = category_ids[random.random(n_classes) < 0.85]
    # A stream of its own: what a seed draws else does not depend on it.
    marks = np.random.default_rng([seed, 1])
    difficult, below_all = marks.random(n_truth) < 0.2, marks.random(n_truth) < 0.01
    annotations = []
    for number, box in enumerate(truth.tolist()):
        category = int(random.choice(used if len(used) else category_ids))
        annotations.append(
            {
                "id": number + 1,
                "image_id": int(image_ids[0] if crowded else random.choice(image_ids)),
                "category_id": category,
                "bbox": box,
                "area": float(random.choice([box[2] * box[3], 1024.0, 9216.0, 0.0], p=[0.85, 0.05, 0.05, 0.05]))
                - 20000.0 * below_all[number],
                "iscrowd": int(category in crowd_only or random.random() < 0.15),
                "difficult": int(difficult[number]),
            }
        )
    random.shuffle(annotations)
    ground_truth = {
        "images": [{"id": int(image_id)} for image_id in image_ids],
        "categories": [{"id": int(category_id), "name": f"c{category_id}"} for category_id in category_ids],
        "annotations": annotations,
    }

    n = int(random.choice([0, 1, 20, 80, 400], p=[0.04, 0.06, 0.3, 0.4, 0.2]))
    if crowded:
        n = 700
    boxes = draw_boxes(n)
    image = random.choice(image_ids[: max(1, n_images - int(random.integers(2)))], n)
    if crowded:
        # More than 100 outputs of one class in one image, and things to find beyond them.
        boxes[:, :2] += random.integers(0, 400, (n, 2))
        image[:] = image_ids[0]
    if n_truth and n and not lattice:
        near = random.random(n) < (0.2 if crowded else random.choice([0.2, 0.7]))
        boxes[near] = truth[random.integers(0, n_truth, near.sum())]
        boxes[near] += random.integers(-1, 2, (near.sum(), 4)) * random.choice([0, 1, 2])
        boxes[:, 2:] = np.maximum(boxes[:, 2:], 0)
    predicted = np.concatenate([category_ids, [31, 40][: int(random.integers(3)) if n_classes else 2]]).astype(int)
    category = random.choice(predicted, n, p=_uneven(random, len(predicted))) if len(predicted) else np.full(n, 31)
    steps = random.choice([4, 16, 256, 2**20])
    score = random.integers(0, steps + 1, n) / steps
    if marks.random() < 0.04:
        # Larger than the largest area range: such boxes are no false alarms, and need not be found.
        boxes *= 16384
        for annotation in annotations:
            annotation["bbox"] = [16384 * side for side in annotation["bbox"]]
            annotation["area"] *= 16384**2
    if marks.random() < 0.1:
        # Ids far apart.
        category = category * 50_000_000
        for entry in ground_truth["categories"]:
            entry["id"] *= 50_000_000
        for annotation in annotations:
            annotation["category_id"] *= 50_000_000
    table = PredictionTable(
        image,
        random.integers(0, len(layout), n),
        category,
        score,
        np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
        layout,
        PostProcess(
            score_threshold=float(random.choice([0.0, 0.05, 0.25])),
            topk=None if random.random() < 0.5 else int(random.choice([1, 3, 10, 60])),
            topk_scope=str(random.choice(["class", "level", "image"])),
            nms_iou=0.9 if crowded else float(random.choice([0.0, 0.3, 0.5, 0.7, 1.0])),
            max_detections=None if random.random() < 0.4 else int(random.choice([1, 4, 20, 100, 300])),
        ),
    )
    return Case(table, ground_truth, seed)


def dense_case(seed: int) -> Case:
    """Chains of overlapping boxes: large groups in which a box that goes sets others free, and these others again.

    One size of boxes strewn over a strip that is short or long, so that a box overlaps nearly all others or a few; caps
    that bind by little or by much; a few annotated boxes on top of predictions.
    """
    random = np.random.default_rng([seed, 2])
    layout = random_layout(random)
    n, n_images, n_classes = int(random.choice([70, 150, 260])), int(random.integers(1, 3)), int(random.integers(1, 3))
    length = float(random.choice([30, 100, 300, 900]))
    corner = np.column_stack([random.integers(0, length, n), random.integers(0, 4, n)]).astype(float)
    extent = random.choice([20.0, 21.0, 24.0], (n, 2))
    boxes = np.concatenate([corner, corner + extent], axis=1)
    image, category = random.integers(1, n_images + 1, n), random.integers(1, n_classes + 1, n)
    steps = random.choice([16, 256, 2**20])
    table = PredictionTable(
        image,
        random.integers(0, len(layout), n),
        category,
        random.integers(1, steps + 1, n) / steps,
        boxes,
        layout,
        PostProcess(
            score_threshold=0.0,
            topk=None if random.random() < 0.8 else int(random.choice([20, 100])),
            topk_scope=str(random.choice(["class", "level", "image"])),
            nms_iou=float(random.choice([0.2, 0.35, 0.5, 0.7, 0.9])),
            max_detections=None if random.random() < 0.4 else int(random.choice([1, 5, 15, 40, 100])),
        ),
    )
    annotations = [
        {
            "id": number + 1,
            "image_id": int(image[row]),
            "category_id": int(category[row]),
            "bbox": [*(corner[row] + random.integers(-3, 4, 2)).tolist(), *extent[row].tolist()],
            "area": float(extent[row].prod()),
            "iscrowd": int(random.random() < 0.1),
        }
        for number, row in enumerate(random.integers(0, n, int(random.choice([2, 8, 20]))).tolist())
    ]
    ids = ("images", n_images), ("categories", n_classes)
    truth = {**{key: [{"id": i + 1} for i in range(count)] for key, count in ids}, "annotations": annotations}
    return Case(table, truth, seed)


def random_layout(random: np.random.Generator) -> AnchorLayout:
    """Up to four levels with none to four anchors each, one anchor at least in all."""
    counts = random.integers(0, 5, int(random.integers(1, 5)))
    counts[random.integers(len(counts))] += 1 if counts.sum() == 0 else 0
    levels = tuple(
        Level(f"level{number}", 4, 4, tuple((8.0 * (1 + number), 8.0 * (1 + anchor)) for anchor in range(count)))
        for number, count in enumerate(counts.tolist())
    )
    return AnchorLayout("random", (64, 64), levels)


def random_anchors(random: np.random.Generator, layout: AnchorLayout) -> list[int]:
    """A random subset of the anchors, sometimes all of them, sometimes none."""
    share = random.choice([0.0, 0.3, 0.6, 0.9, 1.0], p=[0.04, 0.24, 0.24, 0.24, 0.24])
    return np.flatnonzero(random.random(len(layout)) < share).tolist()


def _uneven(random: np.random.Generator, n: int) -> np.ndarray:
    weight = random.random(n) ** 3 + 0.01
    return weight / weight.sum()
