"""A family of detectors: what all its members have in common, and what each is checked for before it is built."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.datasets import Category
from anchorkit.detectors.anchor_boxes import Shapes
from anchorkit.detectors.base import Detector
from anchorkit.detectors.heads import HeadCosts
from anchorkit.detectors.shared_head import Positions
from anchorkit.detectors.trunks import TrunkFacts
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess


@dataclass(frozen=True)
class Family:
    """A family of detectors. It is the family's `Builder`: calling it gives a detector with fresh weights.

    Attributes:
        architecture: the family's name, as in `load_detector`.
        size: (height, width) of the input in pixels, by default.
        sides: the smallest and the largest side of an input in pixels.
        levels: the largest number of levels.
        shapes: gives the default anchors at an input of (height, width) pixels.
        postprocess: how detections are made by default.
        assemble: ``assemble(blueprint, **options)`` makes the detector; its further parameters are the family's
            options.
        pyramid: the levels are those of a feature pyramid, P3 and up, and share one head.
        two_stages: a second stage judges what the anchors propose, so channels can be pruned, and anchors cannot.
    """

    architecture: str
    size: tuple[int, int]
    sides: tuple[int, int]
    levels: int
    shapes: Callable[[tuple[int, int]], Shapes]
    postprocess: PostProcess
    assemble: Callable[..., Detector]
    pyramid: bool = False
    two_stages: bool = False

    def __call__(
        self,
        categories: Sequence[Category],
        size: tuple[int, int] | None = None,
        shapes: Shapes | None = None,
        postprocess: PostProcess | None = None,
        name: str | None = None,
        positions: Positions | None = None,
        **options: Any,
    ) -> Any:
        """A detector with fresh weights.

        Args:
            categories: object classes.
            size: (height, width) of the input in pixels.
            shapes: (width, height) in input pixels of the anchors of each level.
            postprocess: how detections are made.
            name: the detector's own name.
            positions: of a pyramid, for each level which of the head's filters make its anchors; by default 0, 1, 2
                ... on every level.
            options: those of the family; see its `assemble`.

        Raises:
            InputError: the size, the shapes, the positions, the post-processing or an option cannot be built.
        """
        size = _checked_size(self.architecture, size or self.size, *self.sides)
        checked = _checked_shapes(self.shapes(size) if shapes is None else shapes, self.architecture, self.levels)
        postprocess = postprocess or self.postprocess
        scope = self.postprocess.topk_scope
        if self.pyramid and postprocess.topk is not None and postprocess.topk_scope != scope:
            raise InputError(
                f"{self.architecture}: topk_scope is {postprocess.topk_scope!r}; this family takes the best of each "
                f"{scope}: use {scope!r}, or no topk"
            )
        places = _checked_positions(positions, checked, self.architecture)
        blueprint = Blueprint(self, name or self.architecture, tuple(categories), size, checked, places, postprocess)
        return self.assemble(blueprint, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        """The arguments of `__call__` with the family's own options: what help shows and `load_detector` accepts."""
        common = [
            parameter
            for parameter in inspect.signature(type(self).__call__).parameters.values()
            if parameter.name not in ("self", "options") and (self.pyramid or parameter.name != "positions")
        ]
        _, *options = inspect.signature(self.assemble).parameters.values()
        return inspect.Signature([*common, *options])


@dataclass(frozen=True)
class Blueprint:
    """A detector that can be built: what was asked for, checked, and the family's own for the rest.

    Attributes:
        family: what it is one of.
        name: the detector's own name.
        categories: object classes.
        size: (height, width) of the input in pixels.
        shapes: (width, height) in input pixels of the anchors of each level up to the last that has any.
        positions: for each of those levels which of a shared head's filters make its anchors.
        postprocess: how detections are made.
    """

    family: Family
    name: str
    categories: tuple[Category, ...]
    size: tuple[int, int]
    shapes: list[list[tuple[float, float]]]
    positions: list[tuple[int, ...]]
    postprocess: PostProcess

    @property
    def used(self) -> list[int]:
        """Indices of the levels that have anchors."""
        return [level for level, anchors in enumerate(self.shapes) if anchors]

    def layout(self, trunk: TrunkFacts, head: Sequence[HeadCosts]) -> AnchorLayout:
        """The layout of the detector.

        Args:
            trunk: what its trunk costs.
            head: what its head costs on each level.
        """
        # The levels of a pyramid are called by the power of two that their cells are apart: P3 has one every 8 pixels.
        letter, first = ("P", 3) if self.family.pyramid else ("L", 0)
        levels = tuple(
            Level(
                name=f"{letter}{first + index}",
                height=grid[0],
                width=grid[1],
                anchors=tuple(anchors),
                **costs._asdict(),
                positions=() if positions == tuple(range(len(anchors))) else positions,
            )
            for index, (anchors, positions, grid, costs) in enumerate(
                zip(self.shapes, self.positions, trunk.grids, head, strict=True)
            )
        )
        return AnchorLayout(
            self.name,
            self.size,
            levels,
            shared_head=self.family.pyramid,
            trunk_macs=trunk.macs,
            trunk_parts=trunk.parts,
        )


def _checked_size(detector: str, size: tuple[int, int], smallest: int, largest: int) -> tuple[int, int]:
    """(height, width) of an input, each a whole number of `smallest` to `largest` pixels."""
    if len(size) != 2 or not all(int(side) == side and smallest <= side <= largest for side in size):
        found = "x".join(map(str, size))
        raise InputError(f"{detector}: input size {found}; height and width must be {smallest} to {largest} pixels")
    return int(size[0]), int(size[1])


def _checked_shapes(shapes: Shapes, detector: str, most_levels: int) -> list[list[tuple[float, float]]]:
    """The shapes without empty levels at the end; at least one anchor, and sides above 0."""
    found = [[(float(w), float(h)) for w, h in level] for level in shapes]
    while found and not found[-1]:
        found.pop()
    if not 1 <= len(found) <= most_levels:
        raise InputError(
            f"{detector}: shapes has {len(found)} levels with anchors or before one; 1 to {most_levels} are needed"
        )
    for number, level in enumerate(found):
        for width, height in level:
            if not (0 < width < math.inf and 0 < height < math.inf):
                raise InputError(f"{detector}: level {number} has an anchor of {width} x {height} pixels")
    return found


def _checked_positions(positions: Positions | None, shapes: Shapes, detector: str) -> list[tuple[int, ...]]:
    """For each level which filters make its anchors: one position per anchor, none twice, none below 0."""
    if positions is None:
        return [tuple(range(len(level))) for level in shapes]
    # Empty levels at the end are gone from the shapes.
    found = [tuple(int(position) for position in level) for level in positions]
    found += [()] * (len(shapes) - len(found))
    for number, level in enumerate(found):
        anchors = len(shapes[number]) if number < len(shapes) else 0
        if len(level) != anchors or len(set(level)) != anchors or min(level, default=0) < 0:
            raise InputError(
                f"{detector}: positions of level {number} is {list(level)}; one of 0 or more for each of its {anchors} "
                "anchors, all different"
            )
    return found[: len(shapes)]
