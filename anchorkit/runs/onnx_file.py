"""What a user says about an ONNX file, and the file opened with it for the images of a data set.

A file says its anchors, but not how its images were prepared. Commands and lessons take that as ``NAME=VALUE``, with
the names of `anchorkit.load_onnx`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess
from anchorkit.suggest import did_you_mean

if TYPE_CHECKING:
    from anchorkit.datasets import Category
    from anchorkit.onnx import OnnxDetector

SUFFIX = ".onnx"


def is_onnx(detector: str | Path) -> bool:
    """Whether the name of a detector is that of an ONNX file."""
    return Path(detector).suffix.lower() == SUFFIX


def is_detector_file(detector: str | Path) -> bool:
    """Whether the name of a detector is that of a file: ONNX, or darknet's ``.cfg``."""
    return is_onnx(detector) or Path(detector).suffix.lower() == ".cfg"


def parse_facts(texts: Iterable[str] | None, where: str = "-p") -> dict[str, Any]:
    """Arguments of `anchorkit.load_onnx` from ``NAME=VALUE`` texts; lists are separated by commas or semicolons.

    Post-processing is given by the names of `PostProcess`, such as ``nms_iou=0.6``.

    Raises:
        InputError: a text has no ``=``, or its name is unknown or its value has another type.

    Example:
        >>> parse_facts(["preset=ultralytics", "mean=0", "shapes=10x13,16x30;59x119"])
        {'preset': 'ultralytics', 'mean': 0.0, 'shapes': [[(10.0, 13.0), (16.0, 30.0)], [(59.0, 119.0)]]}
    """
    facts: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise InputError(f"{where} {text}: NAME=VALUE is needed, such as preset=ultralytics")
        if name not in _KINDS:
            raise InputError(f"{where} {text}: unknown name {name!r}; {did_you_mean(name, _KINDS)}")
        try:
            facts[name] = _KINDS[name](value)
        except ValueError:
            raise InputError(f"{where} {text}: {_EXAMPLES.get(name, 'a number')} is needed") from None
    return facts


def with_absolute_paths(texts: Sequence[str], folder: Path = Path()) -> list[str]:
    """Facts for a lesson, which runs in another folder: the path of a file with the classes' names, relative to
    `folder`, is made absolute.
    """
    found = []
    for text in texts:
        name, _, value = text.partition("=")
        path = folder / Path(value.strip()).expanduser()
        found.append(f"categories={path.resolve()}" if name.strip() == "categories" and path.is_file() else text)
    return found


