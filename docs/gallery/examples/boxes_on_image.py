"""Detections on an image, each with the anchor that made it, in the colour of its level."""

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
predictions = ak.collect_predictions(detector, data.val, progress=False)
evaluator = ak.Evaluator(predictions, data.val.ground_truth)

image_id = data.val.image_ids[0]
found = evaluator.detections(evaluator.full).query("image_id == @image_id and score > 0.5")
anchors = [detector.layout.anchors[index] for index in found["anchor"]]
boxes = found[["x1", "y1", "x2", "y2"]].assign(
    color=[ak.plots.level_color(anchor.level) for anchor in anchors],
    label=[anchor.id for anchor in anchors],
    style="found",
    marked=False,
)
chart = ak.plots.boxes_on_image(data.val.image(image_id), boxes, title="Score above 0.5")
