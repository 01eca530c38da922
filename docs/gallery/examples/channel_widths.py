"""The channels of each group that can only go together, before and after a cut to 60 % of the multiply-adds."""

import anchorkit as ak
from anchorkit.channels import channel_pruning

data = ak.load_dataset("shapes", train=16, val=1, test=0, progress=False)
detector = ak.load_detector("tiny_ssd", weights="shapes")

done = channel_pruning(detector, data.train, flops=0.6, images=16)
chart = ak.plots.channel_widths(done.frame)
