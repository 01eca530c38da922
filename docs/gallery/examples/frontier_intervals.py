"""How certain each point of a frontier is, and which points are safe. Forty images show little."""

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
predictions = ak.collect_predictions(detector, data.val, progress=False)
evaluator = ak.Evaluator(predictions, data.val.ground_truth)

result = ak.search(evaluator, threshold=evaluator.accuracy(evaluator.full) - 0.03, progress=False)
points = ak.frontier_changes(evaluator, result, margin=0.01, draws=200, seed=0)
full = result.baseline["head_flops"]
chart = ak.plots.frontier_intervals(points, "head_flops", margin=0.01, full=full)
