"""What the tests of the lessons share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import anchorkit as ak


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    """Patches that hold for a file's tests. The charts' theme is not set up: it would stay for other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ak.plots, "setup", lambda: None)
        yield patch
