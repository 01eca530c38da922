"""JupyterLab and a browser, for tests that touch what people touch; `browsing` has what they are made of.

They need playwright and Chromium (``ANCHORKIT_CHROMIUM`` names another one than is on the path) and are skipped
without; with ``ANCHORKIT_BROWSER_TESTS=required`` that is an error. The times from a click to the new picture are told
at the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from . import browsing, material


def missing(what: str) -> NoReturn:
    """Skip for want of something, or fail where nothing may be skipped."""
    if os.environ.get("ANCHORKIT_BROWSER_TESTS") == "required":
        pytest.fail(f"{what}, and ANCHORKIT_BROWSER_TESTS=required says that the browser tests must run")
    pytest.skip(what)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    started = browsing.chromium()
    try:
        browser = started.__enter__()
    except browsing.NoBrowserError as error:
        missing(str(error))
    yield browser
    started.__exit__(None, None, None)


@pytest.fixture(scope="session")
def lab(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[browsing.Lab]:
    # The few images drawn here stay out of the user's cache.
    variables = {"ANCHORKIT_CACHE": str(tmp_path_factory.mktemp("cache"))}
    variables |= material.slow_kernels(tmp_path_factory.mktemp("ipython"))
    with browsing.jupyterlab(tmp_path_factory.mktemp("lab"), environment=variables) as started:
        yield started


@pytest.fixture
def pick(request: pytest.FixtureRequest) -> Callable[..., str]:
    """`browsing.Visit.pick`, with a name for the time that it took."""

    def note(visit: browsing.Visit, picture: Any, name: str, mark: str | None = None) -> str:
        picked = visit.pick(picture, mark)
        request.node.user_properties.append(("click to picture", f"{name}: {visit.times[-1]:.0f} ms"))
        return picked

    return note


def figure(place: Any, title: str) -> Any:
    """The large number below a title."""
    return place.get_by_text(title, exact=True).locator("xpath=following-sibling::div[1]")
