"""The app's page: served by Voila, touched in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anchorkit.app.serving import checked_run, free_port, start_app, wait_until_up

from . import material
from .conftest import Visit, end, missing

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def page(visit: Callable[[str], Visit], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    pytest.importorskip("playwright")
    try:
        import voila  # noqa: F401
    except ImportError:
        missing("Voila is not installed (pip install 'anchorkit[app]')")
    run = tmp_path_factory.mktemp("run")
    material.write_run(Path(run))
    port = free_port()
    address = f"http://127.0.0.1:{port}/?token=secret"
    with start_app(checked_run(run), port, "secret") as server:
        try:
            wait_until_up(server, address)
            made = visit(address)
            made.page.locator(".widget-tab").wait_for()
            yield made
        finally:
            end(server)


def test_the_tabs_show_and_the_images_follow_the_board(page: Visit) -> None:
    tabs = page.page.get_by_role("tab")
    assert tabs.all_inner_texts() == ["Shapes", "Anchor board", "Search", "Images"]
    shown = page.page.locator(".widget-tab-contents")
    for name in ("Shapes", "Search", "Images"):
        page.page.get_by_role("tab", name=name).click()
        shown.locator(".anchorkit-picture:visible svg").first.wait_for()
    before = shown.get_by_text("After: ").first.text_content()
    page.page.get_by_role("tab", name="Anchor board").click()
    board = shown.locator(".anchorkit-picture:visible").first
    page.pick(board, "the app's anchor board")
    page.page.get_by_role("tab", name="Images").click()
    page.page.wait_for_function(
        """was => [...document.querySelectorAll("text")].some(
            text => text.textContent.startsWith("After: ") && text.textContent !== was)""",
        arg=before,
    )
    page.check()


def test_without_the_token_nothing_is_shown(page: Visit, visit: Callable[[str], Visit]) -> None:
    stranger = visit(page.page.url.partition("?")[0])
    stranger.page.wait_for_load_state()
    assert stranger.page.locator(".widget-tab").count() == 0
