"""What a file was found to be, as plain facts for people and for other programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from anchorkit.onnx.understand import Analysis


@dataclass(frozen=True)
class UnderstoodLevel:
    """A level of a file.

    Attributes:
        name: of the level in the layout.
        height: rows of its feature map.
        width: columns of its feature map.
        stride_y: pixels of the input between two rows.
        stride_x: pixels of the input between two columns.
        anchors: indices of its anchors.
    """

    name: str
    height: int
    width: int
    stride_y: float
    stride_x: float
    anchors: tuple[int, ...]


@dataclass(frozen=True)
class UnderstoodOutput:
    """An output of a file.

    Attributes:
        name: of the output.
        role: ``"boxes"``, ``"scores"``, ``"boxes and scores"`` or ``"other"`` (cut, but not read).
        shape: for one image.
        row_axes: the axes along which the boxes follow each other.
        column_axis: the axis with the numbers of one box; None if there is one number.
    """

    name: str
    role: str
    shape: tuple[int, ...]
    row_axes: tuple[int, ...]
    column_axis: int | None


@dataclass(frozen=True)
class Understanding:
    """What a file was found to be.

    Attributes:
        input: the input's name.
        input_shape: (N, C, H, W); None where the file leaves a number open.
        input_size: (height, width) that the file was looked at with.
        opset: the version of ONNX' operators.
        levels: finest first.
        shapes: (width, height) in pixels of each anchor; None where the file does not say it.
        filters: for each anchor, which filters of which weights make it.
        box_format: the order of a box's numbers; None if the file does not decode boxes.
        box_unit: ``"pixels"``, ``"0..1"`` or ``"cells"``; None if it does not.
        columns: positions of ``box``, ``objectness``, ``classes`` and ``background`` among their outputs' columns.
        activation: of the scores: ``"sigmoid"``, ``"softmax"`` or ``"none"``.
        outputs: in the file's order.
        sure: ``"sure"``, ``"likely"`` if something was assumed, or ``"ask"`` if something has to be said.
        notes: what was assumed or is open, in sentences.
    """

    input: str
    input_shape: tuple[int | None, ...]
    input_size: tuple[int, int]
    opset: int
    levels: tuple[UnderstoodLevel, ...]
    shapes: tuple[tuple[float, float] | None, ...]
    filters: tuple[dict[str, tuple[int, ...]], ...]
    box_format: str | None
    box_unit: str | None
    columns: dict[str, Any]
    activation: str
    outputs: tuple[UnderstoodOutput, ...]
    sure: str
    notes: tuple[str, ...]

    @property
    def decoded(self) -> bool:
        """Whether boxes are decoded in the file."""
        return self.box_format is not None

    def to_dict(self) -> dict[str, Any]:
        """All of it as a JSON object."""
        return {**asdict(self), "decoded": self.decoded}


def understanding_of(analysis: Analysis) -> Understanding:
    """The facts of an analysis."""
    graph, layout = analysis.graph, analysis.layout
    first = analysis.readings[0]
    scores = first.scores
    height, width = analysis.input_size
    levels = tuple(
        UnderstoodLevel(
            level.name,
            level.height,
            level.width,
            height / level.height,
            width / level.width,
            tuple(anchor.index for anchor in layout.anchors if anchor.level == number),
        )
        for number, level in enumerate(layout.levels)
    )
    outputs = []
    for name in graph.outputs:
        role, axis, shape = "other", None, analysis.extents.of[name].shape
        for reading in analysis.readings:
            for number, table in enumerate(reading.group.tables):
                if table.name == name:
                    scored = {column[0] for column in (*reading.scores.classes, reading.scores.objectness) if column}
                    said = ["boxes"] * (number == reading.boxes.table) + ["scores"] * (number in scored)
                    role, axis = " and ".join(said) or "other", table.axis
        rows = tuple(place for place, length in enumerate(shape) if length > 1 and place != axis)
        outputs.append(UnderstoodOutput(name, role, shape, rows, axis))
    notes = list(analysis.notes)
    open_points = 0
    if first.boxes.box_format is None:
        open_points += 1
        notes.append(
            "the file does not decode boxes: decode= says how, and shapes= gives the anchors, if there are any"
        )
    elif None in analysis.shapes:
        notes.append(
            "the shapes of anchors are not in the file (boxes are distances from a cell, or there is one box per cell)"
        )
    open_points += scores.activation == "none"
    return Understanding(
        input=graph.image.name,
        input_shape=graph.declared_input(),
        input_size=analysis.input_size,
        opset=graph.opset,
        levels=levels,
        shapes=analysis.shapes,
        filters=tuple(analysis.named_filters(anchor) for anchor in range(len(layout))),
        box_format=first.boxes.box_format,
        box_unit=first.boxes.unit,
        columns={
            "box": [first.boxes.column + place for place in range(4)],
            "objectness": None if scores.objectness is None else scores.objectness[1],
            "classes": [column for _, column in scores.classes],
            "background": None if scores.background is None else scores.background[1],
        },
        activation=scores.activation,
        outputs=tuple(outputs),
        sure="ask" if open_points else "likely" if analysis.notes else "sure",
        notes=tuple(notes),
    )


def described(found: Understanding, ids: tuple[str, ...]) -> str:
    """The facts as text for people."""
    shape = "x".join("?" if length is None else str(length) for length in found.input_shape)
    lines = [f"input {found.input} {shape}, looked at with {found.input_size[0]} x {found.input_size[1]} pixels"]
    for number, level in enumerate(found.levels):
        lines.append(
            f"level L{number}: {level.height} x {level.width} cells, one every {level.stride_x:g} x {level.stride_y:g} "
            "pixels"
        )
        filters = {
            anchor: ", ".join(f"{len(numbers)} of {name}" for name, numbers in found.filters[anchor].items())
            for anchor in level.anchors
        }
        same = len(set(filters.values())) == 1
        for anchor in level.anchors:
            said = found.shapes[anchor]
            size = "shape not in the file" if said is None else f"{said[0]:.4g} x {said[1]:.4g} px"
            lines.append(f"  {anchor:>3} {ids[anchor]:<14} {size}" + ("" if same else f"; filters: {filters[anchor]}"))
        if same:
            lines.append(f"      filters of each: {filters[level.anchors[0]]}")
    for output in found.outputs:
        lines.append(f"output {output.name} {'x'.join(map(str, output.shape))}: {output.role}")
    boxes = f"{found.box_format} in {found.box_unit}" if found.decoded else "not decoded in the file"
    columns = found.columns
    parts = [f"{len(columns['classes'])} classes"]
    parts += ["objectness"] if columns["objectness"] is not None else []
    parts += ["background"] if columns["background"] is not None else []
    lines.append(f"boxes: {boxes}; scores: {', '.join(parts)}, activation {found.activation}")
    lines.append(
        {"sure": "All of this was read from the file.", "likely": "Some of this is assumed:"}.get(found.sure, "Open:")
    )
    lines += [f"  - {note}" for note in found.notes]
    return "\n".join(lines)
