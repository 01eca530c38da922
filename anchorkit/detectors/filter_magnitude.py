"""How large the head filters of each anchor are: the ranking that magnitude-based pruning goes by.

Li et al. ("Pruning filters for efficient convnets", 2016, section 3.1) cut the filters of a convolution whose absolute
weights have the smallest sum. An anchor's filters are those of the last convolutions of its head that make its scores
and its box. The paper on anchor pruning sets itself apart from this in section 2.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from anchorkit.detectors.base import Detector
from anchorkit.errors import InputError

NORMS = (1, 2)


@torch.no_grad()
def filter_magnitude(detector: Detector, norm: int = 1) -> np.ndarray[Any, Any]:
    """The norm of each anchor's head filters, compared with those of its level.

    Levels differ in their number of channels and in the scale of their features, so a norm of one says little beside
    that of another. Therefore the score filters' norms and the box filters' are each divided by their mean over the
    level's anchors, and the two are averaged: 1 is an ordinary anchor of its level. In a shared head an anchor has the
    filters of its position, the same on every level that has it.

    Args:
        detector: one of the kit's families.
        norm: 1 for the sum of absolute weights, 2 for the root of the sum of their squares; biases are left out.

    Returns:
        float64, one for each anchor of the layout, above 0.

    Raises:
        InputError: there is no such norm, or the detector's head is not one that the kit knows.
    """
    if norm not in NORMS:
        raise InputError(f"filter_magnitude: norm is {norm!r}; use 1 or 2")
    layout = detector.layout
    magnitudes = np.empty(len(layout))
    for level, filters in _filters(detector):
        of_level = [anchor.index for anchor in layout.anchors if anchor.level == level]
        relative = []
        for by_anchor in filters:
            norms = by_anchor.double().flatten(1).norm(p=norm, dim=1).cpu().numpy()  # (A,)
            if len(norms) != len(of_level):
                raise InputError(f"filter_magnitude: {detector.name} has other filters than its layout says")
            relative.append(norms / max(float(norms.mean()), 1e-300))
        magnitudes[of_level] = np.mean(relative, axis=0)
    return magnitudes


def _filters(detector: Detector) -> Iterator[tuple[int, list[Tensor]]]:
    """For each level that has anchors, the weights (A, ...) of its score filters and of its box filters."""
    layout = detector.layout
    head: Any = getattr(detector.module, "head", None)
    parts: list[Any] = [getattr(head, name, None) for name in ("classification", "regression")]
    nets: list[Any] = [getattr(head, name, None) for name in ("class_net", "box_net")]
    for level in sorted({anchor.level for anchor in layout.anchors}):
        places = [anchor.position for anchor in layout.anchors if anchor.level == level]
        if all(hasattr(part, "levels") for part in parts):  # one convolution per level (heads.py)
            yield level, [_by_anchor(part.levels[str(level)], part.columns) for part in parts]
        elif all(hasattr(part, "positions") for part in parts):  # one for all levels (shared_head.py)
            yield level, [_at(_by_anchor(p.output, p.columns), p.positions, places) for p in parts]
        elif all(net is not None for net in nets):  # an EfficientDet's two nets
            columns = head.columns.values()
            last = [_by_anchor(net.predict.conv_pw, n) for net, n in zip(nets, columns, strict=True)]
            yield level, [_at(filters, head.places, places) for filters in last]
        elif hasattr(head, "levels") and hasattr(head, "columns"):  # one convolution per level for all (yolo.py)
            filters = _by_anchor(head.levels[str(level)], head.columns)
            yield level, [filters[:, 4:], filters[:, :4]]
        else:
            raise InputError(
                f"filter_magnitude: the head of {detector.name} ({type(detector).__name__}) is not one of the kit's; "
                "rank its anchors yourself and give the numbers to prune_by_ranking(worth=...)"
            )


def _by_anchor(convolution: nn.Conv2d, columns: int) -> Tensor:
    """(A * columns, ...) to (A, columns, ...)."""
    return convolution.weight.reshape(-1, columns, *convolution.weight.shape[1:])


def _at(filters: Tensor, held: Sequence[int], wanted: Sequence[int]) -> Tensor:
    """Of filters for the positions `held`, those of the positions `wanted`."""
    return filters[[list(held).index(position) for position in wanted]]
