"""The raw predictions of a real 8-bit SSD on real COCO images, kept beside the checkout: full of ties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.evaluation import Evaluator
from anchorkit.predictions import PostProcess, PredictionTable


def real_ssd(real_data: Path, n_images: int, score_threshold: float) -> Evaluator:
    """An evaluator of the first images; skips where there is no such data."""
    folder = real_data / "ssd_mobilenet_v1_coco"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    model = json.loads((folder / "model.json").read_text())
    height, width = model["input"]["h"], model["input"]["w"]
    levels = tuple(
        Level(
            f"level{level['level']}",
            level["h"],
            level["w"],
            tuple((width * anchor["w_rel"], height * anchor["h_rel"]) for anchor in level["anchors"]),
        )
        for level in model["levels"]
    )
    layout = AnchorLayout(model["model"], (height, width), levels)
    first = np.cumsum([0] + [len(level.anchors) for level in levels])
    truth = json.loads((real_data / "coco_subset" / "annotations" / "instances_train2017.json").read_text())
    images = sorted(image["id"] for image in truth["images"])[:n_images]
    truth["images"] = [image for image in truth["images"] if image["id"] in images]
    truth["annotations"] = [annotation for annotation in truth["annotations"] if annotation["image_id"] in images]
    with np.load(folder / "predictions_train2017.npz") as data:
        few = np.isin(data["image_id"], images)
        table = PredictionTable(
            data["image_id"][few],
            first[data["level"][few]] + data["anchor"][few],
            data["class_id"][few],
            data["score"][few],
            data["box"][few],
            layout,
            PostProcess(score_threshold, topk=None, topk_scope="class", nms_iou=0.6, max_detections=100),
        )
    return Evaluator(table, truth)
