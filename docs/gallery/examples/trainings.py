"""The accuracy of pruned detectors with and without training, each with three seeds (made-up figures)."""

import numpy as np
import pandas as pd

import anchorkit as ak

luck = np.random.default_rng(0)
loss = {"75 %": (9.7e6, 0.0, 0.0, 0.0), "50 %": (6.4e6, 0.02, 0.01, 0.0), "25 %": (3.2e6, 0.09, 0.05, 0.02)}
rows = []
for seed in range(3):
    rows.append(("unpruned", "100 %", seed, 0.45, 12.9e6))
    for point, (flops, *losses) in loss.items():
        for treatment, lost in zip(("pruned", "fine-tuned", "retrained"), losses, strict=True):
            rows.append((treatment, point, seed, 0.45 - lost, flops))
table = pd.DataFrame(rows, columns=["treatment", "point", "seed", "accuracy", "head_flops"])
table["accuracy"] += luck.normal(0, 0.005, len(table))
chart = ak.plots.trainings(table)
