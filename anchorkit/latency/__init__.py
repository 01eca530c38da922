"""Measured latency: of detectors side by side, as a cost for a search, and post-processing time as a fitted model."""

from anchorkit.latency.measuring import MeasuredLatency, measure_latency
from anchorkit.latency.postprocess_model import (
    BoxesReachingNms,
    PostprocessModel,
    PostprocessTime,
    fit_postprocess_time,
)
from anchorkit.latency.report import Comparison, LatencyReport

__all__ = [
    "BoxesReachingNms",
    "Comparison",
    "LatencyReport",
    "MeasuredLatency",
    "PostprocessModel",
    "PostprocessTime",
    "fit_postprocess_time",
    "measure_latency",
]
