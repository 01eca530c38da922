"""Anchors before and after pruning, beside another set, all to one scale (the paper's Fig. 4)."""

import anchorkit as ak

layout = ak.load_detector("tiny_ssd_overanchorized", categories=3).layout
chosen = layout.configuration(keep=range(0, len(layout), 4))
squares = layout.configuration(keep=[a.index for a in layout.anchors if a.position < 2])
boards = {
    "overanchorized": ak.redundancy.anchor_frame(layout),
    "every fourth": ak.redundancy.anchor_frame(chosen),
    "two squares": ak.redundancy.anchor_frame(squares).query("kept"),
}
notes = {name: f"{board['kept'].sum()} anchors" for name, board in boards.items()}
chart = ak.plots.anchor_sets(boards, notes=notes, frame=max(layout.input_size))
