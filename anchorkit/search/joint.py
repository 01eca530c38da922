"""Anchors and channels together: the exact anchor search on each of a few detectors, and one frontier over all.

Removing anchors saves in the head, removing channels saves everywhere; the two savings add up. Channels come in a few
steps (a detector per step, each with its own raw predictions), anchors are searched exactly on each of them.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.costs import Cost, CostFunction, as_cost
from anchorkit.errors import InputError
from anchorkit.search import search
from anchorkit.search.frontier import cheapest, hypervolume, most_accurate, reaches, unbeaten
from anchorkit.search.measuring import AccuracyOf
from anchorkit.search.result import (
    ABOUT_FILE,
    Asked,
    SearchInterrupted,
    SearchResult,
    read_about,
    read_frame,
    write_result,
)
from anchorkit.search.running import Strategy, Walk

AnyCost = str | Cost | CostFunction


@dataclass(frozen=True)
class JointChoice:
    """One point of a joint frontier.

    Attributes:
        point: the detector or label that `joint_search` was given.
        channels: what the column ``channels`` calls it.
        configuration: the anchors that stay, of its layout: ``ak.prune(choice.point, choice.configuration)``.
        accuracy: 0..1.
        cost: in the unit of the search's cost.
    """

    point: Any = field(repr=False)
    channels: Any
    configuration: Configuration
    accuracy: float
    cost: float


@dataclass(frozen=True)
class JointResult:
    """The outcome of a joint search.

    Attributes:
        points: the detectors or labels that were searched, as they were given.
        labels: what the column ``channels`` calls each of them.
        results: the search of each.
        frontier: what nothing beats, most accurate first: the columns of `SearchResult.frontier`, and ``channels``.
        evaluated: everything tried on all detectors, the columns of `SearchResult.evaluated` and ``channels``.
        configurations: those of the frontier's rows, each of the layout of its detector.
        origins: for each row of the frontier the number of its detector in `points`.
        complete: False if a search was stopped: the same call has more to find.
    """

    points: tuple[Any, ...] = field(repr=False)
    labels: tuple[Any, ...]
    results: tuple[SearchResult, ...] = field(repr=False)
    frontier: pd.DataFrame = field(repr=False)
    evaluated: pd.DataFrame = field(repr=False)
    configurations: list[Configuration] = field(repr=False)
    origins: tuple[int, ...] = field(repr=False)
    complete: bool = True

    @property
    def asked(self) -> Asked:
        """What each search was asked for; of costs that differ between detectors, that of the whole one."""
        return self.results[self.whole].asked

    @property
    def cost(self) -> str:
        """The name of the cost that the frontier is about: a column of both frames."""
        return self.results[0].cost

    @property
    def threshold(self) -> float | None:
        """The least accuracy that was asked for, 0..1, or None."""
        return self.results[0].threshold

    @property
    def strategy(self) -> str:
        """The name of the strategy."""
        return self.results[0].strategy

    @property
    def whole(self) -> int:
        """The number of the detector that the others are compared with: the most expensive one with all anchors."""
        spent = [float(result.baseline[self.cost]) for result in self.results]
        return spent.index(max(spent))

    @property
    def baseline(self) -> pd.Series[Any]:
        """The row of the most expensive detector with all its anchors."""
        return self.results[self.whole].baseline

    @property
    def layout(self) -> AnchorLayout:
        """The layout of the most expensive detector."""
        return self.results[self.whole].layout

    def cheapest(self, max_loss: float = 0.0) -> JointChoice:
        """The cheapest point that loses no more than `max_loss` of the whole detector's accuracy, with all its anchors.

        Args:
            max_loss: accuracy that may be lost, absolute: 0.002 is 0.2 points.

        Raises:
            InputError: nothing is accurate enough.
        """
        if not -1.0 < max_loss < 1.0:
            raise InputError(f"max_loss is {max_loss!r}: accuracies are 0..1, so 2 points are 0.02")
        full = float(self.baseline["accuracy"])
        found = cheapest(self.frontier["accuracy"], self.frontier[self.cost], full - max_loss)
        if found is None:
            best = float(self.frontier["accuracy"].max())
            raise InputError(
                f"nothing has accuracy {full - max_loss:.4f} or more: {self.labels[self.whole]} has {full:.4f} with "
                f"all its anchors, the best point {best:.4f}; use max_loss={full - best:.4f}"
            )
        return self._choice(found)

    def best(self, most: float) -> JointChoice:
        """The most accurate point that costs at most `most`.

        Raises:
            InputError: nothing is that cheap.
        """
        found = most_accurate(self.frontier["accuracy"], (self.frontier[self.cost], most))
        if found is None:
            raise InputError(f"nothing has {self.cost} <= {most:g}: the least is {self.frontier[self.cost].min():,}")
        return self._choice(found)

    def choice(self, configuration: Configuration) -> JointChoice:
        """The point of one of its `configurations`.

        Raises:
            InputError: the configuration is not on the frontier.
        """
        if configuration not in self.configurations:
            raise InputError(f"not on the joint frontier: {configuration}")
        return self._choice(self.configurations.index(configuration))

    def hypervolume(self) -> float:
        """How much of the accuracy-cost plane the frontier dominates; see `SearchResult.hypervolume`."""
        return hypervolume(
            self.frontier["accuracy"].tolist(), self.frontier[self.cost].tolist(), float(self.baseline[self.cost])
        )

    def plot(self, **options: Any) -> Any:
        """The joint frontier as an Altair chart, a colour per detector and a thin line for its anchors alone.

        The options are those of `anchorkit.plots.frontier`.
        """
        # By name and on the call: a search draws nothing, and works where no chart library can be loaded.
        plots = importlib.import_module("anchorkit.plots")
        options = {"full": self.baseline, "evaluated": self.evaluated, "by": "channels", **options}
        return plots.frontier(self.frontier, self.asked.cost, **options)

    def save(self, folder: str | Path) -> None:
        """Write ``frontier.csv``, ``frontiers.csv`` (of each detector), ``evaluated.parquet`` and ``search.json``.

        Detectors are not saved here: use `anchorkit.save_detector`.

        Raises:
            InputError: the folder cannot be written, or the disk is full.
        """
        frames = {
            "frontier.csv": self.frontier,
            "frontiers.csv": _together([found.frontier for found in self.results], self.labels),
            "evaluated.parquet": self.evaluated,
        }
        points = [found.about() for found in self.results]
        write_result(folder, frames, {"cost": self.cost, "labels": list(self.labels), "points": points})

    @classmethod
    def load(cls, folder: str | Path, points: Sequence[Any] | None = None) -> JointResult:
        """Read what `save` wrote.

        Args:
            folder: where it was written.
            points: the detectors, in the order of the search; by default its labels.

        Raises:
            InputError: a file is missing, damaged, or from another version; it is no joint search; or there are more
                or fewer points.
        """
        folder = Path(folder)
        about, source = read_about(folder), str(folder / ABOUT_FILE)
        if "points" not in about or "labels" not in about:
            raise InputError(f"{source}: a search of one detector is there; load it with SearchResult.load")
        labels, texts = tuple(about["labels"]), ("anchors", "channels")
        if points is not None and len(points) != len(labels):
            raise InputError(f"{len(points)} points for the {len(labels)} detectors of {folder}")
        frontiers, evaluated = (
            read_frame(folder / name, about["cost"], texts) for name in ("frontiers.csv", "evaluated.parquet")
        )
        results = [
            SearchResult.of(facts, _part(frontiers, label), _part(evaluated, label), source)
            for facts, label in zip(about["points"], labels, strict=True)
        ]
        return _joined(labels if points is None else tuple(points), labels, tuple(results))

    def _choice(self, row: int) -> JointChoice:
        number, at = self.origins[row], self.frontier.iloc[row]
        return JointChoice(
            self.points[number],
            self.labels[number],
            self.configurations[row],
            float(at["accuracy"]),
            at[self.cost].item(),
        )


def joint_search(
    points: Iterable[tuple[Any, AccuracyOf]],
    cost: AnyCost | Sequence[AnyCost] = "total_flops",
    *,
    threshold: float | None = None,
    strategy: str | Strategy | Walk = "algorithm1",
    moves: str = "auto",
    ledger: str | Path | None = None,
    progress: bool = True,
    budget: int | None = None,
) -> JointResult:
    """Search the anchors of several detectors, and put all they offer on one frontier.

    Args:
        points: pairs of a detector and the evaluator of its raw predictions. Each detector is one choice of channels,
            the unpruned one among them; the evaluators are of the same images. Instead of a detector, a label such as
            its ratio (0.1) or a name will do.
        cost: as for `anchorkit.search`; or one per point where each detector measures its own (latency), all of one
            name. FLOPs and parameters of the head are those of each detector's layout.
        threshold: least accuracy, absolute, 0..1, for all points. A detector whose full configuration is below has
            only that one tried.
        strategy: as for `anchorkit.search`.
        moves: as for `anchorkit.search`.
        ledger: a folder that takes what was evaluated, one file per point. The same call goes on from there.
        progress: show a progress bar per point on standard error.
        budget: how many configurations to try at most on each detector.

    Raises:
        SearchInterrupted: a `KeyboardInterrupt`; the same call goes on from the ledger.
        InputError: there is no point, two have the same label, the costs have different names, or as for
            `anchorkit.search`.

    Examples:
        >>> import anchorkit as ak
        >>> from dataclasses import replace
        >>> from anchorkit.search.toy import toy_evaluator
        >>> full = toy_evaluator()
        >>> levels = tuple(replace(level, head_macs_per_anchor=70) for level in full.layout.levels)
        >>> worth = tuple(0.98 * each for each in full.worth)
        >>> slim = replace(full, layout=replace(full.layout, levels=levels), worth=worth)
        >>> both = ak.joint_search([(0, full), (0.3, slim)], cost="head_flops", progress=False)
        >>> both.frontier[["accuracy", "head_flops", "n_anchors", "channels"]].head(3)
           accuracy  head_flops  n_anchors  channels
        0    0.5000       17600          5       0.0
        1    0.4900       12320          5       0.3
        2    0.4802       11200          4       0.3
        >>> chosen = both.cheapest(max_loss=0.02)
        >>> chosen.channels, len(chosen.configuration)
        (0.3, 4)
    """
    pairs = list(points)
    if not pairs:
        raise InputError("joint_search: points is empty; give pairs of a detector and its evaluator")
    labels = _labels([point for point, _ in pairs])
    costs: list[AnyCost] = (
        list(cost) if isinstance(cost, Sequence) and not isinstance(cost, str) else [cost] * len(pairs)
    )
    if len(costs) != len(pairs):
        raise InputError(f"joint_search: {len(costs)} costs for {len(pairs)} points; give one, or one per point")
    names = sorted({as_cost(each).name for each in costs})
    if len(names) > 1:
        raise InputError(f"joint_search: the costs are called {' and '.join(names)}; they need one name")
    results = []
    for number, ((_, evaluator), label, each) in enumerate(zip(pairs, labels, costs, strict=True)):
        file = None if ledger is None else Path(ledger) / f"{number:02d}-{_file_name(label)}.jsonl"
        hopeless = threshold is not None and float(evaluator.accuracy(evaluator.layout.full)) < threshold
        with warnings.catch_warnings():
            if hopeless:
                warnings.filterwarnings("ignore", message="threshold .* is above the accuracy of the full")
            try:
                found = search(
                    evaluator,
                    each,
                    threshold=threshold,
                    strategy=strategy,
                    moves=moves,
                    ledger=file,
                    progress=progress,
                    budget=1 if hopeless else budget,
                )
            except SearchInterrupted as interrupted:
                raise SearchInterrupted(interrupted.result, ledger) from None
        results.append(found)
    return _joined(tuple(point for point, _ in pairs), labels, tuple(results))


def _joined(points: tuple[Any, ...], labels: tuple[Any, ...], results: tuple[SearchResult, ...]) -> JointResult:
    offered = _together([found.frontier for found in results], labels)
    owners = [(number, c) for number, found in enumerate(results) for c in found.configurations]
    # Each search begins with all anchors, even below the threshold; here they must reach it too.
    good = np.flatnonzero(reaches(offered["accuracy"].to_numpy(), results[0].threshold or 0.0))
    rows = [int(good[row]) for row in unbeaten(offered["accuracy"].iloc[good], offered[results[0].cost].iloc[good])]
    return JointResult(
        points=points,
        labels=labels,
        results=results,
        frontier=offered.iloc[rows].reset_index(drop=True),
        evaluated=_together([found.evaluated for found in results], labels),
        configurations=[owners[row][1] for row in rows],
        origins=tuple(owners[row][0] for row in rows),
        complete=all(found.complete for found in results),
    )


def _together(frames: Sequence[pd.DataFrame], labels: Sequence[Any]) -> pd.DataFrame:
    labelled = [frame.assign(channels=label) for frame, label in zip(frames, labels, strict=True)]
    return pd.concat(labelled, ignore_index=True)


def _part(frame: pd.DataFrame, label: Any) -> pd.DataFrame:
    """The rows of one detector; a csv file has its label as text."""
    own = frame[frame["channels"].astype(str) == str(label)]
    return own.drop(columns="channels").reset_index(drop=True)


def _labels(points: Sequence[Any]) -> tuple[Any, ...]:
    """What the column ``channels`` calls each point: numbers where all are numbers, else text."""
    if all(isinstance(point, int | float) and not isinstance(point, bool) for point in points):
        labels: list[Any] = [float(point) for point in points]
    else:
        labels = [point if isinstance(point, str) else str(getattr(point, "name", point)) for point in points]
        named = [not isinstance(point, str | int | float) for point in points]
        for number, label in enumerate(labels):  # detectors may share a name
            before = labels[:number].count(label)
            if before and named[number]:
                labels[number] = f"{label} #{before + 1}"
    twice = [label for number, label in enumerate(labels) if label in labels[:number]]
    if twice:
        raise InputError(f"joint_search: two points are called {twice[0]!r}; give each its own label")
    return tuple(labels)


def _file_name(label: Any) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", str(label)).strip("-") or "point"
