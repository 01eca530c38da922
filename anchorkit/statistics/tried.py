"""The configurations that a search tried: from among them its images picked the frontier."""

from __future__ import annotations

import numpy as np

from anchorkit.anchors import Configuration
from anchorkit.evaluation import Evaluator
from anchorkit.search import SearchResult

TRIED_ALLOWED_FOR = 200
"""How many of the configurations tried, drawn at random, the bounds on the images of a search include.

Bounds over the frontier alone do not hold for its points as often as they should, as the same images picked the
frontier from thousands. Nor do bounds that include those nearest to it, which are near copies of its points. A random
sample is as varied as all that was tried; docs/statistics.md has the simulations.
"""


def sample_of_tried(result: SearchResult, most: int = TRIED_ALLOWED_FOR, seed: int = 0) -> list[Configuration]:
    """Configurations that a search tried and that are not on its frontier, drawn at random without replacement.

    Args:
        result: a search.
        most: how many at most.
        seed: which ones.
    """
    on_frontier = set(result.frontier["anchors"])
    beaten = [ids for ids in result.evaluated["anchors"] if ids not in on_frontier]
    chosen = np.random.default_rng(seed).permutation(len(beaten))[:most]
    return [result.layout.configuration(keep=beaten[row].split()) for row in chosen.tolist()]


def searched_on(evaluator: Evaluator, result: SearchResult) -> bool:
    """Whether the search was one of these images: the full detector has the very same accuracy on them."""
    return float(result.baseline["accuracy"]) == evaluator.accuracy(evaluator.full)
