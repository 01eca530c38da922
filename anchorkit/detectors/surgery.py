"""Head surgery: a detector without the anchors it does not need.

Cutting an anchor cuts its filters out of the level's two convolutions. A level without anchors loses its head; levels
at the end of the trunk that feed nothing any more are cut off with it (paper section 3.8).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from anchorkit.anchors import Configuration
from anchorkit.detectors.architectures import BUILDERS
from anchorkit.detectors.base import Detector
from anchorkit.detectors.ssd import LevelHeads, SSDDetector
from anchorkit.errors import InputError


def prune(detector: Detector, configuration: Configuration) -> SSDDetector:
    """A smaller detector that keeps only the anchors of `configuration`, with the weights of `detector`.

    Its raw predictions are those of `detector` for the kept anchors, up to float rounding. Its layout counts the kept
    anchors afresh; empty levels before the last used one stay in the layout, with no anchors.

    Args:
        detector: the full detector; it is left as it is.
        configuration: a configuration of `detector.layout`.

    Raises:
        InputError: the configuration is empty or of another layout, or the detector's family cannot be pruned.
    """
    if not isinstance(detector, SSDDetector):
        raise InputError(f"prune: no surgery is known for {detector.architecture!r}")
    layout = detector.layout
    if configuration.layout != layout:
        raise InputError(
            f"prune: the configuration belongs to {configuration.layout.detector!r} with "
            f"{len(configuration.layout)} anchors, the detector is {layout.detector!r} with {len(layout)}; "
            "search on predictions of this detector"
        )
    if not configuration:
        raise InputError("prune: the configuration keeps no anchor; a detector needs at least one")
    kept: list[list[int]] = [[] for _ in layout.levels]
    for anchor in configuration.anchors:
        kept[anchor.level].append(anchor.position)
    levels = max(i for i, positions in enumerate(kept) if positions) + 1
    shapes = [[layout.levels[i].anchors[position] for position in kept[i]] for i in range(levels)]

    small = BUILDERS[detector.architecture](
        detector.categories,
        size=layout.input_size,
        shapes=shapes,
        postprocess=detector.postprocess,
        name=f"{layout.detector.removesuffix('-pruned')}-pruned",
    )
    assert isinstance(small, SSDDetector)
    trunk = {
        key: value
        for key, value in detector.module.backbone.state_dict().items()
        if int(key.split(".")[1]) < levels  # keys read stages.LEVEL....
    }
    small.module.backbone.load_state_dict(trunk)
    for ours, theirs in (
        (small.module.head.classification, detector.module.head.classification),
        (small.module.head.regression, detector.module.head.regression),
    ):
        cut_filters(theirs, ours, kept)
    small.module.to(detector.device)
    return small


@torch.no_grad()
def cut_filters(source: LevelHeads, target: LevelHeads, kept: Sequence[Sequence[int]]) -> None:
    """Copy the filters of the kept anchors from `source` into `target`.

    Args:
        source: heads of the full detector.
        target: heads built for the kept anchors.
        kept: for each level the positions of the kept anchors within it.
    """
    for key, convolution in target.levels.items():
        full: nn.Module = source.levels[key]
        for name in ("weight", "bias"):
            filters = getattr(full, name)
            by_anchor = filters.unflatten(0, (-1, source.columns))  # (A, columns, ...)
            getattr(convolution, name).copy_(by_anchor[list(kept[int(key)])].flatten(0, 1))
