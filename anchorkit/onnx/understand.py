"""Understand an ONNX file: its levels, its anchors and their filters, its boxes and scores, and what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from anchorkit.anchors import AnchorLayout
from anchorkit.errors import InputError
from anchorkit.onnx.constants import Constants
from anchorkit.onnx.endings import before_selection, ends_early, without_custom_operators
from anchorkit.onnx.extents import Extents
from anchorkit.onnx.graph import Graph, ending_with, inputs_of, probe
from anchorkit.onnx.heads import layout_of_file
from anchorkit.onnx.provenance import Head, Labels, describe_heads, filters_in, head_nodes
from anchorkit.onnx.rows import Group, by_level, read_groups
from anchorkit.onnx.scores import Said, Scores, find_scores
from anchorkit.onnx.surgery import cut
from anchorkit.onnx.zero_head import Boxes, find_boxes, outputs_of_heads

OTHER_SIZE = (64, 128)
"""What is added to an open height and width to see what depends on them."""


@dataclass(frozen=True)
class Reading:
    """How boxes are read from outputs with the same boxes.

    Attributes:
        group: the outputs.
        boxes: where the boxes are.
        scores: where the scores are.
        anchor: the anchor of each row.
    """

    group: Group
    boxes: Boxes
    scores: Scores
    anchor: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class Analysis:
    """All that is known of a file. Anchors are numbered level by level, as in the layout.

    Attributes:
        graph: the file.
        input_size: (height, width) with which it was looked at.
        heads: its last convolutions.
        region: the nodes behind them.
        readings: how its outputs are read.
        filters: of each anchor, as a bit mask over the heads' filters.
        shapes: (width, height) of each anchor in pixels; None where the file does not say it.
        layout: levels and costs.
        extents: what part of each tensor belongs to whom.
        others: outputs that are cut but not read.
        notes: what was assumed or left out.
        constants: makes the constants of a cut.
    """

    graph: Graph
    input_size: tuple[int, int]
    heads: tuple[Head, ...]
    region: tuple[Any, ...]
    readings: tuple[Reading, ...]
    filters: tuple[int, ...]
    shapes: tuple[tuple[float, float] | None, ...]
    layout: AnchorLayout
    extents: Extents
    others: tuple[str, ...]
    notes: tuple[str, ...]
    constants: Any = field(repr=False)

    def cut(self, kept: int) -> tuple[Any, dict[str, tuple[int, ...]]]:
        """A model with the anchors of a bit mask only; see `surgery.cut`."""
        return cut(self.graph, self.heads, self.region, self.extents, self.constants(), kept)

    def named_filters(self, anchor: int) -> dict[str, tuple[int, ...]]:
        """Which filters of which weights make an anchor."""
        found: dict[str, list[int]] = {}
        for number in filters_in(self.filters[anchor]):
            head = next(one for one in reversed(self.heads) if one.first <= number)
            found.setdefault(head.weight, []).append(number - head.first)
        return {name: tuple(sorted(set(numbers))) for name, numbers in found.items()}


def understand(
    graph: Graph,
    name: str,
    *,
    input_size: tuple[int, int] | None,
    said: Said,
    anchors_per_cell: int | Sequence[int] | None,
    shapes: Sequence[Sequence[tuple[float, float]]] | None,
    named_outputs: bool = False,
) -> Analysis:
    """Understand a file.

    Args:
        graph: the file.
        name: of the detector.
        input_size: (height, width), where the file leaves it open.
        said: what the user says of its scores.
        anchors_per_cell: for bare heads, see `rows.read_groups`.
        shapes: (width, height) of the anchors of each level, where the file does not say them.
        named_outputs: whether the user chose the outputs.

    Raises:
        InputError: it is no detector that can be cut; the message says why, and what to do.
    """
    graph, notes = without_custom_operators(graph)
    fixed = [name for name in graph.outputs if name not in graph.image_dependent]
    if 0 < len(fixed) < len(graph.outputs):
        rest = [name for name in graph.outputs if name not in fixed]
        graph = Graph(ending_with(graph.model, rest, graph.source), graph.source)
        notes.append(f"the output {' and '.join(fixed)} is the same for all images and is left out of the cut file")
    size = _input(graph, input_size)
    nodes, region = head_nodes(graph)
    needed = _constants_behind(graph, region)
    measured, values = probe(graph, size, [*needed, *graph.outputs])
    heads = describe_heads(graph, nodes, measured)
    labels = Labels(graph, heads, region, measured, values)
    if labels.blocked:
        graph, ends = before_selection(labels, named_outputs)
        notes.append(ends_early(labels.blocked[0].node, ends))
        return _with_notes(
            understand(
                graph,
                name,
                input_size=input_size,
                said=said,
                anchors_per_cell=anchors_per_cell,
                shapes=shapes,
                named_outputs=True,
            ),
            notes,
        )
    zero, three = (outputs_of_heads(labels, region, graph.outputs, number) for number in (0.0, 3.0))
    groups = read_groups(labels, graph.outputs, anchors_per_cell, said.classes)
    found, others = _with_boxes(labels, groups, zero, (size[2], size[3]), anchors_per_cell)
    order, level_of = by_level(heads, [anchor for group, _ in found for anchor in group.anchors])
    number = {anchor: place for place, anchor in enumerate(order)}
    readings: list[Reading] = []
    known_shapes: list[tuple[float, float] | None] = [None] * len(order)
    position = 0
    for group, boxes in found:
        scores = find_scores(labels, group, boxes, zero, three, values, said)
        _refuse_moved_by_class(labels, group, boxes, scores)
        notes += [note for note in scores.notes if note not in notes]
        made_by = np.empty(group.rows, np.int32)
        for anchor, shape in zip(group.anchors, boxes.shapes, strict=True):
            made_by[anchor.rows] = number[position]
            known_shapes[number[position]] = shape
            position += 1
        readings.append(Reading(group, boxes, scores, made_by))
    every = [anchor for group, _ in found for anchor in group.anchors]
    ordered = [every[place] for place in order]
    levels = [level_of[place] for place in order]
    if shapes is not None:
        known_shapes = _given_shapes(graph.source, shapes, levels)
    extents = Extents(labels, [anchor.filters for anchor in ordered])
    layout, uneven = layout_of_file(
        graph, name, (size[2], size[3]), heads, region, measured, extents, ordered, levels, known_shapes, labels
    )
    notes += uneven
    elsewhere = _elsewhere(graph, size, needed)
    distinct = {name: extents.of[name].shape for name in extents.of}
    shapes_of = {**measured, **distinct}
    return Analysis(
        graph,
        (size[2], size[3]),
        heads,
        tuple(region),
        tuple(readings),
        tuple(anchor.filters for anchor in ordered),
        tuple(known_shapes),
        layout,
        extents,
        others,
        tuple(notes),
        lambda: Constants(graph, shapes_of, values, elsewhere),
    )


def _with_notes(analysis: Analysis, notes: Sequence[str]) -> Analysis:
    return replace(analysis, notes=(*notes, *analysis.notes))


def _input(graph: Graph, input_size: tuple[int, int] | None) -> tuple[int, int, int, int]:
    """The input's (N, C, H, W) to look at the file with: one image."""
    batch, channels, height, width = graph.declared_input()
    if batch is not None and batch > 1:
        raise InputError(
            f"{graph.source}: the file takes {batch} images at a time; export it for one, or with an open number"
        )
    if channels not in (None, 3, 1):
        raise InputError(
            f"{graph.source}: the input {graph.image.name} has {channels} channels; an image of 1 or 3 is needed"
        )
    if input_size is not None:
        for fixed, given, word in ((height, input_size[0], "height"), (width, input_size[1], "width")):
            if fixed is not None and fixed != given:
                raise InputError(f"{graph.source}: input_size says {word} {given}, and the file is made for {fixed}")
        height, width = input_size
    if height is None or width is None:
        raise InputError(
            f"{graph.source}: the file leaves the size of its input open; give input_size=(height, width), the size "
            "that you use it with"
        )
    return batch or 1, channels or 3, height, width


