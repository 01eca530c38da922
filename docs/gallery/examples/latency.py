"""Time per image, for network and post-processing; the machine was busy when this picture was made."""

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
small = ak.prune(detector, detector.layout.full.without(range(3)))

images = [data.val.image(image_id) for image_id in data.val.image_ids[:10]]
report = ak.measure_latency({"unpruned": detector, "pruned": small}, images, repeats=20, progress=False)
chart = ak.plots.latency(report.frame)
