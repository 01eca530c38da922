"""Heads with any number of anchors on any level."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from anchorkit.errors import InputError

LITE_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
"""torchvision's SSDLite has these figures in its batch norms."""


class HeadCosts(NamedTuple):
    """What the head costs on one level; see `anchorkit.anchors.Level`."""

    head_macs_fixed: int
    head_macs_per_anchor: int
    head_params_fixed: int
    head_params_per_anchor: int


class LevelHeads(nn.Module):
    """One convolution per level; a level without anchors has none.

    Args:
        channels: channels of each level's feature map.
        anchors: number of anchors on each level.
        columns: outputs per anchor: the number of scores (background included), or 4 for boxes.
        lite: SSDLite's form: a 1x1 convolution after a depthwise 3x3 one with batch norm, in place of a full 3x3 one.
    """

    def __init__(self, channels: Sequence[int], anchors: Sequence[int], columns: int, lite: bool = False) -> None:
        super().__init__()
        self.columns = columns
        used = {str(level): (channels[level], count) for level, count in enumerate(anchors) if count}
        # Keys name the level: a weight file says which level a filter belongs to, even if other levels are empty.
        depthwise = partial(Conv2dNormActivation, norm_layer=LITE_NORM, activation_layer=nn.ReLU6)
        self.towers = nn.ModuleDict(
            {level: depthwise(width, width, groups=width) for level, (width, _) in used.items()} if lite else {}
        )
        kernel = 1 if lite else 3
        self.levels = nn.ModuleDict(
            {
                level: nn.Conv2d(width, count * columns, kernel_size=kernel, padding=kernel // 2)
                for level, (width, count) in used.items()
            }
        )
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:  # as torchvision's SSDHead and SSDLiteHead
                nn.init.normal_(parameter, std=0.03) if lite else nn.init.xavier_uniform_(parameter)
            elif name.startswith("levels"):
                nn.init.zeros_(parameter)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Outputs (N, B, columns), in the order of the anchor boxes, of the maps of all levels that have anchors."""
        outputs = []
        for (level, convolution), feature in zip(self.levels.items(), features, strict=True):
            x = self.towers[level](feature) if level in self.towers else feature
            outputs.append(anchors_last(convolution(x), self.columns))
        return torch.cat(outputs, dim=1)

    @torch.no_grad()
    def take_from(self, full: LevelHeads, kept: Sequence[Sequence[int]]) -> None:
        """Copy the weights of the kept anchors from the heads of a larger detector.

        Args:
            full: heads that have these levels.
            kept: for each level which of its anchors are kept, counted within the level.
        """
        for level, convolution in self.levels.items():
            copy_filters(_convolution(full.levels[level]), _convolution(convolution), self.columns, kept[int(level)])
            if level in self.towers:
                self.towers[level].load_state_dict(full.towers[level].state_dict())


class AnchorHead(nn.Module):
    """Scores and box offsets for every anchor; the counterpart of torchvision's `SSDHead` for free anchors."""

    def __init__(self, channels: Sequence[int], anchors: Sequence[int], scores: int, lite: bool = False) -> None:
        super().__init__()
        self.classification = LevelHeads(channels, anchors, scores, lite)
        self.regression = LevelHeads(channels, anchors, 4, lite)

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """``cls_logits`` (N, B, scores) and ``bbox_regression`` (N, B, 4)."""
        return {"bbox_regression": self.regression(features), "cls_logits": self.classification(features)}

    def take_from(self, full: AnchorHead, kept: Sequence[Sequence[int]]) -> None:
        """See `LevelHeads.take_from`."""
        self.classification.take_from(full.classification, kept)
        self.regression.take_from(full.regression, kept)


def anchors_last(outputs: Tensor, columns: int) -> Tensor:
    """Outputs of a convolution as one row per box.

    Args:
        outputs: (N, A * columns, h, w).
        columns: outputs per anchor.

    Returns:
        float32 (N, h * w * A, columns): losses and softmax need full precision.
    """
    return outputs.permute(0, 2, 3, 1).reshape(outputs.shape[0], -1, columns).float()


@torch.no_grad()
def copy_filters(source: nn.Conv2d, target: nn.Conv2d, columns: int, kept: Sequence[int]) -> None:
    """Copy the filters of the kept anchors from one convolution into another.

    Args:
        source: a convolution with ``A * columns`` filters, those of an anchor side by side.
        target: one with ``len(kept) * columns`` filters, else alike.
        columns: filters per anchor.
        kept: which anchors of `source` go to `target`, in this order.

    Raises:
        InputError: the convolutions do not have these numbers of filters.
    """
    if source.out_channels % columns or target.out_channels != len(kept) * columns:
        raise InputError(
            f"copy_filters: {source.out_channels} filters to {target.out_channels}, for {len(kept)} anchors of "
            f"{columns} filters each"
        )
    for name in ("weight", "bias"):
        filters = getattr(source, name)
        if filters is not None:
            by_anchor = filters.unflatten(0, (-1, columns))  # (A, columns, ...)
            getattr(target, name).copy_(by_anchor[list(kept)].flatten(0, 1))


def keep_filters(convolution: nn.Conv2d, columns: int, kept: Sequence[int]) -> nn.Conv2d:
    """A convolution with only the filters of the kept anchors; see `copy_filters`.

    Example:
        >>> from torch import nn
        >>> from anchorkit.detectors import keep_filters
        >>> head = nn.Conv2d(64, 6 * 4, kernel_size=3, padding=1)  # six anchors, four outputs each
        >>> keep_filters(head, columns=4, kept=[0, 5]).out_channels
        8
    """
    small = nn.Conv2d(
        convolution.in_channels,
        len(kept) * columns,
        convolution.kernel_size,  # type: ignore[arg-type]
        convolution.stride,  # type: ignore[arg-type]
        convolution.padding,  # type: ignore[arg-type]
        convolution.dilation,  # type: ignore[arg-type]
        bias=convolution.bias is not None,
        device=convolution.weight.device,
    )
    copy_filters(convolution, small, columns, kept)
    return small


def _convolution(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module