def lesson_facts(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `anchorkit.load_onnx` from the parameters of a lesson: those of the same names, and ``onnx_facts``.

    Example:
        >>> lesson_facts({"run_dir": "run", "preset": "ssd", "color": "", "mean": [], "onnx_facts": ["nms_iou=0.6"]})
        {'preset': 'ssd', 'nms_iou': 0.6}
    """
    named = {name: parameters[name] for name in _IN_LESSONS if parameters.get(name, "") not in ("", [])}
    # A lesson gives mean and scale as lists of one number or three.
    named |= {name: value[0] for name, value in named.items() if isinstance(value, list) and len(value) == 1}
    return named | parse_facts(parameters.get("onnx_facts"), "onnx_facts")


def open_onnx(
    path: str | Path, facts: Mapping[str, Any] | None = None, categories: Sequence[Category] | None = None
) -> OnnxDetector:
    """The detector of an ONNX file, ready to look at images.

    Args:
        path: the file.
        facts: what the file cannot say, as from `parse_facts`; empty values count as not given.
        categories: the object classes of the data. Those that the file names too are found by their names, in any
            order. If the file names none of them, its classes are taken to be these, in this order.

    Raises:
        InputError: the file cannot be read or understood, does not say how its images were prepared, or has other
            classes than the data.
    """
    detector = load_with_facts(path, facts)
    if categories is not None and not _named(detector) and "categories" not in (facts or {}):
        # How many classes there are also says whether the first score is an objectness, or one is of the background.
        try:
            detector = load_with_facts(path, {**(facts or {}), "categories": list(categories)})
        except InputError as error:
            raise InputError(
                f"{error}. If the file knows more classes than the data, give the names of its classes in its order, "
                "those of the data among them (-p categories=names.txt)"
            ) from None
    elif categories is not None:
        detector.categories = _of_data(detector, categories, path)
    if detector.preprocess is None:
        from anchorkit.onnx import PRESETS

        raise InputError(
            f"{path}: the file does not say how its images were prepared; give preset=NAME, one of "
            f"{', '.join(PRESETS)}, or resize=, color=, mean= and scale= (on a command line each after -p)"
        )
    return detector


def load_with_facts(path: str | Path, facts: Mapping[str, Any] | None = None) -> OnnxDetector:
    """`anchorkit.load_onnx` with facts as from `parse_facts`.

    Raises:
        InputError: the file cannot be read or understood.
    """
    from anchorkit.onnx import load_onnx

    given = {name: value for name, value in (facts or {}).items() if value not in ("", [], None)}
    steps = {name: given.pop(name) for name in _POSTPROCESS if name in given}
    detector = load_onnx(path, **given)
    if steps:
        detector.postprocess = replace(detector.postprocess, **steps)
    return detector


def _named(detector: OnnxDetector) -> bool:
    """Whether the file, or the description beside it, says what its classes are called."""
    return any(category.name != f"class {number}" for number, category in enumerate(detector.categories))


def _of_data(detector: OnnxDetector, categories: Sequence[Category], path: str | Path) -> tuple[Category, ...]:
    """The classes of the file, with the ids that the data give them."""
    known = {category.name.lower(): category for category in categories}
    named = [known.get(category.name.lower()) for category in detector.categories]
    if all(category in named for category in categories):  # the file may know more classes than the data
        unused = iter(range(1 + max(category.id for category in categories), 10**9))
        return tuple(
            own if own is not None else replace(of_file, id=next(unused))
            for own, of_file in zip(named, detector.categories, strict=True)
        )
    lacking = [category.name for category in categories if category not in named]
    if len(lacking) < len(categories):
        raise InputError(
            f"{path}: has some classes of the data, but not {lacking[0]!r}; give the names of "
            "the file's classes as the data write them, in the file's order (-p categories=names.txt)"
        )
    if len(categories) != len(detector.categories):
        raise InputError(
            f"{path}: has {len(detector.categories)} classes, the data have {len(categories)}; give the names of the "
            "file's classes in its order (-p categories=names.txt), which have to include those of the data"
        )
    return tuple(categories)


def _numbers(text: str) -> float | tuple[float, ...]:
    found = tuple(float(part) for part in re.split("[,;]", text))
    if len(found) not in (1, 3):
        raise ValueError(text)
    return found[0] if len(found) == 1 else found


def _names(text: str) -> list[str]:
    return [part.strip() for part in re.split("[,;]", text) if part.strip()]


def _counts(text: str) -> int | list[int]:
    found = [int(part) for part in re.split("[,;]", text)]
    return found[0] if len(found) == 1 else found


def _size(text: str) -> tuple[int, int]:
    height, width = text.lower().split("x")
    return int(height), int(width)


def _shapes(text: str) -> list[list[tuple[float, float]]]:
    def shape(part: str) -> tuple[float, float]:
        width, height = part.lower().split("x")
        return float(width), float(height)

    return [[shape(part) for part in level.split(",")] for level in text.split(";")]


def _yes_or_no(text: str) -> bool:
    known = {"true": True, "yes": True, "false": False, "no": False}
    if text.lower() not in known:
        raise ValueError(text)
    return known[text.lower()]


def _categories(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


_IN_LESSONS = ("preset", "resize", "color", "mean", "scale")
_POSTPROCESS = tuple(PostProcess.__dataclass_fields__)
_KINDS: dict[str, Callable[[str], Any]] = {
    "preset": str,
    "resize": str,
    "color": str,
    "mean": _numbers,
    "scale": _numbers,
    "fill": float,
    "antialias": _yes_or_no,
    "input_size": _size,
    "categories": _categories,
    "objectness": _yes_or_no,
    "background": str,
    "decode": str,
    "activation": str,
    "outputs": _names,
    "anchors_per_cell": _counts,
    "shapes": _shapes,
    "score_threshold": float,
    "topk": int,
    "topk_scope": str,
    "nms_iou": float,
    "max_detections": int,
}
_EXAMPLES = {
    "mean": "a number or three, as 123.7,116.3,103.5",
    "scale": "a number or three, as 58.4,57.1,57.4",
    "antialias": "true or false",
    "objectness": "true or false",
    "input_size": "HEIGHTxWIDTH, as 320x320",
    "anchors_per_cell": "a whole number, or one per level, as 3,3,2",
    "shapes": "WIDTHxHEIGHT by commas, levels by semicolons, as 10x13,16x30;59x119",
}
