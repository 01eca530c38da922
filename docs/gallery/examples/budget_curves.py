"""How good the frontier of each strategy is after a number of evaluations, up to the same threshold."""

import pandas as pd

import anchorkit as ak
from anchorkit.search.comparing import hypervolume_curve

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
predictions = ak.collect_predictions(detector, data.val, progress=False)
evaluator = ak.Evaluator(predictions, data.val.ground_truth)

least = evaluator.accuracy(evaluator.full) - 0.03
curves = []
for strategy in ("algorithm1", "authors", "local"):
    result = ak.search(evaluator, threshold=least, strategy=strategy, budget=3000, progress=False)
    curves.append(hypervolume_curve(result).assign(strategy=strategy))
table = pd.concat(curves)
table = table[table["tried"] >= 20].assign(share=lambda t: t["hypervolume"] / t["hypervolume"].max())
chart = ak.plots.budget_curves(table)
