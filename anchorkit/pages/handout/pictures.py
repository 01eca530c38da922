"""A dozen photographs for the handout, with the boxes that some configuration detects on them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anchorkit.evaluation.loops.tables import Array
from anchorkit.pages.handout.table import Table

if TYPE_CHECKING:
    from anchorkit.datasets import Split
    from anchorkit.evaluation import Evaluator

COUNT = 12
SIDE = 240
"""The longer side of a photograph in pixels."""
LEAST_SCORE = 0.3
"""Boxes that score less are not drawn."""


@dataclass(frozen=True)
class Pictures:
    """Photographs of a split.

    Attributes:
        images: indices into the rising image ids of the ground truth, rising.
        sizes: (width, height) of each as drawn.
        sources: each as the data URL of a JPEG.
        scale: drawn pixels per pixel of the original, across and down.
    """

    images: list[int]
    sizes: list[tuple[int, int]]
    sources: list[str]
    scale: list[tuple[float, float]]

    def wanted(self, table: Table, evaluator: Evaluator) -> Array:
        """Bool (N,): the rows of a table that are drawn wherever they are detections."""
        shown = np.isin(table.image, self.images)
        found: Array = shown & (evaluator.predictions.score[table.row] >= LEAST_SCORE)
        return found

    def streams(self, table: Table, evaluator: Evaluator) -> dict[str, Array]:
        """Rows to draw, for `pack`: differences of their numbers, picture, score (%), corners in half pixels."""
        rows = np.flatnonzero(self.wanted(table, evaluator))
        predictions = evaluator.predictions
        picture = np.searchsorted(self.images, table.image[rows]).astype(np.int64)
        sizes, scale = np.array(self.sizes).reshape(-1, 2), np.array(self.scale).reshape(-1, 2)
        corners = predictions.boxes[table.row[rows]].reshape(-1, 2, 2) * scale[picture][:, None]
        corners = np.clip(corners, 0, sizes[picture][:, None])
        return {
            "shown": np.diff(rows, prepend=0),
            "shown_picture": picture,
            "shown_score": np.round(100 * predictions.score[table.row[rows]]),
            "shown_corners": np.round(2 * corners).reshape(-1),
        }


def choose_pictures(evaluator: Evaluator, split: Split) -> Pictures:
    """The images on which most different anchors find something with the full detector."""
    found = evaluator.detections(evaluator.full)
    found = found[found["score"] >= LEAST_SCORE]
    counts = found.groupby("image_id")["anchor"].nunique().sort_values(ascending=False, kind="stable")
    chosen = sorted(int(image_id) for image_id in counts.index[:COUNT])
    made: list[Any] = [_thumbnail(split.image(image_id)) for image_id in chosen]
    return Pictures(
        images=np.searchsorted(evaluator.ground_truth.image_ids, chosen).tolist(),
        sizes=[size for size, _, _ in made],
        sources=[source for _, source, _ in made],
        scale=[scale for _, _, scale in made],
    )


def _thumbnail(image: Array) -> tuple[tuple[int, int], str, tuple[float, float]]:
    from PIL import Image

    picture = Image.fromarray(image)
    width, height = picture.size
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=70, optimize=True)
    source = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return picture.size, source, (picture.width / width, picture.height / height)
