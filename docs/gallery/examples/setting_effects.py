"""Which setting mattered: the outcome of each run of a grid, by the values of each setting."""

import itertools

import pandas as pd

import anchorkit as ak
from anchorkit.runs.compare import main_effects

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
evaluator = ak.Evaluator(ak.collect_predictions(detector, data.val, progress=False), data.val.ground_truth)

runs = []
for nms, most, strategy in itertools.product((0.4, 0.5, 0.6), (10, 100), ("algorithm1", "authors")):
    other = evaluator.with_postprocess(nms_iou=nms, max_detections=most)
    least = other.accuracy(other.full) - 0.01
    found = ak.search(other, threshold=least, strategy=strategy, progress=False)
    runs.append({"nms_iou": nms, "max_detections": most, "strategy": strategy, "hypervolume": found.hypervolume()})

frame = pd.DataFrame(runs)
effects = main_effects(frame, "hypervolume", ["nms_iou", "max_detections", "strategy"])
chart = ak.plots.setting_effects(frame, effects, "hypervolume")
