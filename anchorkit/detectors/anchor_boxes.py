"""Anchor boxes with free shapes.

torchvision's `DefaultBoxGenerator` can only express 2 + 2n anchors per level, in pairs of ratios, and its
`AnchorGenerator` the same shapes in every combination of size and ratio. Pruning needs any set of shapes on any level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

Shapes = Sequence[Sequence[tuple[float, float]]]
"""For each level its anchors as (width, height) in input pixels; a level may have none."""


class FreeAnchorBoxes(nn.Module):
    """Makes the anchor boxes of every level from a free list of shapes per level.

    Cell (row, column) of a level is centred at ``((column + offset) * stride, (row + offset) * stride)`` pixels of the
    input.

    Args:
        shapes: the anchors of each level that has any, in the order of the feature maps.
        strides: distance of neighbouring cells in input pixels, for each of those levels; None to tile the input
            evenly, so that a level of w columns has a stride of input width / w.
        offset: 0.5 for centres in the middle of the cells (SSD), 0 for their upper left corners (torchvision's
            RetinaNet).
    """

    def __init__(self, shapes: Shapes, strides: Sequence[float] | None = None, offset: float = 0.5) -> None:
        super().__init__()
        self.shapes = tuple(tuple((float(w), float(h)) for w, h in level) for level in shapes if level)
        self.strides = None if strides is None else tuple(strides)
        self.offset = offset
        self._cache: dict[tuple[object, ...], Tensor] = {}

    def boxes(self, grids: Sequence[tuple[int, int]], input_size: tuple[int, int], device: torch.device) -> Tensor:
        """All anchor boxes of one image.

        Args:
            grids: (height, width) in cells of each level.
            input_size: (height, width) of the input in pixels.
            device: device of the boxes.

        Returns:
            float32 (B, 4), x1 y1 x2 y2 in input pixels; level by level, row by row, cell by cell, anchor by anchor.
        """
        key = (tuple(grids), tuple(input_size), device)
        if key not in self._cache:
            levels = [
                self._tile(level, shapes, grid, input_size)
                for level, (shapes, grid) in enumerate(zip(self.shapes, grids, strict=True))
            ]
            self._cache = {key: torch.cat(levels).to(device)}
        return self._cache[key]

    def forward(self, images: object, features: Sequence[Tensor]) -> list[Tensor]:
        """The boxes of every image of a torchvision `ImageList`; the same for all, since all are padded to one size."""
        batch: Tensor = images.tensors  # type: ignore[attr-defined]
        grids = [(feature.shape[-2], feature.shape[-1]) for feature in features]
        boxes = self.boxes(grids, (batch.shape[-2], batch.shape[-1]), batch.device)
        return [boxes] * len(batch)

    def _tile(
        self, level: int, shapes: Sequence[tuple[float, float]], grid: tuple[int, int], input_size: tuple[int, int]
    ) -> Tensor:
        """Anchor boxes of one level, (h * w * A, 4)."""
        if self.strides is None:
            strides = [side / cells for side, cells in zip(input_size, grid, strict=True)]
        else:
            strides = [self.strides[level]] * 2
        y, x = (
            (torch.arange(cells, dtype=torch.float32) + self.offset) * stride
            for cells, stride in zip(grid, strides, strict=True)
        )
        centre_y, centre_x = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack((centre_x, centre_y), dim=-1).reshape(-1, 1, 2)  # (h * w, 1, 2)
        half = torch.tensor(shapes, dtype=torch.float32).reshape(1, -1, 2) / 2  # (1, A, 2)
        return torch.cat((centres - half, centres + half), dim=-1).reshape(-1, 4)


def ssd_shapes(
    scales: Sequence[float],
    ratios: Sequence[Sequence[float]],
    size: tuple[int, int],
    *,
    larger_ratios: bool = False,
    clip: bool = False,
) -> list[list[tuple[float, float]]]:
    """SSD's rule (Liu et al. 2016): squares of two sizes, and for each ratio r the shapes r : 1 and 1 : r.

    The larger square of a level has the geometric mean of its scale and the next level's.

    Args:
        scales: side of the square anchor of each level over the input's side, and one more for the last level's larger
            square.
        ratios: for each level the ratios above 1.
        size: (height, width) of the input in pixels.
        larger_ratios: make the shapes of each ratio a second time with the area of the larger square: the
            overanchorized detectors (paper section 3.5).
        clip: make no side longer than the input's, as torchvision does.

    Returns:
        For each level, (width, height) in input pixels of the squares, then of each ratio the wide shape and the tall
        one (torchvision's order), then those of the larger area.
    """
    height, width = size
    longest = 1.0 if clip else math.inf
    shapes = []
    for level, level_ratios in enumerate(ratios):
        smaller, larger = scales[level], math.sqrt(scales[level] * scales[level + 1])
        sides = [(smaller, smaller), (larger, larger)]
        for side in (smaller, larger) if larger_ratios else (smaller,):
            for ratio in level_ratios:
                root = math.sqrt(ratio)
                sides += [(side * root, side / root), (side / root, side * root)]
        shapes.append([(min(w, longest) * width, min(h, longest) * height) for w, h in sides])
    return shapes
