"""Head surgery: a detector without the anchors it does not need.

Cutting an anchor cuts its filters out of the head. A level without anchors loses its head, and what the trunk computes
for such levels only is cut off with it (paper section 3.8). How that is done, each family of detectors knows, and
`anchorkit.onnx` for detectors that are only a file.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.errors import InputError

__all__ = ["prune"]


class Prunable(Protocol):
    """What `prune` needs of a detector."""

    layout: AnchorLayout

    def pruned(self, configuration: Configuration) -> Any: ...


D = TypeVar("D", bound=Prunable)


def prune(detector: D, configuration: Configuration) -> D:
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
    found: D = detector.pruned(configuration)
    return found
