"""How much boxes overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def box_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Intersection over union of boxes x1 y1 x2 y2 (any unit, x2 >= x1, y2 >= y1).

    Args:
        first: (..., 4).
        second: (..., 4), of a shape that broadcasts with that of `first`.

    Returns:
        float64 (...,), 0..1; 0 for two boxes without an area.

    Example:
        Every box beside every other one:

        >>> import numpy as np
        >>> boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2]])
        >>> box_iou(boxes[:, None], boxes).round(3).tolist()
        [[1.0, 0.333], [0.333, 1.0]]
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    width, height = (
        np.maximum(np.minimum(one[..., end], other[..., end]) - np.maximum(one[..., start], other[..., start]), 0.0)
        for start, end in ((0, 2), (1, 3))
    )
    common = width * height
    union = _area(one) + _area(other) - common
    with np.errstate(invalid="ignore", divide="ignore"):
        found: npt.NDArray[np.float64] = np.where(union > 0, common / union, 0.0)
    return found


def _area(boxes: npt.NDArray[np.float64]) -> Any:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
