"""From an image to a network's input, and back from boxes of the input to the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from anchorkit.errors import InputError
from anchorkit.suggest import did_you_mean

RESIZES = ("stretch", "letterbox", "letterbox-corner")
COLORS = ("RGB", "BGR")
Number = float | Sequence[float]


@dataclass(frozen=True)
class Preprocess:
    """What is done to an image before it is the network's input.

    Attributes:
        resize: ``"stretch"``: to the input's size, with other proportions; ``"letterbox"``: as large as fits, in the
            middle of a margin; ``"letterbox-corner"``: as large as fits, at the top left.
        mean: what is subtracted from pixels (0..255), by colour in the order of `color`.
        scale: what they are then divided by.
        color: the order of the colours, ``"RGB"`` or ``"BGR"``.
        fill: the value of the margin's pixels (0..255), in the same order.
        antialias: True: pixels that are left out are averaged, as Pillow does; False: they are not, as in OpenCV.

    Example:
        >>> import anchorkit as ak
        >>> ak.onnx.PRESETS["ultralytics"]
        Preprocess(resize='letterbox', mean=(0.0, 0.0, 0.0), scale=(255.0, 255.0, 255.0), color='RGB', ...)
    """

    resize: str
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    color: str = "RGB"
    fill: tuple[float, float, float] = (114.0, 114.0, 114.0)
    antialias: bool = True

    def __post_init__(self) -> None:
        for name, value, known in (("resize", self.resize, RESIZES), ("color", self.color, COLORS)):
            if value not in known:
                raise InputError(f"preprocessing: {name} is {value!r}; use one of {', '.join(known)}")
        if not all(np.isfinite((*self.mean, *self.scale, *self.fill))) or 0 in self.scale:
            raise InputError(
                f"preprocessing: mean {self.mean} and scale {self.scale} must be finite numbers, and no scale 0"
            )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that stands beside a cut file."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any], source: str) -> Preprocess:
        """Read that object; `source` is named in errors."""
        try:
            triples = {key: triple(data[key], key) for key in ("mean", "scale", "fill")}
            return cls(str(data["resize"]), color=str(data["color"]), antialias=bool(data["antialias"]), **triples)
        except (KeyError, TypeError) as error:
            raise InputError(f"{source}: its preprocessing cannot be read ({error})") from None

    def describe(self) -> str:
        """One sentence on it."""
        how = {
            "stretch": "stretched to the input's size",
            "letterbox": f"fitted into the middle of the input, with a margin of {_short(self.fill)}",
            "letterbox-corner": f"fitted into the top left of the input, with a margin of {_short(self.fill)}",
        }[self.resize]
        smooth = "averaged" if self.antialias else "not averaged"
        return (
            f"images are {how} (bilinear, {smooth}), {self.color}, (pixel - {_short(self.mean)}) / {_short(self.scale)}"
        )

    def apply(self, image: np.ndarray, size: tuple[int, int], channels: int = 3) -> tuple[np.ndarray, Placement]:
        """An image as the input of a network.

        Args:
            image: uint8 (H, W, 3) RGB.
            size: (height, width) of the input.
            channels: of the input; with 1, the image is turned to grey.

        Returns:
            float32 (1, channels, height, width), and where the image lies in it.
        """
        height, width = size
        rows, columns = image.shape[:2]
        left = top = 0
        if self.resize == "stretch":
            inner = (width, height)
            steps = (width / columns, height / rows)
        else:
            ratio = min(width / columns, height / rows)
            if self.resize == "letterbox":  # as Ultralytics rounds
                inner = (max(1, round(columns * ratio)), max(1, round(rows * ratio)))
                steps = (ratio, ratio)
                left, top = (
                    round((whole - part) / 2 - 0.1) for whole, part in zip((width, height), inner, strict=True)
                )
            else:  # as YOLOX, torchvision and EfficientDet round
                inner = (max(1, int(columns * ratio + 1e-9)), max(1, int(rows * ratio + 1e-9)))
                steps = (inner[0] / columns, inner[1] / rows)
        pixels = _resized(image, inner, self.antialias)
        canvas: np.ndarray = np.empty((height, width, 3), np.float32)
        canvas[:] = self.fill
        colors = pixels if self.color == "RGB" else pixels[..., ::-1]
        canvas[top : top + inner[1], left : left + inner[0]] = colors
        if channels == 1:
            weights = np.array([0.299, 0.587, 0.114], np.float32)
            canvas = (canvas @ (weights if self.color == "RGB" else weights[::-1]))[..., None]
        count = canvas.shape[2]
        canvas = (canvas - np.array(self.mean[:count], np.float32)) / np.array(self.scale[:count], np.float32)
        return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], np.float32), Placement(left, top, *steps)


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the input: pixels before it, and pixels of the input for one of the image."""

    left: float
    top: float
    across: float
    down: float

    def to_image(self, boxes: np.ndarray, width: int, height: int) -> np.ndarray:
        """Boxes x1 y1 x2 y2 of the input, in pixels of the image and clipped to it."""
        moved = (boxes - (self.left, self.top) * 2) / ((self.across, self.down) * 2)
        return np.clip(moved, 0, (width, height) * 2).astype(np.float32)


