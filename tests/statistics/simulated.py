"""A large population of images with known truth, from which small validation sets are drawn."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.evaluation import Evaluator
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable

LAYOUT = AnchorLayout(
    "simulated",
    (128, 128),
    (
        Level("fine", 8, 8, ((16.0, 16.0), (16.0, 24.0), (24.0, 16.0), (24.0, 24.0)), 0, 10),
        Level("coarse", 4, 4, ((48.0, 48.0), (48.0, 64.0), (64.0, 48.0), (64.0, 64.0)), 0, 20),
    ),
)
SLIM = replace(LAYOUT, levels=tuple(replace(each, head_macs_per_anchor=8) for each in LAYOUT.levels))
"""The layout of a detector with fewer channels, which misses some objects that the other one finds."""

POST = PostProcess(score_threshold=0.05, topk=None, topk_scope="class", nms_iou=0.5, max_detections=50)

# Which share of objects each anchor sees, by class; how well it places its boxes; how many false alarms it gives.
SEES = np.array([[0.7, 0.2], [0.65, 0.25], [0.6, 0.15], [0.5, 0.3], [0.2, 0.7], [0.25, 0.65], [0.15, 0.6], [0.3, 0.5]])
JITTER = np.array([0.06, 0.065, 0.07, 0.08, 0.06, 0.065, 0.07, 0.08])
ALARMS = 0.06


@cache
def population(images: int = 3000, seed: int = 0, slim: bool = False) -> Evaluator:
    """An evaluator of all images; small sets of it are ``population().subset(ids)``."""
    random = np.random.default_rng(seed)
    n_anchors = len(LAYOUT)
    image = np.repeat(np.arange(images), random.poisson(2.0, images))
    n = len(image)
    klass = (random.random(n) < 0.4).astype(int)
    side = np.exp(random.normal(np.log(np.where(klass == 0, 20, 48)), 0.35, (2, n))).T
    corner = random.uniform(0, 128, (n, 2)) * 3  # wide apart: objects seldom overlap
    # Some images are hard: all their objects are.
    hard = random.normal(0, 0.7, images)
    sees = random.random((n, n_anchors)) < SEES.T[klass]
    found, anchor = np.nonzero(sees)
    score = 1 / (1 + np.exp(-(random.normal(1.0, 1.2, len(found)) - hard[image[found]])))
    jitter = JITTER[anchor, None] * np.exp(0.3 * hard[image[found], None])
    centre = corner[found] + side[found] / 2 + random.normal(0, jitter, (len(found), 2)) * side[found]
    extent = side[found] * np.exp(random.normal(0, jitter, (len(found), 2)))

    alarm_image = np.repeat(np.tile(np.arange(images), n_anchors), random.poisson(ALARMS, images * n_anchors))
    alarm_anchor = random.integers(0, n_anchors, len(alarm_image))
    m = len(alarm_image)
    alarm_score = 1 / (1 + np.exp(-random.normal(-1.0, 1.2, m)))
    alarm_centre, alarm_extent = random.uniform(0, 384, (m, 2)), random.uniform(12, 60, (m, 2))

    stays = np.ones(len(found) + m, bool)
    if slim:
        missed = np.random.default_rng(seed + 1).random(n) < 0.05
        stays[: len(found)] = ~missed[found]
    middle, size = np.concatenate([centre, alarm_centre]), np.concatenate([extent, alarm_extent])
    table = PredictionTable(
        1 + np.concatenate([image[found], alarm_image])[stays],
        np.concatenate([anchor, alarm_anchor])[stays],
        1 + np.concatenate([klass[found], random.integers(0, 2, m)])[stays],
        np.concatenate([score, alarm_score])[stays],
        np.concatenate([middle - size / 2, middle + size / 2], axis=1)[stays],
        SLIM if slim else LAYOUT,
        POST,
    )
    boxes = np.concatenate([corner, side], axis=1).tolist()
    truth = {
        "images": [{"id": i + 1} for i in range(images)],
        "categories": [{"id": 1, "name": "small"}, {"id": 2, "name": "large"}],
        "annotations": [
            {"id": i + 1, "image_id": int(image[i]) + 1, "category_id": int(klass[i]) + 1, "bbox": box,
             "area": box[2] * box[3], "iscrowd": 0}
            for i, box in enumerate(boxes)
        ],
    }  # fmt: skip
    return Evaluator(table, truth, threads=1)


def some_images(images: int, repeat: int, slim: bool = False) -> Evaluator:
    """A validation set of so many images, drawn from the population."""
    random = np.random.default_rng([repeat, images])
    everything = population(slim=slim)
    ids = random.choice(everything.ground_truth.image_ids, images, replace=False)
    return everything.subset(ids)