def _constants_behind(graph: Graph, region: Sequence[Any]) -> list[str]:
    """Image-independent tensors that nodes behind the heads read, and what these are computed from."""
    read = {name for node in region for name in inputs_of(node) if name not in graph.image_dependent}
    nodes = graph.ancestors(read, stop=graph.image_dependent)
    for node in nodes:
        if node.op_type not in ("Shape", "Size"):
            read.update(name for name in inputs_of(node) if name not in graph.image_dependent)
    made = {name for node in nodes for name in node.output}
    return [name for name in sorted(read) if name in graph.initializers or name in made]


def _elsewhere(
    graph: Graph, size: tuple[int, int, int, int], needed: Sequence[str]
) -> tuple[dict[str, tuple[int, ...]], dict[str, np.ndarray]] | None:
    """Shapes and constants for another batch and size, where the file leaves them open and does as it says."""
    batch, _, height, width = graph.declared_input()
    if None not in (batch, height, width):
        return None
    more = (2 if batch is None else batch, size[1], size[2], size[3])
    larger = (
        more[0],
        size[1],
        size[2] + (OTHER_SIZE[0] if height is None else 0),
        size[3] + (OTHER_SIZE[1] if width is None else 0),
    )
    for other in (larger, more):
        try:
            return probe(graph, other, needed)
        except InputError:
            continue
    return None


