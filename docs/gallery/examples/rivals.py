"""Does a search beat random, layer-wise and symmetric pruning, and a ranking by the anchors' scores?"""

import anchorkit as ak

data = ak.load_dataset("shapes", train=1, val=40, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
predictions = ak.collect_predictions(detector, data.val, progress=False)
evaluator = ak.Evaluator(predictions, data.val.ground_truth)

result = ak.search(evaluator, strategy="local", budget=1000, progress=False)
random = ak.random_pruning(evaluator, n=300, seed=0, progress=False)
others = {
    "layer by layer": ak.layer_wise_pruning(evaluator, progress=False),
    "symmetric": ak.symmetric_pruning(evaluator, progress=False),
    "score mass": ak.prune_by_ranking(evaluator, worth=ak.search.score_mass(predictions), progress=False),
}
chart = ak.plots.rivals(result.frontier, others, random=random, full=result.baseline)
