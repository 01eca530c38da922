"""Detectors: build, load, raw predictions, head surgery, save."""

from anchorkit.detectors.base import Detector, RawPredictions
from anchorkit.detectors.registry import layout_of, list_detectors, load_detector, register_detector, save_detector
from anchorkit.detectors.surgery import prune, untrained

__all__ = [
    "Detector",
    "RawPredictions",
    "layout_of",
    "list_detectors",
    "load_detector",
    "prune",
    "register_detector",
    "save_detector",
    "untrained",
]
