"""What the program that uses a file must know, as a JSON object beside it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

FORMAT, VERSION = "anchorkit.onnx", 1


def device_facts(detector: Any) -> dict[str, Any]:
    """What the program that uses the file of an `OnnxDetector` must know, as a JSON object."""
    found, layout = detector.understanding, detector.layout
    shapes = [None if not layout.levels[a.level].shapes_known else (a.width, a.height) for a in layout.anchors]
    reading = detector.analysis.readings[0]
    size = detector.analysis.input_size
    return {
        "format": FORMAT,
        "version": VERSION,
        "detector": detector.name,
        "input": {
            "name": found.input,
            "shape": list(found.input_shape),  # N, C, H, W, in whichever order the file has them
            "axes": "NHWC" if detector.analysis.graph.channels_last else "NCHW",
            "size": list(size),
        },
        "preprocess": None if detector.preprocess is None else detector.preprocess.to_dict(),
        "outputs": [
            {
                "name": output.name,
                "role": output.role,
                "column_axis": output.column_axis,
                "channels": _channels(detector, output.name),
            }
            for output in found.outputs
        ],
        "columns": found.columns,
        "box_format": found.box_format,
        "box_unit": found.box_unit,
        "applied": {
            "decoding": found.decoded,
            "activation": None if found.activation == "none" else found.activation,
            "objectness": reading.scores.objectness is None,
        },
        "given": _given(detector),
        "decode": detector.decode,
        "activation": detector.activation,
        "levels": [
            {
                "name": level.name,
                "height": level.height,
                "width": level.width,
                "stride": [size[0] / level.height, size[1] / level.width],
                "anchors": [anchor.index for anchor in layout.anchors if anchor.level == number],
            }
            for number, level in enumerate(layout.levels)
        ],
        "anchors": [
            {
                "index": anchor.index,
                "id": anchor.id,
                "level": anchor.level,
                "width": None if shape is None else shape[0],
                "height": None if shape is None else shape[1],
            }
            for anchor, shape in zip(layout.anchors, shapes, strict=True)
        ],
        "row_order": _row_order(detector),
        "categories": [{"id": category.id, "name": category.name} for category in detector.categories],
        "postprocess": detector.postprocess.to_dict(),
        "layout": layout.to_dict(),
        "costs": detector.costs(),
        "kept_anchors": None if detector.cut is None else list(detector.cut.configuration.indices),
        "kept_filters": {name: list(numbers) for name, numbers in detector.kept_filters.items()},
        "verified": None if detector.cut is None else detector.cut.check.to_dict(),
    }


def _channels(detector: Any, name: str) -> list[list[int]] | None:
    """For a bare head, the channels of each anchor that it has, in the order of `row_order`; None for other outputs."""
    analysis, cut = detector.analysis, detector.cut
    for reading in analysis.readings:
        for table in reading.group.tables:
            if table.name != name or not table.parts:
                continue
            kept = analysis.layout.full if cut is None else cut.configuration
            block = analysis.extents.block(name, kept.mask)
            if block is None:
                return []
            keep = block[table.axis]
            numbers = [int(reading.anchor[anchor.rows[0]]) for anchor in reading.group.anchors]
            parts = [part for part, number in zip(table.parts, numbers, strict=True) if number in kept.indices]
            place = {int(old): new for new, old in enumerate(range(table.shape[table.axis]) if keep is None else keep)}
            return [[place[channel] for channel in part] for part in parts]
    return None


def _given(detector: Any) -> dict[str, Any]:
    """What had to be said to understand the file, as it is for this one: a cut file has fewer anchors."""
    used = [level for level in detector.layout.levels if level.anchors]
    now = {
        "anchors_per_cell": [len(level.anchors) for level in used],
        "shapes": [[list(shape) for shape in level.anchors] for level in used],
    }
    said = {name: now.get(name, value) for name, value in detector.options.items()}
    scores = detector.analysis.readings[0].scores
    if scores.background is not None:  # so that a cut file is read like the whole one
        said["background"] = "first" if scores.background < scores.classes[0] else "last"
    return said


def _row_order(detector: Any) -> list[dict[str, Any]]:
    """Runs of rows: of which outputs, of which anchors by turns, and how many rows."""
    kept = range(len(detector.analysis.layout)) if detector.cut is None else detector.cut.configuration.indices
    new = {anchor: number for number, anchor in enumerate(kept)}
    runs: list[dict[str, Any]] = []
    for reading in detector.analysis.readings:
        names = [table.name for table in reading.group.tables]
        rows = [new[number] for number in reading.anchor.tolist() if number in new]
        level = [detector.layout.anchors[number].level for number in rows]
        start = 0
        for place in range(1, len(rows) + 1):
            if place == len(rows) or level[place] != level[start]:
                some = rows[start:place]
                changes = sum(one != other for one, other in pairwise(some))
                by = "cell by cell" if changes >= len(some) // 2 and len(set(some)) > 1 else "anchor by anchor"
                found = list(dict.fromkeys(some))
                runs.append({"outputs": names, "rows": len(some), "anchors": found, "order": by})
                start = place
    return runs
