"""Which channels of a network are redundant: statistics, importance, folding, choosing; `prune_channels` does it all.

`anchorkit.detectors.coupling` finds which channels can only go together, `anchorkit.detectors.channel_surgery` cuts.
"""

from anchorkit.channels.importance import IMPORTANCES, Importance
from anchorkit.channels.norms import refresh_norms
from anchorkit.channels.nuclear import nuclear_drops
from anchorkit.channels.pruning import ChannelPruning, channel_pruning, prune_channels
from anchorkit.channels.statistics import ChannelStatistics, gather_statistics

__all__ = [
    "IMPORTANCES",
    "ChannelPruning",
    "ChannelStatistics",
    "Importance",
    "channel_pruning",
    "gather_statistics",
    "nuclear_drops",
    "prune_channels",
    "refresh_norms",
]
