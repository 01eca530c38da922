"""Which anchors are kept: every anchor to one scale, a row per level, dashed where dropped."""

import anchorkit as ak

layout = ak.load_detector("tiny_ssd", weights="shapes").layout
tall = [anchor.id for anchor in layout.anchors if ak.plots.aspect(anchor.width, anchor.height) == "tall"]
board = ak.redundancy.anchor_frame(layout.full.without(tall))
chart = ak.plots.anchor_board(board)
