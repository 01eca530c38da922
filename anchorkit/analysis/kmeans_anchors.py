"""Anchors fitted to the sizes of the objects by k-means, the usual rival of designing them by hand or searching them.

k-means with the distance 1 - IoU is from YOLOv2 (Redmon and Farhadi 2017, section 2, "Dimension Clusters"); YOLO and
mmdetection ship it as a tool. It uses the annotations alone and ignores the network, what other anchors
already find, and what a level costs.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from anchorkit.anchors import AnchorLayout
from anchorkit.boxes import box_iou
from anchorkit.costs import cost_of
from anchorkit.errors import InputError

Array = npt.NDArray[np.float64]
Shapes = list[list[tuple[float, float]]]

_ROUNDS, _STARTS = 300, 8
_MOST = 40


def kmeans_sizes(sizes: Array, k: int, seed: int = 0) -> Array:
    """`k` sizes that represent the sizes of objects, by k-means with the distance 1 - IoU of boxes on one centre.

    The best of several starts; a cluster's centre is the mean of its sizes.

    Args:
        sizes: (N, 2), width and height of each object in pixels of the network's input.
        k: how many to find.
        seed: of the starts.

    Returns:
        (k, 2), by rising area.

    Raises:
        InputError: there are fewer than `k` different sizes, or one is not above zero.

    Example:
        >>> sizes = np.array([[10.0, 10], [12, 10], [60, 20], [64, 20]])
        >>> kmeans_sizes(sizes, k=2).tolist()
        [[11.0, 10.0], [62.0, 20.0]]
    """
    sizes = np.asarray(sizes, dtype=np.float64).reshape(-1, 2)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise InputError("k-means: an object has a width or height that is not above 0")
    different = np.unique(sizes, axis=0)
    if not 1 <= k <= len(different):
        raise InputError(f"k-means: {k} clusters of {len(different)} different object sizes")
    rng = np.random.default_rng(seed)
    found = [_from(sizes, _start(sizes, k, rng)) for _ in range(_STARTS)]
    best = max(found, key=lambda centres: float(shape_fit(sizes, centres).max(axis=1).mean()))
    return best[np.argsort(best.prod(axis=1), kind="stable")]


def shape_fit(sizes: Array, shapes: Array) -> Array:
    """How well shapes (M, 2) fit sizes (N, 2): (N, M), the IoU of two boxes with one centre, 0..1.

    Example:
        >>> shape_fit(np.array([[10.0, 10]]), np.array([[10.0, 10], [20, 10]])).tolist()
        [[1.0, 0.5]]
    """
    # Boxes with a corner in common overlap as much.
    one, other = (np.concatenate([np.zeros_like(each), each], axis=1) for each in (sizes, shapes))
    return box_iou(one[:, None], other)


def on_levels(sizes: Array, layout: AnchorLayout) -> Shapes:
    """Each size on the level whose own anchors are nearest to it in size, as the shapes of a detector's levels.

    Nearest means: the smallest ratio between the square roots of the areas, the level's being the geometric mean over
    its anchors.

    Args:
        sizes: (k, 2), width and height in input pixels.
        layout: a layout of the detector with anchors on every level.

    Example:
        >>> import anchorkit as ak
        >>> levels = [ak.Level(str(side), 64 // side, 64 // side, ((side, side),)) for side in (8, 32)]
        >>> layout = ak.AnchorLayout("toy", (64, 64), tuple(levels))
        >>> on_levels(np.array([[10.0, 10], [12, 8], [60, 20]]), layout)
        [[(10.0, 10.0), (12.0, 8.0)], [(60.0, 20.0)]]
    """
    own = [np.mean([0.5 * math.log(width * height) for width, height in level.anchors]) for level in layout.levels]
    shapes: Shapes = [[] for _ in layout.levels]
    for width, height in sizes:
        nearest = int(np.argmin([abs(0.5 * math.log(width * height) - level) for level in own]))
        shapes[nearest].append((round(float(width), 2), round(float(height), 2)))
    return shapes


def kmeans_within(sizes: Array, layout: AnchorLayout, cost: str, budget: float, seed: int = 0) -> Shapes:
    """The largest number of k-means anchors whose head costs no more than a budget.

    Args:
        sizes: (N, 2), width and height of each object in input pixels.
        layout: a layout of the detector with anchors on every level.
        cost: name of a cost.
        budget: the most that it may be.
        seed: of the starts of k-means.

    Returns:
        The shapes of each level; a level may have none.

    Raises:
        InputError: not even one anchor is that cheap.

    Example:
        >>> import anchorkit as ak
        >>> layout = ak.AnchorLayout("toy", (64, 64), (ak.Level("fine", 8, 8, ((16, 16),)),))
        >>> sizes = np.array([[10.0, 10], [12, 10], [60, 20], [64, 20]])
        >>> kmeans_within(sizes, layout, "boxes", budget=128)  # 64 cells, so two anchors
        [[(11.0, 10.0), (62.0, 20.0)]]
    """
    best: Shapes | None = None
    for k in range(1, min(_MOST, len(np.unique(sizes, axis=0))) + 1):
        shapes = on_levels(kmeans_sizes(sizes, k, seed), layout)
        levels = [replace(level, anchors=tuple(own)) for level, own in zip(layout.levels, shapes, strict=True)]
        if cost_of(replace(layout, levels=tuple(levels)).full, cost) <= budget:
            best = shapes
    if best is None:
        raise InputError(f"k-means: not even one anchor has {cost} of {budget:g} or less")
    return best


def _start(sizes: Array, k: int, rng: np.random.Generator) -> Array:
    """Sizes of `k` objects, each drawn with a probability that grows with its distance to those before it.

    As in k-means++ (Arthur and Vassilvitskii 2007): drawn evenly, few large objects among many small ones are missed.
    """
    chosen = [int(rng.integers(len(sizes)))]
    while len(chosen) < k:
        distance = 1.0 - shape_fit(sizes, sizes[chosen]).max(axis=1)
        distance = np.where(distance > 1e-12, distance, 0.0)  # sizes that are there already
        chosen.append(int(rng.choice(len(sizes), p=distance / distance.sum())))
    return sizes[chosen]


def _from(sizes: Array, centres: Array) -> Array:
    """k-means from given centres (k, 2), until nothing changes."""
    nearest = np.full(len(sizes), -1)
    for _ in range(_ROUNDS):
        now = shape_fit(sizes, centres).argmax(axis=1)
        if (now == nearest).all():
            break
        nearest = now
        # A cluster that lost all its members stays where it is.
        centres = np.array(
            [sizes[nearest == i].mean(axis=0) if (nearest == i).any() else c for i, c in enumerate(centres)]
        )
    return centres
