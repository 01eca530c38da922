"""What the notebooks of these tests are about: a real evaluator on a few made-up predictions; no detector, no torch."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import anchorkit as ak
from anchorkit.anchors import AnchorLayout, Level
from anchorkit.files import write_json

NAMES = {1: "cup", 2: "plate"}
_SHAPES = ((16.0, 16.0), (30.0, 15.0), (15.0, 30.0))
LAYOUT = AnchorLayout(
    "made-up",
    (160, 160),
    tuple(
        Level(f"P{k}", 16 >> k, 16 >> k, tuple((w * 2**k, h * 2**k) for w, h in _SHAPES), 0, 100, 0, 50)
        for k in range(3)
    ),
    trunk_macs=100_000,
)


def predictions(truth: dict[str, Any], seed: int = 0) -> ak.PredictionTable:
    """Each object is found by every anchor, the better the nearer their shapes are."""
    random = np.random.default_rng(seed)
    rows = []
    for annotation in truth["annotations"]:
        x, y, width, height = annotation["bbox"]
        for anchor in LAYOUT.anchors:
            miss = abs(np.log(width / anchor.width)) + abs(np.log(height / anchor.height))
            score = float(np.clip(np.exp(-miss) + random.normal(0, 0.15), 0.03, 0.99))
            corners = np.array([x, y, x + width, y + height]) + random.normal(0, 1 + 3 * miss, 4)
            low, high = np.minimum(corners[:2], corners[2:]), np.maximum(corners[:2], corners[2:])
            rows.append((annotation["image_id"], anchor.index, annotation["category_id"], score, *low, *high))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    post = ak.PostProcess(score_threshold=0.02, topk=None, topk_scope="class", nms_iou=0.5, max_detections=100)
    return ak.PredictionTable(*columns[:4], np.stack(columns[4:], axis=1), LAYOUT, post)


def made_up(images: int = 30, seed: int = 0) -> dict[str, Any]:
    """A COCO ground truth."""
    random = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        for _ in range(3):
            x, y, width, height = *random.uniform(0, 90, 2), *random.uniform(12, 68, 2)
            box = {"bbox": [x, y, width, height], "area": width * height, "iscrowd": 0}
            who = {"id": len(annotations) + 1, "image_id": image, "category_id": int(random.integers(1, 3))}
            annotations.append(who | box)
    return {
        "images": [{"id": image, "width": 160, "height": 160} for image in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": key, "name": name} for key, name in NAMES.items()],
    }


TRUTH = made_up()
TABLE = predictions(TRUTH)


def split() -> Any:
    """Pictures of noise for the ground truth."""
    return SimpleNamespace(
        image_ids=[image["id"] for image in TRUTH["images"]],
        categories=[SimpleNamespace(id=key, name=name) for key, name in NAMES.items()],
        image=lambda number: np.random.default_rng(number).integers(90, 160, (160, 160, 3), np.uint8),
        ground_truth=TRUTH,
    )


def slow_searches(seconds: float = 0.25) -> None:
    """Make the searches of explorers take their time, so that they can be stopped while they run.

    They run on threads; what the cells of a notebook ask an evaluator is as fast as ever.
    """
    children = ak.Evaluator.children

    def slow(self: ak.Evaluator, *arguments: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            time.sleep(seconds)
        return children(self, *arguments)

    ak.Evaluator.children = slow  # type: ignore[method-assign]


def slow_kernels(folder: Path) -> dict[str, str]:
    """Variables with which every kernel begins with `slow_searches`; `folder` is made for it."""
    startup = folder / "profile_default" / "startup"
    startup.mkdir(parents=True)
    here = str(Path(__file__).parent)
    lines = ("import sys", f"sys.path.insert(0, {here!r})", "import material", "material.slow_searches()")
    (startup / "00-slow.py").write_text("\n".join(lines))
    return {"IPYTHONDIR": str(folder)}


def write_run(folder: Path, images: int = 12) -> None:
    """A run's folder with what the app shows, on a few images of shapes."""
    from anchorkit.runs.folder import choose_data

    val = choose_data(folder, "shapes", train_images=1, val_images=images, test_images=1, progress=False).val
    table = predictions(val.ground_truth)
    table.save(folder / "predictions.parquet")
    evaluator = ak.Evaluator(table, val.ground_truth)
    threshold = evaluator.accuracy(evaluator.full) / 2
    ak.search(evaluator, threshold=threshold, progress=False).save(folder / "search")
    write_json(folder / "run.json", {"format": 1})


def write_lessons_run(folder: Path, images: int = 24, max_drop: float = 0.01) -> None:
    """A run's folder as lessons 01, 02 and 04 leave it, with the shipped detector, on a few images of shapes."""
    from anchorkit.runs.folder import choose_data

    data = choose_data(folder, "shapes", train_images=8, val_images=images, test_images=6, progress=False)
    detector = ak.load_detector("tiny_ssd", weights="shapes")
    ak.save_detector(detector, folder / "detector")
    table = ak.collect_predictions(detector, data.val, progress=False)
    table.save(folder / "predictions.parquet")
    evaluator = ak.Evaluator(table, data.val.ground_truth)
    threshold = evaluator.accuracy(evaluator.full) - max_drop
    ak.search(evaluator, cost="head_flops", threshold=threshold, progress=False).save(folder / "search")
