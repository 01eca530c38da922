"""Which anchors could replace which: the share of an anchor's boxes in the region of another anchor's boxes."""

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
predictions = ak.collect_predictions(detector, data.val, progress=False)

shapes = ak.redundancy.box_shapes(predictions, ground_truth=data.val.ground_truth)
coverage = ak.redundancy.coverage(shapes)
chart = ak.plots.coverage_matrix(coverage)
