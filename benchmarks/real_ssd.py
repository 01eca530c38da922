"""The raw predictions of a real 8-bit SSD on COCO images as the two files that the measurements read.

The folder holds ``model.json`` (levels with their anchors), ``predictions_train2017.npz`` (one row a prediction) and,
beside it, ``coco_subset/annotations/instances_train2017.json``.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from coco_scale import Files

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.predictions import PostProcess, PredictionTable


def files(source: Path) -> Files:
    """Write the table and the ground truth among the temporary files."""
    model = json.loads((source / "model.json").read_text())
    height, width = model["input"]["h"], model["input"]["w"]
    levels = []
    for level in model["levels"]:
        shapes = [(width * anchor["w_rel"], height * anchor["h_rel"]) for anchor in level["anchors"]]
        # What a cell costs is not known here; in SSDs an anchor costs about the same in every cell.
        levels.append(
            Level(f"level{level['level']}", level["h"], level["w"], tuple(shapes), head_macs_per_anchor=100_000)
        )
    layout = AnchorLayout(model["model"], (height, width), tuple(levels))
    first = np.cumsum([0] + [len(level.anchors) for level in levels])
    with np.load(source / "predictions_train2017.npz") as data:
        table = PredictionTable(
            data["image_id"],
            first[data["level"]] + data["anchor"],
            data["class_id"],
            data["score"],
            data["box"],
            layout,
            PostProcess(score_threshold=1e-8, topk=None, topk_scope="class", nms_iou=0.6, max_detections=100),
        )
    truth = json.loads((source.parent / "coco_subset" / "annotations" / "instances_train2017.json").read_text())
    # Ids from 1, without outlines: all evaluators take these, and none needs more.
    annotations = [
        {key: annotation[key] for key in ("image_id", "category_id", "bbox", "area", "iscrowd")} | {"id": number}
        for number, annotation in enumerate(truth["annotations"], start=1)
    ]
    folder = Path(tempfile.gettempdir()) / "anchorkit-benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    made = Files(folder / f"predictions-{source.name}.parquet", folder / f"truth-{source.name}.json")
    table.save(made.predictions)
    made.truth.write_text(json.dumps({**truth, "annotations": annotations}))
    return made
