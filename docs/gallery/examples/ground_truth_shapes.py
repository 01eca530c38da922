"""The widths and heights of the annotated objects, with the anchors drawn over them."""

import pandas as pd

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
layout = ak.load_detector("tiny_ssd", weights="shapes").layout

boxes = [annotation["bbox"] for annotation in data.val.ground_truth["annotations"]]
objects = pd.DataFrame(boxes, columns=["x", "y", "width", "height"])  # images are as large as the detector's input
chart = ak.plots.ground_truth_shapes(objects, ak.redundancy.anchor_frame(layout))
