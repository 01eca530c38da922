"""The frontiers of several runs in one chart, coloured by a setting; here by the NMS threshold."""

import pandas as pd

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
evaluator = ak.Evaluator(ak.collect_predictions(detector, data.val, progress=False), data.val.ground_truth)

runs = []
for nms in (0.3, 0.5, 0.7):
    other = evaluator.with_postprocess(nms_iou=nms)
    found = ak.search(other, threshold=other.accuracy(other.full) - 0.02, progress=False)
    runs.append(found.frontier.assign(run=f"NMS {nms}", nms_iou=nms))

chart = ak.plots.run_frontiers(pd.concat(runs), "head_flops", by="nms_iou")
