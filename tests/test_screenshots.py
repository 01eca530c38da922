"""The README's pictures of the explorers: there, shown, and small; docs/make_screenshots.py takes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image


@pytest.mark.parametrize("name", ["anchor_board", "search_explorer"])
def test_a_screenshot_is_shown_and_small(repository: Path, name: str) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    assert f"](docs/{name}.png)" in readme
    assert "python docs/make_screenshots.py" in readme
    path = repository / "docs" / f"{name}.png"
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        assert picture.width > 1000
        assert picture.convert("L").getextrema()[1] == 255  # on white, as the page that shows it
    assert re.search(rf'shoot\(.*"{name}"', (repository / "docs" / "make_screenshots.py").read_text(encoding="utf-8"))
