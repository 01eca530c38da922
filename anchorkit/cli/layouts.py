"""The layout of anything that has anchors: a detector by name or folder, a run, a layout file, a prediction table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from anchorkit.errors import InputError
from anchorkit.runs.onnx_file import is_onnx, load_with_facts, parse_facts

if TYPE_CHECKING:
    from anchorkit.anchors import AnchorLayout

_CLASSES = 80
"""Object classes of a named detector, where none are given: as COCO."""


def find_layout(
    subject: str,
    classes: int | None = None,
    size: tuple[int, int] | None = None,
    facts: Sequence[str] | None = None,
) -> AnchorLayout:
    """The layout of what a command was given; torch is imported only for a detector's name or a .cfg.

    Args:
        subject: a layout .json, a prediction table .parquet, an .onnx file, darknet's .cfg, the folder of a saved
            detector or of a run, or the name of a detector.
        classes: object classes of a named detector, 80 by default, or of a .cfg.
        size: input size (height, width) of a named detector or a .cfg in pixels.
        facts: what an .onnx file cannot say, as ``NAME=VALUE``.

    Raises:
        InputError: there is no such file or name, it cannot be read, or it contains its classes and size and others
            are given.
    """
    path = Path(subject)
    if path.suffix == ".cfg":
        from anchorkit.detectors import load_detector

        return load_detector(path, categories=classes, size=size).layout
    if path.suffix.lower() in {".json", ".parquet", ".onnx"} or path.is_dir():
        if classes is not None or size is not None:
            raise InputError(
                f"{path}: contains its classes and size; use --classes and --size only with a detector's name"
            )
        return _read_layout(path, facts)
    if path.exists() or len(path.parts) > 1:
        raise InputError(
            f"{path}: not a layout .json, a prediction table .parquet, an .onnx file, a .cfg file or the folder of a "
            "detector or run"
        )
    from anchorkit.detectors import layout_of

    return layout_of(subject, _CLASSES if classes is None else classes, size)


def _read_layout(path: Path, facts: Sequence[str] | None) -> AnchorLayout:
    if path.is_dir():
        path = next((found for name in _IN_FOLDER if (found := path / name).is_file()), path / _IN_FOLDER[0])
    if is_onnx(path):
        return load_with_facts(path, parse_facts(facts)).layout
    if path.suffix == ".parquet":
        from anchorkit.predictions import PredictionTable

        return PredictionTable.load(path).layout
    from anchorkit.anchors import AnchorLayout
    from anchorkit.files import read_json

    data = read_json(path)
    if isinstance(data, dict) and "layout" in data:  # the file of a saved detector contains the layout
        data = data["layout"]
    return AnchorLayout.from_dict(data, str(path))


# A saved detector's folder has the first of these, a run's one of the others.
_IN_FOLDER = ("detector.json", "detector/detector.json", "predictions.parquet")
