"""What a file's levels cost: multiply-adds and parameters of heads and trunk, as the kit's layouts count them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anchorkit.anchors import AnchorLayout, Level, TrunkPart
from anchorkit.onnx.extents import Extents
from anchorkit.onnx.graph import Graph, inputs_of, macs, macs_per_element, stored
from anchorkit.onnx.provenance import Head, Labels, filters_in
from anchorkit.onnx.rows import FoundAnchor
from anchorkit.onnx.surgery import head_constants


def layout_of_file(
    graph: Graph,
    name: str,
    input_size: tuple[int, int],
    heads: Sequence[Head],
    region: Sequence[Any],
    shapes: dict[str, tuple[int, ...]],
    extents: Extents,
    anchors: Sequence[FoundAnchor],
    level_of: Sequence[int],
    known_shapes: Sequence[tuple[float, float] | None],
    labels: Labels,
) -> tuple[AnchorLayout, list[str]]:
    """The layout of a file, and what about its costs is only near.

    A level's head is its last convolutions and those before them that serve one of several of them (towers, depthwise
    parts). All other multiply-adds are the trunk's; those that feed only some levels are a part of it.
    """
    counts = max(level_of) + 1
    by_level = [[place for place, level in enumerate(level_of) if level == number] for number in range(counts)]
    level_of_head = [_level_of(head, anchors, level_of) for head in heads]
    feeds = _heads_fed(graph, heads)
    work = macs(graph, shapes)
    places = {id(node): place for place, node in enumerate(graph.nodes)}
    behind = {places[id(node)] for node in region}
    own = {places[id(head.node)] for head in heads}
    fixed, each = [0] * counts, np.zeros(len(anchors), np.int64)
    fixed_params, each_params = [0] * counts, np.zeros(len(anchors), np.int64)
    exclusive = [_exclusive(number, extents, labels) for number in range(len(anchors))]
    for head, level in zip(heads, level_of_head, strict=True):
        per_filter = macs_per_element(graph, head.node, shapes)
        numbers = sum(int(np.prod(_shape(graph, one)[1:])) for one in head_constants(graph, head))
        inside = ((1 << head.filters) - 1) << head.first
        left = head.filters
        for place in by_level[level]:
            mine = (exclusive[place] & inside).bit_count()
            each[place] += mine * per_filter
            each_params[place] += mine * numbers
            left -= mine
        fixed[level] += left * per_filter
        fixed_params[level] += left * numbers
    for place in behind & set(work):
        node = graph.nodes[place]
        extent = extents.of[node.output[0]]
        for owner, count in zip(extents.owners, extent.counts, strict=True):
            for anchor in filters_in(owner)[:1]:
                cells = anchors[anchor].height * anchors[anchor].width
                each[anchor] += int(count) // cells * macs_per_element(graph, node, shapes)
    parts: dict[tuple[int, ...], tuple[str, int]] = {}
    trunk = 0
    for place, node in enumerate(graph.nodes):
        if place in behind or place in own or not feeds.get(place):
            continue
        count = work.get(place, 0)
        levels = tuple(sorted({level_of_head[head] for head in feeds[place]}))
        tower = len(levels) == 1 and len(feeds[place]) < level_of_head.count(levels[0])
        cells = _cells(anchors[by_level[levels[0]][0]])
        if tower and count % cells == 0:
            fixed[levels[0]] += count // cells
            fixed_params[levels[0]] += _parameters(graph, node)
            continue
        trunk += count
        if count and len(levels) < counts:
            first = node.name or node.output[0]
            title, before = parts.get(levels, (first, 0))
            parts[levels] = (title, before + count)
    weights = [
        {head.weight for head, of in zip(heads, level_of_head, strict=True) if of == level} for level in range(counts)
    ]
    shared = counts > 1 and all(weights[0] == others for others in weights)
    notes: list[str] = []
    made: list[Level] = []
    names: set[str] = set()
    for number, members in enumerate(by_level):
        one = anchors[members[0]]
        costs, sizes = each[members], each_params[members]
        if len(set(costs.tolist())) > 1:
            notes.append(f"the anchors of level {number} differ in what they cost; head_flops counts their average")
        step = (input_size[1] / one.width, input_size[0] / one.height)
        said = [known_shapes[place] for place in members]
        title = f"{one.height}x{one.width}"
        while title in names:
            title += "b"
        names.add(title)
        made.append(
            Level(
                name=title,
                height=one.height,
                width=one.width,
                anchors=tuple(step if shape is None else shape for shape in said),
                head_macs_fixed=fixed[number],
                head_macs_per_anchor=round(float(costs.mean())),
                head_params_fixed=fixed_params[number],
                head_params_per_anchor=round(float(sizes.mean())),
                positions=_positions(members, anchors, heads) if shared else (),
                shapes_known=all(shape is not None for shape in said),
            )
        )
    described = tuple(TrunkPart(title, count, levels) for levels, (title, count) in sorted(parts.items()))
    return AnchorLayout(name, input_size, tuple(made), shared, trunk, described), notes


def _cells(anchor: FoundAnchor) -> int:
    return anchor.height * anchor.width


def _shape(graph: Graph, name: str) -> tuple[int, ...]:
    return tuple(graph.initializers[name].dims) if name in graph.initializers else graph.constant(name).shape  # type: ignore[union-attr]


def _level_of(head: Head, anchors: Sequence[FoundAnchor], level_of: Sequence[int]) -> int:
    inside = ((1 << head.filters) - 1) << head.first
    for anchor, level in zip(anchors, level_of, strict=True):
        if anchor.filters & inside:
            return level
    return next(
        level
        for anchor, level in zip(anchors, level_of, strict=True)
        if (anchor.height, anchor.width) == (head.height, head.width)
    )


def _exclusive(anchor: int, extents: Extents, labels: Labels) -> int:
    """The filters that go with an anchor, as a bit mask."""
    found = 0
    for number, owner in enumerate(extents.of_filter[: labels.heads[-1].first + labels.heads[-1].filters]):
        if owner == 1 << anchor:
            found |= 1 << number
    return found


def _heads_fed(graph: Graph, heads: Sequence[Head]) -> dict[int, frozenset[int]]:
    """For each node before the heads, by position, the heads that it feeds."""
    wanted: dict[str, set[int]] = {}
    number_of = {id(head.node): number for number, head in enumerate(heads)}
    fed: dict[int, frozenset[int]] = {}
    for place in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[place]
        if id(node) in number_of:
            mine = {number_of[id(node)]}
        else:
            mine = set().union(*(wanted.get(name, set()) for name in node.output))
        fed[place] = frozenset(mine)
        for name in inputs_of(node) if mine else []:
            if name in graph.image_dependent:
                wanted.setdefault(name, set()).update(mine)
    return fed


def _parameters(graph: Graph, node: Any) -> int:
    """Weights and bias of a convolution, scale and shift of a norm; 0 for other nodes."""
    read = {"Conv": (1, 2), "QLinearConv": (3, 8), "BatchNormalization": (1, 2), "Mul": (0, 1), "Add": (0, 1)}
    names = [node.input[place] for place in read.get(node.op_type, ()) if place < len(node.input)]
    sizes = [int(np.prod(_shape(graph, one))) for name in names if name and (one := stored(graph, name))]
    return sum(size for size in sizes if size > 1 or node.op_type not in ("Mul", "Add"))


def _positions(members: Sequence[int], anchors: Sequence[FoundAnchor], heads: Sequence[Head]) -> tuple[int, ...]:
    """By which filters of the shared head each anchor of a level is made, as numbers from 0 in their order."""
    lowest = []
    for place in members:
        numbers = filters_in(anchors[place].filters)
        head = next(one for one in reversed(heads) if one.first <= numbers[0])
        lowest.append(numbers[0] - head.first)
    order = sorted(lowest)
    return tuple(order.index(low) for low in lowest)
