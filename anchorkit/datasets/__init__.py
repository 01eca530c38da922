"""Data sets: the built-in shapes, COCO json folders and Pascal VOC xml folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anchorkit.datasets.base import Annotations, Category, Dataset, Split
from anchorkit.datasets.shapes import load_shapes

__all__ = ["Annotations", "Category", "Dataset", "Split", "load_dataset"]


def load_dataset(name: str | Path, root: str | Path | None = None, **options: Any) -> Dataset:
    """Load a data set by name."""
    if name == "shapes":
        return load_shapes(**options)
    raise NotImplementedError(name)
