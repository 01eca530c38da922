"""The result of a search: the most accurate configurations for each cost, compared with random pruning."""

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
predictions = ak.collect_predictions(detector, data.val, progress=False)
evaluator = ak.Evaluator(predictions, data.val.ground_truth)

threshold = evaluator.accuracy(evaluator.full) - 0.03
result = ak.search(evaluator, cost="head_flops", threshold=threshold, progress=False)
random = ak.random_pruning(evaluator, "head_flops", n=200, seed=0, progress=False)
chart = ak.plots.frontier(
    result.frontier, "head_flops", full=result.baseline, random=random, evaluated=result.evaluated, least=threshold
)
