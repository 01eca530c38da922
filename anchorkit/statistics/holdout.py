"""Choosing on some images, evaluating on others."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.search.result import NEGLIGIBLE_LOSS
from anchorkit.statistics.joint import AnyResult, as_one, configuration_of
from anchorkit.statistics.statements import change_columns, check_same_detector

LOSSES = (0.0, NEGLIGIBLE_LOSS, 0.005, 0.01, 0.02)
"""Losses of AP that a choice may allow, 0..1."""


def holdout_report(
    result: AnyResult,
    holdout: Evaluator | Sequence[Evaluator],
    losses: Sequence[float] = LOSSES,
    margin: float = 0.005,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Evaluate what was chosen on the images of a search on images that took no part in it.

    Args:
        result: a search, for example on ``evaluator.subset(split.search)``.
        holdout: an evaluator of other images, for example ``evaluator.subset(split.holdout)``, or of a test split. For
            a joint search one per detector, in its order.
        losses: for each, the cheapest configuration that loses no more on the images of the search, 0..1.
        margin: a loss of AP that does not matter, 0..1.
        confidence: of the intervals, 0..1.
        draws: bootstrap samples of the images.
        seed: of the draws.
        progress: show a progress bar on standard error.

    Returns:
        One row per loss: ``allowed``; of a joint search ``channels``; ``n_anchors``, ``anchors`` (ids kept) and the
        search's cost; ``searched``, the change of AP against the full detector on the images of the search; ``change``,
        the same on the others, with
        ``low``, ``high`` and ``within_margin`` (see `frontier_changes`). The choice did not depend on these images, so
        the intervals need no correction.

    Raises:
        InputError: an option is out of range, or the layouts differ.
    """
    one = as_one(holdout, result)
    check_same_detector(one, result)
    if not losses:
        raise InputError("holdout_report: losses is empty; give one or more, such as (0.0, 0.005)")
    chosen = [configuration_of(result.cheapest(max_loss=loss)) for loss in losses]
    found = one.bootstrap(chosen, draws, seed, progress)
    rows = result.frontier.iloc[[result.configurations.index(c) for c in chosen]].reset_index(drop=True)
    names = [name for name in ("channels", "n_anchors", "anchors", result.cost) if name in rows]
    frame = rows[names].astype({"n_anchors": int})
    frame.insert(0, "allowed", list(losses))
    frame["searched"] = rows["accuracy"].to_numpy(float) - float(result.baseline["accuracy"])
    return frame.assign(**change_columns(found, margin, confidence))
