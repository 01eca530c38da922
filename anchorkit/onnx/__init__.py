"""A detector that is only an ONNX file: understand it, run it, cut it. Needs neither torch nor the file's framework."""

from anchorkit.onnx.detector import OnnxDetector
from anchorkit.onnx.loading import load_onnx
from anchorkit.onnx.preprocess import PRESETS, Preprocess
from anchorkit.onnx.understanding import Understanding, UnderstoodLevel, UnderstoodOutput

__all__ = [
    "PRESETS",
    "OnnxDetector",
    "Preprocess",
    "Understanding",
    "UnderstoodLevel",
    "UnderstoodOutput",
    "load_onnx",
]
