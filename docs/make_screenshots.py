"""Take the pictures of the explorers that docs/lessons.md shows: python docs/make_screenshots.py

Needs playwright (extra dev) and Chromium. The shipped detector looks at 200 images of the built-in data in a JupyterLab
of its own; the pictures are what a person would see there.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anchorkit.files import replacing

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "browser"))
import browsing
import material

DOCS = Path(__file__).resolve().parent
IMAGES = 200
LARGEST = 200_000
"""Bytes of a picture."""
SHARPNESS = 2
COLORS = 256
_SET_UP = """
import anchorkit as ak
from anchorkit.runs.folder import load_data
ak.plots.setup()
data = load_data({run!r})
table = ak.PredictionTable.load({run!r} + "/predictions.parquet")
evaluator = ak.Evaluator(table, data.val.ground_truth)
result = ak.SearchResult.load({run!r} + "/search")
"""
_CHANNELS = """
import anchorkit as ak
ak.plots.setup()
data = ak.load_dataset("shapes", train=64, val=200, test=1, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
channels = ak.ChannelExplorer(detector, data.train, data.val)
for ratio in (0.1, 0.2, 0.3):
    channels.set(ratio=ratio)
    channels.measure()
channels.set(ratio=0.2)
channels
"""
_BOARD = "ak.widgets.AnchorBoard(evaluator, result, start=result.cheapest(0.002))"
_SEARCH = "ak.widgets.SearchExplorer(evaluator, split=data.val, result=result, max_loss=0.005)"


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        browsing.chromium() as browser,
        browsing.jupyterlab(Path(folder)) as lab,
    ):
        run = Path(folder) / "run"
        material.write_lessons_run(run, IMAGES, max_drop=0.03)
        notebook = lab.write([_SET_UP.format(run=str(run)), _BOARD, _SEARCH])
        visit = lab.open(browser, notebook, width=1366, height=2600, sharpness=SHARPNESS)
        board, search = (visit.cell(number).locator(".anchorkit-explorer") for number in (1, 2))
        visit.settled(board.locator(".anchorkit-picture").first)
        board.get_by_role("button", name="Best next removal").click()
        board.get_by_text("Best next removal:").wait_for()
        shoot(visit, board, "anchor_board")
        frontier = search.locator(".anchorkit-picture").first
        visit.settled(frontier)
        search.get_by_label("random pruning").check()
        search.get_by_text("random pruning", exact=True).nth(1).wait_for()  # in the legend
        visit.settled(frontier)
        # What is above the anchors says what the explorer does.
        shoot(visit, search, "search_explorer", until=search.locator(".anchorkit-picture").nth(1))
        lab.close(visit)
        visit = lab.open(browser, lab.write([_CHANNELS]), height=1200, sharpness=SHARPNESS)
        channels = visit.cell(0).locator(".anchorkit-explorer")
        channels.locator(".anchorkit-picture svg").first.wait_for()
        shoot(visit, channels, "channel_explorer")
        lab.close(visit)


def shoot(visit: Any, explorer: Any, name: str, until: Any = None) -> None:
    """Save the picture of an explorer, or of what is above one of its parts."""
    visit.page.mouse.move(2, 2)
    explorer.evaluate("explorer => explorer.scrollIntoView()")
    visit.page.evaluate("document.fonts.ready")
    visit.page.evaluate("document.activeElement.blur()")
    box = explorer.bounding_box()
    box["y"] += 2  # JupyterLab's toolbar throws a shadow
    box["height"] -= 2
    if until is not None:
        box["height"] = until.bounding_box()["y"] - box["y"]
    path = DOCS / f"{name}.png"
    with replacing(path) as temporary:
        visit.page.screenshot(path=str(temporary), clip=box, type="png")
        with Image.open(temporary) as picture:
            small = with_few_colors(np.asarray(picture.convert("RGB")))
        small.save(temporary, format="PNG", optimize=True)
    print(f"{path.name}: {small.width} x {small.height}, {path.stat().st_size / 1000:.0f} kB")
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path}: larger than {LARGEST / 1000:.0f} kB")


def with_few_colors(pixels: np.ndarray) -> Image.Image:
    """The picture in its commonest 256 colours; others, from the edges of letters and lines, become the nearest.

    Args:
        pixels: uint8 (H, W, 3).
    """
    colors, which, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    kept = colors[np.argsort(-counts, kind="stable")[:COLORS]].astype(int)
    nearest = [int(((kept - color) ** 2).sum(axis=1).argmin()) for color in colors.astype(int)]
    indices = np.array(nearest, np.uint8)[which.reshape(-1)].reshape(pixels.shape[:2])
    picture = Image.fromarray(indices, "P")
    picture.putpalette(kept.astype(np.uint8).tobytes())
    return picture


if __name__ == "__main__":
    main()
