"""Every explorer in JupyterLab, touched as people touch it. They share one notebook: opening one takes a while."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .conftest import PATIENCE, Visit

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = {
    "set up": """
import anchorkit as ak, material
ak.plots.setup()
evaluator = ak.Evaluator(material.TABLE, material.TRUTH)
result = ak.search(evaluator, threshold=evaluator.accuracy(evaluator.full) / 2, progress=False)
""",
    "board": """
board = ak.widgets.AnchorBoard(evaluator, result, names=material.NAMES)
board
""",
    "images": """
images = ak.widgets.ImageExplorer(evaluator, material.split(), evaluator.full, result.configurations[-1])
board.observe(lambda board: images.set(before=board.selected))
images
""",
    "points": """
points = ak.widgets.PointChooser(result)
points
""",
    "shapes": """
shapes = ak.widgets.ShapeExplorer(material.TABLE, material.TRUTH)
shapes
""",
    "search": """
searching = ak.widgets.SearchExplorer(material.Slow(evaluator, 0.3), max_drop=0.9)
searching
""",
}


@pytest.fixture(scope="module")
def notebook(open_notebook: Callable[[Any], Visit]) -> Visit:
    made = open_notebook(list(CELLS.values()))
    made.page.locator(".anchorkit-picture a[data-pick]").first.wait_for()
    return made


@pytest.fixture(autouse=True)
def nothing_else_happened(notebook: Visit) -> Iterator[None]:
    yield
    notebook.check()


def output(notebook: Visit, name: str) -> Any:
    found = notebook.cell(list(CELLS).index(name)).locator(".jp-Cell-outputArea")
    found.scroll_into_view_if_needed()
    return found


def figure(place: Any, title: str) -> str:
    """The large number below a title."""
    text = place.locator("td", has=place.page.get_by_text(title, exact=True)).locator("div").nth(1).inner_text()
    return str(text)


def test_an_anchor_goes_by_a_click_and_comes_back_by_the_keyboard(notebook: Visit) -> None:
    place = output(notebook, "board")
    board, frontier = place.locator(".anchorkit-picture").nth(0), place.locator(".anchorkit-picture").nth(1)
    assert figure(place, "Anchors") == "9"
    notebook.pick(board, "L0/16x16", "anchor board, an anchor")
    assert figure(place, "Anchors") == "8"
    mark = board.locator('a[data-pick="L0/16x16"]')
    assert mark.get_attribute("class") == "off"
    assert "dropped" in mark.get_attribute("aria-label")
    accuracy = figure(place, "AP (points)")
    # The mark that was clicked has the focus; the arrows walk from it.
    mark.focus()
    notebook.page.keyboard.press("ArrowRight")
    drawings = board.get_attribute("data-drawings")
    notebook.page.keyboard.press("Enter")
    notebook.drawn(board, drawings)
    assert figure(place, "Anchors") == "7"
    notebook.page.keyboard.press("ArrowLeft")
    drawings = board.get_attribute("data-drawings")
    notebook.page.keyboard.press("Space")
    notebook.drawn(board, drawings)
    assert figure(place, "Anchors") == "8"
    undo = place.get_by_role("button", name="Undo", exact=True)
    for _ in range(2):
        drawings = board.get_attribute("data-drawings")
        undo.focus()
        notebook.page.keyboard.press("Enter")
        notebook.drawn(board, drawings)
    assert (figure(place, "Anchors"), figure(place, "AP (points)")) == ("8", accuracy)
    notebook.pick(frontier, notebook.marks(frontier)[-1], "anchor board, a point")
    assert figure(place, "Anchors") != "8"
    assert "level with the greedy search" in place.inner_text()


def test_images_by_the_keyboard_and_a_box_by_a_click(notebook: Visit) -> None:
    place = output(notebook, "images")
    picture = place.locator(".anchorkit-picture")
    followed = figure(output(notebook, "board"), "Anchors")
    assert f"Before: {followed} anchor" in place.text_content()
    drawings = picture.get_attribute("data-drawings")
    place.get_by_label("Images").select_option("most changed")
    place.get_by_text("place 1 of 30").wait_for()
    notebook.drawn(picture, drawings)
    drawings = picture.get_attribute("data-drawings")
    place.get_by_role("slider").nth(0).focus()
    notebook.page.keyboard.press("ArrowRight")
    place.get_by_text("place 2 of 30").wait_for()
    notebook.drawn(picture, drawings)
    drawings = picture.get_attribute("data-drawings")
    place.get_by_role("button", name="Next").focus()
    notebook.page.keyboard.press("Enter")
    place.get_by_text("place 3 of 30").wait_for()
    notebook.drawn(picture, drawings)
    mark = notebook.marks(picture)[-1]
    notebook.pick(picture, mark, "image explorer, a box")
    assert "ring" in picture.locator(f'a[data-pick="{mark}"]').get_attribute("class")
    place.get_by_text(re.compile(r"Before: .*(score|no such box|not found)")).last.wait_for()


def test_a_point_of_the_frontier_by_the_keyboard(notebook: Visit) -> None:
    place = output(notebook, "points")
    anchors, slider = figure(place, "Anchors"), place.get_by_role("slider")
    slider.focus()
    notebook.page.keyboard.press("ArrowRight")
    changed = "([cell, was]) => [...cell.querySelectorAll('td > div:nth-child(2)')][0].innerText !== was"
    notebook.page.wait_for_function(changed, arg=[place.element_handle(), anchors], timeout=PATIENCE)


def test_shapes_of_an_anchor_by_a_click(notebook: Visit) -> None:
    place = output(notebook, "shapes")
    picture = place.locator(".anchorkit-picture").first
    mark = notebook.marks(picture)[-1]
    text = place.inner_text()
    notebook.pick(picture, mark, "shape explorer, an anchor")
    changed = "([cell, was]) => cell.innerText !== was"
    notebook.page.wait_for_function(changed, arg=[place.element_handle(), text], timeout=PATIENCE)


def test_a_search_is_stopped_while_it_runs(notebook: Visit) -> None:
    place = output(notebook, "search")
    start, stop = (place.get_by_role("button", name=name, exact=True) for name in ("Start", "Stop"))
    start.click()
    place.get_by_text("Searching").wait_for()
    picture = place.locator(".anchorkit-picture").first
    picture.locator("a[data-pick]:visible").first.wait_for()
    stop.click()
    place.get_by_text(re.compile("Stopped")).wait_for()
    notebook.pick(picture, notebook.marks(picture)[-1], "search explorer, a point")


def test_what_was_done_is_there_in_the_next_cell(notebook: Visit) -> None:
    page = notebook.page
    page.evaluate(
        """() => {
            const panel = window.jupyterapp.shell.currentWidget;
            panel.content.activeCellIndex = panel.content.widgets.length - 1;
        }"""
    )
    page.evaluate("window.jupyterapp.commands.execute('notebook:insert-cell-below')")
    source = "print('kept', len(board.selected), 'on image', images.place + 1, 'complete', searching.result.complete)"
    page.evaluate(
        "source => window.jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel.setSource(source)", source
    )
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-cell')")
    place = notebook.cell(len(CELLS))
    place.get_by_text(re.compile(r"kept \d on image \d+ complete False")).wait_for()
    assert f"kept {figure(output(notebook, 'board'), 'Anchors')} " in place.inner_text()
