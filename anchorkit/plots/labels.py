"""Where the names of points go, so that no name lies on another one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_LETTER, _LINE = 7.9, 17.0  # pixels: about how wide a letter of the kit's labels is, and how high a line
_MARK = 7.0  # pixels: half of a point's mark
_NEARLY = 0.02
"""Weight of a place's rank among the places: of two that are as free, the earlier one is taken."""


def label_places(points: Array, texts: Sequence[str], width: float, height: float) -> Array:
    """The middle of each text, beside its point and clear of the other texts and points where there is room.

    One after the other takes the place that covers least of what is there already: above, below, right, left of its
    point, or at a corner. So the first in the list gets the best place.

    Args:
        points: (N, 2): x and y in pixels of the plot, y downwards.
        texts: the N texts.
        width: width of the plot in pixels; only a text that is too wide or too high leaves it.
        height: height of the plot in pixels.

    Returns:
        (N, 2): x and y of the middles in pixels.
    """
    marks = np.hstack([points - _MARK, points + _MARK])  # (N, 4): left, top, right, bottom
    taken = marks
    found = np.zeros((len(points), 2))
    for number, (point, text) in enumerate(zip(points, texts, strict=True)):
        half = np.array([_LETTER * len(text) / 2, _LINE / 2])
        # A text that would leave the plot is moved back into it; if it then covers its own point, that counts.
        room = np.maximum(np.array([width, height]) - half, half)
        places = np.clip(point + _around(half), half, room)  # (K, 2)
        boxes = np.hstack([places - half, places + half])
        covered = _common(boxes, taken).sum(axis=1)
        rank = _NEARLY * 4 * half[0] * half[1] * np.arange(len(places))
        best = int(np.argmin(covered + rank))
        found[number] = places[best]
        taken = np.vstack([taken, boxes[best : best + 1]])
    return found


def _around(half: Array) -> Array:
    """Places of a text's middle about its point, the best first; `half` is half of its width and height."""
    x, y = half[0] + _MARK + 3, half[1] + _MARK + 1
    corner = half[0] + 2
    near = [(0.0, -y), (0.0, y), (x, 0.0), (-x, 0.0), (corner, -y), (corner, y), (-corner, -y), (-corner, y)]
    far = [(0.0, -y - _LINE), (0.0, y + _LINE), (x, -_LINE), (x, _LINE), (-x, -_LINE), (-x, _LINE)]
    return np.array(near + far)


def _common(boxes: Array, others: Array) -> Array:
    """Area that boxes (K, 4) have in common with others (M, 4): (K, M)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common: Array = np.clip(high - low, 0.0, None).prod(axis=2)
    return common
