from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from anchorkit import plots
from anchorkit.plots.oklch import from_oklch, to_oklch
from anchorkit.plots.theme import (
    DARK,
    GHOST,
    GRID,
    INK,
    LEVEL_COLORS,
    LIGHT,
    QUIET,
    SEARCH_COLOR,
    STAGE_COLORS,
    contrast,
    is_dark,
    is_grey,
    level_color,
    level_shades,
    look,
    readable,
    turned,
)

from . import chart_samples as samples

# Machado, Oliveira and Fernandes (2009), severity 1, in linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def seen(color: str, sight: str) -> np.ndarray:
    """OKLab coordinates of the colour as someone with that sight sees it."""
    values = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(SIGHT[sight]) @ linear, 0, 1)
    gamma = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    lightness, chroma, hue = to_oklch("#" + "".join(f"{round(255 * value):02x}" for value in gamma))
    return np.array([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("colors", [LEVEL_COLORS, tuple(STAGE_COLORS.values())], ids=["levels", "stages"])
def test_colors_stay_apart_for_everyone(sight: str, colors: tuple[str, ...]) -> None:
    nearest = min(np.linalg.norm(seen(a, sight) - seen(b, sight)) for a, b in itertools.combinations(colors, 2))
    assert nearest > 0.06  # three times what is just noticeable


@pytest.mark.parametrize("color", [*LEVEL_COLORS, SEARCH_COLOR])
def test_level_colors_stand_out_on_light_and_dark_ground(color: str) -> None:
    assert contrast(color, "#ffffff") > 2.5
    assert contrast(color, DARK.ground) > 2.5


def test_text_in_a_level_color_is_readable() -> None:
    for level in range(7):
        for color in (level_color(level), *level_shades(level, 6)):
            assert contrast(readable(color), "#ffffff") >= 4.5
    assert readable("#000000") == "#000000"


def test_text_on_dark_ground_is_readable() -> None:
    for level in range(7):
        for color in (level_color(level), *level_shades(level, 6)):
            for text in (color, readable(color)):
                assert contrast(readable(text, DARK.ground), DARK.ground) >= 4.5
    for color in (DARK.ink, DARK.quiet):
        assert contrast(color, DARK.ground) >= 4.5
    assert contrast(DARK.rule, DARK.ground) < 1.5 < contrast(turned(GHOST), DARK.ground)


def test_greys_turn_over_in_order() -> None:
    greys = ["#ffffff", GRID, GHOST, QUIET, INK]
    assert all(is_grey(grey) for grey in greys)
    lightness = [to_oklch(turned(grey))[0] for grey in greys]
    assert lightness == sorted(lightness)
    assert not any(is_grey(color) for color in LEVEL_COLORS)


def test_contrast_of_black_and_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#777777") == pytest.approx(1)


def test_oklch_there_and_back() -> None:
    for color in ("#000000", "#ffffff", "#ff0000", "#2f55d4", "#123456"):
        assert from_oklch(*to_oklch(color)) == color


def test_shades_differ() -> None:
    for n in (1, 2, 6, 10):
        assert len(set(level_shades(3, n))) == n


@pytest.mark.parametrize(
    ("width", "height", "name"), [(10, 10, "square"), (11, 10, "square"), (20, 10, "wide"), (10, 20, "tall")]
)
def test_aspect(width: float, height: float, name: str) -> None:
    assert plots.aspect(width, height) == name


@pytest.fixture
def as_before() -> Iterator[None]:
    before = alt.theme.active, alt.renderers.active
    yield
    alt.theme.enable(before[0])
    alt.renderers.enable(before[1])


def colors_in(svg: str) -> set[str]:
    return set(re.findall(r"#[0-9a-f]{6}", svg))


@pytest.mark.usefixtures("as_before")
def test_dark_charts_turn_greys_and_text_and_leave_marks(tmp_path: Path) -> None:
    chart = plots.anchor_board(samples.anchors(samples.KEPT))
    light = colors_in(plots.to_svg(chart))
    plots.setup(dark=True)
    assert is_dark()
    assert look() == DARK
    svg = plots.to_svg(chart)
    dark = colors_in(svg)
    assert {DARK.ground, DARK.ink, turned(GHOST)} <= dark
    assert not dark & {"#ffffff", INK, GHOST, QUIET, GRID}
    assert set(LEVEL_COLORS) & light <= dark
    for text in re.findall(r'<text[^>]* fill="(#[0-9a-f]{6})"', svg):
        assert contrast(text, DARK.ground) > 3
    bundle = chart._repr_mimebundle_()
    assert DARK.ground in (bundle[0] if isinstance(bundle, tuple) else bundle)["image/svg+xml"]
    with Image.open(plots.save(chart, tmp_path / "board.png")) as picture:
        assert "#{:02x}{:02x}{:02x}".format(*picture.convert("RGB").getpixel((2, 2))) == DARK.ground
    assert DARK.ground in plots.save(chart, tmp_path / "board.html").read_text()
    plots.setup()
    assert not is_dark()
    assert colors_in(plots.to_svg(chart)) == light


@pytest.mark.usefixtures("as_before")
def test_what_is_drawn_on_an_image_is_the_same_on_dark_ground() -> None:
    boxes = pd.DataFrame({"x1": [2.0], "y1": [2.0], "x2": [30.0], "y2": [30.0]})
    boxes = boxes.assign(color="#1f2328", style="found", label="L0/16x16", marked=True)
    chart = plots.boxes_on_image(np.zeros((40, 40, 3), np.uint8), boxes, title="An image")
    beside = chart | plots.anchor_board(samples.anchors())
    light = plots.to_svg(chart)
    plots.setup(dark=True)
    for svg in (plots.to_svg(chart), plots.to_svg(beside)):
        assert DARK.ground in svg
        # The label's plate and its letters, the hairline, the mark.
        assert {"#1f2328", "#ffffff"} <= colors_in(svg)
        (title,) = re.findall(r'<text[^>]*fill="(#[0-9a-f]{6})"[^>]*>An image', svg)
        assert title == DARK.ink
    assert colors_in(light) <= colors_in(plots.to_svg(chart)) | {LIGHT.ground, LIGHT.ink}


@pytest.mark.usefixtures("as_before")
def test_a_contact_sheet_has_the_present_ground() -> None:
    pictures = [Image.new("RGB", (30, 30), "#808080")] * 2
    light = plots.contact_sheet(pictures, 2, ["a", "b"])
    plots.setup(dark=True)
    dark = plots.contact_sheet(pictures, 2, ["a", "b"])
    for sheet, ground in ((light, LIGHT.ground), (dark, DARK.ground)):
        assert "#{:02x}{:02x}{:02x}".format(*sheet.getpixel((0, 0))) == ground
    assert light.size == dark.size


@pytest.mark.usefixtures("as_before")
def test_scales_over_numbers_start_at_the_ground() -> None:
    chart = plots.coverage_matrix(samples.coverage())
    plots.setup(dark=True)
    svg = plots.to_svg(chart)
    plots.setup()
    stops = re.findall(r'<stop offset="([^"]*)" stop-color="rgb\((\d+), (\d+), (\d+)\)"', svg)
    light = [sum(map(int, stop[1:])) for stop in stops]
    assert len(light) > 2
    assert light == sorted(light)
    assert contrast(DARK.ground, "#{:02x}{:02x}{:02x}".format(*map(int, stops[0][1:]))) < 1.2


def test_setup_twice() -> None:
    before = alt.theme.active, alt.renderers.active
    try:
        plots.setup()
        plots.setup()
        assert alt.theme.active == "anchorkit"
        assert alt.renderers.active == "svg"
        bundle = alt.Chart(alt.Data(values=[{"a": 1}])).mark_point().encode(x="a:Q")._repr_mimebundle_()
        assert "image/svg+xml" in (bundle[0] if isinstance(bundle, tuple) else bundle)
    finally:
        alt.theme.enable(before[0])
        alt.renderers.enable(before[1])


def test_charts_to_touch_need_no_network_and_cost_nothing_before(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(alt.JupyterChart, "__init__", alt.JupyterChart.__init__)  # as it was, afterwards
    monkeypatch.setattr(alt.JupyterChart, "enable_offline", lambda: asked.append(1))
    plots.setup()
    plots.setup()
    assert asked == []
    chart = alt.JupyterChart(alt.Chart().mark_point(), debug=True)
    assert asked == [1]
    assert chart.debug
