"""Every explorer in JupyterLab, touched as people touch it. They share one notebook: opening one takes a while."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .browsing import Lab, Visit
from .conftest import figure

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
searching = ak.widgets.SearchExplorer(evaluator, result=result, max_drop=0.9)
searching
""",
}


@pytest.fixture(scope="module")
def notebook(browser: Any, lab: Lab) -> Iterator[Visit]:
    made = lab.open(browser, lab.write(list(CELLS.values())))
    made.page.locator(".anchorkit-picture a[data-pick]").first.wait_for()
    yield made
    lab.close(made)


@pytest.fixture(autouse=True)
def nothing_else_happened(notebook: Visit) -> Iterator[None]:
    yield
    notebook.check()


def output(notebook: Visit, name: str) -> Any:
    found = notebook.cell(list(CELLS).index(name)).locator(".jp-Cell-outputArea")
    found.scroll_into_view_if_needed()
    return found


def test_an_anchor_goes_by_a_click_and_comes_back_by_the_keyboard(notebook: Visit, pick: Callable[..., str]) -> None:
    from playwright.sync_api import expect

    place, keyboard = output(notebook, "board"), notebook.page.keyboard
    board, frontier = place.locator(".anchorkit-picture").nth(0), place.locator(".anchorkit-picture").nth(1)
    anchors, accuracy = figure(place, "Anchors"), figure(place, "AP (points)")
    expect(anchors).to_have_text("9")
    pick(notebook, board, "anchor board, an anchor", "L0/16x16")
    expect(anchors).to_have_text("8")
    mark = board.locator('a[data-pick="L0/16x16"]')
    expect(mark).to_have_class("off")
    expect(mark).to_have_attribute("aria-label", re.compile("dropped"))
    reached = accuracy.inner_text()
    # The arrows walk from the mark that has the focus.
    mark.focus()
    keyboard.press("ArrowRight")
    keyboard.press("Enter")
    expect(anchors).to_have_text("7")
    keyboard.press("ArrowLeft")
    keyboard.press("Space")
    expect(anchors).to_have_text("8")
    undo = place.get_by_role("button", name="Undo", exact=True)
    for count in ("7", "8"):
        undo.focus()
        keyboard.press("Enter")
        expect(anchors).to_have_text(count)
    expect(accuracy).to_have_text(reached)
    pick(notebook, frontier, "anchor board, a point")
    expect(place.get_by_text("level with the greedy search")).to_be_visible()


def test_images_by_the_keyboard_and_a_box_by_a_click(notebook: Visit, pick: Callable[..., str]) -> None:
    from playwright.sync_api import expect

    place, keyboard = output(notebook, "images"), notebook.page.keyboard
    picture = place.locator(".anchorkit-picture")
    followed = figure(output(notebook, "board"), "Anchors").inner_text()
    expect(picture.get_by_text(f"Before: {followed} anchor")).to_be_visible()
    place.get_by_label("Images").select_option("most changed")
    expect(place.get_by_text("place 1 of 30")).to_be_visible()
    place.get_by_role("slider").nth(0).focus()
    keyboard.press("ArrowRight")
    expect(place.get_by_text("place 2 of 30")).to_be_visible()
    place.get_by_role("button", name="Next").focus()
    keyboard.press("Enter")
    expect(place.get_by_text("place 3 of 30")).to_be_visible()
    mark = pick(notebook, picture, "image explorer, a box")
    expect(picture.locator(f'a[data-pick="{mark}"]')).to_have_class("ring")
    expect(place.get_by_text("Pick a box")).to_have_count(0)


def test_a_point_of_the_frontier_by_the_keyboard(notebook: Visit) -> None:
    from playwright.sync_api import expect

    place = output(notebook, "points")
    anchors = figure(place, "Anchors")
    was = anchors.inner_text()
    place.get_by_role("slider").focus()
    notebook.page.keyboard.press("ArrowRight")
    expect(anchors).not_to_have_text(was)


def test_shapes_of_an_anchor_by_a_click(notebook: Visit, pick: Callable[..., str]) -> None:
    from playwright.sync_api import expect

    place = output(notebook, "shapes")
    picture = place.locator(".anchorkit-picture").first
    notebook.settled(picture)
    text = place.inner_text()
    pick(notebook, picture, "shape explorer, an anchor")
    expect(place).not_to_have_text(text, use_inner_text=True)


def test_a_search_is_stopped_while_it_runs(notebook: Visit, pick: Callable[..., str]) -> None:
    from playwright.sync_api import expect

    place = output(notebook, "search")
    picture = place.locator(".anchorkit-picture").first
    notebook.settled(picture)
    drawings = picture.get_attribute("data-drawings")
    place.get_by_role("button", name="Start", exact=True).click()
    expect(place.get_by_text("Searching")).to_be_visible()
    expect(picture).not_to_have_attribute("data-drawings", drawings)  # the frontier grows while it runs
    place.get_by_role("button", name="Stop", exact=True).click()
    expect(place.get_by_text("Stopped early:")).to_be_visible()
    # Of a search that has only begun, the frontier may be a single point: pick one of the first result.
    menu = place.get_by_label("Result", exact=True)
    notebook.settled(picture)
    drawings = picture.get_attribute("data-drawings")
    menu.select_option(index=0)
    expect(place.get_by_text("Done:")).to_be_visible()
    expect(picture).not_to_have_attribute("data-drawings", drawings)  # words come before the picture
    notebook.settled(picture)
    mark = pick(notebook, picture, "search explorer, a point")
    expect(picture.locator(f'a[data-pick="{mark}"]').first).to_have_class("ring")
    expect(figure(place, "Anchors")).to_have_text(str(int(mark, 16).bit_count()))
    menu.select_option(index=1)
    expect(place.get_by_text("Stopped early:")).to_be_visible()


@pytest.mark.parametrize("name", ["board", "images", "points", "shapes", "search"])
def test_every_control_has_a_name_and_is_reached_by_tab(notebook: Visit, name: str) -> None:
    place = output(notebook, name)
    notebook.settled(place.locator(".anchorkit-picture").first)
    controls = notebook.controls(place)
    assert len(controls) >= 4
    assert [role for role, called in controls if not called.strip()] == []
    assert {role for role, _ in controls} <= {"button", "combobox", "slider", "checkbox", "spinbutton", "textbox"}
    assert notebook.missed_by_tab(place) == []


def test_what_was_done_is_there_in_the_next_cell(notebook: Visit) -> None:
    from playwright.sync_api import expect

    notebook.page.evaluate(
        """async source => {
            const panel = window.jupyterapp.shell.currentWidget;
            panel.content.activeCellIndex = panel.content.widgets.length - 1;
            await window.jupyterapp.commands.execute("notebook:insert-cell-below");
            panel.content.activeCell.model.sharedModel.setSource(source);
            await window.jupyterapp.commands.execute("notebook:run-cell");
        }""",
        "print('kept', len(board.selected), 'on image', images.place + 1, 'complete', searching.result.complete)",
    )
    kept = figure(output(notebook, "board"), "Anchors").inner_text()
    told = notebook.cell(len(CELLS)).locator(".jp-Cell-outputArea")
    expect(told).to_have_text(re.compile(rf"kept {kept} on image \d+ complete False"))
