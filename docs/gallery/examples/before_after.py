"""Configurations side by side: one bar per measure, with the change relative to the first row."""

import pandas as pd

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
predictions = ak.collect_predictions(detector, data.val, progress=False)
evaluator = ak.Evaluator(predictions, data.val.ground_truth)
result = ak.search(evaluator, threshold=evaluator.accuracy(evaluator.full) - 0.03, progress=False)

picks = {"unpruned": evaluator.full, "no loss": result.cheapest(), "1 point lost": result.cheapest(max_loss=0.01)}
table = pd.DataFrame(
    [{"name": name, "accuracy": evaluator.accuracy(pick), **ak.costs.costs(pick)} for name, pick in picks.items()]
)
chart = ak.plots.before_after(table)
