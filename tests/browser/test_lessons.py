"""The lessons that have an explorer, in JupyterLab: opened, run and touched. They need nothing but this machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anchorkit.bundled import data_dir, notebooks_dir
from anchorkit.runs.folder import left_by_earlier
from anchorkit.runs.selection import load_selection

from . import material
from .browsing import Lab, Visit
from .conftest import figure

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LARGEST = 1_000_000  # bytes of a notebook that is saved after it was run and touched
Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def run(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (data_dir() / "detectors" / "tiny_ssd-shapes").is_dir():
        pytest.skip("the trained detector is not in data/detectors; data/make_detector.py makes it")
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        material.write_lessons_run(folder)
    return folder


@pytest.fixture
def open_lesson(browser: Any, lab: Lab) -> Iterator[Open]:
    """Opens a lesson and runs it; in the end nothing must have gone wrong, and the saved notebook must be small."""
    opened: list[tuple[Visit, Path]] = []

    def open_(name: str, **parameters: Any) -> Visit:
        path = lab.lesson(notebooks_dir() / f"{name}.ipynb", **parameters)
        made = lab.open(browser, path)
        opened.append((made, path))
        return made

    yield open_
    for made, path in opened:
        made.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        size, text = path.stat().st_size, path.read_text(encoding="utf-8")
        lab.close(made)
        made.check()
        assert '"output_type"' in text
        assert size < LARGEST


def explorer(lesson: Visit, source: str) -> Any:
    """The output of the cell with this source."""
    found = lesson.page.locator(".jp-Notebook .jp-CodeCell", has_text=source).locator(".jp-Cell-outputArea")
    found.scroll_into_view_if_needed()
    lesson.settled(found.locator(".anchorkit-picture").first)
    return found


def move(lesson: Visit, slider: Any, key: str = "ArrowRight") -> None:
    slider.focus()
    lesson.page.keyboard.press(key)


def test_start_here(open_lesson: Open, pick: Callable[..., str]) -> None:
    from playwright.sync_api import expect

    lesson = open_lesson("00_start_here", images=16, max_loss=0.02)
    chooser = explorer(lesson, "chooser = ak.widgets.PointChooser")
    accuracy = figure(chooser, "AP (points)")
    was = accuracy.inner_text()
    move(lesson, chooser.get_by_role("slider"), "Home")
    expect(accuracy).not_to_have_text(was)
    board = explorer(lesson, "board = ak.widgets.AnchorBoard")
    anchors = figure(board, "Anchors")
    before = int(anchors.inner_text())
    kept = board.locator("a[data-pick][aria-label$='kept']").first.get_attribute("data-pick")
    pick(lesson, board.locator(".anchorkit-picture").first, "lesson 0, an anchor", kept)
    expect(anchors).to_have_text(str(before - 1))


def test_box_shapes(open_lesson: Open, run: Path, pick: Callable[..., str]) -> None:
    from playwright.sync_api import expect

    lesson = open_lesson("03_box_shapes", run_dir=str(run))
    shapes = explorer(lesson, "explorer = ak.widgets.ShapeExplorer")
    said = shapes.get_by_text(re.compile(r"^[\d,]+ boxes score 0.3 or more"))
    counted = said.inner_text().split(" ")[0]
    move(lesson, shapes.get_by_role("slider"))
    expect(shapes.get_by_text("score 0.31 or more")).to_be_visible()
    assert shapes.get_by_text("score 0.31 or more").inner_text().split(" ")[0] != counted
    name = pick(lesson, shapes.locator(".anchorkit-picture").first, "lesson 3, an anchor")
    expect(shapes.locator("b", has_text=name).first).to_be_visible()


def test_search(open_lesson: Open, run: Path, pick: Callable[..., str]) -> None:
    from playwright.sync_api import expect

    lesson = open_lesson("04_search", run_dir=str(run), max_drop=0.01, random_draws=10)
    searching = explorer(lesson, "explorer = ak.widgets.SearchExplorer")
    threshold = searching.get_by_role("slider", name="Threshold")
    move(lesson, threshold, "End")
    searching.get_by_role("button", name="Start", exact=True).click()
    expect(searching.get_by_text("Searching")).to_be_visible()
    searching.get_by_role("button", name="Stop", exact=True).click()
    expect(searching.get_by_text("Stopped early:")).to_be_visible()
    # The first result, which is the lesson's own: a search that has only begun may have a frontier of one point.
    searching.get_by_label("Result", exact=True).select_option(index=0)
    expect(searching.get_by_text("Done:")).to_be_visible()
    frontier = searching.locator(".anchorkit-picture").first
    mask = int(pick(lesson, frontier, "lesson 4, a point"), 16)
    expect(figure(searching, "Anchors")).to_have_text(str(mask.bit_count()))
    # The cell below notes what was picked.
    note = lesson.page.locator(".jp-Notebook .jp-CodeCell", has_text="save_selection(run, mine[0]")
    note.locator(".cm-content").click()
    lesson.page.keyboard.press("Control+Enter")
    expect(note.locator(".jp-Cell-outputArea")).to_contain_text("noted for lesson 5")
    import anchorkit as ak
    from anchorkit.runs.folder import load_data

    table = ak.PredictionTable.load(left_by_earlier(run, "predictions.parquet"))
    evaluator = ak.Evaluator(table, load_data(run).val.ground_truth)
    picked = load_selection(run, evaluator.layout, evaluator.fingerprint)
    assert picked is not None
    assert picked.mask == mask
    (run / "search" / "selected.json").unlink()  # other tests shall not depend on it


def test_prune_and_retrain(open_lesson: Open, run: Path, pick: Callable[..., str]) -> None:
    from playwright.sync_api import expect

    lesson = open_lesson("05_prune_and_retrain", run_dir=str(run), points=1, points_max_loss=0.0, finetune_epochs=0)
    images = explorer(lesson, "images = ak.widgets.ImageExplorer")
    expect(images.get_by_text("place 1 of")).to_be_visible()
    move(lesson, images.get_by_role("slider", name="Place"))
    expect(images.get_by_text("place 2 of")).to_be_visible()
    pick(lesson, images.locator(".anchorkit-picture").first, "lesson 5, a box")
    expect(images.get_by_text("Pick a box")).to_have_count(0)


def test_channels(open_lesson: Open, run: Path) -> None:
    from playwright.sync_api import expect

    lesson = open_lesson("09_channels", run_dir=str(run), channel_images=8)
    cell = lesson.page.locator(".jp-Notebook .jp-CodeCell", has_text="explorer = ak.ChannelExplorer")
    channels = cell.locator(".jp-Cell-outputArea")
    picture, flops = channels.locator(".anchorkit-picture"), figure(channels, "Total FLOPs")
    expect(picture.get_by_text("13 of 16")).to_be_visible()
    drawings, spent = picture.get_attribute("data-drawings"), flops.inner_text()
    slider = channels.get_by_role("slider")
    for _ in range(10):  # from 20 to 30 %
        move(lesson, slider)
    expect(flops).not_to_have_text(spent)
    expect(picture).not_to_have_attribute("data-drawings", drawings)
    expect(picture.get_by_text("12 of 16")).to_be_visible()
    expect(figure(channels, "AP (points)")).to_have_count(0)
    channels.get_by_role("button", name="Measure AP").click()
    accuracy = figure(channels, "AP (points)")
    expect(accuracy).to_be_visible()
    row = channels.get_by_role("row", name="30 % go")
    expect(row).to_contain_text(accuracy.inner_text())
    channels.get_by_role("button", name="multiply-adds that stay").click()
    expect(channels.get_by_role("textbox", name="Share (%)")).to_have_text("55")
