"""The app's page: served by Voila, touched in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anchorkit.app.serving import checked_run, free_port, start_app, wait_until_up

from . import material
from .browsing import PATIENCE, Visit, end, visit
from .conftest import figure, missing

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def address(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the app answers, with its token."""
    try:
        import voila  # noqa: F401
    except ImportError:
        missing("Voila is not installed (pip install 'anchorkit[app]')")
    run = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name, value in material.slow_kernels(tmp_path_factory.mktemp("ipython")).items():
            patch.setenv(name, value)
        material.write_run(Path(run))
        port = free_port()
        with start_app(checked_run(run), port, "secret") as server:
            try:
                wait_until_up(server, f"http://127.0.0.1:{port}/?token=secret")
                yield f"http://127.0.0.1:{port}/?token=secret"
            finally:
                end(server)


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Visit:
    made = visit(browser, address)
    made.page.locator(".widget-tab").wait_for()
    return made


def test_the_tabs_show_and_the_images_follow_the_board(page: Visit, pick: Callable[..., str]) -> None:
    from playwright.sync_api import expect

    tabs = page.page.get_by_role("tab")
    assert tabs.all_inner_texts() == ["Shapes", "Anchor board", "Search", "Images"]
    shown = page.page.locator(".widget-tab-contents")
    for name in ("Shapes", "Search", "Images"):
        page.page.get_by_role("tab", name=name).click()
        shown.locator(".anchorkit-picture:visible svg").first.wait_for()
    before = shown.get_by_text("After: ").first.text_content()
    page.page.get_by_role("tab", name="Anchor board").click()
    board = shown.locator(".anchorkit-picture:visible").first
    anchors = figure(shown, "Anchors").first
    was = anchors.inner_text()
    pick(page, board, "the app's anchor board")
    expect(anchors).not_to_have_text(was)
    page.page.get_by_role("tab", name="Images").click()
    page.page.wait_for_function(
        """was => [...document.querySelectorAll("text")].some(
            text => text.textContent.startsWith("After: ") && text.textContent !== was)""",
        arg=before,
    )
    page.check()


def test_a_search_of_the_app_is_stopped(page: Visit) -> None:
    from playwright.sync_api import expect

    page.page.get_by_role("tab", name="Search").click()
    shown = page.page.locator(".widget-tab-contents")
    threshold = shown.get_by_role("slider", name="Threshold")
    threshold.focus()
    page.page.keyboard.press("End")
    expect(shown.get_by_text("−100 points").first).to_be_visible()
    shown.get_by_role("button", name="Start", exact=True).click()
    expect(shown.get_by_text("Searching")).to_be_visible()
    shown.get_by_role("button", name="Stop", exact=True).click()
    expect(shown.get_by_text("Stopped early:")).to_be_visible()
    page.check()


@pytest.mark.parametrize("tab", ["Shapes", "Anchor board", "Search", "Images"])
def test_every_control_of_the_app_has_a_name(page: Visit, tab: str) -> None:
    page.page.get_by_role("tab", name=tab).click()
    shown = page.page.locator(".widget-tab-contents")
    page.settled(shown.locator(".anchorkit-picture:visible").first)
    controls = page.controls(shown)
    assert len(controls) >= 5
    assert [role for role, called in controls if not called.strip()] == []


def test_a_page_that_shows_nothing_is_asked_for_again(browser: Any, address: str) -> None:
    page = browser.new_context().new_page()
    page.clock.install()
    # Without its script the page stands at "Running ..." for good.
    script = "**/voila.js*"
    page.route(script, lambda route: route.abort())
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.is_navigation_request() else None)
    page.goto(address)
    assert page.locator(".widget-tab").count() == 0
    page.unroute(script)
    page.clock.fast_forward(200_000)
    page.locator(".widget-tab").wait_for(timeout=PATIENCE)
    assert asked == [address, address]
    assert page.evaluate("sessionStorage.getItem('anchorkit-again')") == "1"
    page.context.close()


def test_without_the_token_nothing_is_shown(browser: Any, address: str) -> None:
    stranger = visit(browser, address.partition("?")[0])
    stranger.page.wait_for_load_state()
    assert stranger.page.locator(".widget-tab").count() == 0
