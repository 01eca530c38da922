"""Dividing images into a part to choose on and a part to evaluate on, with every class in both where possible.

Images are dealt out class by class, the rarest first (iterative stratification: Sechidis, Tsoumakas and Vlahavas 2011,
*On the stratification of multi-label data*): an image goes to the part that still wants most of the class, of equals to
the one that wants most images, of equals at random. Parts have exactly the sizes asked for. Where a class with at least
as many images as there are parts is still missing from one, images are swapped as long as that helps and takes no other
class away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from anchorkit.errors import InputError
from anchorkit.evaluation.ground_truth import GroundTruth

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ImageSplit:
    """Images to search on, and held-out images to evaluate the result on.

    Attributes:
        search: int64, ids, rising. holdout: int64, ids, rising.
        one_sided: category ids that have boxes to be found on one side only: too few images, or no way to divide them.
    """

    search: Integers = field(repr=False)
    holdout: Integers = field(repr=False)
    one_sided: tuple[int, ...]


def split_images(truth: GroundTruth, holdout: float = 0.5, seed: int = 0) -> ImageSplit:
    """Divide the images of a ground truth into some to search on and held-out ones to evaluate the result on.

    Args:
        truth: such as ``evaluator.ground_truth``.
        holdout: share of the images to hold out, above 0 and below 1.
        seed: the same seed gives the same division.

    Raises:
        InputError: the share is out of range, or there are fewer than two images.

    Examples:
        >>> from anchorkit.evaluation.ground_truth import read_ground_truth
        >>> from anchorkit.statistics import split_images
        >>> box = {"category_id": 1, "bbox": [0, 0, 8, 8], "area": 64, "iscrowd": 0}
        >>> truth = read_ground_truth({
        ...     "images": [{"id": n} for n in range(6)],
        ...     "annotations": [{"id": n + 1, "image_id": n, **box} for n in range(6)],
        ...     "categories": [{"id": 1, "name": "cup"}],
        ... })
        >>> split = split_images(truth, holdout=0.5)
        >>> len(split.search), len(split.holdout), split.one_sided
        (3, 3, ())
    """
    n = len(truth.image_ids)
    if not 0 < holdout < 1:
        raise InputError(f"split_images: holdout is {holdout!r}; a share above 0 and below 1 is needed")
    if n < 2:
        raise InputError(f"split_images: {n} image(s) cannot be divided; two or more are needed")
    held_out = min(max(round(n * holdout), 1), n - 1)
    part = _deal(truth, [n - held_out, held_out], seed)
    shows = _shows(truth)
    sides = [shows[part == side].any(axis=0) for side in (0, 1)]
    one_sided = truth.category_ids[sides[0] != sides[1]]
    return ImageSplit(truth.image_ids[part == 0], truth.image_ids[part == 1], tuple(one_sided.tolist()))


def fold_images(truth: GroundTruth, folds: int = 5, seed: int = 0) -> Integers:
    """Divide the images of a ground truth into folds of about the same size.

    Args:
        truth: such as ``evaluator.ground_truth``.
        folds: how many, 2 or more.
        seed: the same seed gives the same division.

    Returns:
        int64 (I,): the fold of each image (0, 1, ...), images by rising id.

    Raises:
        InputError: there are fewer than two folds, or fewer images than folds.

    Examples:
        >>> from anchorkit.evaluation.ground_truth import read_ground_truth
        >>> from anchorkit.statistics import fold_images
        >>> images = [{"id": n} for n in range(6)]
        >>> truth = read_ground_truth({"images": images, "annotations": [], "categories": [{"id": 1, "name": "cup"}]})
        >>> sorted(fold_images(truth, folds=3).tolist())
        [0, 0, 1, 1, 2, 2]
    """
    n = len(truth.image_ids)
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise InputError(f"fold_images: folds is {folds!r}; a whole number of 2 or more is needed")
    if n < folds:
        raise InputError(f"fold_images: {n} images are too few for {folds} folds")
    return _deal(truth, [n // folds + (fold < n % folds) for fold in range(folds)], seed)


def _shows(truth: GroundTruth) -> Flags:
    """Whether an image has a box of the class that is to be found; crowds are not: bool (I, K)."""
    shows = np.zeros((len(truth.image_ids), len(truth.category_ids)), np.bool_)
    real = ~truth.crowd
    shows[truth.image[real], truth.category[real]] = True
    return shows


def _deal(truth: GroundTruth, sizes: Sequence[int], seed: int) -> Integers:
    """int64 (I,): the part of each image; part p gets ``sizes[p]`` images."""
    random = np.random.default_rng(seed)
    shows = _shows(truth)
    part = np.full(len(shows), -1, np.int64)
    room = np.array(sizes, np.int64)
    wanted = np.outer(room / max(len(shows), 1), shows.sum(axis=0))  # (parts, K): images of each class
    left = shows.copy()
    while left.any():
        counts = left.sum(axis=0)
        rarest = int(np.where(counts > 0, counts, len(shows) + 1).argmin())
        for image in random.permutation(np.flatnonzero(left[:, rarest])).tolist():
            # Of equal wishes the larger room decides, then chance.
            order = np.lexsort((random.random(len(room)), -room, -wanted[:, rarest]))
            goes_to = int(order[room[order] > 0][0])
            part[image] = goes_to
            room[goes_to] -= 1
            wanted[goes_to, shows[image]] -= 1
            left[image] = False
    rest = random.permutation(np.flatnonzero(part < 0))
    part[rest] = np.repeat(np.arange(len(room)), room)
    return _swapped(part, shows, len(sizes))


def _swapped(part: Integers, shows: Flags, n_parts: int) -> Integers:
    """The parts after swaps that bring a class to a part which lacks it."""
    counts = np.stack([shows[part == p].sum(axis=0) for p in range(n_parts)])  # (parts, K)
    can_be = shows.sum(axis=0) >= n_parts
    while True:
        swap = _helpful_swap(part, shows, counts, can_be)
        if swap is None:
            return part
        one, other = swap
        brings = shows[one].astype(np.int64) - shows[other]
        counts[part[other]] += brings
        counts[part[one]] -= brings
        part[[one, other]] = part[[other, one]]


def _helpful_swap(part: Integers, shows: Flags, counts: Integers, can_be: Flags) -> tuple[int, int] | None:
    """Two images whose swap leaves fewer (part, class) pairs without an image, or None."""
    for lacking, klass in zip(*np.nonzero((counts == 0) & can_be), strict=True):
        for image in np.flatnonzero(shows[:, klass] & (counts[part, klass] > 1)).tolist():
            giver = part[image]
            others = np.flatnonzero(part == lacking)
            giver_counts = counts[giver] - shows[image] + shows[others].astype(np.int64)  # (others, K)
            taker_counts = counts[lacking] + shows[image] - shows[others].astype(np.int64)
            empty = ((giver_counts == 0)[:, can_be].sum(axis=1)) + ((taker_counts == 0)[:, can_be].sum(axis=1))
            before = (counts[[giver, lacking]] == 0)[:, can_be].sum()
            if len(others) and empty.min() < before:
                return image, int(others[empty.argmin()])
    return None
