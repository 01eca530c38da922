from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from anchorkit import plots
from anchorkit.errors import InputError


def grey(height: int = 400, width: int = 500) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_box_is_drawn_in_its_colour_where_it_should_be() -> None:
    picture = np.asarray(plots.draw_boxes(grey(), np.array([[100, 50, 300, 200]]), colors=["#ff0000"]))
    assert tuple(picture[125, 100]) == (255, 0, 0)
    assert tuple(picture[200, 200]) == (255, 0, 0)
    assert tuple(picture[125, 200]) == (128, 128, 128)
    assert picture.shape == (400, 500, 3)


def test_small_pictures_are_enlarged() -> None:
    picture = plots.draw_boxes(grey(160, 160), np.array([[10, 10, 60, 60]]), colors=["#00ff00"])
    assert picture.size == (320, 320)
    assert picture.getpixel((20, 70)) == (0, 255, 0)


def test_labels_stay_inside_and_apart() -> None:
    boxes = np.array([[0, 0, 100, 100], [0, 0, 100, 100], [450, 0, 900, 100]])
    plain = np.asarray(plots.draw_boxes(grey(), boxes, colors=["#ff0000", "#00ff00", "#0000ff"])).astype(int)
    named = plots.draw_boxes(
        grey(), boxes, ["one thing", "another", "long name 0.98"], ["#ff0000", "#00ff00", "#0000ff"]
    )
    changed = np.abs(np.asarray(named).astype(int) - plain).sum(2) > 0
    rows = np.asarray(named)
    for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        assert ((rows == color).all(2) & changed).sum() > 200  # each plate is seen


def test_no_boxes_and_the_input_is_left_alone() -> None:
    image = grey()
    assert (np.asarray(plots.draw_boxes(image, np.zeros((0, 4)))) == 128).all()
    plots.draw_boxes(image, np.array([[1, 1, 50, 50]]))
    assert (image == 128).all()


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        (np.zeros((4, 4), np.uint8), None, "uint8"),
        (np.zeros((4, 4, 3)), None, "uint8"),
        (grey(), ["a", "b"], "labels: 2 for 1 boxes"),
    ],
)
def test_bad_pictures(image: np.ndarray, labels: list[str] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plots.draw_boxes(image, np.array([[1, 1, 2, 2]]), labels)


def test_contact_sheet() -> None:
    pictures = [Image.new("RGB", (100, 80), color) for color in ("red", "green", "blue")]
    sheet = plots.contact_sheet(pictures, 2)
    assert sheet.size == (2 * 112 + 12, 2 * 92 + 12)
    assert sheet.getpixel((60, 50)) == (255, 0, 0)
    assert sheet.getpixel((60, 150)) == (0, 0, 255)
    assert sheet.getpixel((180, 150)) == (255, 255, 255)
    assert plots.contact_sheet(pictures, 2, ["a", "b", "c"]).height > sheet.height
    with pytest.raises(InputError, match="at least one"):
        plots.contact_sheet([], 2)
    with pytest.raises(InputError, match="captions"):
        plots.contact_sheet(pictures, 2, ["a"])
