"""Statements about a frontier: the change of AP at each point with its interval, and what is safe to remove."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from anchorkit.anchors import Configuration
from anchorkit.costs import Cost
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
        above -margin. Of a detector that is hardly trained no point is called safe.

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
    told = nothing_can_be_told(evaluator.accuracy(evaluator.full), evaluator.metric) is None
    return frame.assign(safe=(frame["least"] > -margin) & told), bounds


def change_columns(found: Bootstrap, margin: float, confidence: float) -> dict[str, np.ndarray]:
    """``change``, ``low``, ``high`` and ``within_margin`` of what was bootstrapped, for frames."""
    low, high = percentile_interval(found.changes, confidence)
    return {"change": found.change, "low": low, "high": high, "within_margin": share_within(found.changes, margin)}


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


@dataclass(frozen=True)
class SafeRemoval:
    """How many anchors may go, with a margin and a confidence. `str` gives the sentence.

    Attributes:
        configuration: the cheapest point of the frontier that is safe; the full one if none is.
        change: of AP against the full detector, measured, 0..1.
        least: what the change is at the worst, with `confidence`; it holds for whichever point was picked.
        cost: the search's cost. saved, hoped_saved: the share of it that goes with `configuration` and `hoped`.
        metric: the figure, such as ``"AP"``. margin, confidence: as asked for. n_images: on how many images.
        hoped: the cheapest point that shows no loss on these images. hoped_least: what its change is at the worst.
        images_needed: about how many images like these would show `hoped` to be safe, if its change stays as measured.
        tried: how many configurations a search tried on these same images to find the frontier; 0 for other images.
        points: the frame of `frontier_changes`.
        width: how many standard errors the bounds lie below the points.
        caveats: what the statement does not tell, a sentence each.
        unpruned: the figure of the full detector, 0..1; where it is very low, the sentence says that it tells nothing.
        channels, hoped_channels: of a joint search, which detector `configuration` and `hoped` belong to.
    """

    configuration: Configuration = field(repr=False)
    change: float
    least: float
    cost: Cost
    saved: float
    hoped_saved: float
    metric: str
    margin: float
    confidence: float
    n_images: int
    hoped: Configuration = field(repr=False)
    hoped_least: float
    images_needed: int
    tried: int
    points: pd.DataFrame = field(repr=False)
    width: float
    caveats: tuple[str, ...] = field(repr=False)
    unpruned: float = 1.0
    channels: str = ""
    hoped_channels: str = ""

    @property
    def n_removed(self) -> int:
        """How many anchors may go."""
        return len(self.configuration.dropped)

    @property
    def sentence(self) -> str:
        """The statement in words."""
        nothing = nothing_can_be_told(self.unpruned, self.metric)
        if nothing:
            return f"{nothing}."
        total, cost = len(self.configuration.layout), self.cost.words
        images = f"images like these {self.n_images:,}{', which the search has seen' if self.tried else ''}"
        falls = f"{self.metric} falls by less than {_points(self.margin)}"
        sure = f"{100 * self.confidence:g} % confidence"
        if self.channels:
            return self._of_joint(images, falls, sure)
        if self.n_removed:
            text = (
                f"{self.n_removed} of {total} anchors are safe to remove, which saves {100 * self.saved:.0f} % of "
                f"{cost}: with {sure}, {falls} on {images} (measured: {100 * self.change:+.2f})."
            )
        else:
            text = f"No anchor is shown to be safe to remove: that {falls} cannot be told with {sure} from {images}."
        more = len(self.hoped.dropped)
        if more > self.n_removed:
            text += (
                f" Without {more} of them (saving {100 * self.hoped_saved:.0f} %) no loss is measured, but that may be "
                f"luck: it could be a loss of {-100 * self.hoped_least:.1f} points. "
                f"About {self.images_needed:,} such images would tell."
            )
        return text

    def _of_joint(self, images: str, falls: str, sure: str) -> str:
        def point(channels: str, configuration: Configuration) -> str:
            return f"channels {channels} with {len(configuration)} of {len(configuration.layout)} anchors"

        if self.saved > 0:
            text = (
                f"The point {point(self.channels, self.configuration)} is safe, which saves {100 * self.saved:.0f} % "
                f"of {self.cost.words}: with {sure}, {falls} on {images} (measured: {100 * self.change:+.2f})."
            )
        else:
            text = f"No point is shown to be safe: that {falls} cannot be told with {sure} from {images}."
        if self.hoped_saved > self.saved:
            text += (
                f" At {point(self.hoped_channels, self.hoped)} (saving {100 * self.hoped_saved:.0f} %) no loss is "
                f"measured, but that may be luck: it could be a loss of {-100 * self.hoped_least:.1f} points. "
                f"About {self.images_needed:,} such images would tell."
            )
        return text

    def __str__(self) -> str:
        return self.sentence


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
    least, change, cost = (points[name].to_numpy(np.float64) for name in ("least", "change", result.cost))
    n_images = len(one.ground_truth.image_ids)
    unpruned = one.accuracy(one.full)
    told = nothing_can_be_told(unpruned, one.metric) is None
    safe = np.flatnonzero(points["safe"])
    # A search may have dropped the full configuration from its frontier: it is safe all the same.
    chosen, own_change, own_least = one.full, 0.0, 0.0
    if len(safe):
        at = int(safe[cost[safe].argmin()])
        chosen, own_change, own_least = result.configurations[at], float(change[at]), float(least[at])
    harmless = np.flatnonzero((change >= 0) & told)
    hoped, hoped_least, needed = chosen, own_least, n_images
    if len(harmless):
        best = int(harmless[cost[harmless].argmin()])
        hoped, hoped_least = result.configurations[best], float(least[best])
        room = margin + float(change[best])
        error = bounds.width * float(bounds.standard_error[best])
        needed = math.ceil(n_images * max((error / room) ** 2, 1.0)) if room > 0 else 0
    tried = len(result.evaluated) if searched_on(one, result) else 0
    spent = dict(zip(result.configurations, result.frontier[result.cost], strict=True))
    whole = float(result.baseline[result.cost])
    saved, hoped_saved = (1.0 - spent.get(c, whole) / whole for c in (chosen, hoped))
    return SafeRemoval(
        configuration=chosen,
        change=own_change,
        least=own_least,
        cost=result.asked.cost,
        saved=float(saved),
        hoped_saved=float(hoped_saved),
        metric=one.metric,
        margin=margin,
        confidence=confidence,
        n_images=n_images,
        hoped=hoped,
        hoped_least=hoped_least,
        images_needed=_rounded(needed),
        tried=tried,
        points=points,
        width=bounds.width,
        caveats=_caveats(one, chosen, n_images, tried),
        unpruned=unpruned,
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


def _points(accuracy: float) -> str:
    number = f"{100 * accuracy:g}"
    return f"{number} point" if number == "1" else f"{number} points"


def _rounded(number: int) -> int:
    """A count with two significant digits, rounded up: it is a rough guess."""
    step = int(10 ** max(len(str(number)) - 2, 0))
    return math.ceil(number / step) * step
