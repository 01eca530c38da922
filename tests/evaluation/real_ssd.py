"""The raw predictions of a real 8-bit SSD on real COCO images, kept beside the checkout: full of ties."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.ground_truth import GroundTruth, read_ground_truth
from anchorkit.predictions import PostProcess, PredictionTable


def real_ssd_table(real_data: Path, n_images: int, score_threshold: float) -> tuple[PredictionTable, GroundTruth]:
    """The predictions on the first images, and these; skips where there is no such data."""
    folder, source = real_data / "ssd_mobilenet_v1_coco", real_data / "coco_subset" / "annotations"
    if not (folder.is_dir() and source.is_dir()):
        pytest.skip(f"no {folder} or {source}")
    model = json.loads((folder / "model.json").read_text())
    size = model["input"]["h"], model["input"]["w"]
    levels = tuple(
        Level(f"{n}", one["h"], one["w"], tuple((size[1] * a["w_rel"], size[0] * a["h_rel"]) for a in one["anchors"]))
        for n, one in enumerate(model["levels"])
    )
    first = np.cumsum([0] + [len(level.anchors) for level in levels])
    truth = read_ground_truth(source / "instances_train2017.json")
    truth = truth.subset(truth.image_ids[:n_images])
    with np.load(folder / "predictions_train2017.npz") as data:
        few = np.isin(data["image_id"], truth.image_ids)
        table = PredictionTable(
            data["image_id"][few],
            first[data["level"][few]] + data["anchor"][few],
            data["class_id"][few],
            data["score"][few],
            data["box"][few],
            AnchorLayout(model["model"], size, levels),
            PostProcess(score_threshold, nms_iou=0.6, max_detections=100),
            source="the SSD",
        )
    return table, truth


def real_ssd(real_data: Path, n_images: int, score_threshold: float) -> Evaluator:
    """An evaluator of the first images; skips where there is no such data."""
    return Evaluator(*real_ssd_table(real_data, n_images, score_threshold))
