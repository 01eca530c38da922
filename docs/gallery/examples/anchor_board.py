"""Which anchors are kept: all anchors to one scale, one row per level, dropped anchors dashed."""

import anchorkit as ak

layout = ak.load_detector("tiny_ssd", weights="shapes").layout
tall = [anchor.id for anchor in layout.anchors if ak.plots.aspect(anchor.width, anchor.height) == "tall"]
board = ak.redundancy.anchor_frame(layout.full.without(tall))
chart = ak.plots.anchor_board(board)
