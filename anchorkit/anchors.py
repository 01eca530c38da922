"""Anchors, levels, the layout of a detector's head, and the configurations that pruning chooses among.

This module is the vocabulary of the kit. It depends on nothing but the standard library, so every other module may
use it.

A detector's head puts, on each *level* (feature map), a fixed set of *anchors* (default boxes, priors) on every cell.
Anchors are counted level by level: the first anchor of level 0 has index 0. A *configuration* is the subset of anchors
that is kept; a *move* is the set of anchors that one step of a search removes together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from typing import Any, TypeVar

from anchorkit.errors import InputError

__all__ = ["Anchor", "AnchorLayout", "Configuration", "Level", "Move", "TrunkPart", "moves", "parse_anchor_list"]

LAYOUT_VERSION = 1

# What a level costs in the head: attributes of `Level`, and keys of its JSON object.
_HEAD_NUMBERS = ("head_macs_fixed", "head_macs_per_anchor", "head_params_fixed", "head_params_per_anchor")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Anchor:
    """One default box shape of one level.

    Attributes:
        index: position in the layout, counted level by level from 0.
        id: readable name, e.g. ``L0/56x28``: level index, then width x height in input pixels, rounded. A suffix
            ``b``, ``c`` ... distinguishes anchors of one level that round to the same size.
        level: index of the level the anchor belongs to.
        position: index of the anchor within its level; in a shared head, of the filters that make it (the anchors
            with the same position on all levels are made by the same filters).
        width: width in input pixels.
        height: height in input pixels.

    Example:
        >>> import anchorkit as ak
        >>> level = ak.Level("P3", height=4, width=4, anchors=((8, 8), (16, 8)), head_macs_per_anchor=100)
        >>> layout = ak.AnchorLayout("toy", (32, 32), (level,))
        >>> layout.anchors[1]
        Anchor(index=1, id='L0/16x8', level=0, position=1, width=16.0, height=8.0)
    """

    index: int
    id: str
    level: int
    position: int
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Level:
    """One feature map with the part of the head that sits on it.

    Attributes:
        name: the level's name in the detector.
        height: rows of the feature map.
        width: columns of the feature map.
        anchors: (width, height) of each anchor in input pixels; may be empty.
        head_macs_fixed: multiply-adds per cell of the head on this level that do not depend on the number of anchors.
        head_macs_per_anchor: multiply-adds per cell that each anchor adds.
        head_params_fixed: parameters of the head on this level that do not depend on the number of anchors.
        head_params_per_anchor: parameters that each anchor adds.
        positions: in a shared head, which of the head's filters make each anchor; empty for 0, 1, 2 ... in order.
            Anchors of different levels with the same position are made by the same filters.
        shapes_known: False if nothing says the anchors' shapes (a file that leaves the decoding of boxes to another
            program, or a detector with one box per cell). Those in `anchors` are then as large as a cell, and ids count
            the anchors instead: ``L0/a0``.

    Example:
        >>> import anchorkit as ak
        >>> level = ak.Level("P3", height=4, width=4, anchors=((8, 8), (16, 8)), head_macs_per_anchor=100)
        >>> level.cells
        16
    """

    name: str
    height: int
    width: int
    anchors: tuple[tuple[float, float], ...]
    head_macs_fixed: int = 0
    head_macs_per_anchor: int = 0
    head_params_fixed: int = 0
    head_params_per_anchor: int = 0
    positions: tuple[int, ...] = ()
    shapes_known: bool = True

    @property
    def cells(self) -> int:
        """Number of cells of the feature map."""
        return self.height * self.width


@dataclass(frozen=True, slots=True)
class TrunkPart:
    """A part of the trunk that goes when no level that needs it has an anchor left (paper section 3.8).

    Attributes:
        name: what the part is called in the detector.
        macs: its multiply-adds for one image.
        levels: indices of the levels that need it, rising.

    Example:
        >>> from anchorkit.anchors import TrunkPart
        >>> last_stage = TrunkPart("stages.5", macs=1_200_000, levels=(5,))
    """

    name: str
    macs: int
    levels: tuple[int, ...]


@dataclass(frozen=True)
class AnchorLayout:
    """All anchors of a detector's head, level by level, with what each costs.

    Attributes:
        detector: name of the detector.
        input_size: (height, width) of the network's input in pixels.
        levels: the levels in the order in which the detector emits them.
        shared_head: True if one head is applied to all levels (RetinaNet), False if each has its own (SSD).
        trunk_macs: multiply-adds of everything below the head, or None if unknown.
        trunk_parts: those parts of the trunk that only some levels need; they are counted in `trunk_macs`.

    Example:
        >>> import anchorkit as ak
        >>> level = ak.Level("P3", height=4, width=4, anchors=((8, 8), (16, 8)), head_macs_per_anchor=100)
        >>> layout = ak.AnchorLayout("toy", (32, 32), (level,))
        >>> layout.ids
        ('L0/8x8', 'L0/16x8')
        >>> layout.configuration(keep=["L0/16x8"])
        Configuration(1 of 2 anchors: L0/16x8)
    """

    detector: str
    input_size: tuple[int, int]
    levels: tuple[Level, ...]
    shared_head: bool = False
    trunk_macs: int | None = None
    trunk_parts: tuple[TrunkPart, ...] = ()

    @cached_property
    def anchors(self) -> tuple[Anchor, ...]:
        """Every anchor, counted level by level."""
        found: list[Anchor] = []
        for level_index, level in enumerate(self.levels):
            seen: dict[str, int] = {}
            for position, (width, height) in enumerate(level.anchors):
                shape = f"{round(width)}x{round(height)}" if level.shapes_known else f"a{position}"
                name = f"L{level_index}/{shape}"
                repeat = seen.get(name, 0)
                seen[name] = repeat + 1
                of_head = level.positions[position] if level.positions else position
                found.append(
                    Anchor(len(found), name + _suffix(repeat), level_index, of_head, float(width), float(height))
                )
        return tuple(found)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The anchors' ids, by index."""
        return tuple(anchor.id for anchor in self.anchors)

    @cached_property
    def _index_of_id(self) -> dict[str, int]:
        return {anchor.id: anchor.index for anchor in self.anchors}

    # A search asks thousands of times what is kept of a level or a shape: as masks, that is one operation on integers.

    @cached_property
    def _level_masks(self) -> tuple[int, ...]:
        """For each level, the mask of its anchors."""
        masks = [0] * len(self.levels)
        for anchor in self.anchors:
            masks[anchor.level] |= 1 << anchor.index
        return tuple(masks)

    @cached_property
    def _position_masks(self) -> tuple[int, ...]:
        """For each position within a level, the mask of the anchors that have it."""
        masks = [0] * (1 + max((anchor.position for anchor in self.anchors), default=-1))
        for anchor in self.anchors:
            masks[anchor.position] |= 1 << anchor.index
        return tuple(masks)

    @cached_property
    def _trunk_part_masks(self) -> tuple[tuple[int, int], ...]:
        """For each part of the trunk, the mask of the anchors that need it, and its multiply-adds."""
        return tuple((sum(self._level_masks[level] for level in part.levels), part.macs) for part in self.trunk_parts)

    @cached_property
    def _anchor_moves(self) -> tuple[Move, ...]:
        """For each anchor, the move that removes it alone."""
        return tuple(Move((anchor.index,), anchor.id) for anchor in self.anchors)

    @property
    def full(self) -> Configuration:
        """The configuration that keeps every anchor."""
        return Configuration(self, (1 << len(self.anchors)) - 1)

    def __len__(self) -> int:
        return len(self.anchors)

    def __hash__(self) -> int:
        return hash((self.detector, self.input_size, len(self.levels)))

    def index(self, anchor: int | str) -> int:
        """The index of an anchor given by its index or its id.

        Raises:
            InputError: there is no such anchor; the message names those that come close.
        """
        if isinstance(anchor, str):
            text = anchor.strip()
            if text in self._index_of_id:
                return self._index_of_id[text]
            if not text.isdecimal():
                prefix = text.split("/")[0] + "/"
                near = [name for name in self.ids if name.startswith(prefix)] or list(self.ids)
                raise InputError(
                    f"unknown anchor {anchor!r}: {self.detector} has {', '.join(near[:8])}"
                    f"{' ...' if len(near) > 8 else ''}"
                )
            anchor = int(text)
        if not 0 <= int(anchor) < len(self.anchors):
            raise InputError(f"unknown anchor {anchor}: {self.detector} has anchors 0 to {len(self.anchors) - 1}")
        return int(anchor)

    def configuration(
        self, keep: Iterable[int | str] | None = None, drop: Iterable[int | str] | None = None
    ) -> Configuration:
        """The configuration that keeps the anchors of `keep`, or all but those of `drop`.

        Args:
            keep: anchor indices or ids to keep; None with `drop` None keeps all.
            drop: anchor indices or ids to leave out.

        Raises:
            InputError: both are given, or an anchor is unknown.
        """
        if keep is not None and drop is not None:
            raise InputError("give the anchors to keep or the anchors to drop, not both")
        if keep is not None:
            return Configuration(self, sum({1 << self.index(anchor) for anchor in keep}))
        return self.full.without(drop or ())

    def to_dict(self) -> dict[str, Any]:
        """The layout as the JSON object that prediction tables and detector files carry."""
        levels = []
        for level in self.levels:
            entry: dict[str, Any] = {
                "name": level.name,
                "height": level.height,
                "width": level.width,
                **{name: getattr(level, name) for name in _HEAD_NUMBERS},
                "anchors": [[width, height] for width, height in level.anchors],
            }
            if level.positions:
                entry["positions"] = list(level.positions)
            if not level.shapes_known:
                entry["shapes_known"] = False
            levels.append(entry)
        data: dict[str, Any] = {
            "version": LAYOUT_VERSION,
            "detector": self.detector,
            "input": list(self.input_size),
            "levels": levels,
            "shared_head": self.shared_head,
            "trunk_macs": self.trunk_macs,
        }
        if self.trunk_parts:
            data["trunk_parts"] = [
                {"name": part.name, "macs": part.macs, "levels": list(part.levels)} for part in self.trunk_parts
            ]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "layout") -> AnchorLayout:
        """Read a layout from its JSON object; `source` is named in errors.

        Raises:
            InputError: a key is missing, a number is out of range, or the version is another one.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"{source}: the layout is not a JSON object")
        if data.get("version") != LAYOUT_VERSION:
            raise InputError(
                f"{source}: layout version {data.get('version')!r}; this anchorkit reads version {LAYOUT_VERSION}"
            )
        try:
            height, width = (_natural(value, "input", source, least=1) for value in data["input"])
            levels = tuple(_read_level(entry, position, source) for position, entry in enumerate(data["levels"]))
            trunk = data.get("trunk_macs")
            trunk = None if trunk is None else _natural(trunk, "trunk_macs", source)
            return cls(
                detector=str(data["detector"]),
                input_size=(height, width),
                levels=levels,
                shared_head=bool(data.get("shared_head", False)),
                trunk_macs=trunk,
                trunk_parts=_read_trunk_parts(data.get("trunk_parts", ()), len(levels), trunk, source),
            )
        except InputError:
            raise
        except KeyError as error:
            raise InputError(f"{source}: the layout lacks {error.args[0]!r}") from None
        except (TypeError, ValueError) as error:
            raise InputError(f"{source}: the layout cannot be read ({error})") from None

    def to_json(self) -> str:
        """The layout as JSON text."""
        return json.dumps(self.to_dict())


@dataclass(frozen=True, slots=True, eq=False)
class Configuration:
    """An immutable subset of a layout's anchors: those that are kept.

    Iterating gives the indices of the kept anchors in rising order; ``anchor in configuration`` takes an index or an
    id. Configurations of one layout with the same anchors are equal and hash alike.

    Attributes:
        layout: the layout whose anchors are meant.
        mask: bit i is set if anchor i is kept.

    Example:
        >>> import anchorkit as ak
        >>> level = ak.Level("P3", height=4, width=4, anchors=((8, 8), (16, 8)), head_macs_per_anchor=100)
        >>> layout = ak.AnchorLayout("toy", (32, 32), (level,))
        >>> kept = layout.full.without(["L0/8x8"])
        >>> kept.indices, kept.ids, kept.per_level
        ((1,), ('L0/16x8',), (1,))
        >>> "L0/8x8" in kept
        False
    """

    layout: AnchorLayout = field(repr=False)
    mask: int

    @property
    def indices(self) -> tuple[int, ...]:
        """Indices of the kept anchors, rising."""
        return self._kept(range(len(self.layout)))

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the kept anchors, in index order."""
        return self._kept(self.layout.ids)

    @property
    def dropped(self) -> tuple[int, ...]:
        """Indices of the anchors that are not kept, rising."""
        return Configuration(self.layout, self.layout.full.mask & ~self.mask).indices

    @property
    def anchors(self) -> tuple[Anchor, ...]:
        """The kept anchors."""
        return self._kept(self.layout.anchors)

    @property
    def per_level(self) -> tuple[int, ...]:
        """Number of kept anchors on each level."""
        return tuple([(self.mask & level).bit_count() for level in self.layout._level_masks])

    def without(self, anchors: Iterable[int | str]) -> Configuration:
        """This configuration with the given anchors (indices or ids) taken away; those already gone stay gone.

        Raises:
            InputError: an anchor is unknown.
        """
        mask = self.mask
        for anchor in anchors:
            mask &= ~(1 << self.layout.index(anchor))
        return Configuration(self.layout, mask)

    def _kept(self, values: Iterable[T]) -> tuple[T, ...]:
        """Of one value for each anchor, by index, those of the kept anchors."""
        # The binary digits from the last to the first, as bytes of which those of "0" count as false.
        digits = f"{self.mask:b}"[::-1].encode().replace(b"0", b"\0")
        return tuple(compress(values, digits))

    def __contains__(self, anchor: object) -> bool:
        return isinstance(anchor, int | str) and bool(self.mask >> self.layout.index(anchor) & 1)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return self.mask.bit_count()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Configuration) and self.mask == other.mask and self.layout == other.layout

    def __hash__(self) -> int:
        return hash(self.mask)

    def __str__(self) -> str:
        return f"{len(self)} of {len(self.layout)} anchors: {' '.join(self.ids)}"

    def __repr__(self) -> str:
        return f"Configuration({self})"


