"""The families of detectors that can be built, by name."""

from __future__ import annotations

from anchorkit.detectors import tiny_ssd
from anchorkit.detectors.base import Builder

BUILDERS: dict[str, Builder] = {
    "tiny_ssd": tiny_ssd.build,
    "tiny_ssd_overanchorized": tiny_ssd.build_overanchorized,
}
"""The builder of each family; `register_detector` adds to them."""
