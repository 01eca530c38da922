"""The families of detectors that can be built, by name."""

from __future__ import annotations

from collections.abc import Callable

from anchorkit.detectors import tiny_ssd
from anchorkit.detectors.base import Detector

BUILDERS: dict[str, Callable[..., Detector]] = {"tiny_ssd": tiny_ssd.build}
"""Each takes (categories, size, shapes, postprocess, name) and gives a detector with fresh weights."""
