"""The answer of a command, and the text form of tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anchorkit.anchors import Configuration

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Answer:
    """The answer of a command: text for people and, with ``--json``, data for programs."""

    text: str
    data: Mapping[str, Any]
    exit_code: int = 0


def kept(configuration: Configuration) -> str:
    return f"{configuration.layout.detector}: {len(configuration)} of {len(configuration.layout)} anchors"


def points(accuracy: float) -> str:
    """An accuracy of 0..1 in points; COCO's -1 (nothing to find) as a dash."""
    return "-" if accuracy < 0 else f"{100 * accuracy:.1f}"


def count(value: float | None) -> str:
    """A count in full, any other number with three significant digits."""
    if value is None:
        return "unknown"
    return f"{int(value):,}" if value == int(value) else f"{value:.3g}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as text: the first column aligned left, the others right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
