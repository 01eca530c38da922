"""How redundant each channel is: its score beside those of its group, and which of them go at 20 %."""

import numpy as np
import pandas as pd

import anchorkit as ak
from anchorkit.channels import channel_pruning, gather_statistics
from anchorkit.channels.importance import score

data = ak.load_dataset("shapes", train=16, val=1, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")
statistics = gather_statistics(detector, data.train, images=16)

done, scores = channel_pruning(detector, statistics, ratio=0.2), score("nuclear", statistics)
rows = [
    pd.DataFrame({"score": scores[group.name], "kept": np.isin(np.arange(group.atoms), done.keep[group.name])}).assign(
        group=group.name, part=group.part, stride=group.stride
    )
    for group in statistics.channels.groups
]
chart = ak.plots.channel_scores(pd.concat(rows, ignore_index=True))
