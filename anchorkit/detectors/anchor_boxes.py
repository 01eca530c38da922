"""Anchor boxes with free shapes.

torchvision's `DefaultBoxGenerator` can only express 2 + 2n anchors a level, in pairs of ratios, and its
`AnchorGenerator` the same shapes in every combination of size and ratio. Pruning needs any set of shapes on any level,
the empty one included.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FreeAnchorBoxes(nn.Module):
    """Makes the anchor boxes of every level from a free list of shapes a level.

    The centres tile the input evenly: cell (row, column) of a level with h x w cells is centred at
    ``((column + 0.5) / w, (row + 0.5) / h)`` of the input, as in SSD.

    Args:
        shapes: for each level its anchors as (width, height) in input pixels; a level may have none.
    """

    def __init__(self, shapes: Sequence[Sequence[tuple[float, float]]]) -> None:
        super().__init__()
        self.shapes = tuple(tuple((float(w), float(h)) for w, h in level) for level in shapes)
        self._cache: dict[tuple[object, ...], Tensor] = {}

    def num_anchors_per_location(self) -> list[int]:
        """Number of anchors on each level."""
        return [len(level) for level in self.shapes]

    def boxes(self, grids: Sequence[tuple[int, int]], input_size: tuple[int, int], device: torch.device) -> Tensor:
        """All anchor boxes of one image.

        Args:
            grids: (height, width) in cells of each level.
            input_size: (height, width) of the input in pixels.
            device: where the boxes shall be.

        Returns:
            float32 (B, 4), x1 y1 x2 y2 in input pixels; level by level, row by row, cell by cell, anchor by anchor.
        """
        key = (tuple(grids), tuple(input_size), device)
        if key not in self._cache:
            levels = [_tile(shapes, grid, input_size) for shapes, grid in zip(self.shapes, grids, strict=True)]
            self._cache = {key: torch.cat(levels).to(device)}
        return self._cache[key]

    def forward(self, images: object, features: Sequence[Tensor]) -> list[Tensor]:
        """The boxes of every image of a torchvision `ImageList`; the same for all, since the input size is fixed."""
        batch: Tensor = images.tensors  # type: ignore[attr-defined]
        grids = [(feature.shape[-2], feature.shape[-1]) for feature in features]
        boxes = self.boxes(grids, (batch.shape[-2], batch.shape[-1]), batch.device)
        return [boxes] * len(batch)


def _tile(shapes: Sequence[tuple[float, float]], grid: tuple[int, int], input_size: tuple[int, int]) -> Tensor:
    """Anchor boxes of one level, (h * w * A, 4)."""
    rows, columns = grid
    y = (torch.arange(rows, dtype=torch.float32) + 0.5) * (input_size[0] / rows)
    x = (torch.arange(columns, dtype=torch.float32) + 0.5) * (input_size[1] / columns)
    centre_y, centre_x = torch.meshgrid(y, x, indexing="ij")
    centres = torch.stack((centre_x, centre_y), dim=-1).reshape(-1, 1, 2)  # (h * w, 1, 2)
    half = torch.tensor(shapes, dtype=torch.float32).reshape(1, -1, 2) / 2  # (1, A, 2)
    return torch.cat((centres - half, centres + half), dim=-1).reshape(-1, 4)
