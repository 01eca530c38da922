"""anchorkit: make anchor-based object detectors smaller by finding out which anchors they do not need.

Public are the names in `__all__` here, and those in the `__all__` of the modules that ``dir(anchorkit)`` lists. All of
them can be used after ``import anchorkit as ak``: ``ak.load_detector``, ``ak.plots.frontier``. What is in no
`__all__` is private and may change in any version.

Names are resolved on first use, so that ``import anchorkit`` costs nothing and no command loads torch, Altair or
Jupyter unless it uses them.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Anchor": "anchors",
    "AnchorLayout": "anchors",
    "Configuration": "anchors",
    "Level": "anchors",
    "Move": "anchors",
    "moves": "anchors",
    "InputError": "errors",
    "MissingExtraError": "errors",
    "check_parameters": "batch.parameters",
    "load_dataset": "datasets",
    "coupled_channels": "detectors",
    "export_onnx": "detectors",
    "load_detector": "detectors",
    "register_detector": "detectors",
    "save_detector": "detectors",
    "untrained": "detectors",
    "prune_channels": "channels",
    "prune": "pruning",
    "load_onnx": "onnx",
    "fit": "training",
    "MeasuredLatency": "latency",
    "PostprocessModel": "latency",
    "PostprocessTime": "latency",
    "fit_postprocess_time": "latency",
    "measure_latency": "latency",
    "PostProcess": "predictions",
    "PredictionTable": "predictions",
    "collect_predictions": "predictions",
    "Evaluator": "evaluation",
    "FScore": "evaluation.metrics",
    "VocAP": "evaluation.metrics",
    "WeightedAP": "evaluation.metrics",
    "diagnose": "analysis.diagnosis",
    "exhaustive_search": "search",
    "JointResult": "search.joint",
    "joint_search": "search.joint",
    "layer_wise_pruning": "search",
    "prune_by_ranking": "search",
    "random_pruning": "search",
    "symmetric_pruning": "search",
    "SearchResult": "search",
    "cross_fit": "statistics",
    "frontier_changes": "statistics",
    "holdout_report": "statistics",
    "safe_to_remove": "statistics",
    "split_images": "statistics",
    "ChannelExplorer": "widgets",
}

# The public modules, by the name that ``ak`` has for them.
_SUBMODULES = {
    "analysis": "analysis",
    "anchors": "anchors",
    "batch": "batch",
    "channels": "channels",
    "cluster": "cluster",
    "costs": "costs",
    "datasets": "datasets",
    "detectors": "detectors",
    "evaluation": "evaluation",
    "files": "files",
    "handout": "pages.handout",
    "diagnosis": "analysis.diagnosis",
    "latency": "latency",
    "metrics": "evaluation.metrics",
    "onnx": "onnx",
    "plots": "plots",
    "predictions": "predictions",
    "preprocessing": "analysis.preprocessing",
    "redundancy": "analysis.redundancy",
    "runs": "runs",
    "search": "search",  # a module that can be called
    "statistics": "statistics",
    "testing": "testing",
    "training": "training",
    "widgets": "widgets",
}

__all__ = ["__version__", "search", *_HOME]

if TYPE_CHECKING:
    from anchorkit.analysis.diagnosis import diagnose
    from anchorkit.anchors import Anchor, AnchorLayout, Configuration, Level, Move, moves
    from anchorkit.batch.parameters import check_parameters
    from anchorkit.channels import prune_channels
    from anchorkit.datasets import load_dataset
    from anchorkit.detectors import (
        coupled_channels,
        export_onnx,
        load_detector,
        register_detector,
        save_detector,
        untrained,
    )
    from anchorkit.errors import InputError, MissingExtraError
    from anchorkit.evaluation import Evaluator
    from anchorkit.evaluation.metrics import FScore, VocAP, WeightedAP
    from anchorkit.latency import (
        MeasuredLatency,
        PostprocessModel,
        PostprocessTime,
        fit_postprocess_time,
        measure_latency,
    )
    from anchorkit.onnx import load_onnx
    from anchorkit.predictions import PostProcess, PredictionTable, collect_predictions
    from anchorkit.pruning import prune
    from anchorkit.search import (
        SearchResult,
        exhaustive_search,
        layer_wise_pruning,
        prune_by_ranking,
        random_pruning,
        search,
        symmetric_pruning,
    )
    from anchorkit.search.joint import JointResult, joint_search
    from anchorkit.statistics import cross_fit, frontier_changes, holdout_report, safe_to_remove, split_images
    from anchorkit.training import fit
    from anchorkit.widgets import ChannelExplorer


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        found: Any = importlib.import_module(f"anchorkit.{_SUBMODULES[name]}")
    elif name in _HOME:
        found = getattr(importlib.import_module(f"anchorkit.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'anchorkit' has no attribute {name!r}")
    # Kept, so that the next access does not come here. Importing `search` has put the callable module there already.
    return globals().setdefault(name, found)


def modules_on_first_use(package: str) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose modules are imported when they are first used."""

    def import_module(name: str) -> Any:
        path = f"{package}.{name}"
        if name.startswith("_") or importlib.util.find_spec(path) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(path)  # which also sets the attribute

    return import_module


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBMODULES})
