"""How long it takes from a click in an explorer to the new picture, in JupyterLab in a real browser.

    python benchmarks/clicks.py                    500 and 5,000 images; needs Chromium and playwright
    python benchmarks/clicks.py --images 500
    python benchmarks/clicks.py --handout FILE...  handouts instead, as on a laptop and on a processor slowed six times

The clock runs in the page, from the click until the browser has painted what changed: so it counts both ways between
page and kernel, the evaluation, and the drawing. The anchor board is on made-up data of the size of COCO
(`coco_scale.py`: 80 classes, some 900 raw predictions an image), the explorer of shapes on the built-in data.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coco_scale import files
from measuring import grid

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "browser"))
import browsing
import material

CLICKS = 20
SHAPES_IMAGES = 500
# Clicks on a tile of a handout: milliseconds until its figures have been painted, and until all tiles have theirs.
_TAP = """(tile) => new Promise((resolve) => {
    const play = document.getElementById("play");
    const start = performance.now();
    let painted;
    new MutationObserver((_, observer) => {
        observer.disconnect();
        requestAnimationFrame(() => requestAnimationFrame(() => (painted = performance.now() - start)));
    }).observe(document.getElementById("sums"), { subtree: true, childList: true, characterData: true });
    tile.click();
    const wait = () => painted && play.getAttribute("aria-busy") === "false"
        ? resolve([painted, performance.now() - start]) : setTimeout(wait, 1);
    wait();
})"""
_WATCH = """window.tasks = [];
new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration)))
    .observe({ type: "longtask", buffered: true });"""
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
    parser.add_argument("--handout", nargs="+", metavar="FILE", help="handouts to click in, instead of explorers")
    asked = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if asked.handout:
        with browsing.chromium() as browser:
            print(grid([HANDOUT, *(row for path in asked.handout for row in on_a_handout(browser, Path(path)))]))
        return
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


def told(times: list[float]) -> tuple[str, str]:
    return f"{statistics.median(times):.0f} ms", f"{max(times):.0f} ms"


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


HANDOUT = ("handout", "processor", "ready", "click to picture", "worst", "all toggles", "longest task")


def on_a_handout(browser: Any, path: Path) -> Iterator[tuple[str, ...]]:
    """Anchors taken away; tasks of less than 50 ms are not reported by the browser."""
    for slower in (1, 6):
        visit = browsing.visit(browser, "about:blank", width=390, height=844)
        page = visit.page
        page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
        page.add_init_script(_WATCH)
        page.goto(path.resolve().as_uri())
        page.wait_for_function("document.getElementById('play').getAttribute('aria-busy') === 'false'", timeout=300_000)
        ready = page.evaluate("performance.now()")
        tiles = page.locator("#board button")
        times = [tiles.nth(3 * i).evaluate(_TAP) for i in range(min(8, tiles.count() // 3))]
        shown, done = zip(*times, strict=True)
        longest = max(page.evaluate("window.tasks"), default=0)
        yield (
            path.name,
            f"{slower} x slower" if slower > 1 else "as it is",
            f"{ready / 1000:.1f} s",
            *told(list(shown)),
            f"{statistics.median(done):.0f} ms",
            f"{longest:.0f} ms" if longest else "below 50 ms",
        )
        page.context.close()


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
