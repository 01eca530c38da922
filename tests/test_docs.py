"""The README and the pages of docs/: links lead somewhere, pictures are there, the README stays short."""

from __future__ import annotations

import re
import runpy
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

_LINK = re.compile(r"\]\(([^)\s]+)\)")


def pages(repository: Path) -> list[Path]:
    names = ("", "docs", "docs/teaching", "benchmarks", "examples")
    return sorted(page for name in names for page in (repository / name).glob("*.md"))


def test_every_link_leads_to_a_file_or_a_heading(repository: Path) -> None:
    broken = []
    for page in pages(repository):
        for target in _LINK.findall(page.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            name, _, heading = target.partition("#")
            goal = page if not name else page.parent / name
            if not goal.exists() or (heading and heading not in headings(goal)):
                broken.append(f"{page.name}: {target}")
    assert not broken


def headings(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def test_every_page_can_be_reached_from_the_readme(repository: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    linked = {
        (repository / target.partition("#")[0]).resolve() for target in _LINK.findall(readme) if "://" not in target
    }
    assert set((repository / "docs").glob("*.md")) <= linked


def test_the_readme_is_short_and_has_one_picture(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert text.count("![") == 1
    for command in ("make run", "make test"):
        assert command in text


@pytest.mark.parametrize("name", ["anchor_board", "search_explorer"])
def test_a_screenshot_is_shown_and_small(repository: Path, name: str) -> None:
    lessons = (repository / "docs" / "lessons.md").read_text(encoding="utf-8")
    assert f"]({name}.png)" in lessons
    assert "python docs/make_screenshots.py" in lessons
    path = repository / "docs" / f"{name}.png"
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        assert picture.width > 1000
        assert picture.convert("L").getextrema()[1] == 255  # on white, as the page that shows it
    assert re.search(rf'shoot\(.*"{name}"', (repository / "docs" / "make_screenshots.py").read_text(encoding="utf-8"))


def test_the_picture_of_the_site_has_every_module_and_arrow(repository: Path) -> None:
    chart = """
  subgraph all["not a node"]
    first["first.py"]
    second["second/"]
  end
  first --> third["third.py"]
  second --> third
  third --> fourth["fourth.py"]
  first --> fourth
  fourth -. "a call" .-> second
"""
    draw = runpy.run_path(str(repository / "docs" / "make_diagram.py"))["draw"]
    drawn = draw(chart, "four modules")
    assert re.findall(r"<text [^>]*>([^<]+)<", drawn) == ["first.py", "second/", "third.py", "fourth.py"]
    assert re.findall(r'class="(edge[^"]*)"', drawn) == ["edge"] * 4 + ["edge dotted"]
    places = {tuple(map(float, place)) for place in re.findall(r'<rect x="([^"]+)" y="([^"]+)" width', drawn)}
    assert len({x for x, _ in places}) == 3  # columns
    for (x, y), (other_x, other_y) in combinations(places, 2):
        assert x != other_x or abs(y - other_y) > 24
