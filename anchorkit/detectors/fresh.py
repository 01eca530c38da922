"""A detector of the same structure with fresh weights."""

from __future__ import annotations

import torch

from anchorkit.detectors.architectures import BUILDERS
from anchorkit.detectors.base import Detector, cannot_be_trained, structure
from anchorkit.errors import InputError


def untrained(detector: Detector, seed: int) -> Detector:
    """A detector with the same anchors and classes and fresh weights, to train from the beginning (paper section 3.3).

    Args:
        detector: whose structure is taken; a pruned one, as a rule.
        seed: of the fresh weights.

    Raises:
        InputError: the detector is only an ONNX file, or its family is not registered.

    Example:
        >>> import anchorkit as ak
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> fresh = ak.untrained(detector, seed=0)
        >>> fresh.layout == detector.layout
        True
    """
    if reason := cannot_be_trained(detector):
        raise InputError(reason)
    if detector.architecture not in BUILDERS:
        raise InputError(
            f"untrained: no builder is known for {detector.architecture!r}; register it first: "
            "register_detector(name, build)"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = BUILDERS[detector.architecture](
            detector.categories,
            postprocess=detector.postprocess,
            name=detector.name,
            **structure(detector.layout),
            **detector.options,
        )
    fresh.module.to(detector.device)
    return fresh
