"""A statement about what can be removed: its figures and its words.

`SafeRemoval` is what `anchorkit.safe_to_remove` and `anchorkit.statistics.cross_fitted_removal` return. The page of a
run, the lessons and the command line all take their sentences from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from anchorkit.anchors import Configuration
from anchorkit.costs import Cost
from anchorkit.findings import nothing_can_be_told
from anchorkit.statistics.intervals import Floats, in_points, interval_words


@dataclass(frozen=True)
class SafeRemoval:
    """How many anchors may go, with a margin and a confidence. `str` gives the sentence.

    Attributes:
        configuration: the cheapest point that is safe; the full one if none is.
        change: of AP against the full detector, measured, 0..1.
        least: what the change is at the worst, with `confidence`; it holds for whichever point was picked.
        cost: the search's cost. saved, hoped_saved: the share of it that goes with `configuration` and `hoped`.
        metric: the figure, such as ``"AP"``. margin, confidence: as asked for. n_images: on how many images.
        hoped: the point that more images would most likely show to be safe: the cheapest that shows no loss on these
            or, without one, that for which fewest are needed. hoped_change, hoped_least: its change, measured and at
            the worst.
        images_needed: about how many images like these would show `hoped` to be safe, if its change stays as measured;
            0 if no number would.
        tried: how many configurations a search tried on these same images to find the frontier; 0 for other images.
        points: the frame of `frontier_changes`, or that of the budgets of `cross_fit`.
        width: how many standard errors the bounds lie below the points.
        caveats: what the statement does not tell, a sentence each.
        unpruned: the figure of the full detector, 0..1; where it is very low, the sentence says that it tells nothing.
        folds: of a cross-fitted statement, how many; otherwise 0.
        unseen: ids of the categories without an object in these images: nothing is told about them.
        names: of the categories, by id, for the words.
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
    hoped_change: float
    hoped_least: float
    images_needed: int
    tried: int
    points: pd.DataFrame = field(repr=False)
    width: float
    caveats: tuple[str, ...] = field(repr=False)
    unpruned: float = 1.0
    folds: int = 0
    unseen: tuple[int, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict, repr=False)
    channels: str = ""
    hoped_channels: str = ""

    @property
    def n_removed(self) -> int:
        """How many anchors may go."""
        return len(self.configuration.dropped)

    @property
    def nothing(self) -> str | None:
        """Why nothing can be told, see `anchorkit.findings.nothing_can_be_told`; None where something can."""
        return nothing_can_be_told(self.unpruned, self.metric, self.n_images)

    @property
    def headline(self) -> str:
        """The statement in one short sentence, without its evidence and without a full stop."""
        nothing = self.nothing
        if nothing:
            return nothing
        total = len(self.configuration.layout)
        if self.channels and (self._shown or self.margin):
            return self._headline_of_joint
        if self.n_removed:
            return (
                f"With {self._sure}, {self.n_removed} of {total} anchors can go and {self.metric} falls by less than "
                f"{points_of(self.margin)} on images like these"
            )
        if self.images_needed and self.margin:
            return (
                f"{self.n_images:,} images cannot tell which of the {total} anchors can go: about "
                f"{self.images_needed:,} would"
            )
        if not self.margin:
            return "No number of images can show that nothing at all is lost: allow a margin above 0"
        return (
            f"All {total} anchors are needed: in every smaller set that was found, {self.metric} falls by "
            f"{points_of(self.margin)} or more"
        )

    @property
    def evidence(self) -> str:
        """On which images the statement was made, what was measured there with its interval, and what it saves."""
        images = f"{self.n_images:,} images"
        if self.folds:
            basis = f"{images}, each with a choice made without it (cross-fitted, {self.folds} folds)"
        elif self.tried:
            basis = f"the {images} of the search, which flatters the result"
        else:
            basis = f"{images} that took no part in the search"
        if self.nothing or not self._shown:
            looked = f"Measured on {basis}: {self.metric} of the full detector {_accuracy(self.unpruned)}."
            asked = (
                f"The question was which anchors can go so that, with {self._sure}, {self.metric} falls by less than "
                f"{points_of(self.margin)}."
            )
            return looked if self.nothing else f"{looked} {asked}"
        return (
            f"Measured on {basis}: {self.metric} {_accuracy(self.unpruned)} \N{RIGHTWARDS ARROW} "
            f"{_accuracy(self.unpruned + self.change)}, a change of {in_points(self.change)} "
            f"({interval_words(self.least, confidence=self.confidence)}). "
            f"That saves {100 * self.saved:.0f} % of {self.cost.words}."
        )

    @property
    def hope(self) -> str:
        """What more images might show beyond the statement; empty where nothing more is to be expected."""
        more = len(self.hoped.dropped)
        beyond = self.hoped_saved > self.saved if self.channels else more > self.n_removed
        if self.nothing or not beyond or not self.images_needed:
            return ""
        measured = "no loss" if self.hoped_change >= 0 else f"a change of {in_points(self.hoped_change)}"
        point = (
            f"{_without(self.hoped_channels).capitalize()} and without {more} anchors"
            if self.channels
            else f"Without {more} anchors"
        )
        text = (
            f"{point} (saving {100 * self.hoped_saved:.0f} %) {measured} is measured, but that may be "
            f"luck: it could be a loss of {max(-100 * self.hoped_least, 0.0):.1f} points."
        )
        # Where nothing is shown, the headline has the number.
        return f"{text} About {self.images_needed:,} such images would tell." if self._shown else text

    @property
    def gap(self) -> str:
        """Which classes have no object in these images; empty where all have."""
        if not self.unseen:
            return ""
        names = ", ".join(self.names.get(key, f"category {key}") for key in self.unseen)
        them = "it" if len(self.unseen) == 1 else "them"
        return f"These images have no object of {names}, so they show nothing about {them}."

    @property
    def sentence(self) -> str:
        """The whole statement in words."""
        if self.nothing:
            return f"{self.nothing}."
        return " ".join(part for part in (f"{self.headline}.", self.evidence, self.hope, self.gap) if part)

    def to_dict(self) -> dict[str, Any]:
        """The statement as JSON can hold it: its words, and the figures behind them."""
        words = {name: getattr(self, name) for name in ("headline", "evidence", "hope", "gap")}
        figures = ("change", "least", "saved", "metric", "margin", "confidence", "n_images", "images_needed")
        return {
            **words,
            "nothing": self.nothing,
            "n_removed": self.n_removed,
            "anchors": list(self.configuration.ids),
            "channels": self.channels,
            "cost": self.cost.name,
            **{name: getattr(self, name) for name in (*figures, "tried", "folds", "unpruned")},
            "caveats": list(self.caveats),
        }

    def __str__(self) -> str:
        return self.sentence

    @property
    def _shown(self) -> bool:
        """Whether anything is shown to be safe beside the full detector."""
        return self.saved > 0 if self.channels else self.n_removed > 0

    @property
    def _headline_of_joint(self) -> str:
        if self._shown:
            kept, total = len(self.configuration), len(self.configuration.layout)
            return (
                f"With {self._sure}, {kept} of {total} anchors {_without(self.channels)} are enough and "
                f"{self.metric} falls by less than {points_of(self.margin)} on images like these"
            )
        more = f": about {self.images_needed:,} would" if self.images_needed and self.margin else ""
        return f"{self.n_images:,} images cannot tell which anchors and channels can go{more}"

    @property
    def _sure(self) -> str:
        return f"{100 * self.confidence:g} % confidence"


