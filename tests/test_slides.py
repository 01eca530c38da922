"""The slides: one file from the text in docs/teaching and the pictures of a run, without a network."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from anchorkit.errors import InputError
from anchorkit.plots.export import remote_references

FIGURE = re.compile(r"^figure: (\S+) \|", re.MULTILINE)


@pytest.fixture(scope="module")
def slides(repository: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(
        "slides", repository / "docs" / "teaching" / "make_slides.py"
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def run(repository: Path, tmp_path: Path) -> Path:
    """A run's folder with a picture by each name that the text wants."""
    (tmp_path / "figures").mkdir()
    for name in FIGURE.findall((repository / "docs" / "teaching" / "slides.md").read_text(encoding="utf-8")):
        (tmp_path / "figures" / name).write_bytes(b"<svg/>")
    return tmp_path


def test_every_heading_is_a_slide_and_nothing_comes_from_elsewhere(
    repository: Path, slides: ModuleType, run: Path
) -> None:
    text = (repository / "docs" / "teaching" / "slides.md").read_text(encoding="utf-8")
    page = slides.make_slides(run)
    assert page.count('<section class="slide">') == text.count("\n## ") == page.count('<aside class="notes">')
    assert page.count("<img") == len(FIGURE.findall(text)) == page.count("base64,PHN2Zy8+")
    assert remote_references(page) == []
    first = page.split('<section class="slide">')[1]
    assert "Ask who has trained a detector" in first.split('<aside class="notes">')[1]  # notes are no part of the slide
    assert "Ask who has trained a detector" not in first.split('<aside class="notes">')[0]
    assert "figure:" not in page


def test_the_lessons_make_every_picture(repository: Path) -> None:
    text = (repository / "docs" / "teaching" / "slides.md").read_text(encoding="utf-8")
    lessons = "".join(path.read_text(encoding="utf-8") for path in (repository / "notebooks").glob("0*.ipynb"))
    assert [name for name in FIGURE.findall(text) if name not in lessons] == []


def test_a_missing_picture_is_named(slides: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"02_detections.png: missing; `anchorkit run` makes it"):
        slides.make_slides(tmp_path)
