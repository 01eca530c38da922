"""The handout in a browser: how large, whether it answers as Python does, and how soon.

    python benchmarks/handouts.py RUN...                 runs with a search
    python benchmarks/handouts.py --real FOLDER          a real SSD on COCO images, see `real_ssd.py`; searched first

Needs Chromium and playwright. Every answer must have the same bits as Python's: 300 random subsets, and all that the
search evaluated. The clock runs in the page, opened from the disk, 390 x 844 pixels, on a processor as it is and slowed
six times by the browser. A tap is answered when its handler has written the new figures; painting comes after it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import real_ssd
from measuring import grid, told

import anchorkit as ak
from anchorkit.pages.handout.page import open_run, save_handout, write_handout

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.browser import browsing
from tests.pages.handouts import Question

TAPS = 8

_ANSWERS = """(sets) => sets.map((set) => {
    const start = performance.now();
    return [window.anchorkit.accuracy(set), performance.now() - start];
})"""
# A click on a tile: milliseconds until the new figures are written, are painted, and all tiles have theirs.
_TAP = """(tile) => new Promise((resolve) => {
    const play = document.getElementById("play");
    const start = performance.now();
    let painted;
    tile.click();
    const answered = performance.now() - start;
    requestAnimationFrame(() => requestAnimationFrame(() => (painted = performance.now() - start)));
    const wait = () => painted && play.getAttribute("aria-busy") === "false"
        ? resolve([answered, painted, performance.now() - start]) : setTimeout(wait, 1);
    wait();
})"""
# The browser reports only tasks of 50 ms and more.
_WATCH = """window.tasks = [];
new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration)))
    .observe({ type: "longtask", buffered: true });"""

SIZES = ("handout", "images", "rows", "whole", "without images", "subsets", "all searched", "same bits")
TIMES = (
    *("handout", "processor", "ready", "a subset", "worst", "all toggles asked", "tap to figures", "worst"),
    *("to picture", "worst", "all tiles", "longest task"),
)


@dataclass(frozen=True)
class Made:
    """A handout and what it is of."""

    name: str
    path: Path
    evaluator: ak.Evaluator
    search: ak.SearchResult
    sizes: tuple[str, str]

    @cached_property
    def random(self) -> Question:
        """300 subsets of the anchors."""
        return Question.at_random(self.evaluator)

    @property
    def searched(self) -> tuple[list[list[int]], list[float]]:
        """The anchors and the accuracies of everything that the search evaluated."""
        layout, table = self.evaluator.layout, self.search.evaluated
        return [[layout.index(name) for name in ids.split()] for ids in table["anchors"]], table["accuracy"].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="folders of runs with a search")
    parser.add_argument(
        "--slower", type=int, nargs="+", default=[1, 6], help="how much the browser slows the processor"
    )
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="the folder of the real SSD")
    asked = parser.parse_args()
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder, browsing.chromium() as browser:
        sizes, times = [SIZES], [TIMES]
        for made in handouts(asked.runs, asked.real, Path(folder)):
            sizes.append(of_the_file(browser, made))
            times += of_taps(browser, made, asked.slower)
        print(grid(sizes), grid(times), sep="\n")


def handouts(runs: list[Path], real: Path | None, folder: Path) -> Iterator[Made]:
    """Write all handouts that were asked for."""
    for number, run in enumerate(runs):
        evaluator, search, _ = open_run(run)
        whole = write_handout(run, folder / f"{number}.html")
        private = write_handout(run, folder / f"{number}-private.html", images=False)
        yield Made(run.name, whole, evaluator, search, (size(whole), size(private)))
    if real is not None:
        files = real_ssd.files(real)
        evaluator = ak.Evaluator(ak.PredictionTable.load(files.predictions), files.truth)
        search = ak.search(evaluator)
        path = save_handout(folder / "real.html", evaluator, search, "SSD on COCO images")
        yield Made("COCO SSD", path, evaluator, search, ("", size(path)))


def size(path: Path) -> str:
    return f"{path.stat().st_size / 1000:,.0f} kB"


def opened(browser: Any, path: Path, slower: int) -> Any:
    """The handout's page once all its figures are shown."""
    page = browsing.visit(browser, "about:blank", width=390, height=844).page
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
    page.add_init_script(_WATCH)
    page.goto(path.resolve().as_uri())
    page.wait_for_function("document.getElementById('play').getAttribute('aria-busy') === 'false'", timeout=300_000)
    return page


def of_the_file(browser: Any, made: Made) -> tuple[str, ...]:
    """Its size, and whether its answers are Python's."""
    page = opened(browser, made.path, 1)
    random, evaluator = made.random, made.evaluator
    searched, expected = made.searched
    found = [accuracy for accuracy, _ in page.evaluate(_ANSWERS, [*random.sets, *searched])]
    differ = sum(a != b for a, b in zip(found, [*random.expected, *expected], strict=True))
    page.context.close()
    counted = f"{len(evaluator.ground_truth.image_ids):,}", f"{len(evaluator.predictions):,}"
    asked = f"{len(random.sets)}", f"{len(searched):,}"
    return made.name, *counted, *made.sizes, *asked, "all" if not differ else f"{differ:,} OF {len(found):,} DIFFER"


def of_taps(browser: Any, made: Made, rates: list[int]) -> Iterator[tuple[str, ...]]:
    """Times of answers, and of taps on tiles."""
    everything = range(len(made.evaluator.layout))
    toggles = [[other for other in everything if other != anchor] for anchor in everything]
    for slower in rates:
        page = opened(browser, made.path, slower)
        ready = page.evaluate("performance.now()")
        tiles = page.locator(".tile")
        taps = [tiles.nth(3 * i).evaluate(_TAP) for i in range(min(TAPS, tiles.count() // 3))]
        figures, picture, done = zip(*taps, strict=True)
        longest = max(page.evaluate("window.tasks"), default=0)
        subsets = [ms for _, ms in page.evaluate(_ANSWERS, made.random.sets)]
        asked = sum(ms for _, ms in page.evaluate(_ANSWERS, toggles))
        page.context.close()
        yield (
            made.name,
            f"{slower} x slower" if slower > 1 else "as it is",
            f"{ready / 1000:.1f} s",
            *told(subsets, 1),
            f"{asked:.0f} ms",
            *told(figures, 1),
            *told(picture, 1),
            f"{statistics.median(done):.0f} ms",
            f"{longest:.0f} ms" if longest else "below 50 ms",
        )


if __name__ == "__main__":
    main()
