"""Explorers for notebooks: plain Python state with a picture, usable in the next cell.

Without a browser (papermill, nbconvert) an explorer shows one static picture and keeps the notebook small.
"""

from __future__ import annotations

from anchorkit.widgets.anchor_board import AnchorBoard
from anchorkit.widgets.channel_explorer import ChannelExplorer
from anchorkit.widgets.front_end import is_live
from anchorkit.widgets.image_explorer import ImageExplorer
from anchorkit.widgets.picture import Picture
from anchorkit.widgets.point_chooser import PointChooser
from anchorkit.widgets.search_explorer import SearchExplorer
from anchorkit.widgets.shape_explorer import ShapeExplorer

__all__ = [
    "AnchorBoard",
    "ChannelExplorer",
    "ImageExplorer",
    "Picture",
    "PointChooser",
    "SearchExplorer",
    "ShapeExplorer",
    "is_live",
]
