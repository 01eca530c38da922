"""Interleaved timing of network and post-processing, latency as a search cost, a model of post-processing time."""

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
