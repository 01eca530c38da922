"""Detectors: build, load, raw predictions, head surgery, save, export."""

from anchorkit.detectors.base import Builder, Detector, boxes_by_anchor, kept_by_level, to_tensor
from anchorkit.detectors.export import export_onnx
from anchorkit.detectors.fresh import untrained
from anchorkit.detectors.heads import keep_filters
from anchorkit.detectors.registry import layout_of, list_detectors, load_detector, register_detector, save_detector
from anchorkit.postprocess import RawPredictions
from anchorkit.pruning import prune

__all__ = [
    "Builder",
    "Detector",
    "RawPredictions",
    "boxes_by_anchor",
    "export_onnx",
    "keep_filters",
    "kept_by_level",
    "layout_of",
    "list_detectors",
    "load_detector",
    "prune",
    "register_detector",
    "save_detector",
    "to_tensor",
    "untrained",
]
