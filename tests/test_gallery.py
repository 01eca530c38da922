"""The gallery: every example runs as it stands and draws, every chart has one, and the page shows them all."""

from __future__ import annotations

import inspect
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import altair as alt
import pytest

import anchorkit as ak

from .plots.drawing import check_chart

DOCS = Path(__file__).resolve().parent.parent / "docs"
GALLERY = runpy.run_path(str(DOCS / "make_gallery.py"), run_name="make_gallery")
EXAMPLES = sorted(path.stem for path in (DOCS / "gallery" / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder that the examples share for the drawn images, in place of the user's own."""
    before = alt.theme.active, alt.renderers.active  # the examples call setup
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    alt.theme.enable(before[0])
    alt.renderers.enable(before[1])


@pytest.mark.filterwarnings("ignore:the machine was busy")  # while it measured latency
@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str) -> None:
    chart = runpy.run_path(str(GALLERY["example"](name)))["chart"]
    check_chart(chart)


def test_every_chart_has_an_example_that_calls_it() -> None:
    functions = {name: getattr(ak.plots, name) for name in ak.plots.__all__}
    charts = {
        name
        for name, function in functions.items()
        if inspect.isfunction(function) and inspect.signature(function).return_annotation == "AnyChart"
    }
    assert len(charts) >= 14
    assert set(EXAMPLES) == charts
    for name in EXAMPLES:
        source = GALLERY["example"](name).read_text(encoding="utf-8")
        assert f"chart = ak.plots.{name}(" in source
        assert len(source.splitlines()) <= 25, name


def test_the_page_shows_every_example_as_it_is() -> None:
    text = GALLERY["PAGE"].read_text(encoding="utf-8")
    assert text == GALLERY["page"](), "run python docs/make_gallery.py"
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == list(GALLERY["ORDER"])
    assert sorted(GALLERY["ORDER"]) == EXAMPLES


def test_the_pictures_are_there_and_small() -> None:
    shown = re.findall(r"!\[.*?\]\((.*?)\)", GALLERY["PAGE"].read_text(encoding="utf-8"))
    assert sorted(DOCS / picture for picture in shown) == sorted((DOCS / "gallery").glob("*.*g"))
    assert len(shown) == len(EXAMPLES)
    for picture in shown:
        assert 1_000 < (DOCS / picture).stat().st_size <= 150_000, picture
