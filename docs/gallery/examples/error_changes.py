"""Why a pruned detector is worse: the AP that fixing each kind of error would recover, before and after."""

import anchorkit as ak
from anchorkit.analysis.diagnosis import compare, diagnose

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
predictions = ak.collect_predictions(detector, data.val, progress=False)
evaluator = ak.Evaluator(predictions, data.val.ground_truth)

kept = evaluator.full.without(["L1/32x32", "L1/44x44"])
before, after = (diagnose(evaluator.detections(each), data.val.ground_truth) for each in (evaluator.full, kept))
changes = compare(before, after).rename_axis("error").reset_index()
chart = ak.plots.error_changes(changes)
