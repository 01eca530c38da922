"""Head surgery: a detector without the anchors it does not need.

Cutting an anchor cuts its filters out of the head. A level without anchors loses its head, and what the trunk computes
for such levels only is cut off with it (paper section 3.8). How that is done, each family of detectors knows.
"""

from __future__ import annotations

import torch

from anchorkit.anchors import Configuration
from anchorkit.detectors.architectures import BUILDERS
from anchorkit.detectors.base import Detector, cannot_be_trained, structure
from anchorkit.errors import InputError


def prune(detector: Detector, configuration: Configuration) -> Detector:
    """A smaller detector that keeps only the anchors of `configuration`, with the weights of `detector`.

    Its raw predictions are those of `detector` for the kept anchors, up to float rounding. Its layout numbers the kept
    anchors from 0 again; empty levels before the last used one stay in the layout, with no anchors.

    Args:
        detector: the full detector; it is left as it is.
        configuration: a configuration of `detector.layout`.

    Raises:
        InputError: the configuration is empty or of another layout, or the detector's family cannot be pruned.

    Example:
        >>> import anchorkit as ak
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> small = ak.prune(detector, detector.layout.configuration(keep=["L0/16x16", 5, 12]))
        >>> small
        Detector(tiny_ssd-pruned: 3 anchors on 3 levels, 7 classes, ... parameters)
    """
    layout = detector.layout
    if configuration.layout != layout:
        raise InputError(
            f"prune: the configuration belongs to {configuration.layout.detector!r} with "
            f"{len(configuration.layout)} anchors, the detector is {layout.detector!r} with {len(layout)}; "
            "search on predictions of this detector"
        )
    if not configuration:
        raise InputError("prune: the configuration keeps no anchor; a detector needs at least one")
    return detector.pruned(configuration)


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
