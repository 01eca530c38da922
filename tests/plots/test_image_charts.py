from __future__ import annotations

import re

import numpy as np
import pytest

from anchorkit import plots
from anchorkit.errors import InputError

from . import chart_samples as samples
from .drawing import drawn


def test_the_image_is_there_as_large_as_fits() -> None:
    picture = drawn(plots.boxes_on_image(samples.image(), samples.image_boxes().iloc[:0], width=240, height=400))
    # Twice the size, below the room for a title; JPEG is not exact.
    for y, x in ((10, 10), (40, 100), (80, 50)):
        expected = samples.image()[y, x].astype(int)
        where = picture[picture.shape[0] - 180 - 5 + 2 * y, 5 + 2 * x]
        assert np.abs(where - expected).max() < 25


def test_styles_look_different_without_colour() -> None:
    svg = plots.to_svg(plots.boxes_on_image(samples.image(), samples.image_boxes()))
    assert {"6,4", "2,3"} <= set(re.findall(r'stroke-dasharray="([^"]*)"', svg))


def test_small_boxes_lie_on_top_and_every_box_can_be_picked() -> None:
    svg = plots.to_pickable_svg(plots.boxes_on_image(samples.image(), samples.image_boxes(), pickable=True))
    assert re.findall(r'data-pick="([^"]*)"', svg) == ["a", "b", "c"]
    assert svg.index("cup, not found") > svg.index("false alarm")
    assert "lost cup" in svg
    assert "http" not in re.sub(r'"http://www\.w3\.org/[^"]*"', "", svg)


def test_a_large_image_travels_small() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1500, 2000, 3), np.uint8)
    svg = plots.to_svg(plots.boxes_on_image(noise, samples.image_boxes(), width=200))
    assert len(svg) < 120_000


@pytest.mark.parametrize(
    ("image", "change", "message"),
    [
        (np.zeros((4, 4), np.uint8), {}, "uint8"),
        (None, {"style": "dotted"}, "unknown style 'dotted'; use found, false alarm, missed"),
    ],
)
def test_bad_input(image: np.ndarray | None, change: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plots.boxes_on_image(samples.image() if image is None else image, samples.image_boxes().assign(**change))
    with pytest.raises(InputError, match="lacks the column 'pick'"):
        plots.boxes_on_image(samples.image(), samples.image_boxes().drop(columns="pick"), pickable=True)