def _with_boxes(
    labels: Labels,
    groups: Sequence[Group],
    zero: dict[str, np.ndarray],
    input_size: tuple[int, int],
    per_cell: int | Sequence[int] | None,
) -> tuple[list[tuple[Group, Boxes]], tuple[str, ...]]:
    """The groups that say boxes, and the names of the outputs that only follow them.

    Raises:
        InputError: none does, or an output is made of other filters.
    """
    source = labels.graph.source
    read = [(group, find_boxes(group, zero, labels.sets, input_size)) for group in groups]
    read.sort(key=lambda one: one[1] is None or one[1].box_format is None)
    chosen: list[tuple[Group, Boxes]] = []
    others: list[str] = []
    used = 0
    for group, boxes in read:
        names = " and ".join(table.name for table in group.tables)
        made_by = [anchor.filters for anchor in group.anchors]
        if all(not mask & ~used for mask in made_by):
            others += [table.name for table in group.tables]
            continue
        if boxes is None and per_cell is None and _is_bare(group):
            raise _bare_heads(source, group)
        if boxes is None or (boxes.box_format is None and any(one.box_format is not None for _, one in chosen)):
            known = [table.name for one, _ in chosen for table in one.tables]
            hint = f"outputs={known}" if known else "outputs= if there are such tensors"
            raise InputError(
                f"{source}: the output {names} has neither boxes nor scores of boxes (a segmentation, a classifier or "
                f"a map of features?); leave it out with {hint}"
            )
        if boxes.box_format is None and per_cell is None and _is_bare(group):
            raise _bare_heads(source, group)
        for mask in made_by:
            used |= mask
        chosen.append((group, boxes))
    return chosen, tuple(others)


def _bare_heads(source: str, group: Group) -> InputError:
    names = " and ".join(table.name for table in group.tables)
    counts = [numbers.shape[1] for numbers in group.sets]
    if len(counts) > 1:
        return InputError(
            f"{source}: the outputs {names} are bare convolutions with {' and '.join(map(str, counts))} channels, "
            "which may be those of several anchors; say how many with anchors_per_cell= (boxes have 4 channels each)"
        )
    example = f"3 for most YOLO: {counts[0]} = 3 x {counts[0] // 3}; " if not counts[0] % 3 else ""
    return InputError(
        f"{source}: the output {names} is a bare convolution with {counts[0]} channels, which may be those of several "
        f"anchors; say how many with anchors_per_cell= ({example}1 for one box per cell)"
    )


def _is_bare(group: Group) -> bool:
    """Whether channels stand on an axis of their own beside those of height and width."""
    return (
        any(table.axis is not None and len(table.shape) == 4 and not table.parts for table in group.tables)
        and len(group.anchors) == 1
    )


def _refuse_moved_by_class(labels: Labels, group: Group, boxes: Boxes, scores: Scores) -> None:
    """Refuse boxes that the scores change: before some NMS, those of each class are moved to a place of their own."""

    def made_by(columns: Sequence[tuple[int, int]]) -> int:
        found = 0
        for table, column in columns:
            number = int(group.sets[table][0, column])
            found |= labels.sets[number] if number >= 0 else 0
        return found

    own = made_by([(boxes.table, boxes.column + place) for place in range(4)])
    if own & made_by(scores.classes):
        names = " and ".join(table.name for table in group.tables)
        raise InputError(
            f"{labels.graph.source}: the boxes of {names} depend on the scores (they are moved by class, for NMS); "
            "name the boxes and scores before that with outputs="
        )


def _given_shapes(
    source: str, shapes: Sequence[Sequence[tuple[float, float]]], levels: Sequence[int]
) -> list[tuple[float, float] | None]:
    counts = [levels.count(level) for level in range(max(levels) + 1)]
    if [len(of_level) for of_level in shapes] != counts:
        raise InputError(
            f"{source}: shapes has {[len(of_level) for of_level in shapes]} anchors by level, and the file {counts}, "
            "finest level first; give (width, height) in pixels for each"
        )
    return [(float(width), float(height)) for of_level in shapes for width, height in of_level]
