"""Boxes drawn on pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from PIL import Image, ImageColor, ImageDraw, ImageFont

from anchorkit.errors import InputError
from anchorkit.plots.frames import require
from anchorkit.plots.theme import LEVEL_COLORS, level_color, look

_LEAST_SIDE = 320
_SIDES = ("x1", "y1", "x2", "y2")
_ANNOTATED = "#1f2328"
_LOOK = (640, 480)
"""The largest picture of a first look, in pixels."""


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str] | None = None,
    colors: Sequence[str] | None = None,
) -> Image.Image:
    """A picture with boxes and their labels.

    Pictures whose shorter side is under 320 pixels are enlarged by a whole number, so that labels stay readable.

    Args:
        image: uint8 (H, W, 3), RGB.
        boxes: (N, 4): x1 y1 x2 y2 in pixels of the image; parts outside are cut off.
        labels: a text for each box, or None for no texts. An empty text draws none.
        colors: a colour for each box (``#rrggbb``), for instance `level_color` of its anchor's level; None draws all
            in the colour of level 0.

    Raises:
        InputError: the image is no uint8 (H, W, 3), or labels or colours are not as many as the boxes.
    """
    pixels = check_image(image)
    corners = np.asarray(boxes, float).reshape(-1, 4)
    for name, given in (("labels", labels), ("colors", colors)):
        if given is not None and len(given) != len(corners):
            raise InputError(f"{name}: {len(given)} for {len(corners)} boxes")
    factor = max(1, math.ceil(_LEAST_SIDE / min(pixels.shape[:2])))
    picture = Image.fromarray(pixels)
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    size = max(14, round(min(picture.size) / 26))
    line = max(3, round(min(picture.size) / 110))
    font = ImageFont.load_default(size)
    taken: list[tuple[float, float, float, float]] = []
    corners = corners * factor
    colors = [LEVEL_COLORS[0]] * len(corners) if colors is None else colors
    for (x1, y1, x2, y2), color in zip(corners, colors, strict=True):
        # A white hairline around the coloured one keeps the box visible on any ground.
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline="#ffffff", width=line + 2)
        draw.rectangle((x1, y1, x2, y2), outline=color, width=line)
    for box, color, label in zip(corners, colors, labels if labels is not None else (), strict=False):
        if label:
            _label(draw, font, label, color, box, picture.size, taken)
    return picture


def first_look(
    images: Mapping[int, np.ndarray],
    detections: pd.DataFrame,
    annotations: pd.DataFrame,
    heading: str = "",
    *,
    min_score: float = 0.3,
    columns: int = 3,
) -> Image.Image:
    """Pictures with what a detector finds and what is annotated, below a heading: is it fed as it was trained?

    Detections have the colour of their anchor's level; annotated boxes are thin and dark.

    Args:
        images: uint8 (H, W, 3), RGB, by image id, in reading order.
        detections: ``image_id``, ``x1``, ``y1``, ``x2``, ``y2`` (pixels of the image), ``score`` (0..1); if there,
            ``level`` (index) and ``label``.
        annotations: ``image_id``, ``x1``, ``y1``, ``x2``, ``y2``.
        heading: what stands above, such as the AP and how images are prepared; lines as written.
        min_score: detections with lower scores are not drawn.
        columns: pictures in a row.

    Raises:
        InputError: a column is missing, or there is no picture.

    Example:
        >>> import numpy as np, pandas as pd
        >>> from anchorkit import plots
        >>> true = pd.DataFrame({"image_id": [7], "x1": [5.0], "y1": [5.0], "x2": [60.0], "y2": [40.0]})
        >>> images = {7: np.full((80, 100, 3), 200, np.uint8)}
        >>> sheet = plots.first_look(images, true.assign(score=0.9), true, "AP 45.7 on 500 images")
    """
    require(detections, ("image_id", *_SIDES, "score"), "detections", empty=True)
    require(annotations, ("image_id", *_SIDES), "annotations", empty=True)
    pictures, captions = [], []
    for image_id, image in images.items():
        true = annotations[annotations["image_id"] == image_id]
        found = detections[(detections["image_id"] == image_id) & (detections["score"] >= min_score)]
        levels = found["level"] if "level" in found else [0] * len(found)
        names = found["label"] if "label" in found else [""] * len(found)
        labels = [f"{name} {100 * score:.0f}".strip() for name, score in zip(names, found["score"], strict=True)]
        boxes = pd.concat([true[[*_SIDES]], found[[*_SIDES]]]).to_numpy(float)
        colors = [_ANNOTATED] * len(true) + [level_color(int(level)) for level in levels]
        picture = draw_boxes(image, boxes, [""] * len(true) + labels, colors)
        picture.thumbnail(_LOOK)  # one panorama would make all cells as wide as itself
        pictures.append(picture)
        captions.append(f"{len(true)} annotated, {len(found)} found with a score of {min_score:g} or more")
    sheet = contact_sheet(pictures, columns, captions)
    return _below(heading, sheet) if heading else sheet


def _below(heading: str, sheet: Image.Image) -> Image.Image:
    """The sheet with a heading above it."""
    font = ImageFont.load_default(max(16, sheet.width // 60))
    draw = ImageDraw.Draw(sheet)
    left, top, right, bottom = (round(side) for side in draw.multiline_textbbox((0, 0), heading, font=font))
    larger = Image.new(
        "RGB", (max(sheet.width, right - left + 28), sheet.height + bottom - top + 24), ImageColor.getrgb(look().ground)
    )
    ImageDraw.Draw(larger).multiline_text((14, 12 - top), heading, fill=look().ink, font=font)
    larger.paste(sheet, (0, larger.height - sheet.height))
    return larger


def check_image(image: np.ndarray) -> np.ndarray:
    """The image as an array.

    Raises:
        InputError: it is no uint8 (H, W, 3).
    """
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(f"image: uint8 (height, width, 3) is needed, not {pixels.dtype} {pixels.shape}")
    return pixels


def contact_sheet(images: Sequence[Image.Image], columns: int, captions: Sequence[str] | None = None) -> Image.Image:
    """Pictures side by side in rows of `columns`, each fitted into a cell as large as the largest.

    Light or dark, as `setup` says.

    Args:
        images: the pictures, in reading order.
        columns: pictures in a row.
        captions: a text below each picture.

    Raises:
        InputError: there is no picture, no column, or captions are not as many as the pictures.
    """
    if not images or columns < 1:
        raise InputError("contact sheet: at least one picture and one column are needed")
    if captions is not None and len(captions) != len(images):
        raise InputError(f"captions: {len(captions)} for {len(images)} pictures")
    gap = 12
    width, height = max(image.width for image in images), max(image.height for image in images)
    size = max(15, round(min(width, height) / 22))
    font = ImageFont.load_default(size)
    band = size + 14 if captions is not None else 0
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    size_of_sheet = (columns * (width + gap) + gap, rows * (height + band + gap) + gap)
    sheet = Image.new("RGB", size_of_sheet, ImageColor.getrgb(look().ground))
    draw = ImageDraw.Draw(sheet)
    for number, image in enumerate(images):
        left = gap + number % columns * (width + gap)
        top = gap + number // columns * (height + band + gap)
        sheet.paste(image.convert("RGB"), (left + (width - image.width) // 2, top + (height - image.height) // 2))
        if captions is not None:
            draw.text((left + 2, top + height + 5), captions[number], fill=look().ink, font=font)
    return sheet


def _label(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text: str,
    color: str,
    box: np.ndarray,
    size: tuple[int, int],
    taken: list[tuple[float, float, float, float]],
) -> None:
    """A text on a plate, above the box or, where that is taken or outside, inside it or below."""
    left, _, right, bottom = font.getbbox(text)
    width, height = right - left + 8, bottom + 6
    x = float(min(max(box[0], 0), max(size[0] - width, 0)))
    places = [box[1] - height, box[1], box[3], box[3] - height]
    inside = [float(y) for y in places if 0 <= y <= size[1] - height] or [0.0]
    y = next((y for y in inside if not any(_meet((x, y, x + width, y + height), other) for other in taken)), inside[0])
    plate = (x, y, x + width, y + height)
    taken.append(plate)
    draw.rectangle(plate, fill=color)
    draw.text((x + 4 - left, y + 2), text, fill=text_on(color), font=font)


def _meet(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def text_on(color: str) -> str:
    """White or black, whichever reads better on the colour."""
    red, green, blue = ImageColor.getrgb(color)[:3]
    return "#ffffff" if 0.299 * red + 0.587 * green + 0.114 * blue < 150 else "#000000"
