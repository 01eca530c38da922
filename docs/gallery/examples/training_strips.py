"""Detectors of the same cost, each trained with three seeds: one strip per detector (made-up figures)."""

import numpy as np
import pandas as pd

import anchorkit as ak

luck = np.random.default_rng(0)
rivals = {
    "unpruned": (0.420, 30, 12.9e6),
    "pruned": (0.405, 7, 3.4e6),
    "retrained": (0.435, 7, 3.4e6),
    "k-means": (0.428, 5, 3.4e6),
    "by hand": (0.421, 12, 3.5e6),
}
rows = [
    (name, name, seed, accuracy + luck.normal(0, 0.005), anchors, flops)
    for name, (accuracy, anchors, flops) in rivals.items()
    for seed in range(3)
]
table = pd.DataFrame(rows, columns=["treatment", "point", "seed", "accuracy", "n_anchors", "head_flops"])
chart = ak.plots.training_strips(table)
