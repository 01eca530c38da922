"""Which shapes each anchor's boxes have: filled outlines hold half and four fifths of them; one panel per level."""

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
predictions = ak.collect_predictions(detector, data.val, progress=False)

shapes = ak.redundancy.box_shapes(predictions, ground_truth=data.val.ground_truth)
contours = ak.redundancy.density_contours(shapes)
marginals = ak.redundancy.marginals(shapes)
anchors = ak.redundancy.anchor_frame(detector.layout).query("level < 3")
chart = ak.plots.box_shapes(contours, marginals, anchors)
