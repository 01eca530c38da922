from __future__ import annotations

from pathlib import Path

import altair as alt
import pytest
from PIL import Image

from anchorkit import plots
from anchorkit.errors import InputError
from anchorkit.plots.export import remote_references
from anchorkit.plots.theme import FONT

from . import chart_samples as samples


@pytest.fixture
def chart() -> plots.AnyChart:
    return plots.frontier(samples.frontier(), full=samples.full())


def test_png_is_twice_the_size(chart: plots.AnyChart, tmp_path: Path) -> None:
    path = plots.save(chart, tmp_path / "deep" / "chart.png")
    assert Image.open(path).width > 2 * 640


def test_svg_has_the_theme_even_without_setup(chart: plots.AnyChart, tmp_path: Path) -> None:
    with alt.theme.enable("default"):
        text = plots.save(chart, tmp_path / "chart.svg").read_text()
        assert alt.theme.active == "default"
    assert text.startswith("<svg")
    assert FONT.split(",")[0] in text


def test_html_needs_no_network(chart: plots.AnyChart, tmp_path: Path) -> None:
    text = plots.save(chart, tmp_path / "chart.html").read_text()
    assert remote_references(text) == []
    assert "vegaEmbed" in text or "vega-embed" in text
    assert "unpruned: AP" in text


def test_two_charts_inline_on_one_page_share_no_ids(chart: plots.AnyChart) -> None:
    import re

    other = plots.frontier(samples.frontier(), "boxes")
    ids = [set(re.findall(r'\bid="([^"]+)"', plots.to_svg(each))) for each in (chart, other)]
    assert not ids[0] & ids[1]
    text = plots.to_svg(chart)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= ids[0]


def test_pictures_are_saved_whole_and_as_png_only(tmp_path: Path) -> None:
    picture = Image.new("RGB", (4, 3), "#1f5fe0")
    with Image.open(plots.save(picture, tmp_path / "deep" / "picture.png")) as saved:
        assert saved.size == (4, 3)
        assert saved.getpixel((0, 0)) == (0x1F, 0x5F, 0xE0)
    with pytest.raises(InputError, match=r"a picture is saved as \.png"):
        plots.save(picture, tmp_path / "picture.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_unknown_ending(chart: plots.AnyChart, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.png, \.svg or \.html"):
        plots.save(chart, tmp_path / "chart.pdf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example/x.js"></script>',
        "<script type=module src='//cdn.example/x.js'>",
        '<link rel="stylesheet" href="http://example/x.css">',
        "<img src=https://example/x.png>",
    ],
)
def test_remote_references_are_seen(html: str) -> None:
    assert len(remote_references(html)) == 1


def test_links_to_read_on_are_no_remote_references() -> None:
    assert remote_references('<a href="https://example.org">read</a><img src="data:image/png;base64,AA">') == []
