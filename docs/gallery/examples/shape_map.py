"""The boxes of one level's anchors in one chart, over the annotated objects: which anchors do the same job?"""

import pandas as pd

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
predictions = ak.collect_predictions(detector, data.val, progress=False)

shapes = ak.redundancy.box_shapes(predictions, ground_truth=data.val.ground_truth)
contours = ak.redundancy.density_contours(shapes)
marginals = ak.redundancy.marginals(shapes)
anchors = ak.redundancy.anchor_frame(detector.layout).query("level == 1")
boxes = [annotation["bbox"] for annotation in data.val.ground_truth["annotations"]]
objects = pd.DataFrame(boxes, columns=["x", "y", "width", "height"])  # images are as large as the detector's input
chart = ak.plots.shape_map(contours, marginals, anchors, objects=objects, title="Level 1")
