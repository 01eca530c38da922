"""`tiny_ssd`: a small SSD that a laptop trains in minutes.

It mirrors SSD300 in small: six levels, 4, 6, 6, 6, 4 and 4 anchors, ratios 1, 1+, 2, 1/2 (and 3, 1/3 in the middle),
so that what one sees on it carries over to the paper's detector. About 0.7 M parameters and 0.1 G multiply-adds at
160 x 160 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from anchorkit.datasets import Category
from anchorkit.detectors.anchor_boxes import Shapes, checked_shapes, checked_size, ssd_shapes, used_levels
from anchorkit.detectors.base import Builder
from anchorkit.detectors.ssd import build_ssd
from anchorkit.detectors.torchvision_modules import TorchvisionDetector
from anchorkit.detectors.trunks import StagedTrunk
from anchorkit.postprocess import PostProcess

DEFAULT_SIZE = (160, 160)
SMALLEST_SIZE, LARGEST_SIZE = 96, 512
# Side of the square anchor of each level over the input's side; the last is only for the last level's 1+.
SCALES = (0.10, 0.20, 0.37, 0.54, 0.71, 0.88, 1.05)
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
DEFAULT_POSTPROCESS = PostProcess(score_threshold=0.02, topk=None, topk_scope="class", nms_iou=0.45, max_detections=100)
CHANNELS = (64, 96, 96, 64, 64, 64)


def build(
    categories: Sequence[Category],
    size: tuple[int, int] | None = None,
    shapes: Shapes | None = None,
    postprocess: PostProcess | None = None,
    name: str = "tiny_ssd",
) -> TorchvisionDetector:
    """A `tiny_ssd` with fresh weights.

    Args:
        categories: object classes.
        size: (height, width) of the input in pixels, 96 to 512 a side; 160 x 160 by default.
        shapes: (width, height) in input pixels of the anchors of each level, 1 to 6 levels; SSD's rule by default.
        postprocess: how detections are made.
        name: the detector's own name.

    Raises:
        InputError: the size or the shapes cannot be built.
    """
    return _build("tiny_ssd", build, categories, size, shapes, postprocess, name)


def build_overanchorized(
    categories: Sequence[Category],
    size: tuple[int, int] | None = None,
    shapes: Shapes | None = None,
    postprocess: PostProcess | None = None,
    name: str = "tiny_ssd_overanchorized",
) -> TorchvisionDetector:
    """A `tiny_ssd` with far more anchors than it needs, for the search to choose from (paper section 3.5).

    48 anchors, 6, 10, 10, 10, 6 and 6 on the levels: those of `tiny_ssd`, and the same ratios of the larger scale.
    Arguments as for `build`.
    """
    return _build("tiny_ssd_overanchorized", build_overanchorized, categories, size, shapes, postprocess, name)


def _build(
    architecture: str,
    builder: Builder,
    categories: Sequence[Category],
    size: tuple[int, int] | None,
    shapes: Shapes | None,
    postprocess: PostProcess | None,
    name: str,
) -> TorchvisionDetector:
    size = checked_size(architecture, size or DEFAULT_SIZE, SMALLEST_SIZE, LARGEST_SIZE)
    if shapes is None:
        exact = ssd_shapes(SCALES, RATIOS, size, larger_ratios=architecture == "tiny_ssd_overanchorized")
        shapes = [[(round(w, 2), round(h, 2)) for w, h in level] for level in exact]
    shapes = checked_shapes(shapes, architecture, len(CHANNELS))
    trunk = _trunk(used_levels(shapes), size)
    return build_ssd(
        architecture, name, trunk, shapes, categories, size, postprocess or DEFAULT_POSTPROCESS, build=builder
    )


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm beside a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, channels), nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        )
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) in and out."""
        out: Tensor = self.act(x + self.norm(self.body(x)))
        return out


def _convolution(channels_in: int, channels_out: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    ]


def _trunk(used: Sequence[int], size: tuple[int, int]) -> StagedTrunk:
    """The stages up to the last level of `used`, for an input of (height, width) `size`.

    The first stage brings the image to an eighth, each other one halves the map, until it is a single cell.
    """
    c = CHANNELS
    stages = [
        nn.Sequential(
            *_convolution(3, 16, stride=2),
            *_convolution(16, 32, stride=2),
            Residual(32),
            *_convolution(32, c[0], stride=2),
            Residual(c[0]),
        ),
        nn.Sequential(*_convolution(c[0], c[1], stride=2), *_convolution(c[1], c[1])),
    ]
    for level in range(2, max(used) + 1):
        # A single cell cannot be halved. Asked to, a convolution gives the same cell again, but in bfloat16 on a CPU
        # (torch 2.15) the gradient of its weights then has garbage in it where the kernel hangs over the edge.
        single = max(size) <= 8 * 2 ** (level - 1)
        stages.append(nn.Sequential(*_convolution(c[level - 1], c[level], stride=1 if single else 2)))
    return StagedTrunk(stages, c, used)
