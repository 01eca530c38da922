"""Explorers for notebooks: plain Python state with a picture, usable in the next cell.

With no one at the other end (papermill, nbconvert) an explorer shows one static picture and keeps the notebook small.
"""

from __future__ import annotations

from anchorkit.widgets.anchor_board import AnchorBoard
from anchorkit.widgets.front_end import is_live
from anchorkit.widgets.point_chooser import PointChooser

__all__ = ["AnchorBoard", "PointChooser", "is_live"]
