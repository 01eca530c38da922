"""Two detectors' frontiers, each relative to its own unpruned detector; here one detector with two metrics."""

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
predictions = ak.collect_predictions(detector, data.val, progress=False)

frontiers, unpruned = {}, {}
for metric in ("AP", "voc"):
    evaluator = ak.Evaluator(predictions, data.val.ground_truth, metric=metric)
    result = ak.search(evaluator, strategy="local", budget=600, progress=False)
    frontiers[metric], unpruned[metric] = result.frontier, result.baseline
chart = ak.plots.relative_frontiers(frontiers, unpruned)
