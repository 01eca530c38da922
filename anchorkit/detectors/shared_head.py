"""One head for all levels (RetinaNet), of which each level may use other filters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.retinanet import RetinaNetClassificationHead, RetinaNetRegressionHead
from torchvision.ops import Conv2dNormActivation

from anchorkit.detectors.heads import HeadCosts, anchors_last, copy_filters

Positions = Sequence[Sequence[int]]
"""For each level, which of the head's filters make its anchors: the position of each anchor, in their order."""


class SharedTower(nn.Module):
    """A tower of convolutions and a last one with the filters of every position that any level keeps.

    On a level that keeps some of those positions only their filters are computed.

    Args:
        channels: channels of every level's map and of the tower.
        positions: see `Positions`.
        columns: outputs per anchor: the number of scores, or 4 for boxes.
        convolutions: number of 3x3 convolutions in the tower.
        groups: of the group norm after each of them; None for no norm.
        bias: where the last convolution's biases start.
    """

    def __init__(
        self, channels: int, positions: Positions, columns: int, convolutions: int, groups: int | None, bias: float
    ) -> None:
        super().__init__()
        self.columns = columns
        self.positions = sorted({position for level in positions for position in level})
        norm = None if groups is None else partial(nn.GroupNorm, groups)
        layers = [Conv2dNormActivation(channels, channels, norm_layer=norm) for _ in range(convolutions)]
        self.tower = nn.Sequential(*layers)
        self.output = nn.Conv2d(channels, len(self.positions) * columns, kernel_size=3, padding=1)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.01)  # section 4.1 of Lin et al. 2017b, and torchvision
            elif name.startswith("output"):
                nn.init.constant_(parameter, bias)
            elif groups is None:
                nn.init.zeros_(parameter)
        self.filters = [self._filters(level) for level in positions if level]

    def _filters(self, level: Sequence[int]) -> list[int] | None:
        """Rows of the last convolution that make a level's anchors, in their order; None for all as they are."""
        if list(level) == self.positions:
            return None
        first = [self.positions.index(position) * self.columns for position in level]
        return [row + column for row in first for column in range(self.columns)]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Outputs (N, B, columns), in the order of the anchor boxes, of the maps of all levels that have anchors."""
        outputs = []
        for feature, filters in zip(features, self.filters, strict=True):
            x = self.tower(feature)
            if filters is None:
                x = self.output(x)
            else:
                assert self.output.bias is not None
                x = F.conv2d(x, self.output.weight[filters], self.output.bias[filters], padding=1)
            outputs.append(anchors_last(x, self.columns))
        return torch.cat(outputs, dim=1)

    def take_from(self, full: SharedTower) -> None:
        """Copy the weights of a tower that has all positions of this one."""
        self.tower.load_state_dict(full.tower.state_dict())
        copy_filters(full.output, self.output, self.columns, [full.positions.index(p) for p in self.positions])


class ScoreTower(SharedTower):
    """Scores, with torchvision's focal loss. The filters of an anchor are its classes."""

    BETWEEN_THRESHOLDS = Matcher.BETWEEN_THRESHOLDS  # the loss asks for it
    compute_loss = RetinaNetClassificationHead.compute_loss

    def __init__(
        self, channels: int, positions: Positions, classes: int, convolutions: int, groups: int | None
    ) -> None:
        # Biases make every box say 1 %, so that the many boxes of background do not swamp the first steps.
        super().__init__(channels, positions, classes, convolutions, groups, bias=-math.log(99))


class BoxTower(SharedTower):
    """Box offsets, with torchvision's loss ``"l1"`` or ``"giou"``."""

    compute_loss = RetinaNetRegressionHead.compute_loss

    def __init__(self, channels: int, positions: Positions, loss: str, convolutions: int, groups: int | None) -> None:
        super().__init__(channels, positions, 4, convolutions, groups, bias=0.0)
        self._loss_type = loss  # these two the loss asks for
        self.box_coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))


class SharedHead(nn.Module):
    """Scores and box offsets for every anchor of every level; the counterpart of torchvision's `RetinaNetHead`.

    Args:
        channels: channels of every level's map.
        positions: see `Positions`; empty levels included.
        classes: number of object classes.
        convolutions: number of 3x3 convolutions in each of the two towers.
        groups: of the group norm after each of them; None for no norm.
        box_loss: ``"l1"`` or ``"giou"``.
    """

    def __init__(
        self,
        channels: int,
        positions: Positions,
        classes: int,
        *,
        convolutions: int = 4,
        groups: int | None = None,
        box_loss: str = "l1",
    ) -> None:
        super().__init__()
        self.classification = ScoreTower(channels, positions, classes, convolutions, groups)
        self.regression = BoxTower(channels, positions, box_loss, convolutions, groups)

    def costs(self) -> HeadCosts:
        """What the head costs on each level, and how many parameters it has."""
        nets = (self.classification, self.regression)
        towers = [parameter for net in nets for parameter in net.tower.parameters()]
        per_anchor = sum(net.columns * net.output.in_channels * 9 for net in nets)
        return HeadCosts(
            head_macs_fixed=sum(parameter.numel() for parameter in towers if parameter.ndim > 1),
            head_macs_per_anchor=per_anchor,
            head_params_fixed=sum(parameter.numel() for parameter in towers),
            head_params_per_anchor=per_anchor + sum(net.columns for net in nets),
        )

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """``cls_logits`` (N, B, classes) and ``bbox_regression`` (N, B, 4)."""
        return {"cls_logits": self.classification(features), "bbox_regression": self.regression(features)}

    def compute_loss(
        self, targets: list[dict[str, Tensor]], outputs: dict[str, Tensor], anchors: list[Tensor], matched: list[Tensor]
    ) -> dict[str, Tensor]:
        """Torchvision's losses; labels count from 0, `matched` (B,) an image is the target of each anchor box."""
        return {
            "classification": self.classification.compute_loss(targets, outputs, matched),
            "bbox_regression": self.regression.compute_loss(targets, outputs, anchors, matched),
        }

    def take_from(self, full: SharedHead, kept: Positions) -> None:
        """Copy the weights from the head of a larger detector.

        Positions keep their meaning when anchors go, so the two heads' own say all there is to know.

        Args:
            full: a head that has all positions of this one.
            kept: which anchors of each level are kept; not needed here.
        """
        self.classification.take_from(full.classification)
        self.regression.take_from(full.regression)
