"""A small evaluator for the examples in docstrings."""

from __future__ import annotations

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.evaluation.evaluator import Evaluator
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable

__all__ = ["toy_evaluator"]


def toy_evaluator() -> Evaluator:
    """Two anchors on two images with one object of class 7 each: `Evaluator`'s own example shows how it is made."""
    layout = AnchorLayout("toy", (64, 64), (Level("fine", 8, 8, ((16, 16), (32, 16))),))
    boxes = [[0, 0, 16, 16], [0, 0, 28, 16]]
    table = PredictionTable([1, 2], [0, 1], [7, 7], [0.9, 0.6], boxes, layout, PostProcess())
    objects = [{"id": n, "image_id": n, "category_id": 7, "bbox": [0, 0, 16 * n, 16], "area": 256} for n in (1, 2)]
    truth = {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 7}], "annotations": objects}
    return Evaluator(table, truth)
