"""Checks the data and weights of runs, so that bad input is reported before the first notebook starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import Any

from anchorkit.errors import InputError
from anchorkit.files import read_json
from anchorkit.runs.onnx_file import is_detector_file, is_onnx, lesson_facts, open_onnx

_NEEDED = ("ipykernel", "nbclient", "nbconvert", "papermill")


def look_beforehand(runs: Sequence[Mapping[str, Mapping[str, Any]]]) -> None:
    """Open the data and the weights that the lessons of some runs will read, and check that notebooks can be executed.

    Args:
        runs: for each run, the parameters by notebook, as from `Resolver.resolve`.

    Raises:
        InputError: a data set cannot be loaded, images of it are missing or broken (with their number), weights cannot
            be read, the anchors of a detector cannot be pruned, or a package that executes or renders notebooks is
            missing.
    """
    missing = [name for name in _NEEDED if util.find_spec(name) is None]
    if missing:
        raise InputError(f"{missing[0]} is missing, and no notebook is executed without it: see anchorkit doctor")
    detectors = [run.get("02_detector", {}) for run in runs]
    for name in dict.fromkeys(str(own.get("detector", "")) for own in detectors):
        _look_at_family(name)
    # Runs share their data, and a check takes a second.
    lessons = [run.get("01_data", {}) for run in runs]
    for data, root in dict.fromkeys((str(own.get("data", "shapes")), str(own.get("data_root", ""))) for own in lessons):
        if data != "shapes":
            from anchorkit.datasets import load_dataset

            for split in load_dataset(data, root=root or None).splits().values():
                split.check_images()
    for run in runs:
        _look_at_onnx(run)
    for name, weights in dict.fromkeys(
        (str(own.get("detector", "")), str(own.get("weights", ""))) for own in detectors
    ):
        if Path(weights).is_absolute():
            _look_at_weights(name, Path(weights))


def _look_at_family(name: str) -> None:
    """Refuse a detector whose anchors cannot be pruned: lesson 5 would stop, after the training of lesson 2."""
    if name in ("", "tiny_ssd") or is_onnx(name):
        return  # the families import torch, which takes seconds
    if is_detector_file(name):
        from anchorkit.detectors import load_detector

        load_detector(name)
        return
    from anchorkit.detectors.architectures import BUILDERS

    if getattr(BUILDERS.get(name), "two_stages", False):
        raise InputError(
            f"detector {name}: it has two stages, so its anchors cannot be pruned, which is what the lessons do; prune "
            "its channels (`ak.prune_channels`), or give a detector with one stage, such as tiny_ssd"
        )


def _look_at_onnx(run: Mapping[str, Mapping[str, Any]]) -> None:
    """Open the ONNX file of a run as lesson 2 will, with the classes of its data."""
    own, data = run.get("02_detector", {}), run.get("01_data", {})
    if is_onnx(str(own.get("detector", ""))):
        from anchorkit.datasets import load_dataset

        name = str(data.get("data", "shapes"))
        few = {"train": 1, "val": 1, "test": 1, "progress": False} if name == "shapes" else {}
        loaded = load_dataset(name, root=data.get("data_root") or None, **few)
        open_onnx(own["detector"], lesson_facts(own), loaded.categories)


def _look_at_weights(detector: str, path: Path) -> None:
    """Read the tensors (of a safetensors file only its head), or the description of a saved detector."""
    if path.is_dir():
        read_json(path / "detector.json")
        path = path / "model.safetensors"
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as opened:
                opened.keys()
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: not a safetensors file, or cut off ({error})") from None
    elif path.suffix == ".weights":  # darknet's numbers can be read only with their cfg, which lesson 2 does
        if not path.is_file():
            raise InputError(f"{path}: no such file")
    else:
        # Imports torch, which takes seconds: only for files that nothing else reads.
        from anchorkit.detectors.weights import find_weights

        find_weights(detector, path)
