"""The cost of each level: filled for the kept anchors, outlined for the unpruned detector."""

import pandas as pd

import anchorkit as ak

full = ak.load_detector("tiny_ssd", weights="shapes").layout.full
kept = full.without([anchor for anchor in full.ids if anchor.startswith("L0/")][1:])

chart = ak.plots.level_costs(pd.DataFrame(ak.costs.level_costs(kept)), pd.DataFrame(ak.costs.level_costs(full)))
