"""Is it luck? What a set of images can tell about a configuration, and what it cannot.

`frontier_changes` and `safe_to_remove` bootstrap the images; `split_images` and `holdout_report` choose on some and
tell on others; `cross_fit` does so in turns and says how much of a frontier is luck.
"""

from __future__ import annotations

from anchorkit.statistics.crossfit import CrossFit, cross_fit
from anchorkit.statistics.holdout import LOSSES, holdout_report
from anchorkit.statistics.intervals import LowerBounds, percentile_interval, share_within, simultaneous_bounds
from anchorkit.statistics.splits import ImageSplit, fold_images, split_images
from anchorkit.statistics.statements import SafeRemoval, frontier_changes, safe_to_remove
from anchorkit.statistics.tried import TRIED_ALLOWED_FOR, sample_of_tried

__all__ = [
    "LOSSES",
    "TRIED_ALLOWED_FOR",
    "CrossFit",
    "ImageSplit",
    "LowerBounds",
    "SafeRemoval",
    "cross_fit",
    "fold_images",
    "frontier_changes",
    "holdout_report",
    "percentile_interval",
    "safe_to_remove",
    "sample_of_tried",
    "share_within",
    "simultaneous_bounds",
    "split_images",
]
