"""AP of each class before and after, the largest losses first."""

import pandas as pd

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
predictions = ak.collect_predictions(detector, data.val, progress=False)
evaluator = ak.Evaluator(predictions, data.val.ground_truth)

kept = evaluator.full.without(["L1/32x32", "L1/44x44"])
changes = pd.DataFrame(
    {
        "category": {category.id: category.name for category in data.categories},
        "before": evaluator.per_class(evaluator.full),
        "after": evaluator.per_class(kept),
    }
)
chart = ak.plots.class_changes(changes)