@dataclass(frozen=True, slots=True)
class Move:
    """The anchors that one search step removes together.

    Attributes:
        anchors: indices of the anchors, rising; all of them are kept in the configuration the move starts from.
        label: what the move removes, for people: an anchor's id, ``shape 2`` or ``level P3``.

    Example:
        >>> import anchorkit as ak
        >>> level = ak.Level("P3", height=4, width=4, anchors=((8, 8), (16, 8)), head_macs_per_anchor=100)
        >>> layout = ak.AnchorLayout("toy", (32, 32), (level,))
        >>> ak.moves(layout.full)[0]
        Move(anchors=(0,), label='L0/8x8')
    """

    anchors: tuple[int, ...]
    label: str


def moves(configuration: Configuration, kind: str = "auto") -> list[Move]:
    """The moves that lead from a configuration to its children.

    Args:
        configuration: where to start.
        kind: ``"anchor"``: remove one anchor; ``"shared"``: remove one shape on every level at once, or one whole level
            (paper section 3.6); ``"auto"``: ``"shared"`` for a shared head, ``"anchor"`` otherwise.

    Returns:
        Moves in the order of the anchors (for ``"shared"``: shapes first, then levels). A move that would leave
        nothing is not among them, and of two moves that remove the same anchors only the first is.

    Raises:
        InputError: `kind` is unknown.

    Example:
        >>> import anchorkit as ak
        >>> level = ak.Level("P3", height=4, width=4, anchors=((8, 8), (16, 8)), head_macs_per_anchor=100)
        >>> layout = ak.AnchorLayout("toy", (32, 32), (level,))
        >>> [move.label for move in ak.moves(layout.full)]
        ['L0/8x8', 'L0/16x8']
        >>> ak.moves(layout.configuration(keep=[0]))
        []
    """
    layout, mask = configuration.layout, configuration.mask
    if kind == "auto":
        kind = "shared" if layout.shared_head else "anchor"
    if kind == "anchor":
        return list(configuration._kept(layout._anchor_moves)) if len(configuration) > 1 else []
    if kind != "shared":
        raise InputError(f"unknown kind of move {kind!r}: use 'anchor', 'shared' or 'auto'")
    groups = [(group, f"shape {position}") for position, group in enumerate(layout._position_masks)]
    groups += [(group, f"level {level.name}") for group, level in zip(layout._level_masks, layout.levels, strict=True)]
    unique: dict[int, str] = {}
    for group, label in groups:
        removed = mask & group
        if removed and removed != mask:
            unique.setdefault(removed, label)
    return [Move(Configuration(layout, removed).indices, label) for removed, label in unique.items()]


