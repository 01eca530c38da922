"""What training recovers after pruning: the figures of blood cells (BCCD) in results.md."""

import pandas as pd

import anchorkit as ak

points = pd.DataFrame(
    [
        ("unpruned", "full", 0.519, 12_900_000),
        ("A", "pruned", 0.521, 7_260_000),
        ("A", "fine-tuned", 0.517, 7_260_000),
        ("A", "retrained", 0.444, 7_260_000),
    ],
    columns=["point", "stage", "accuracy", "head_flops"],
)
chart = ak.plots.recovery(points)
