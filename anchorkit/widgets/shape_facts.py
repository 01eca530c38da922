"""What the shapes explorer knows of a prediction table, for each class and score that it is asked for."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from anchorkit.analysis import redundancy
from anchorkit.coco_json import read_coco
from anchorkit.predictions import PredictionTable

ALL_OTHERS = "all others"
_KEPT = 6


@dataclass(frozen=True)
class Facts:
    """Of the boxes of one class, or of all classes, that score enough.

    Attributes:
        shapes: from `anchorkit.analysis.redundancy.box_shapes`.
        coverage: from `anchorkit.analysis.redundancy.coverage`.
        anchors: by anchor id: ``level``, ``width``, ``height``, ``count`` of boxes, and ``covered``, the share (0..1)
            of its boxes that all others together cover; NaN without boxes.
    """

    shapes: pd.DataFrame
    coverage: pd.DataFrame
    anchors: pd.DataFrame


class ShapeTable:
    """Computes facts when they are asked for, on any thread, and keeps the last few.

    Attributes:
        layout: of the detector.
        categories: ids of the classes of which there are predictions.
        names: of the classes of the ground truth, by id.
        least_score: below it the table has no rows.
    """

    def __init__(self, predictions: PredictionTable, ground_truth: Any) -> None:
        self._predictions = predictions
        self.layout = predictions.layout
        # A file is read once, not at every move of a slider.
        self._truth, _, _ = read_coco(ground_truth)
        self.categories = [int(category) for category in np.unique(predictions.category_id)]
        self.names = {
            int(one["id"]): str(one["name"])
            for one in self._truth.get("categories", [])
            if "id" in one and "name" in one
        }
        self.least_score = predictions.postprocess.score_threshold
        self._lock = threading.Lock()
        self._facts: dict[tuple[int | None, float], Facts] = {}
        self._objects: dict[int | None, pd.DataFrame] = {}

    def facts(self, category: int | None, min_score: float) -> Facts:
        """Of the boxes of a class (None: of all classes) that score `min_score` or more.

        Raises:
            InputError: the score is not 0..1, or the ground truth does not know the images.
        """
        key = (category, min_score)
        with self._lock:
            if key not in self._facts:
                self._facts[key] = self._compute(*key)
                while len(self._facts) > _KEPT:
                    del self._facts[next(iter(self._facts))]
            return self._facts[key]

    def objects(self, category: int | None) -> pd.DataFrame:
        """The annotated objects, from `anchorkit.analysis.redundancy.object_shapes`."""
        with self._lock:
            if category not in self._objects:
                self._objects[category] = redundancy.object_shapes(self._truth, self.layout, category)
            return self._objects[category]

    def _compute(self, category: int | None, min_score: float) -> Facts:
        table = self._predictions
        shapes = redundancy.box_shapes(table, min_score, ground_truth=self._truth, category_id=category)
        coverage = redundancy.coverage(shapes)
        others = coverage[coverage["by_id"] == ALL_OTHERS].set_index("anchor_id")["share"]
        # All boxes, where `shapes` is a sample.
        rows = table.score >= min_score
        if category is not None:
            rows &= table.category_id == category
        anchors = redundancy.anchor_frame(self.layout).drop(columns="kept").set_index("anchor_id")
        anchors["count"] = np.bincount(table.anchor[rows], minlength=len(anchors))
        anchors["covered"] = others
        return Facts(shapes, coverage, anchors)