def parse_anchor_list(text: str) -> list[str]:
    """Split a comma-separated list of anchor ids or indices; white space and empty parts are ignored.

    Example:
        >>> from anchorkit.anchors import parse_anchor_list
        >>> parse_anchor_list("L0/8x8, 3,")
        ['L0/8x8', '3']
    """
    return [part.strip() for part in text.split(",") if part.strip()]


def _suffix(repeat: int) -> str:
    """'' for the first anchor of a name, then b, c ... z, bb, bc ..."""
    if repeat == 0:
        return ""
    letters = "bcdefghijklmnopqrstuvwxyz"
    text = ""
    while repeat:
        repeat, digit = divmod(repeat - 1, len(letters))
        text = letters[digit] + text
    return text


def _natural(value: Any, name: str, source: str, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or int(value) != value:
        raise InputError(f"{source}: {name} is {value!r}; a whole number is needed")
    if value < least:
        raise InputError(f"{source}: {name} is {value!r}; it must be {least} or more")
    return int(value)


def _read_level(entry: Mapping[str, Any], position: int, source: str) -> Level:
    where = f"{source}: level {position}"
    anchors: Sequence[Sequence[float]] = entry["anchors"]
    shapes: list[tuple[float, float]] = []
    for number, shape in enumerate(anchors):
        if len(shape) != 2 or not all(
            isinstance(side, int | float) and math.isfinite(side) and side > 0 for side in shape
        ):
            raise InputError(f"{where}: anchor {number} is {shape!r}; [width, height] in pixels above 0 is needed")
        shapes.append((float(shape[0]), float(shape[1])))
    return Level(
        name=str(entry["name"]),
        height=_natural(entry["height"], "height", where, least=1),
        width=_natural(entry["width"], "width", where, least=1),
        anchors=tuple(shapes),
        **{name: _natural(entry[name], name, where) for name in _HEAD_NUMBERS},
        positions=_read_positions(entry.get("positions", ()), len(shapes), where),
        shapes_known=bool(entry.get("shapes_known", True)),
    )


def _read_positions(values: Sequence[Any], anchors: int, where: str) -> tuple[int, ...]:
    positions = tuple(_natural(value, "positions", where) for value in values)
    if positions and (len(positions) != anchors or len(set(positions)) != anchors):
        raise InputError(f"{where}: positions is {list(positions)}; one for each of {anchors} anchors, all different")
    return positions


def _read_trunk_parts(
    entries: Sequence[Mapping[str, Any]], levels: int, trunk: int | None, source: str
) -> tuple[TrunkPart, ...]:
    parts = []
    for number, entry in enumerate(entries):
        where = f"{source}: trunk part {number}"
        needed_by = tuple(_natural(level, "levels", where) for level in entry["levels"])
        if not all(level < levels for level in needed_by):
            raise InputError(f"{where}: levels is {list(needed_by)}; the layout has levels 0 to {levels - 1}")
        parts.append(TrunkPart(str(entry["name"]), _natural(entry["macs"], "macs", where), needed_by))
    if sum(part.macs for part in parts) > (trunk or 0):
        raise InputError(f"{source}: the trunk_parts cost more than trunk_macs, which counts them: {trunk}")
    return tuple(parts)
