"""Where a search may go: the configurations next to one, and the units that pruning takes or leaves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from anchorkit.anchors import AnchorLayout, Configuration, Move, moves
from anchorkit.errors import InputError


@dataclass(frozen=True)
class Space:
    """The configurations that a search may reach from the full one.

    Attributes:
        kind: what a move removes, ``"anchor"`` or ``"shared"``; see `anchorkit.anchors.moves`.
        free: mask of the anchors that may go; all others stay.
    """

    kind: str
    free: int

    @classmethod
    def of(cls, layout: AnchorLayout, kind: str = "auto", among: Iterable[int | str] | None = None) -> Space:
        """The space of a layout.

        Args:
            layout: whose anchors are searched.
            kind: ``"anchor"``, ``"shared"`` or ``"auto"``.
            among: the anchors (indices or ids) that may go; None for all.

        Raises:
            InputError: the kind or an anchor is unknown, or no anchor may go.
        """
        moves(layout.full, kind)  # refuses an unknown kind
        if kind == "auto":
            kind = "shared" if layout.shared_head else "anchor"
        free = layout.configuration(keep=among)
        if among is not None and not free:
            raise InputError("among names no anchor: name those that the search may take away")
        return cls(kind, free.mask)

    def moves(self, configuration: Configuration) -> list[Move]:
        """The moves to the configuration's children, in the order of the anchors."""
        found = moves(configuration, self.kind)
        if self.free == configuration.layout.full.mask:
            return found
        return [move for move in found if not _mask(move.anchors) & ~self.free]

    def additions(self, configuration: Configuration) -> list[Configuration]:
        """The configurations that have one anchor more; with a shared head, one shape or one level more."""
        layout, mask = configuration.layout, configuration.mask
        if self.kind == "anchor":
            larger = [mask | 1 << index for index in configuration.dropped]
        else:
            kept = configuration.anchors
            levels, positions = {anchor.level for anchor in kept}, {anchor.position for anchor in kept}
            shapes: dict[tuple[str, int], int] = {}
            for anchor in layout.anchors:
                # A shape comes back on the levels that are kept, a level with the shapes that are kept.
                if anchor.level in levels and anchor.position not in positions:
                    unit = "shape", anchor.position
                elif anchor.level not in levels and anchor.position in positions:
                    unit = "level", anchor.level
                else:
                    continue
                shapes[unit] = shapes.get(unit, mask) | 1 << anchor.index
            larger = [shapes[unit] for unit in sorted(shapes, key=lambda unit: (unit[0] != "shape", unit[1]))]
        return [Configuration(layout, found) for found in dict.fromkeys(larger) if not (found & ~mask) & ~self.free]

    def units(self, layout: AnchorLayout) -> list[int]:
        """Masks of what is taken or left as a whole: anchors, or the shapes and levels of a shared head.

        Every configuration of the space lacks some of these.
        """
        return [_mask(move.anchors) for move in self.moves(layout.full)]


def _mask(anchors: Iterable[int]) -> int:
    return sum(1 << anchor for anchor in anchors)
