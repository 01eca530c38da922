"""Draw the pictures of the gallery and write its page: python docs/make_gallery.py"""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import anchorkit as ak
from anchorkit.files import write_text

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "gallery.md"
PICTURES = DOCS / "gallery"

ORDER = (
    "anchor_board",
    "anchor_sets",
    "ground_truth_shapes",
    "box_shapes",
    "shape_map",
    "coverage_matrix",
    "frontier",
    "rivals",
    "budget_curves",
    "relative_frontiers",
    "frontier_intervals",
    "optimism",
    "before_after",
    "level_costs",
    "channel_widths",
    "channel_scores",
    "class_changes",
    "error_changes",
    "boxes_on_image",
    "training_curve",
    "recovery",
    "trainings",
    "training_strips",
    "latency",
    "run_frontiers",
    "setting_effects",
)
"""The examples in the order of the page: the anchors, the search, the pruned detector, many runs."""

_HEAD = """# Gallery

The gallery shows every chart of `anchorkit.plots` with the code that draws it. You can run each example as it is. It
needs no download and takes a few seconds, mostly to load torch. In a notebook, call `ak.plots.setup()` first and end
the cell with `chart`. In a script, `ak.plots.save(chart, "chart.svg")` writes the chart to a file (or `.png`,
`.html`).

The examples use the shipped detector and 40 images of the built-in data set. They show charts, not results: 40 images
are too few for results. The code is in `docs/gallery/examples`. `python docs/make_gallery.py` makes this page and its
pictures from it.
"""


def example(name: str) -> Path:
    return PICTURES / "examples" / f"{name}.py"


def page() -> str:
    parts = [_HEAD, "\n".join(f"- [{name}](#{name})" for name in ORDER) + "\n"]
    for name in ORDER:
        source = example(name).read_text(encoding="utf-8")
        said = ast.get_docstring(ast.parse(source))
        code = source.split('"""', 2)[2].strip()  # without the docstring, which the page prints above the code
        picture = f"![{name}](gallery/{name}.svg)"
        parts.append(f"## {name}\n\n{said}\n\n{picture}\n\n```python\n{code}\n```\n")
    return "\n".join(parts)


def main() -> None:
    for name in ORDER:
        picture = ak.plots.save(runpy.run_path(str(example(name)))["chart"], PICTURES / f"{name}.svg")
        print(f"{picture.relative_to(DOCS)}: {picture.stat().st_size / 1000:.0f} kB")
    write_text(PAGE, page())


if __name__ == "__main__":
    main()
