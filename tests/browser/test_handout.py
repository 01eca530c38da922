"""The handout in Chromium, opened from the disk as from a USB stick, on a laptop and on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import anchorkit as ak
from anchorkit.costs import costs
from anchorkit.pages.handout import handout, score_codes

from . import material
from .browsing import Visit, visit

pytestmark = pytest.mark.browser

Searched = tuple[ak.Evaluator, ak.SearchResult]


@pytest.fixture(scope="module")
def searched() -> Searched:
    evaluator = ak.Evaluator(material.TABLE, material.TRUTH)
    return evaluator, ak.search(evaluator, threshold=0.0, progress=False)


@pytest.fixture(scope="module")
def address(searched: Searched, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("stick") / "handout.html"
    path.write_text(handout(*searched, "made-up", material.split()), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def laptop(browser: Any, address: str) -> Iterator[Visit]:
    made = opened(browser, address)
    yield made
    assert made.errors == []
    assert [asked for asked in made.foreign if asked != address] == []
    made.page.context.close()


def opened(browser: Any, address: str, **size: int) -> Visit:
    made = visit(browser, address, **size)
    made.page.wait_for_load_state()
    made.page.evaluate("window.anchorkit.ready")
    return made


def settled(page: Any) -> None:
    page.wait_for_function("document.getElementById('play').getAttribute('aria-busy') === 'false'")


def test_it_answers_with_the_same_bits(laptop: Visit, searched: Searched) -> None:
    evaluator, _ = searched
    random = np.random.default_rng(3)
    sets = [np.flatnonzero(random.random(9) < 0.6).tolist() for _ in range(60)]
    assert laptop.page.evaluate("window.anchorkit.anchors") == list(evaluator.layout.ids)
    found = laptop.page.evaluate("sets => sets.map(window.anchorkit.accuracy)", sets)
    assert found == [evaluator.accuracy(kept) for kept in sets]
    found = laptop.page.evaluate("sets => sets.map(window.anchorkit.costs)", sets)
    assert found == [costs(evaluator.layout.configuration(keep=kept)) for kept in sets]
    refused = "() => { try { window.anchorkit.accuracy([9]); } catch (error) { return error.message; } }"
    assert laptop.page.evaluate(refused) == "there is no anchor 9; indices are 0 to 8"


def test_the_board_by_click_and_keyboard(laptop: Visit, searched: Searched) -> None:
    evaluator, _ = searched
    page, full = laptop.page, evaluator.full
    points = page.locator("#sums .accuracy b")

    def shown(kept: Any) -> str:
        return f"{100 * evaluator.accuracy(kept):.2f}"

    page.locator("#reset").click()
    assert points.inner_text() == shown(full)
    tile = page.locator(".tile").nth(4)
    settled(page)
    change = 100 * (evaluator.accuracy(full.without([4])) - evaluator.accuracy(full))
    assert tile.locator(".change").inner_text().replace("\N{MINUS SIGN}", "-") == f"{change:+.2f}"
    tile.click()
    assert tile.get_attribute("aria-pressed") == "false"
    assert points.inner_text() == shown(full.without([4]))
    page.locator(".tile").nth(0).focus()
    page.keyboard.press("Space")
    assert points.inner_text() == shown(full.without([0, 4]))
    page.keyboard.press("Control+z")
    assert points.inner_text() == shown(full.without([4]))
    page.locator("#undo").focus()
    page.keyboard.press("Enter")
    assert points.inner_text() == shown(full)
    settled(page)
    page.locator("#best").click()
    losses = [evaluator.accuracy(full.without([anchor])) for anchor in range(9)]
    ringed = page.locator(".tile").evaluate_all("tiles => tiles.findIndex(tile => tile.classList.contains('ring'))")
    assert losses[ringed] == max(losses)
    page.locator("#best").click()
    assert points.inner_text() == shown(full.without([ringed]))


def test_the_last_anchor_stays(laptop: Visit) -> None:
    from playwright.sync_api import expect

    page = laptop.page
    page.locator("#reset").click()
    for level in range(3):
        page.get_by_role("button", name=re.compile(f"^Level {level} ")).click()
    expect(page.locator("#said")).to_have_text("A detector needs at least one anchor.")
    assert page.locator(".tile[aria-pressed=true]").count() == 3


def test_a_point_of_the_search_and_the_code_of_the_game(laptop: Visit, searched: Searched, tmp_path: Path) -> None:
    evaluator, search = searched
    page = laptop.page
    point = page.get_by_label("Load a point of the search")
    point.focus()
    page.keyboard.press("End")
    settled(page)
    kept = search.configurations[-1]
    assert page.locator("#sums .n_anchors b").inner_text() == str(len(kept))
    codes = tmp_path / "codes.txt"
    codes.write_text(f"Ada {page.locator('#game output').inner_text()}")
    (row,) = score_codes(evaluator, search, codes)
    assert (row["accuracy"], row["n_anchors"]) == (evaluator.accuracy(kept), len(kept))


def test_before_and_after_are_the_detections(laptop: Visit, searched: Searched) -> None:
    evaluator, _ = searched
    page, kept = laptop.page, evaluator.full.without([0, 3, 7])
    page.locator("#reset").click()
    for anchor in (0, 3, 7):
        page.locator(".tile").nth(anchor).click()
    settled(page)
    drawn = page.locator("#images figure").evaluate_all(
        "figures => figures.map(figure => [...figure.querySelectorAll('svg')]"
        ".map(svg => svg.querySelectorAll('.box:not(.lost)').length))"
    )
    counts = []
    for one in (evaluator.full, kept):
        found = evaluator.detections(one)
        counts.append(found[found["score"] >= 0.3].groupby("image_id").size())
    # By the images' numbers, as the page has them.
    shown = sorted(most_anchors(evaluator)[:12])
    assert drawn == [[int(count.get(image, 0)) for count in counts] for image in shown]
    assert any(before != after for before, after in drawn)


def most_anchors(evaluator: ak.Evaluator) -> list[int]:
    """Image ids, those first on which most different anchors find something."""
    found = evaluator.detections(evaluator.full)
    anchors = found[found["score"] >= 0.3].groupby("image_id")["anchor"].nunique()
    return [int(image) for image in anchors.sort_values(ascending=False, kind="stable").index]


def test_a_phone_in_the_dark(browser: Any, address: str) -> None:
    made = opened(browser, address, width=390, height=844)
    page = made.page
    page.emulate_media(color_scheme="dark")
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    sizes = page.locator(".tile, button:visible, select").evaluate_all(
        "tiles => tiles.filter(tile => tile.checkVisibility()).map(tile => tile.getBoundingClientRect())"
        ".map(box => Math.min(box.width, box.height))"
    )
    assert min(sizes) >= 44
    assert made.errors == []
    made.page.context.close()


def test_every_control_has_a_name_and_is_reached_by_tab(laptop: Visit) -> None:
    place = laptop.page.locator("body")
    controls = laptop.controls(place)
    assert len(controls) > 15
    assert [role for role, called in controls if not called.strip()] == []
    assert laptop.missed_by_tab(place) == []


def test_an_old_browser_is_told_in_words(browser: Any, address: str) -> None:
    from playwright.sync_api import expect

    page = browser.new_context().new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(address)
    expect(page.get_by_role("alert")).to_contain_text("This browser is too old for this page")
    assert page.locator("#play").is_hidden()
    page.context.close()
