"""Draw a mermaid flowchart as SVG, for pages that load nothing: what `docs/architecture.md` shows on GitHub.

Mermaid itself is a script of three megabytes. Here nodes stand in columns, one to the right of all that lead to them;
an edge over several columns has a place of its own in each, and the order within a column follows the neighbours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from statistics import fmean

WIDTH, HEIGHT, COLUMN, ROW, LANE = 108, 24, 140, 34, 14
"""Pixels of a node, from one column or row to the next, and between edges that pass a column."""
_SWEEPS = 40
_NODE = re.compile(r'(\w+)\["([^"]+)"\]')
_EDGE = re.compile(r'^\s*(\w+)(?:\["[^"]+"\])? (-->|-\. "[^"]+" \.->) (\w+)')

Place = tuple[str, int]
"""A node's name, or an edge's, and a column."""


@dataclass
class Flowchart:
    """What a mermaid text says.

    Attributes:
        labels: of the nodes, by name.
        edges: from, to, and whether the line is dotted.
    """

    labels: dict[str, str] = field(default_factory=dict)
    edges: list[tuple[str, str, bool]] = field(default_factory=list)

    @classmethod
    def read(cls, text: str) -> Flowchart:
        """From a mermaid text: nodes in brackets, solid and dotted arrows."""
        chart = cls(dict(_NODE.findall(re.sub(r"subgraph .*", "", text))))
        for line in text.splitlines():
            if found := _EDGE.match(line):
                chart.edges.append((found.group(1), found.group(3), found.group(2) != "-->"))
        return chart

    def columns(self) -> dict[str, int]:
        """The column of each node: one to the right of the last node that leads to it by a solid arrow."""
        column = dict.fromkeys(self.labels, 0)
        for _ in self.labels:
            for start, end, dotted in self.edges:
                if not dotted:
                    column[end] = max(column[end], column[start] + 1)
        return column


def draw(text: str, title: str) -> str:
    """A mermaid flowchart as SVG in one line, in the colours of the page around it."""
    chart = Flowchart.read(text)
    column = chart.columns()
    ways = {edge: _way(edge, column) for edge in chart.edges}
    heights = _heights(column, list(ways.values()))
    lowest = min(heights.values())
    tall = max(heights.values()) - lowest + ROW
    wide = max(column.values()) * COLUMN + WIDTH

    def at(place: Place) -> tuple[float, float]:
        return place[1] * COLUMN, heights[place] - lowest + ROW / 2

    drawn = []
    for (_, _, dotted), way in ways.items():
        drawn.append(_line([at(place) for place in way], dotted))
    for name, label in chart.labels.items():
        x, y = at((name, column[name]))
        drawn.append(
            f'<rect x="{x:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" rx="4"/>'
            f'<text x="{x + WIDTH / 2:g}" y="{y:g}">{escape(label)}</text>'
        )
    head = '<marker id="tip" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
    return (
        f'<svg class="flowchart" viewBox="-2 0 {wide + 4:g} {tall:g}" role="img" aria-label="{escape(title)}">'
        f'<defs>{head}<path d="M0,0L6,3L0,6Z"/></marker></defs>{"".join(drawn)}</svg>'
    )


def _way(edge: tuple[str, str, bool], column: dict[str, int]) -> list[Place]:
    start, end, _ = edge
    between = range(column[start] + 1, column[end])
    return [(start, column[start]), *((f"{start}>{end}", place) for place in between), (end, column[end])]


def _heights(column: dict[str, int], ways: list[list[Place]]) -> dict[Place, float]:
    """Where each place stands: near the mean of its neighbours, and a row from the next in its column."""
    near: dict[Place, list[Place]] = {place: [] for place in column.items()}
    for way in ways:
        for first, second in pairwise(way):
            near.setdefault(first, []).append(second)
            near.setdefault(second, []).append(first)
    columns = [[place for place in near if place[1] == number] for number in range(max(column.values()) + 1)]
    heights = {place: float(number) * ROW for own in columns for number, place in enumerate(own)}
    for sweep in range(_SWEEPS):
        for own in reversed(columns) if sweep % 2 else columns:
            wanted = {p: fmean(heights[q] for q in near[p]) for p in own if near[p]}
            lowest = max(wanted.values(), default=0.0)
            wanted |= {p: lowest + ROW * n for n, p in enumerate((p for p in own if not near[p]), 1)}
            heights.update(_apart(sorted(own, key=wanted.__getitem__), wanted))
    return heights


def _apart(own: list[Place], wanted: dict[Place, float]) -> dict[Place, float]:
    """Heights in the same order, clear of one another, and otherwise as near to the wanted ones as possible."""
    groups: list[tuple[float, list[Place]]] = []  # the middle of each, and what stands in it
    for place in own:
        middle, members = wanted[place], [place]
        while groups and groups[-1][0] + (_tall(groups[-1][1]) + _tall(members)) / 2 > middle:
            before, others = groups.pop()
            middle = (before * len(others) + middle * len(members)) / (len(others) + len(members))
            members = others + members
        groups.append((middle, members))
    return {
        place: middle - _tall(members) / 2 + _tall(members[:number]) + _tall([place]) / 2
        for middle, members in groups
        for number, place in enumerate(members)
    }


def _tall(places: list[Place]) -> float:
    return sum(LANE if ">" in name else ROW for name, _ in places)


def _line(points: list[tuple[float, float]], dotted: bool) -> str:
    (x, y), *rest = points
    if rest[-1][0] == x:  # in one column
        down = rest[-1][1] > y
        middle, start, end = x + WIDTH / 2, y + HEIGHT / 2, rest[-1][1] - HEIGHT / 2
        path = f"M{middle:g},{start if down else start - HEIGHT:.1f}V{end if down else end + HEIGHT:.1f}"
    elif rest[-1][0] < x:  # back to the left
        path = f"M{x:g},{y:.1f}" + _bend(x, y, rest[-1][0] + WIDTH, rest[-1][1])
    else:
        path = f"M{x + WIDTH:g},{y:.1f}"
        for number, (next_x, next_y) in enumerate(rest, 1):
            path += _bend(x + WIDTH, y, next_x, next_y) + (f"h{WIDTH}" if number < len(rest) else "")
            x, y = next_x, next_y
    return f'<path class="edge{" dotted" if dotted else ""}" d="{path}" marker-end="url(#tip)"/>'


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    middle = (x + to_x) / 2
    return f"C{middle:g},{y:.1f} {middle:g},{to_y:.1f} {to_x:g},{to_y:.1f}"
