"""A detector of the same structure with fresh weights."""

from __future__ import annotations

import torch

from anchorkit.detectors.base import Detector, cannot_be_trained
from anchorkit.detectors.channel_surgery import same_structure
from anchorkit.detectors.state_dicts import named_in_errors
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
    with torch.random.fork_rng(devices=[]), named_in_errors("untrained"):
        torch.manual_seed(seed)
        return same_structure(detector)