@dataclass(frozen=True)
class Hope:
    """A point that is not shown to be safe but may be.

    Attributes:
        place: its row, or None if more images would show nothing more.
        images_needed: see `images_to_show`.
    """

    place: int | None
    images_needed: int


def hope_among(
    change: Floats,
    error: Floats,
    cost: Floats,
    chosen_cost: float,
    shown: bool,
    n_images: int,
    width: float,
    margin: float,
) -> Hope:
    """The point that more images would most likely show to be safe, among those cheaper than the one that is.

    That is the cheapest one that shows no loss. Where nothing is shown to be safe and every point shows a loss, it is
    the one for which the fewest images are needed.

    Args:
        change: float64 (n,), of AP against the full detector, measured, 0..1.
        error: float64 (n,), their standard errors.
        cost: float64 (n,).
        chosen_cost: of what is shown to be safe already.
        shown: whether that is more than the full detector.
        n_images: how many images there are.
        width: how many standard errors below its point a bound lies.
        margin: the loss that does not matter, 0..1.
    """
    cheaper = np.flatnonzero(cost < chosen_cost)
    needed = {
        int(at): images_to_show(n_images, float(change[at]), float(error[at]), width, margin) for at in cheaper.tolist()
    }
    harmless = cheaper[change[cheaper] >= 0]
    if len(harmless):
        best = int(harmless[cost[harmless].argmin()])
        return Hope(best, needed[best])
    possible = [at for at, count in needed.items() if count]
    if shown or not possible:
        return Hope(None, 0)
    best = min(possible, key=lambda at: (needed[at], cost[at]))
    return Hope(best, needed[best])


def points_of(accuracy: float) -> str:
    """A difference of accuracies (0..1) in points, with the word."""
    number = f"{100 * accuracy:g}"
    return f"{number} point" if number == "1" else f"{number} points"


def images_to_show(n_images: int, change: float, error: float, width: float, margin: float) -> int:
    """About how many images like these would show a change to be above -margin, if it stays as measured.

    Args:
        n_images: how many there are.
        change: of AP, measured, 0..1.
        error: its standard error.
        width: how many standard errors below its point a bound lies.
        margin: the loss that does not matter, 0..1.

    Returns:
        At least `n_images`, rounded up to two digits; 0 if no number would, because the loss is not within the margin.

    Examples:
        >>> images_to_show(100, change=0.0, error=0.004, width=2.5, margin=0.005)
        400
        >>> images_to_show(100, change=-0.01, error=0.004, width=2.5, margin=0.005)
        0
    """
    room = margin + change
    if room <= 0:
        return 0
    needed = math.ceil(n_images * max((width * error / room) ** 2, 1.0))
    step = int(10 ** max(len(str(needed)) - 2, 0))
    return math.ceil(needed / step) * step


def _without(channels: str) -> str:
    """The detector of a joint search in words: a share of removed channels as such, another label by its name."""
    try:
        share = float(channels)
    except ValueError:
        return f"with the channels of {channels}"
    return f"without {100 * share:g} % of the channels" if share else "with all channels"


def _accuracy(value: float) -> str:
    return f"{100 * value:.1f}"
