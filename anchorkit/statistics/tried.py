"""The configurations that a search tried: from among them its images picked the frontier."""

from __future__ import annotations

import numpy as np

from anchorkit.anchors import Configuration
from anchorkit.search.joint import JointResult
from anchorkit.statistics.joint import AnyResult, Evaluated

TRIED_ALLOWED_FOR = 200
"""How many of the configurations tried, drawn at random, the bounds on the images of a search include.

Bounds over the frontier alone do not hold for its points as often as they should, as the same images picked the
frontier from thousands. Nor do bounds that include those nearest to it, which are near copies of its points. A random
sample is as varied as all that was tried; docs/statistics.md has the simulations.
"""


def sample_of_tried(result: AnyResult, most: int = TRIED_ALLOWED_FOR, seed: int = 0) -> list[Configuration]:
    """Configurations that a search tried and that are not on its frontier, drawn at random without replacement.

    Args:
        result: a search.
        most: how many at most.
        seed: which ones.
    """
    searches, origins = (
        (result.results, result.origins)
        if isinstance(result, JointResult)
        else ((result,), (0,) * len(result.frontier))
    )
    on_frontier = set(zip(origins, result.frontier["anchors"], strict=True))
    tried = ((number, ids) for number, found in enumerate(searches) for ids in found.evaluated["anchors"])
    beaten = [which for which in tried if which not in on_frontier]
    chosen = np.random.default_rng(seed).permutation(len(beaten))[:most]
    rows = (beaten[row] for row in chosen.tolist())
    return [searches[number].layout.configuration(keep=ids.split()) for number, ids in rows]


def searched_on(evaluator: Evaluated, result: AnyResult) -> bool:
    """Whether the search was one of these images: the full detector has the very same accuracy on them."""
    return bool(float(result.baseline["accuracy"]) == evaluator.accuracy(evaluator.full))
