"""How long it takes from a click in an explorer to the new picture, in JupyterLab in a real browser.

    python benchmarks/clicks.py               500 and 5,000 images; needs Chromium and playwright
    python benchmarks/clicks.py --images 500

The clock runs in the page, from the click until the browser has painted what changed: so it counts both ways between
page and kernel, the evaluation, and the drawing. The anchor board is on made-up data of the size of COCO
(`coco_scale.py`: 80 classes, some 900 raw predictions an image), the explorer of shapes on the built-in data.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coco_scale import files
from measuring import grid, told

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "browser"))
import browsing
import material

CLICKS = 20
SHAPES_IMAGES = 500
# Chooses in a menu, and tells after how many milliseconds a picture has been painted anew.
_CHOOSE = """(menu, place) => new Promise((resolve) => {
    const picture = menu.closest(".anchorkit-explorer").querySelector(".anchorkit-picture");
    const start = performance.now();
    new MutationObserver((_, observer) => {
        observer.disconnect();
        requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - start)));
    }).observe(picture, { attributes: true, attributeFilter: ["data-drawings"] });
    menu.selectedIndex = place;
    menu.dispatchEvent(new Event("change", { bubbles: true }));
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[500, 5000], help="images that the board is about")
    asked = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    rows = [("what", "images", "clicks", "median", "worst")]
    with (
        tempfile.TemporaryDirectory() as folder,
        browsing.chromium() as browser,
        browsing.jupyterlab(Path(folder)) as lab,
    ):
        for images in asked.images:
            for what, times in on_the_board(browser, lab, images):
                rows.append((what, f"{images:,}", str(len(times)), *told(times)))
        for what, times in on_shapes(browser, lab, Path(folder) / "run"):
            rows.append((what, f"{SHAPES_IMAGES:,}", str(len(times)), *told(times)))
    print(grid(rows))
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")


def on_the_board(browser: Any, lab: browsing.Lab, images: int) -> Iterator[tuple[str, list[float]]]:
    """Anchors taken away and put back."""
    made = files(images)
    cells = [
        "import anchorkit as ak\nak.plots.setup()",
        f"table = ak.PredictionTable.load({str(made.predictions)!r})\n"
        f"evaluator = ak.Evaluator(table, {str(made.truth)!r})",
        "ak.widgets.AnchorBoard(evaluator)",
    ]
    visit = lab.open(browser, lab.write(cells))
    board = visit.cell(2).locator(".anchorkit-picture").first
    visit.settled(board)
    marks = board.locator("a[data-pick^='L']")
    names = [marks.nth(i).get_attribute("data-pick") for i in range(marks.count())]
    for name in names[:CLICKS]:
        visit.pick(board, name)
    yield "anchor board, an anchor away", visit.times
    visit.times = []
    for name in names[: CLICKS // 2]:
        visit.pick(board, name)
    yield "anchor board, an anchor back", visit.times
    lab.close(visit)


def on_shapes(browser: Any, lab: browsing.Lab, run: Path) -> Iterator[tuple[str, list[float]]]:
    """Anchors picked, and filters changed."""
    material.write_lessons_run(run, SHAPES_IMAGES)
    cells = [
        "import anchorkit as ak\nfrom anchorkit.runs.folder import load_data\nak.plots.setup()",
        f"table = ak.PredictionTable.load({str(run / 'predictions.parquet')!r})\n"
        f"truth = load_data({str(run)!r}).val.ground_truth",
        "ak.widgets.ShapeExplorer(table, truth)",
    ]
    visit = lab.open(browser, lab.write(cells))
    place = visit.cell(2)
    shapes = place.locator(".anchorkit-picture").first
    for name, places in (("Level", [0, 1, 2, 3, 4, 5] * 2), ("Class", [1, 2, 3, 4, 0] * 2), ("Level", [6, 0] * 4)):
        menu, times = place.get_by_label(name, exact=True), []
        for choice in places:
            times.append(menu.evaluate(_CHOOSE, choice))
            visit.settled(shapes)
        if 6 in places:
            yield "shapes, all levels", times[::2]
        else:
            yield f"shapes, another {name.lower()}", times
    for _ in range(CLICKS // 2):
        visit.pick(shapes)
    yield "shapes, an anchor", visit.times
    lab.close(visit)


if __name__ == "__main__":
    main()
