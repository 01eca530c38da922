"""Head surgery: a detector without the anchors it does not need.

Cutting an anchor cuts its filters out of the head. A level without anchors loses its head, and what the trunk computes
for such levels only is cut off with it (paper section 3.8). How that is done, each family of detectors knows.
"""

from __future__ import annotations

from anchorkit.anchors import Configuration
from anchorkit.detectors.base import Detector
from anchorkit.errors import InputError


def prune(detector: Detector, configuration: Configuration) -> Detector:
    """A smaller detector that keeps only the anchors of `configuration`, with the weights of `detector`.

    Its raw predictions are those of `detector` for the kept anchors, up to float rounding. Its layout counts the kept
    anchors afresh; empty levels before the last used one stay in the layout, with no anchors.

    Args:
        detector: the full detector; it is left as it is.
        configuration: a configuration of `detector.layout`.

    Raises:
        InputError: the configuration is empty or of another layout, or the detector's family cannot be pruned.
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
