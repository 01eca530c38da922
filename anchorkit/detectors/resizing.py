"""From images of any size to a batch of one: stretched, or with their aspect kept and a margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.transforms.functional import resize


class Stretch(nn.Module):
    """Stretches images to the input's size, averaging pixels that are left out, as Pillow does."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.image_mean, self.image_std = [0.0] * 3, [1.0] * 3
        self.resizing = {"mode": "stretch", "antialias": True}

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, Tensor]] | None]:
        """Images (3, H, W) in 0..1 as one batch, and boxes in pixels of the input."""
        height, width = self.size
        batch = torch.stack([self._stretched(image) for image in images])
        stretched = ImageList(batch, [self.size] * len(images))
        if targets is None:
            return stretched, None
        scales = [[width / image.shape[2], height / image.shape[1]] * 2 for image in images]
        pairs = zip(targets, scales, strict=True)
        return stretched, [
            {**target, "boxes": target["boxes"] * target["boxes"].new_tensor(scale)} for target, scale in pairs
        ]

    def _stretched(self, image: Tensor) -> Tensor:
        pixels = (image[None] * 255).round()
        if pixels.device.type == "cpu":  # in whole numbers, as Pillow has them after each direction
            pixels = pixels.byte()
        return F.interpolate(pixels, self.size, mode="bilinear", antialias=True)[0].float() / 255


class Letterbox(nn.Module):
    """Resizes images with their aspect kept; the rest of the input has one colour.

    By default the image lies in the upper left corner, as effdet's `ResizePad` puts it.

    Args:
        size: (height, width) of the input in pixels.
        mean: what is subtracted from the channels of an image, 0..1.
        std: what they are then divided by.
        fill: the rest of the input, before that; by default the mean as a uint8 image has it.
        centred: the image lies in the middle, with sides rounded as Ultralytics rounds them.
    """

    def __init__(
        self,
        size: tuple[int, int],
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        fill: Sequence[float] | None = None,
        *,
        centred: bool = False,
    ) -> None:
        super().__init__()
        self.size = size
        self.image_mean, self.image_std = list(mean), list(std)
        self.fill = [round(255 * channel) / 255 for channel in mean] if fill is None else list(fill)
        self.centred = centred

    @property
    def resizing(self) -> dict[str, Any]:
        """What an exported detector says of it."""
        return {"mode": "letterbox" if self.centred else "fit", "antialias": True, "fill": self.fill}

    def margin(self, size: tuple[float, float]) -> tuple[int, int]:
        """Pixels of the input (left, above) of an image that has a size (height, width) in it, before rounding."""
        if not self.centred:
            return 0, 0
        above, left = (
            round((whole - max(1, round(part))) / 2 - 0.1) for whole, part in zip(self.size, size, strict=True)
        )
        return left, above

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]] | None = None
    ) -> tuple[ImageList, list[dict[str, Tensor]] | None]:
        """Images (3, H, W) in 0..1 as one batch, and boxes in pixels of the input.

        The sizes of the returned list are those of the images in the input before rounding to whole pixels: as in
        effdet and Ultralytics, boxes are clipped to them and scaled by one factor in both directions.
        """
        colours = images[0].new_tensor([self.image_mean, self.image_std, self.fill])
        mean, std, fill = colours.reshape(3, 3, 1, 1)
        batch = fill.expand(len(images), 3, *self.size).clone()
        scales = [min(self.size[0] / image.shape[1], self.size[1] / image.shape[2]) for image in images]
        sizes = [(image.shape[1] * scale, image.shape[2] * scale) for image, scale in zip(images, scales, strict=True)]
        margins = [self.margin(size) for size in sizes]
        rounded = round if self.centred else int
        for padded, image, size, (left, above) in zip(batch, images, sizes, margins, strict=True):
            height, width = (max(1, rounded(side)) for side in size)
            part = padded[:, above : above + height, left : left + width]
            part.copy_(resize(image, [height, width], antialias=True))
        normalised = ImageList((batch - mean) / std, sizes)
        if targets is None:
            return normalised, None
        return normalised, [
            {**target, "boxes": target["boxes"] * scale + target["boxes"].new_tensor(margin * 2)}
            for target, scale, margin in zip(targets, scales, margins, strict=True)
        ]
