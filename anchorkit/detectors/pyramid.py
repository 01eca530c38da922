"""A feature pyramid (Lin et al. 2017) that computes only what the levels with anchors need."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from anchorkit.detectors.trunks import Trunk


class PyramidTrunk(Trunk):
    """Body, top-down path and the levels above it, as RetinaNet has them (Lin et al. 2017b, section 4).

    The first levels have a map of the body each: a 1x1 convolution (lateral) brings it to the pyramid's channels, the
    sum with the next level's, enlarged, goes through a 3x3 convolution (output). Each further level halves the map
    before it by a 3x3 convolution of stride 2.

    A lateral is needed by its level and all finer ones, since their sums run through it; an output by its level only,
    but the topmost one also by the levels above where they start from it. The body's coarsest map takes part in all of
    them: the body stays whole.

    Args:
        body: gives the maps of the first levels, finest first, as a dictionary.
        maps: for each of those levels, the path within `body` of the module that makes its map.
        body_channels: channels of those maps.
        channels: channels of every level of the pyramid.
        levels: number of levels in all.
        used: indices of the levels that have anchors.
        extra_from_output: whether the further levels start from the topmost output, or else from the body's last map.
    """

    def __init__(
        self,
        body: nn.Module,
        maps: Sequence[str],
        body_channels: Sequence[int],
        channels: int,
        levels: int,
        used: Sequence[int],
        *,
        extra_from_output: bool,
    ) -> None:
        super().__init__()
        self.channels, self.used = (channels,) * levels, tuple(used)
        self.extra_from_output = extra_from_output
        top, depth = len(maps) - 1, max(used) + 1
        of_output = {level: [level] if level <= top else list(range(level, depth)) for level in range(depth)}
        if extra_from_output and depth > top + 1:
            of_output[top] = list(range(top, depth))
        of_lateral = {
            level: sorted({user for finer in range(level + 1) for user in of_output.get(finer, ())})
            for level in range(top + 1)
        }
        used_by = {f"laterals.{level}": users for level, users in of_lateral.items()}
        used_by |= {f"outputs.{level}": users for level, users in of_output.items()}
        needed = {path: tuple(users) for path, users in used_by.items() if not set(users).isdisjoint(used)}
        self.parts = {path: users for path, users in needed.items() if len(users) < depth}
        self.grid_at = [f"body.{maps[level]}" if level <= top else f"outputs.{level}" for level in range(depth)]

        self.body = body
        # Keys name the level, even if other levels are empty, as in the heads.
        self.laterals, self.outputs = nn.ModuleDict(), nn.ModuleDict()
        for level in of_lateral:
            if f"laterals.{level}" in needed:
                self.laterals[str(level)] = nn.Conv2d(body_channels[level], channels, kernel_size=1)
        for level in of_output:
            if f"outputs.{level}" in needed:
                first = body_channels[-1] if level == top + 1 and not extra_from_output else channels
                stride = 1 if level <= top else 2
                self.outputs[str(level)] = nn.Conv2d(first, channels, 3, stride=stride, padding=1)
        convolutions: list[Any] = [*self.laterals.values(), *self.outputs.values()]
        for convolution in convolutions:
            nn.init.kaiming_uniform_(convolution.weight, a=1)  # as torchvision's
            nn.init.zeros_(convolution.bias)

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """See `Trunk`."""
        maps = list(self.body(images).values())
        pyramid: dict[str, Tensor] = {}
        total: Tensor | None = None
        for level in reversed(range(len(maps))):
            key = str(level)
            if key in self.laterals:
                lateral = self.laterals[key](maps[level])
                total = lateral if total is None else lateral + F.interpolate(total, size=lateral.shape[-2:])
            if key in self.outputs:
                pyramid[key] = self.outputs[key](total)
        for level in range(len(maps), max(self.used) + 1):
            if level > len(maps):
                start = F.relu(pyramid[str(level - 1)])
            else:
                start = pyramid[str(level - 1)] if self.extra_from_output else maps[-1]
            pyramid[str(level)] = self.outputs[str(level)](start)
        return OrderedDict((str(level), pyramid[str(level)]) for level in self.used)
