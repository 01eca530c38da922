"""Trunks: from an image to the feature maps of those levels that have anchors, and nothing more."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from anchorkit.anchors import TrunkPart


class Trunk(nn.Module):
    """What the kit needs to know about a trunk beside what it computes.

    Its forward pass takes (N, 3, H, W) and gives an ordered dictionary: the feature map of each level of `used`, by
    the level's number as text.

    Attributes:
        channels: channels of each level's map, whether the level is used or not.
        used: indices of the levels that have anchors, rising.
        parts: for each module within the trunk that only some levels need, by its path: those levels. A part is there
            only if one of them is used.
        grid_at: for each level up to the last used one, the path of a module whose output has the level's grid.
    """

    channels: tuple[int, ...]
    used: tuple[int, ...]
    parts: Mapping[str, tuple[int, ...]]
    grid_at: Sequence[str]

    @property
    def out_channels(self) -> list[int]:
        """Channels of the maps that come out; torchvision asks for it."""
        return [self.channels[level] for level in self.used]


class StagedTrunk(Trunk):
    """A chain of stages, one per level: stage i turns what stage i - 1 gives into the map of level i.

    Args:
        stages: the stages; the first takes the image. Those behind the last used level are left out.
        channels: channels that each stage gives.
        used: indices of the levels that have anchors.
        taps: modules between a stage and its level's head, by level: the next stage takes what comes before them.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        channels: Sequence[int],
        used: Sequence[int],
        taps: Mapping[int, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.used = tuple(channels), tuple(used)
        self.stages = nn.ModuleList(stages[: max(used) + 1])
        self.taps = nn.ModuleDict({str(level): tap for level, tap in (taps or {}).items() if level in self.used})
        self.parts = {f"stages.{stage}": tuple(range(stage, len(self.stages))) for stage in range(1, len(self.stages))}
        self.grid_at = [f"stages.{stage}" for stage in range(len(self.stages))]

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """See `Trunk`."""
        features = OrderedDict()
        x = images
        for level, stage in enumerate(self.stages):
            x = stage(x)
            if level in self.used:
                key = str(level)
                features[key] = self.taps[key](x) if key in self.taps else x
        return features


@dataclass(frozen=True)
class TrunkFacts:
    """What one image costs in a trunk.

    Attributes:
        macs: multiply-adds in all.
        parts: the parts that only some levels need.
        grids: (height, width) of the map of each level up to the last used one.
        channels: channels of those maps; of a level without anchors, those that its grid is taken from.
    """

    macs: int
    parts: tuple[TrunkPart, ...]
    grids: tuple[tuple[int, int], ...]
    channels: tuple[int, ...]


def measure_trunk(trunk: Trunk, size: tuple[int, int]) -> TrunkFacts:
    """Count a trunk's multiply-adds for one image of (height, width) `size`.

    Torch's own FLOP counter counts them on the meta device: nothing is computed, no memory is needed.
    """
    shadow = copy.deepcopy(trunk).to("meta").eval()
    shapes: dict[str, torch.Size] = {}

    def note(path: str, module: nn.Module, inputs: object, output: Tensor) -> None:
        shapes[path] = output.shape

    for path in shadow.grid_at:
        shadow.get_submodule(path).register_forward_hook(partial(note, path))
    with torch.no_grad(), FlopCounterMode(display=False, depth=99) as counter:
        maps = shadow(torch.empty(1, 3, *size, device="meta"))
    root = type(trunk).__name__
    # A module's counts are by operator; two FLOPs are one multiply-add.
    macs = {name: sum(counts.values()) // 2 for name, counts in counter.get_flop_counts().items()}
    parts = [TrunkPart(name, macs.get(f"{root}.{name}", 0), levels) for name, levels in trunk.parts.items()]
    return TrunkFacts(
        macs=counter.get_total_flops() // 2,
        parts=tuple(part for part in parts if part.macs),
        grids=tuple((shapes[path][-2], shapes[path][-1]) for path in trunk.grid_at),
        channels=tuple(
            (maps[str(level)].shape if level in trunk.used else shapes[path])[1]
            for level, path in enumerate(trunk.grid_at)
        ),
    )
