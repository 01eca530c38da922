"""What the rest of the kit knows of a detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from anchorkit.anchors import AnchorLayout
from anchorkit.datasets import Category
from anchorkit.postprocess import PostProcess


@dataclass(frozen=True)
class RawPredictions:
    """Everything a detector says of one image, before top-k and NMS.

    Attributes:
        boxes: float32 (B, 4), x1 y1 x2 y2 in pixels of the original image, clipped to it, in the detector's own order.
        scores: float32 (B, K), 0..1, for each object class in the order of the detector's categories.
        anchor: int32 (B,), the index of the anchor that made the box.
    """

    boxes: np.ndarray
    scores: np.ndarray
    anchor: np.ndarray


class Detector:
    """A trained or trainable anchor-based detector: a torch module and what one must know to use it.

    Attributes:
        architecture: name of the family, as in `load_detector`.
        module: the network, with torchvision's manners: in training mode ``module(images, targets)`` gives a dict of
            losses, in evaluation mode ``module(images)`` gives detections. Images are float (3, H, W) in 0..1; targets
            have ``boxes`` (N, 4) in pixels and ``labels`` (N,), counted from 1 in the order of `categories`.
        layout: the anchors, level by level, and what each costs.
        categories: the object classes, in the order of the scores.
        postprocess: how raw predictions become detections.
    """

    def __init__(
        self,
        architecture: str,
        module: nn.Module,
        layout: AnchorLayout,
        categories: Sequence[Category],
        postprocess: PostProcess,
    ) -> None:
        self.architecture = architecture
        self.module = module
        self.layout = layout
        self.categories = tuple(categories)
        self.postprocess = postprocess

    @property
    def name(self) -> str:
        """The detector's name, as its layout says it."""
        return self.layout.detector

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.module.parameters()).device

    @property
    def parameters(self) -> int:
        """Number of trainable parameters of the whole network."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def raw_predictions(self, images: Sequence[np.ndarray]) -> list[RawPredictions]:
        """Raw predictions of the network in evaluation mode.

        Args:
            images: uint8 (H, W, 3) RGB, each of its own size.

        Returns:
            One `RawPredictions` an image.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        return (
            f"Detector({self.name}: {len(self.layout)} anchors on {len(self.layout.levels)} levels, "
            f"{len(self.categories)} classes, {self.parameters:,} parameters)"
        )


def to_tensor(image: np.ndarray, device: torch.device | None = None) -> Tensor:
    """uint8 (H, W, 3) to float32 (3, H, W) in 0..1."""
    return torch.tensor(image, device=device).permute(2, 0, 1).float().div_(255)
