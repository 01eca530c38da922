"""How much of a frontier is luck: on the images of the search, and on held-out images."""

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
predictions = ak.collect_predictions(detector, data.val, progress=False)
evaluator = ak.Evaluator(predictions, data.val.ground_truth)

result = ak.search(evaluator, threshold=evaluator.accuracy(evaluator.full) - 0.03, progress=False)
fitted = ak.cross_fit(evaluator, result, folds=4, draws=200, progress=False)
chart = ak.plots.optimism(fitted.budgets, fitted.cost, interval=fitted.optimism_interval)
