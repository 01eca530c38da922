"""A prediction table and its objects, and the ways in which tables of other tools come out wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.predictions import PostProcess, PredictionTable

INPUT = (320, 320)
CATEGORY_IDS = (1, 2, 4, 7)


@dataclass(frozen=True)
class Corrupted:
    """A table, what was done to it, and the finding that it should bring."""

    what: str
    name: str
    table: PredictionTable


def made_up(
    seed: int = 0, images: int = 24, rows: int = 40, right: float = 0.8
) -> tuple[PredictionTable, dict[str, Any]]:
    """A detector's table on images of three sizes, and the COCO dict that it belongs to.

    Args:
        seed: of all of it.
        images: number of images, with 1 to 5 objects each.
        rows: rows of an image.
        right: share of the rows that lie on an object, with the better scores.
    """
    random = np.random.default_rng(seed)
    sizes = np.array([(640, 480), (480, 640), (500, 333)])[random.integers(0, 3, images)]
    annotations: list[dict[str, Any]] = []
    columns: dict[str, list[Any]] = {key: [] for key in ("image_id", "category_id", "score", "boxes")}
    for image_id, size in enumerate(sizes, start=10):
        objects = np.arange(1 + random.integers(5))
        side = random.uniform(0.15, 0.5, (len(objects), 2)) * size
        corner = random.uniform(0, 1, (len(objects), 2)) * (size - side)
        classes = random.choice(CATEGORY_IDS, len(objects))
        for box, klass in zip(np.concatenate([corner, side], axis=1).tolist(), classes.tolist(), strict=True):
            annotations.append(
                {
                    "id": 1 + len(annotations),
                    "image_id": image_id,
                    "category_id": klass,
                    "bbox": box,
                    "area": box[2] * box[3],
                }
            )
        on = random.random(rows) < right
        thing = random.choice(objects, rows)
        low = np.where(on[:, None], corner[thing], random.uniform(0, 0.7, (rows, 2)) * size)
        extent = np.where(on[:, None], side[thing], random.uniform(0.1, 0.3, (rows, 2)) * size)
        low = low + random.normal(0, 0.06, (rows, 2)) * extent
        extent = extent * np.exp(random.normal(0, 0.08, (rows, 2)))
        columns["image_id"].append(np.full(rows, image_id))
        columns["category_id"].append(
            np.where(on & (random.random(rows) < 0.9), classes[thing], random.choice(CATEGORY_IDS, rows))
        )
        columns["score"].append(np.where(on, random.uniform(0.3, 1, rows), random.uniform(0.02, 0.4, rows)))
        columns["boxes"].append(np.concatenate([low, low + extent], axis=1))
    layout = AnchorLayout("made up", INPUT, (Level("a", 10, 10, ((60.0, 60.0), (120.0, 60.0))),))
    table = PredictionTable(
        np.concatenate(columns["image_id"]),
        random.integers(0, 2, images * rows),
        np.concatenate(columns["category_id"]),
        np.concatenate(columns["score"]),
        np.concatenate(columns["boxes"]),
        layout,
        PostProcess(score_threshold=0.01),
        source="made up",
    )
    truth = {
        "images": [
            {"id": image_id, "file_name": f"{image_id}.jpg", "width": int(width), "height": int(height)}
            for image_id, (width, height) in enumerate(sizes, start=10)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": f"class {number}"} for number in CATEGORY_IDS],
    }
    return table, truth


def remade(
    table: PredictionTable, boxes: Any = None, category_id: Any = None, score: Any = None, keep: Any = None
) -> PredictionTable:
    """The table with other columns, or with some of its rows."""
    rows = np.arange(len(table)) if keep is None else np.flatnonzero(keep)
    boxes = table.boxes if boxes is None else boxes
    ordered = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
    return PredictionTable(
        table.image_id[rows],
        table.anchor[rows],
        (table.category_id if category_id is None else np.asarray(category_id))[rows],
        (table.score if score is None else score)[rows],
        ordered[rows],
        table.layout,
        table.postprocess,
        source=table.source,
    )


def corrupted(table: PredictionTable, truth: GroundTruth, seed: int = 0) -> Iterator[Corrupted]:
    """The table, wrong in every way that a check should see on it."""
    random = np.random.default_rng(seed)
    boxes = table.boxes.astype(np.float64)
    size = np.tile(truth.sizes[np.searchsorted(truth.image_ids, table.image_id)], 2)
    given = np.tile(np.array(table.layout.input_size[::-1], np.float64), 2)
    scale = (given / size).min(axis=1, keepdims=True)
    pad = (given - scale * size) / 2
    low, high = boxes[:, :2], boxes[:, 2:]
    read = {
        ("normalised", "normalised_coordinates"): boxes / size,
        ("axes exchanged", "axes_exchanged"): boxes[:, [1, 0, 3, 2]],
        ("centres as corners", "corners_as_x_y_w_h"): np.concatenate(
            [(low + high) / 2, (low + high) / 2 + high - low], axis=1
        ),
        ("corners as x y w h", "corners_as_x_y_w_h"): np.concatenate([low, low + high], axis=1),
        ("halved", "coordinates_scaled"): boxes / 2,
        ("doubled", "coordinates_scaled"): boxes * 2,
        ("thousandths", "normalised_coordinates"): boxes / size * 1000,
        ("y upwards", "axes_mirrored"): np.stack(
            [boxes[:, 0], size[:, 1] - boxes[:, 3], boxes[:, 2], size[:, 1] - boxes[:, 1]], axis=1
        ),
    }
    if (given != size).any():
        read["input pixels", "input_pixels"] = boxes * given / size
    if pad.max() > 1:
        read["letterboxed", "letterbox_shift"] = boxes * scale + pad
        read["padding kept", "letterbox_shift"] = boxes + pad / scale
        read["padded right and below", "letterbox_shift"] = boxes * scale
        read["letterboxed, stretched back", "letterbox_shift"] = (boxes * scale + pad) * size / given
    for (what, name), changed in read.items():
        yield Corrupted(what, name, remade(table, changed))
    ids = truth.category_ids
    index = np.searchsorted(ids, table.category_id).clip(0, len(ids) - 1)
    yield Corrupted("class indices from 0", "class_ids_off_by_one", remade(table, category_id=index))
    yield Corrupted("class ids minus 1", "class_ids_off_by_one", remade(table, category_id=table.category_id - 1))
    yield Corrupted("class ids plus 1", "class_ids_off_by_one", remade(table, category_id=table.category_id + 1))
    order = random.permutation(len(ids))
    while (order == np.arange(len(ids))).any() or len(set((ids[order] - ids).tolist())) < 2:
        order = random.permutation(len(ids))
    yield Corrupted("class ids permuted", "class_ids_permuted", remade(table, category_id=ids[order][index]))
    half = random.permutation(truth.image_ids)[: len(truth.image_ids) // 2]
    yield Corrupted("half of the images", "images_without_rows", remade(table, keep=np.isin(table.image_id, half)))
    lost = np.unique(truth.image_ids[truth.image])[:4]
    yield Corrupted("four images lost", "images_without_rows", remade(table, keep=~np.isin(table.image_id, lost)))
    yield Corrupted("scores of two decimals", "scores_in_steps", remade(table, score=np.round(table.score, 2)))
    yield Corrupted("no rows", "no_rows", remade(table, keep=np.zeros(len(table), np.bool_)))
