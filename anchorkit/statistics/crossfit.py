"""Cross-fitted frontiers: each image is evaluated with a configuration that it took no part in choosing.

The images are divided into folds. For each fold the search runs on the other folds and chooses configurations, and the
fold's images are evaluated with these. The detections of all folds together make one AP on all images. It can be
compared with the AP of the full detector on the same images and with the AP that the search reported. The AP of a
single fold could not: with few boxes of a class it differs too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anchorkit.anchors import Configuration
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.bootstrapping import ByImage
from anchorkit.search import search
from anchorkit.search.joint import AnyCost, JointResult, joint_search
from anchorkit.statistics.holdout import LOSSES
from anchorkit.statistics.intervals import Floats, LowerBounds, check_margin, percentile_interval, simultaneous_bounds
from anchorkit.statistics.joint import AnyResult, Evaluated, JointEvaluator, as_one, configuration_of
from anchorkit.statistics.removal import SafeRemoval
from anchorkit.statistics.splits import Integers, fold_images
from anchorkit.statistics.statements import check_same_detector, removal_of
from anchorkit.statistics.tried import searched_on

MOST_BUDGETS = 25


@dataclass(frozen=True)
class CrossFit:
    """What a search reports on its own images, and what remains of it on images it has not seen.

    Attributes:
        cost: name of the cost.
        optimism: how much of the frontier's AP is luck, 0..1: in-sample less cross-fitted, the mean over all budgets.
            Each fold chooses with fewer images than the search had, so it is rather a little too large.
        optimism_interval: its interval with the choices as they are.
        budgets: one row per budget: the `cost` that may be spent; ``in_sample`` and ``cross_fitted``, the change of AP
            against the full detector, with ``in_sample_low``, ``in_sample_high``, ``low`` and ``high``; ``luck``, the
            former less the latter, with ``luck_low`` and ``luck_high``; ``least``, a lower bound of ``cross_fitted``
            that holds for all budgets at once; ``mean_cost`` that the folds spend.
        losses: one row per loss of AP that the choice allows: ``allowed``; ``n_anchors``, the mean over the folds;
            ``mean_cost``; ``in_sample``, ``cross_fitted``, ``low`` and ``high``.
        folds: int64 (I,), the fold of each image.
        results: the search without each fold.
        confidence: of the intervals.
        choices: what the search on all images chooses within each budget.
        bounds: the bounds behind ``least``.
    """

    cost: str
    optimism: float
    optimism_interval: tuple[float, float]
    budgets: pd.DataFrame = field(repr=False)
    losses: pd.DataFrame = field(repr=False)
    folds: Integers = field(repr=False)
    results: tuple[AnyResult, ...] = field(repr=False)
    confidence: float
    choices: tuple[Configuration, ...] = field(repr=False)
    bounds: LowerBounds = field(repr=False)

    def __str__(self) -> str:
        low, high = (100 * end for end in self.optimism_interval)
        return (
            f"At equal cost, {100 * self.optimism:.2f} points of what the search shows on its own images are luck "
            f"({100 * self.confidence:g} % interval {low:.2f} to {high:.2f}; {len(self.results)} folds, "
            f"{len(self.folds):,} images)."
        )


def cross_fit(
    evaluator: Evaluator | Sequence[Evaluator],
    result: AnyResult,
    folds: int = 5,
    seed: int = 0,
    *,
    cost: AnyCost | Sequence[AnyCost] | None = None,
    losses: Sequence[float] = LOSSES,
    confidence: float = 0.95,
    draws: int = 2000,
    ledgers: str | Path | None = None,
    progress: bool = True,
) -> CrossFit:
    """Search again without each fold of the images, and evaluate what that search chooses on the fold.

    Args:
        evaluator: of all images. For a joint search the evaluators of all its detectors, in its order; the folds then
            choose detector and anchors together.
        result: the search on all of them; cost, threshold, strategy and moves are taken from it.
        folds: how many, 2 or more.
        seed: of the division into folds and of the draws.
        cost: the callable, where the search's cost was one and the result was read from files. For a joint search a
            list of one per detector will do too.
        losses: losses of AP that a choice may allow, 0..1.
        confidence: of the intervals, 0..1.
        draws: bootstrap samples of the images.
        ledgers: a folder for the ledgers of the searches; a search whose ledger is there resumes from it.
        progress: show progress bars on standard error.

    Raises:
        InputError: an option is out of range, the layouts differ, the result belongs to other images, or the search's
            cost was a callable, which files do not hold, and is not given.
    """
    one = as_one(evaluator, result)
    check_same_detector(one, result)
    full = one.accuracy(one.full)
    if not searched_on(one, result):
        raise InputError(
            f"the search found AP {float(result.baseline['accuracy']):.4f} for the full detector, the evaluator has "
            f"{full:.4f}: cross-fitting needs the evaluator of the search"
        )
    fold = fold_images(one.ground_truth, folds, seed)
    results = tuple(
        _search_without(one, result, fold == number, cost, None if ledgers is None else Path(ledgers), progress)
        for number in range(folds)
    )

    # With fewer images a search may have ended earlier: only budgets that every fold can keep are compared.
    least = max(float(found.frontier[result.cost].min()) for found in (result, *results))
    budgets = _thinned(np.sort(result.frontier[result.cost].to_numpy(float)), least)

    def choices(found: AnyResult) -> list[Configuration]:
        within_budget = [_within(found, budget) for budget in budgets.tolist()]
        return within_budget + [configuration_of(found.cheapest(max_loss=loss)) for loss in losses]

    in_sample = choices(result)
    by_fold = list(zip(*map(choices, results), strict=True))
    spent = [dict(zip(found.configurations, found.frontier[result.cost], strict=True)) for found in results]
    drawn = one.bootstrap([*in_sample, *(ByImage(own, fold) for own in by_fold)], draws, seed, progress)

    n, n_budgets = len(in_sample), len(budgets)
    low, high = percentile_interval(drawn.changes, confidence)
    frame = pd.DataFrame(
        {
            "in_sample": drawn.change[:n],
            "in_sample_low": low[:n],
            "in_sample_high": high[:n],
            "cross_fitted": drawn.change[n:],
            "low": low[n:],
            "high": high[n:],
            "n_anchors": [float(np.mean([len(c) for c in own])) for own in by_fold],
            "mean_cost": [float(np.mean([costs[c] for costs, c in zip(spent, own, strict=True)])) for own in by_fold],
        }
    )
    luck = drawn.changes[:, :n_budgets] - drawn.changes[:, n : n + n_budgets]
    luck_low, luck_high = percentile_interval(luck, confidence)
    ends: Floats = np.concatenate(percentile_interval(luck.mean(axis=1, keepdims=True), confidence))
    of_budgets, of_losses = frame.iloc[:n_budgets].copy(), frame.iloc[n_budgets:].reset_index(drop=True)
    of_budgets.insert(0, result.cost, budgets)
    of_budgets["luck"] = of_budgets["in_sample"] - of_budgets["cross_fitted"]
    of_budgets["luck_low"], of_budgets["luck_high"] = luck_low, luck_high
    bounds = simultaneous_bounds(drawn.change[n : n + n_budgets], drawn.changes[:, n : n + n_budgets], confidence)
    of_budgets["least"] = bounds.least
    of_losses.insert(0, "allowed", list(losses))
    return CrossFit(
        cost=result.cost,
        optimism=float(of_budgets["luck"].mean()),
        optimism_interval=(float(ends[0]), float(ends[1])),
        budgets=of_budgets.drop(columns="n_anchors"),
        losses=of_losses.drop(columns=["in_sample_low", "in_sample_high"]),
        folds=fold,
        results=results,
        confidence=confidence,
        choices=tuple(in_sample[:n_budgets]),
        bounds=bounds,
    )


def cross_fitted_removal(
    evaluator: Evaluator | Sequence[Evaluator],
    result: AnyResult,
    margin: float = 0.005,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    *,
    folds: int = 5,
    ledgers: str | Path | None = None,
    progress: bool = False,
) -> SafeRemoval:
    """What `anchorkit.safe_to_remove` says, where there are no images but those of the search: by cross-fitting.

    Each budget is judged by choices within it that the judged images took no part in. The statement is about what the
    search on all images chooses within the cheapest budget whose bound is above -margin.

    Args:
        evaluator: of the images of the search. For a joint search the evaluators of all its detectors, in its order.
        result: the search.
        margin: the loss of AP that does not matter, 0..1.
        confidence: in which share of cases the statement shall hold, 0..1.
        draws: bootstrap samples of the images.
        seed: of the division into folds and of the draws.
        folds: how many, 2 or more.
        ledgers: a folder for the ledgers of the searches; a search whose ledger is there resumes from it.
        progress: show progress bars on standard error.

    Raises:
        InputError: as for `cross_fit`.
    """
    check_margin(margin)
    fitted = cross_fit(
        evaluator, result, folds, seed, confidence=confidence, draws=draws, ledgers=ledgers, progress=progress
    )
    points = fitted.budgets.assign(change=fitted.budgets["cross_fitted"])
    return removal_of(
        as_one(evaluator, result),
        result,
        points,
        fitted.choices,
        fitted.bounds,
        margin=margin,
        confidence=confidence,
        folds=len(fitted.results),
    )


def _within(found: AnyResult, budget: float) -> Configuration:
    if isinstance(found, JointResult):
        return found.best(budget).configuration
    return found.best(**{found.cost: budget})


def _search_without(
    evaluator: Evaluated,
    result: AnyResult,
    left_out: np.ndarray,
    cost: AnyCost | Sequence[AnyCost] | None,
    ledgers: Path | None,
    progress: bool,
) -> AnyResult:
    """The search on the other images, as far down as the first one went."""
    others = evaluator.subset(evaluator.ground_truth.image_ids[~left_out])
    first = result.results[0] if isinstance(result, JointResult) else result
    threshold = None
    if first.threshold is not None:
        drop = float(result.baseline["accuracy"]) - first.threshold
        threshold = min(max(others.accuracy(others.full) - drop, 0.0), 1.0)
    same: dict[str, Any] = {
        "threshold": threshold,
        "strategy": first.strategy,
        "moves": first.moves,
        "budget": first.budget,
        "progress": progress,
    }
    if isinstance(result, JointResult):
        assert isinstance(others, JointEvaluator)
        costs = [found.asked.cost for found in result.results] if cost is None else cost
        ledger = None if ledgers is None else ledgers / f"ledger-{others.whole.fingerprint}"
        return joint_search(zip(result.labels, others.evaluators, strict=True), costs, ledger=ledger, **same)
    assert isinstance(others, Evaluator)
    single = result.asked.cost if cost is None else cost
    if isinstance(single, Sequence) and not isinstance(single, str):
        raise InputError("cross_fit: several costs go with a joint search; give the one of this search")
    ledger = None if ledgers is None else ledgers / f"ledger-{others.fingerprint}.jsonl"
    return search(others, single, ledger=ledger, among=result.among, **same)


def _thinned(costs: Floats, least: float) -> Floats:
    """`least` and of the rising costs above it as many as `MOST_BUDGETS` allows, evenly, the last one among them."""
    costs = np.unique(np.append(costs[costs > least], least))
    at = np.linspace(0, len(costs) - 1, min(len(costs), MOST_BUDGETS)).round().astype(int)
    found: Floats = costs[at]
    return found
