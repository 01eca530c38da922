"""`tiny_ssd`: a small SSD that a laptop trains in minutes.

It mirrors SSD300 in small: six levels, 4, 6, 6, 6, 4 and 4 anchors, ratios 1, 1+, 2, 1/2 (and 3, 1/3 in the middle),
so that what one sees on it carries over to the paper's detector. About 0.7 M parameters and 0.1 G multiply-adds at
160 x 160 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from anchorkit.detectors.anchor_boxes import Shapes, ssd_shapes
from anchorkit.detectors.families import Blueprint, Family
from anchorkit.detectors.ssd import build_ssd
from anchorkit.detectors.torchvision_modules import TorchvisionDetector
from anchorkit.detectors.trunks import StagedTrunk
from anchorkit.postprocess import PostProcess

# Side of the square anchor of each level over the input's side; the last is only for the last level's 1+.
SCALES = (0.10, 0.20, 0.37, 0.54, 0.71, 0.88, 1.05)
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
CHANNELS = (64, 96, 96, 64, 64, 64)


def _assemble(blueprint: Blueprint) -> TorchvisionDetector:
    return build_ssd(blueprint, _trunk(blueprint.used, blueprint.size))


def _shapes(size: tuple[int, int], larger_ratios: bool = False) -> Shapes:
    exact = ssd_shapes(SCALES, RATIOS, size, larger_ratios=larger_ratios)
    return [[(round(w, 2), round(h, 2)) for w, h in level] for level in exact]


TINY_SSD = Family(
    "tiny_ssd",
    size=(160, 160),
    sides=(96, 512),
    levels=len(CHANNELS),
    shapes=_shapes,
    postprocess=PostProcess(score_threshold=0.02, topk=None, topk_scope="class", nms_iou=0.45, max_detections=100),
    assemble=_assemble,
)
OVERANCHORIZED = replace(TINY_SSD, architecture="tiny_ssd_overanchorized", shapes=partial(_shapes, larger_ratios=True))
"""A `tiny_ssd` with far more anchors than it needs, for the search to choose from (paper section 3.5).

48 anchors, 6, 10, 10, 10, 6 and 6 on the levels: those of `tiny_ssd`, and the same ratios of the larger scale.
"""


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *Conv2dNormActivation(channels, channels), nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        )
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) in and out."""
        out: Tensor = self.act(x + self.norm(self.body(x)))
        return out


def _trunk(used: Sequence[int], size: tuple[int, int]) -> StagedTrunk:
    """The stages up to the last level of `used`, for an input of (height, width) `size`.

    The first stage brings the image to an eighth, each other one halves the map, until it is a single cell.
    """
    c = CHANNELS
    stages = [
        nn.Sequential(
            *Conv2dNormActivation(3, 16, stride=2),
            *Conv2dNormActivation(16, 32, stride=2),
            Residual(32),
            *Conv2dNormActivation(32, c[0], stride=2),
            Residual(c[0]),
        ),
        nn.Sequential(*Conv2dNormActivation(c[0], c[1], stride=2), *Conv2dNormActivation(c[1], c[1])),
    ]
    for level in range(2, max(used) + 1):
        # A single cell cannot be halved. Asked to, a convolution gives the same cell again, but in bfloat16 on a CPU
        # (torch 2.15) the gradient of its weights then has garbage in it where the kernel hangs over the edge.
        single = max(size) <= 8 * 2 ** (level - 1)
        stages.append(Conv2dNormActivation(c[level - 1], c[level], stride=1 if single else 2))
    return StagedTrunk(stages, c, used)
