"""Statements about a frontier: the change of AP at each point with its interval, and what is safe to remove."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from anchorkit.anchors import Configuration
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.bootstrapping import Bootstrap
from anchorkit.findings import nothing_can_be_told
from anchorkit.statistics.intervals import (
    LowerBounds,
    check_margin,
    check_share,
    percentile_interval,
    share_within,
    simultaneous_bounds,
)
from anchorkit.statistics.joint import AnyResult, Evaluated, as_one, point_of
from anchorkit.statistics.removal import SafeRemoval, hope_among
from anchorkit.statistics.tried import sample_of_tried, searched_on


def frontier_changes(
    evaluator: Evaluator | Sequence[Evaluator],
    result: AnyResult,
    margin: float = 0.005,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """The change of AP against the full detector at every point of a frontier, with intervals from these images.

    Args:
        evaluator: of the images to evaluate on: those of the search, or others (``evaluator.subset``). For a joint
            search the evaluators of all its detectors, in its order.
        result: the search whose frontier it is, of anchors or joint.
        margin: a loss of AP that does not matter, 0..1 (0.005 is half a point).
        confidence: of the intervals and bounds, 0..1.
        draws: bootstrap samples of the images.
        seed: of the draws.
        progress: show a progress bar on standard error.

    Returns:
        The frontier's costs, ``n_anchors`` and ``anchors``; ``accuracy`` on these images; ``change`` against the full
        detector; ``low`` and ``high``, its interval for a point picked beforehand; ``within_margin``, the share of
        draws in which it loses no more than the margin; ``least``, a lower bound that holds for all points at once, so
        for whichever is picked (on the images of the search, for all that it might have picked); and ``safe``: it is
        above -margin. Of a detector that is hardly trained, or on very few images, no point is called safe.

    Raises:
        InputError: an option is out of range, the result belongs to another detector, or the bootstrap does not
            support the evaluator's metric.
    """
    one = as_one(evaluator, result)
    return _frontier_changes(one, result, margin, confidence, draws, seed, progress)[0]


def _frontier_changes(
    evaluator: Evaluated, result: AnyResult, margin: float, confidence: float, draws: int, seed: int, progress: bool
) -> tuple[pd.DataFrame, LowerBounds]:
    check_margin(margin)
    check_share(confidence, "confidence")
    check_same_detector(evaluator, result)
    points = result.configurations
    # Where the same images picked the frontier, the bounds allow for what it was picked from.
    others = sample_of_tried(result) if searched_on(evaluator, result) else []
    found = evaluator.bootstrap([*points, *others], draws, seed, progress)
    bounds = simultaneous_bounds(found.change, found.changes, confidence).first(len(points))
    found = found.first(len(points))
    frame = result.frontier.drop(columns="accuracy").reset_index(drop=True)
    frame.insert(0, "accuracy", found.accuracy)
    frame = frame.assign(**change_columns(found, margin, confidence), least=bounds.least)
    n_images = len(evaluator.ground_truth.image_ids)
    told = nothing_can_be_told(evaluator.accuracy(evaluator.full), evaluator.metric, n_images) is None
    return frame.assign(safe=(frame["least"] > -margin) & told), bounds


def change_columns(found: Bootstrap, margin: float, confidence: float) -> dict[str, np.ndarray]:
    """``change``, ``low``, ``high`` and ``within_margin`` of what was bootstrapped, for frames."""
    low, high = percentile_interval(found.changes, confidence)
    return {"change": found.change, "low": low, "high": high, "within_margin": share_within(found.changes, margin)}


def detector_change(
    before: Evaluator, after: Evaluator, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """The change of AP from one detector to another on the same images, with its interval.

    The detectors may differ in anything (one was trained again, say); both are evaluated on the same draws. The
    interval is for a detector that was not chosen on these images.

    Args:
        before: an evaluator of the one's predictions.
        after: of the other's, on the same images.
        confidence: of the interval, 0..1.
        draws: bootstrap samples of the images.
        seed: of the draws.

    Returns:
        The change and the ends of its interval, 0..1.

    Raises:
        InputError: the images differ, or the bootstrap does not support the metric.
    """
    if not np.array_equal(before.ground_truth.image_ids, after.ground_truth.image_ids):
        raise InputError("detector_change: the evaluators are of different images; give the same split to both")
    old, new = (one.bootstrap([one.full], draws, seed) for one in (before, after))
    measured = (old.full_drawn >= 0) & (new.full_drawn >= 0)
    change = new.full_accuracy - old.full_accuracy
    if not measured.any():
        return change, change, change
    low, high = percentile_interval((new.full_drawn - old.full_drawn)[measured, None], confidence)
    return change, float(low[0]), float(high[0])


def check_same_detector(evaluator: Evaluated, result: AnyResult) -> None:
    """Refuse a result that belongs to other anchors.

    Raises:
        InputError: the layouts differ.
    """
    if result.layout != evaluator.layout:
        raise InputError(
            f"the search is of {result.layout.detector} ({len(result.layout)} anchors), the predictions are of "
            f"{evaluator.layout.detector} ({len(evaluator.layout)} anchors): their layouts differ"
        )


def safe_to_remove(
    evaluator: Evaluator | Sequence[Evaluator],
    result: AnyResult,
    margin: float = 0.005,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    progress: bool = False,
) -> SafeRemoval:
    """The cheapest point of a frontier that loses less AP than a margin, as far as these images show.

    The bounds hold for all points of the frontier at once, so the choice among them needs no further correction. The
    images of the search picked the frontier from many more configurations; on these, the bounds also include a random
    sample of all that was tried, which was enough in simulations. Held-out images need no such correction.

    Args:
        evaluator: of the images to evaluate on: those of the search, or others (``evaluator.subset``). For a joint
            search the evaluators of all its detectors, in its order.
        result: the search whose frontier it is, of anchors or joint.
        margin: the loss of AP that does not matter, 0..1.
        confidence: in which share of cases the statement shall hold, 0..1.
        draws: bootstrap samples of the images.
        seed: of the draws.
        progress: show a progress bar on standard error.

    Raises:
        InputError: as for `frontier_changes`.
    """
    one = as_one(evaluator, result)
    points, bounds = _frontier_changes(one, result, margin, confidence, draws, seed, progress)
    tried = len(result.evaluated) if searched_on(one, result) else 0
    return removal_of(
        one, result, points, result.configurations, bounds, margin=margin, confidence=confidence, tried=tried
    )


def removal_of(
    evaluator: Evaluated,
    result: AnyResult,
    points: pd.DataFrame,
    configurations: Sequence[Configuration],
    bounds: LowerBounds,
    *,
    margin: float,
    confidence: float,
    tried: int = 0,
    folds: int = 0,
) -> SafeRemoval:
    """The cheapest of some points whose bound is above -margin, as a statement.

    Args:
        evaluator: of the images that the bounds are from.
        result: the search that the points are from.
        points: one row per point, with ``change`` (of AP against the full detector, 0..1).
        configurations: of the frontier, what each row stands for.
        bounds: lower bounds of the changes, which hold together.
        margin: the loss of AP that does not matter, 0..1.
        confidence: of the bounds.
        tried: how many configurations were tried on these images.
        folds: of a cross-fitted statement, how many.
    """
    full, n_images = evaluator.full, len(evaluator.ground_truth.image_ids)
    unpruned = evaluator.accuracy(full)
    change = points["change"].to_numpy(np.float64)
    spent = dict(zip(result.configurations, result.frontier[result.cost], strict=True))
    whole = float(result.baseline[result.cost])
    cost = np.array([spent[c] for c in configurations], np.float64)
    told = nothing_can_be_told(unpruned, evaluator.metric, n_images) is None
    safe = np.flatnonzero((bounds.least > -margin) & told)
    # A search may have dropped the full configuration from its frontier: it is safe all the same.
    chosen, own_change, own_least, own_cost = full, 0.0, 0.0, whole
    if len(safe):
        at = int(safe[cost[safe].argmin()])
        chosen, own_cost = configurations[at], float(cost[at])
        own_change, own_least = float(change[at]), float(bounds.least[at])
    hoped, hoped_change, hoped_least, hoped_cost, needed = chosen, own_change, own_least, own_cost, 0
    if told:
        hope = hope_among(
            change, bounds.standard_error, cost, own_cost, own_cost < whole, n_images, bounds.width, margin
        )
        needed = hope.images_needed
        if hope.place is not None:
            hoped, hoped_cost = configurations[hope.place], float(cost[hope.place])
            hoped_change, hoped_least = float(change[hope.place]), float(bounds.least[hope.place])
    per_class = evaluator.per_class(full)
    return SafeRemoval(
        configuration=chosen,
        change=own_change,
        least=own_least,
        cost=result.asked.cost,
        saved=1.0 - own_cost / whole,
        hoped_saved=1.0 - hoped_cost / whole,
        metric=evaluator.metric,
        margin=margin,
        confidence=confidence,
        n_images=n_images,
        hoped=hoped,
        hoped_change=hoped_change,
        hoped_least=hoped_least,
        images_needed=needed,
        tried=tried,
        points=points,
        width=bounds.width,
        caveats=_caveats(evaluator, chosen, n_images, tried),
        unpruned=unpruned,
        folds=folds,
        unseen=tuple(key for key, value in per_class.items() if value < 0),
        channels=point_of(result, chosen),
        hoped_channels=point_of(result, hoped),
    )


def _caveats(evaluator: Evaluated, chosen: Configuration, n_images: int, tried: int) -> tuple[str, ...]:
    """The limits of a statement. `tried` is the number of configurations of a search on the same images, or 0."""
    rare = max(n_images // 3, 1)
    said = [
        f"It is about images like these {n_images:,}: other cameras, places or seasons may differ.",
        # With 95 % confidence, what was not seen in n images shows in fewer than 3 of n.
        f"What shows in fewer than one image of {rare:,} may not be among them at all, and would not be missed.",
    ]
    before, after = evaluator.per_class(evaluator.full), evaluator.per_class(chosen)
    falls = {key: before[key] - after[key] for key in before if before[key] >= 0}
    if len(falls) > 1:
        worst = max(falls, key=lambda key: falls[key])
        falling = f"category {worst} falls by {100 * falls[worst]:.1f} here" if falls[worst] > 0 else "none falls here"
        said.append(f"AP is a mean over {len(falls)} classes, and one may lose more than the mean: {falling}.")
    if tried:
        said.append(
            f"{tried:,} configurations were tried on these same images. The bound allows for that by a rule of thumb "
            "that held in simulations; images that took no part in the search would be better evidence."
        )
    return tuple(said)