def _resized(image: np.ndarray, size: tuple[int, int], antialias: bool) -> np.ndarray:
    """(H, W, 3) of another (width, height), bilinear."""
    if antialias:
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    pixels = image.astype(np.float32)
    for axis, length in ((0, size[1]), (1, size[0])):
        before = pixels.shape[axis]
        at = np.clip((np.arange(length) + 0.5) * (before / length) - 0.5, 0, before - 1)
        low = np.floor(at).astype(np.intp)
        share = (at - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        high = np.minimum(low + 1, before - 1)
        pixels = pixels.take(low, axis) * (1 - share) + pixels.take(high, axis) * share
    return pixels


def triple(value: Number, name: str) -> tuple[float, float, float]:
    numbers = [value] * 3 if isinstance(value, int | float) else list(value)
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or not all(isinstance(one, int | float) for one in numbers):
        raise InputError(f"preprocessing: {name} is {value!r}; one number, or one for each of three colours, is needed")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])


def _short(values: tuple[float, float, float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else f"({', '.join(f'{value:g}' for value in values)})"


def _preset(resize: str, mean: Number, scale: Number, color: str = "RGB", antialias: bool = False) -> Preprocess:
    return Preprocess(resize, triple(mean, "mean"), triple(scale, "scale"), color, antialias=antialias)


PRESETS: dict[str, Preprocess] = {
    "anchorkit": _preset("stretch", 0, 255),
    "darknet": _preset("stretch", 0, 255, antialias=True),
    "rfb": _preset("stretch", 127, 128),
    "ssd": _preset("stretch", 127.5, 127.5),
    "torchvision": _preset("stretch", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "ultralytics": _preset("letterbox", 0, 255),
    "yolox": _preset("letterbox-corner", 0, 1, "BGR"),
}
"""Usual preprocessings by name: ``ultralytics`` is that of YOLOv5, v8 and YOLOv7; ``ssd`` that of TensorFlow's SSD and
EfficientDet; ``rfb`` that of Ultra-Light-Fast-Generic-Face-Detector; ``torchvision`` that of networks trained with
ImageNet's mean; ``anchorkit`` that of the kit's own exports."""


def preprocess_of(
    known: Preprocess | None,
    *,
    preset: str | None = None,
    resize: str | None = None,
    mean: Number | None = None,
    scale: Number | None = None,
    color: str | None = None,
    fill: Number | None = None,
    antialias: bool | None = None,
) -> Preprocess | None:
    """A preprocessing from what is known and what the user says; None if something is still open.

    Raises:
        InputError: the preset is unknown, or a value is out of range.
    """
    if preset is not None:
        if preset not in PRESETS:
            raise InputError(f"unknown preset {preset!r}: {did_you_mean(preset, PRESETS)}")
        known = PRESETS[preset]
    given: dict[str, Any] = {}
    for name, value in (("mean", mean), ("scale", scale), ("fill", fill)):
        if value is not None:
            given[name] = triple(value, name)
    for name, word in (("resize", resize), ("color", color), ("antialias", antialias)):
        if word is not None:
            given[name] = word
    if known is not None:
        return replace(known, **given)
    if not {"resize", "mean", "scale"} <= given.keys():
        return None
    return Preprocess(**given)
