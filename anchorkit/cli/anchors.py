"""``anchorkit anchors``: the levels and anchors of any detector, listed and drawn."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anchorkit.cli.answers import Answer, count, table
from anchorkit.cli.layouts import find_layout
from anchorkit.cli.options import AddCommand, add_facts, add_json, add_named_detector, named_size
from anchorkit.runs.onnx_file import is_onnx, load_with_facts, parse_facts

if TYPE_CHECKING:
    from anchorkit.anchors import AnchorLayout

_COLUMNS, _ROWS, _GAP = 76, 4, 2
"""The largest drawing of a level on a terminal, and the gap between two anchors, in characters."""
_BLOCKS = " \N{LOWER HALF BLOCK}\N{UPPER HALF BLOCK}\N{FULL BLOCK}"


def add_commands(add: AddCommand) -> None:
    anchors = add("anchors", anchors_command, "list and draw the levels and anchors of any detector")
    anchors.add_argument(
        "subject",
        metavar="DETECTOR",
        help="an .onnx file, darknet's .cfg, a detector's name, the folder of a saved detector or of a run, a layout "
        ".json, or a prediction table",
    )
    add_named_detector(anchors)
    add_facts(anchors)
    anchors.add_argument("--out", type=Path, metavar="FILE", help="also draw them to scale: a .png, .svg or .html file")
    add_json(anchors)


def anchors_command(options: argparse.Namespace) -> Answer:
    """``anchorkit anchors``: which anchors a detector has."""
    if is_onnx(options.subject):
        detector = load_with_facts(options.subject, parse_facts(options.facts))
        layout, understood = detector.layout, detector.understanding.to_dict()
        data = {**anchors_data(layout), **{name: understood[name] for name in ("box_format", "outputs")}}
        text = [str(detector), *_text(layout.detector, data)]
    else:
        layout = find_layout(options.subject, options.classes, named_size(options))
        data = anchors_data(layout)
        text = _text(layout.detector, data)
    if options.out is not None:
        from anchorkit import plots
        from anchorkit.analysis.redundancy import anchor_frame

        text.append(f"Drawn in {plots.save(plots.anchor_board(anchor_frame(layout)), options.out)}")
    return Answer("\n".join(text), data)


def anchors_data(layout: AnchorLayout) -> dict[str, Any]:
    """The levels, from the one with the most cells to the coarsest, and the anchors in the order of their indices."""
    order = sorted(range(len(layout.levels)), key=lambda number: -layout.levels[number].cells)
    levels = [layout.levels[number] for number in order]
    known = [level.shapes_known for level in layout.levels]
    return {
        "input": list(layout.input_size),
        "levels": [
            {
                "name": level.name,
                "height": level.height,
                "width": level.width,
                "anchors": [anchor.id for anchor in layout.anchors if anchor.level == number],
            }
            for number, level in zip(order, levels, strict=True)
        ],
        "anchors": [
            {
                "index": anchor.index,
                "id": anchor.id,
                "level": order.index(anchor.level),
                "width": anchor.width if known[anchor.level] else None,
                "height": anchor.height if known[anchor.level] else None,
            }
            for anchor in layout.anchors
        ],
        "boxes": sum(level.cells * len(level.anchors) for level in levels),
    }


def _text(name: str, data: Mapping[str, Any]) -> list[str]:
    """A sentence, a table with a row per anchor, and a drawing of each level."""
    levels: Sequence[Mapping[str, Any]] = data["levels"]
    of_id = {anchor["id"]: anchor for anchor in data["anchors"]}
    rows, drawings = [], []
    for level in levels:
        anchors = [of_id[anchor] for anchor in level["anchors"]]
        cells = level["height"] * level["width"]
        rows += [
            (
                anchor["id"],
                str(anchor["index"]),
                level["name"],
                f"{level['height']}x{level['width']}",
                _side(anchor["width"]),
                _side(anchor["height"]),
                count(cells),
            )
            for anchor in anchors
        ]
        shapes = [(anchor["width"], anchor["height"]) for anchor in anchors if anchor["width"] is not None]
        if shapes and _draws():
            drawings += [f"{level['name']}: {level['height']}x{level['width']} cells", *draw(shapes)]
    height, width = data["input"]
    heading = (
        f"{name}: {len(of_id)} anchors on {len(levels)} levels; input {height}x{width} (height x width), "
        f"{data['boxes']:,} boxes per image"
    )
    return [heading, table(("anchor", "index", "level", "cells", "width", "height", "boxes"), rows), *drawings]


def _side(side: float | None) -> str:
    return "unknown" if side is None else f"{side:.1f}"


def draw(shapes: Sequence[tuple[float, float]]) -> list[str]:
    """Boxes beside each other on one ground line, all to one scale; a character is one pixel wide and two high.

    Args:
        shapes: (width, height) of each.

    Returns:
        Lines of block characters, and a last one with the sizes.
    """
    labels = [f"{width:.0f}x{height:.0f}" for width, height in shapes]
    room = _COLUMNS - _GAP * len(shapes)
    scale = min(2 * _ROWS / max(height for _, height in shapes), room / sum(width for width, _ in shapes))
    sizes = [(max(1, round(width * scale)), max(1, round(height * scale))) for width, height in shapes]
    lines = []
    for row in range(_ROWS - 1, -1, -1):
        cells = [
            (_BLOCKS[(height > 2 * row) + 2 * (height > 2 * row + 1)] * width).ljust(max(width, len(label)))
            for (width, height), label in zip(sizes, labels, strict=True)
        ]
        lines.append((" " * _GAP).join(cells).rstrip())
    lines.append((" " * _GAP).join(label.ljust(width) for label, (width, _) in zip(labels, sizes, strict=True)))
    return [f"  {line}".rstrip() for line in lines if line]


def _draws() -> bool:
    """Whether the terminal's encoding has block characters."""
    try:
        _BLOCKS.encode(getattr(sys.__stdout__, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
