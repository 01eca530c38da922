"""What a search found."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.costs import Cost, CostFunction, as_cost, cost_facts
from anchorkit.errors import InputError
from anchorkit.files import read_json, replacing, write_json
from anchorkit.search.frontier import cheapest, hypervolume, knee, most_accurate

RESULT_VERSION = 1
ABOUT_FILE = "search.json"

NEGLIGIBLE_LOSS = 0.002
"""Accuracy (0..1) that a choice may lose by default: 0.2 points of AP."""


@dataclass(frozen=True)
class Asked:
    """What a search is asked for.

    Attributes:
        cost: what the frontier trades accuracy for.
        threshold: least accuracy, 0..1, or None.
        moves: kind of moves, ``"anchor"``, ``"shared"`` or ``"auto"``.
        among: ids of the anchors that may go, or None for all.
        budget: how many configurations to try at most, or None.
    """

    cost: Cost
    threshold: float | None = None
    moves: str = "auto"
    among: tuple[str, ...] | None = None
    budget: int | None = None

    @classmethod
    def of(
        cls,
        layout: AnchorLayout,
        cost: str | Cost | CostFunction,
        *,
        threshold: float | None = None,
        moves: str = "auto",
        among: Iterable[int | str] | None = None,
        budget: int | None = None,
    ) -> Asked:
        """From the arguments of `anchorkit.search`.

        Raises:
            InputError: the cost or an anchor is unknown, or the budget is below 1.
        """
        if budget is not None and budget < 1:
            raise InputError(f"budget is {budget}: at least one configuration is needed")
        ids = None if among is None else layout.configuration(keep=among).ids
        return cls(as_cost(cost), None if threshold is None else float(threshold), moves, ids, budget)


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search.

    Both frames have the columns ``accuracy`` (0..1), the costs that the layout allows to compute (``boxes``,
    ``head_flops``, ``total_flops``, ``head_parameters``) and a callable's, ``n_anchors`` and ``anchors`` (ids kept,
    separated by spaces). What was asked for can be read off the result too, as in ``result.threshold``.

    Attributes:
        layout: the layout whose anchors were searched.
        asked: what was asked for.
        strategy: the name of the strategy: one of `anchorkit.search.STRATEGIES`, ``"exhaustive"`` or the user's own.
        frontier: the configurations that no other one beats, most accurate first.
        evaluated: every configuration tried, in order; also ``order`` (0, 1, ...) and ``parent`` (the order of the one
            it was first reached from, -1 for the full configuration, which is the first row).
        configurations: the configurations of the frontier's rows, in the same order.
        complete: False if the search was interrupted: the same call has more to find.

    Examples:
        >>> import anchorkit as ak
        >>> from anchorkit.search.toy import toy_evaluator
        >>> result = ak.search(toy_evaluator(), cost="boxes", progress=False)
        >>> result.cost, result.strategy, len(result.evaluated)
        ('boxes', 'algorithm1', 38)
        >>> print(result.configurations[0])
        5 of 6 anchors: L0/16x16 L0/32x16 L1/32x32 L1/64x32 L1/32x64
    """

    layout: AnchorLayout = field(repr=False)
    asked: Asked
    strategy: str
    frontier: pd.DataFrame = field(repr=False)
    evaluated: pd.DataFrame = field(repr=False)
    configurations: list[Configuration] = field(repr=False)
    complete: bool = True

    @property
    def cost(self) -> str:
        """The name of the cost that the frontier is about: a column of both frames."""
        return self.asked.cost.name

    @property
    def threshold(self) -> float | None:
        """The least accuracy that was asked for, 0..1, or None."""
        return self.asked.threshold

    @property
    def moves(self) -> str:
        """The kind of moves: ``"anchor"``, ``"shared"`` or ``"auto"``."""
        return self.asked.moves

    @property
    def among(self) -> tuple[str, ...] | None:
        """Ids of the anchors that were allowed to go, or None for all."""
        return self.asked.among

    @property
    def budget(self) -> int | None:
        """How many configurations the search was allowed to try, or None."""
        return self.asked.budget

    @property
    def baseline(self) -> pd.Series[Any]:
        """The row of the full configuration."""
        return self.evaluated.iloc[0]

    def cheapest(self, max_loss: float = 0.0) -> Configuration:
        """The cheapest configuration of the frontier that loses no more than `max_loss` of the full one's accuracy.

        Args:
            max_loss: accuracy that may be lost, absolute: 0.002 is 0.2 points. A negative loss asks for a gain.

        Raises:
            InputError: no configuration is accurate enough; the message says what the most accurate one gains.

        Examples:
            >>> import anchorkit as ak
            >>> from anchorkit.search.toy import toy_evaluator
            >>> result = ak.search(toy_evaluator(), cost="boxes", progress=False)
            >>> print(result.cheapest(max_loss=0.05))
            2 of 6 anchors: L0/16x16 L1/32x32
        """
        if not -1.0 < max_loss < 1.0:
            raise InputError(f"max_loss is {max_loss!r}: accuracies are 0..1, so 2 points are 0.02")
        full = float(self.baseline["accuracy"])
        accuracies = self.frontier["accuracy"].to_numpy()
        found = cheapest(accuracies, self.frontier[self.cost], full - max_loss)
        if found is None:
            raise InputError(
                f"no configuration has accuracy {full - max_loss:.4f} or more: the full one has {full:.4f}, the best "
                f"{accuracies.max():.4f}; use max_loss={max(full - accuracies.max(), -1.0):.4f}"
            )
        return self.configurations[found]

    def best(self, **budget: float) -> Configuration:
        """The most accurate configuration of the frontier within a budget, e.g. ``best(head_flops=1.2e9)``.

        Args:
            **budget: the most that a cost may be, by its column's name; several must hold together.

        Raises:
            InputError: no budget is given, a cost is unknown, or nothing is that cheap; the message says what is.

        Examples:
            >>> import anchorkit as ak
            >>> from anchorkit.search.toy import toy_evaluator
            >>> result = ak.search(toy_evaluator(), cost="boxes", progress=False)
            >>> print(result.best(boxes=90))
            2 of 6 anchors: L0/16x16 L1/32x32
        """
        columns = [name for name in self.frontier.columns if name not in ("accuracy", "anchors")]
        if not budget or not set(budget) <= set(columns):
            raise InputError(f"best({', '.join(budget)}): give a budget for one or more of {', '.join(columns)}")
        limits = [(self.frontier[name], most) for name, most in budget.items()]
        found = most_accurate(self.frontier["accuracy"], *limits)
        if found is None:
            asked = " and ".join(f"{name} <= {most:g}" for name, most in budget.items())
            least = ", ".join(f"{name} {self.frontier[name].min():,}" for name in budget)
            raise InputError(f"no configuration of the frontier has {asked}: the least there is {least}")
        return self.configurations[found]

    def row(self, configuration: Configuration) -> pd.Series[Any]:
        """The frontier's row of one of its `configurations`.

        Raises:
            InputError: the configuration is not on the frontier.
        """
        if configuration not in self.configurations:
            raise InputError(f"not on the frontier: {configuration}")
        return self.frontier.iloc[self.configurations.index(configuration)]

    def knee(self) -> Configuration:
        """The configuration where the frontier bends most, see `anchorkit.search.frontier.knee`.

        Examples:
            >>> import anchorkit as ak
            >>> from anchorkit.search.toy import toy_evaluator
            >>> print(ak.search(toy_evaluator(), cost="boxes", progress=False).knee())
            2 of 6 anchors: L0/16x16 L1/32x32
        """
        return self.configurations[knee(self.frontier["accuracy"].tolist(), self.frontier[self.cost].tolist())]

    def hypervolume(self) -> float:
        """How much of the accuracy-cost plane the frontier dominates, 0..1.

        See `anchorkit.search.frontier.hypervolume`.

        Examples:
            >>> import anchorkit as ak
            >>> from anchorkit.search.toy import toy_evaluator
            >>> round(ak.search(toy_evaluator(), cost="boxes", progress=False).hypervolume(), 3)
            0.395
        """
        return hypervolume(
            self.frontier["accuracy"].tolist(), self.frontier[self.cost].tolist(), float(self.baseline[self.cost])
        )

    def plot(self, **options: Any) -> Any:
        """The frontier as an Altair chart; the options are those of `anchorkit.plots.frontier`."""
        # By name and on the call: a search draws nothing, and works where no chart library can be loaded.
        plots = importlib.import_module("anchorkit.plots")
        options.setdefault("full", self.evaluated.iloc[:1])
        return plots.frontier(self.frontier, self.asked.cost, **options)

    def save(self, folder: str | Path) -> None:
        """Write ``frontier.csv``, ``evaluated.parquet`` and ``search.json`` (what was searched, with versions).

        Raises:
            InputError: the folder cannot be written, or the disk is full.
        """
        write_result(folder, {"frontier.csv": self.frontier, "evaluated.parquet": self.evaluated}, self.about())

    @classmethod
    def load(cls, folder: str | Path) -> SearchResult:
        """Read what `save` wrote.

        Raises:
            InputError: a file is missing, damaged, or from another version.
        """
        folder = Path(folder)
        about = read_about(folder)
        if "points" in about:
            raise InputError(f"{folder}: a joint search is there; load it with JointResult.load")
        cost = str(about.get("cost"))
        frontier, evaluated = (read_frame(folder / name, cost) for name in ("frontier.csv", "evaluated.parquet"))
        return cls.of(about, frontier, evaluated, str(folder / ABOUT_FILE))

    @classmethod
    def of(cls, about: Mapping[str, Any], frontier: pd.DataFrame, evaluated: pd.DataFrame, source: str) -> SearchResult:
        """A result from what files hold of it.

        Args:
            about: as `about` gives it.
            frontier: see the class.
            evaluated: see the class.
            source: the file that `about` is from, for errors.

        Raises:
            InputError: `about` lacks something.
        """
        try:
            layout = AnchorLayout.from_dict(about["layout"], source)
            among = about.get("among")
            asked = Asked(
                cost=cost_facts(str(about["cost"])),
                threshold=about["threshold"],
                moves=str(about["moves"]),
                among=None if among is None else tuple(among),
                budget=about.get("budget"),
            )
            strategy, complete = str(about["strategy"]), bool(about.get("complete", True))
        except KeyError as error:
            raise InputError(f"{source}: lacks {error.args[0]!r}; search again") from None
        return cls(layout, asked, strategy, frontier, evaluated, kept_in(layout, frontier), complete)

    def about(self) -> dict[str, Any]:
        """What was searched and asked for, as JSON holds it."""
        return {
            "cost": self.cost,
            "threshold": self.threshold,
            "strategy": self.strategy,
            "moves": self.moves,
            "full_accuracy": float(self.baseline["accuracy"]),
            "evaluated": len(self.evaluated),
            "complete": self.complete,
            "budget": self.budget,
            "among": self.among,
            "layout": self.layout.to_dict(),
        }


class SearchInterrupted(KeyboardInterrupt):
    """A search was interrupted; `result` has what it found until then.

    If it is not caught, a notebook or a Python prompt has it as ``sys.last_value``.

    Attributes:
        result: the frontier so far and every configuration tried, with ``complete`` False.
    """

    def __init__(self, result: SearchResult, ledger: str | Path | None = None) -> None:
        super().__init__(
            f"{len(result.evaluated):,} configurations measured, {len(result.frontier)} of them are the frontier so "
            "far (this exception's `result` has them); the same call goes on from "
            f"{'what the evaluator remembers' if ledger is None else ledger}"
        )
        self.result = result


def kept_in(layout: AnchorLayout, frame: pd.DataFrame) -> list[Configuration]:
    """The configurations of a frame that was read from a file: of its column ``anchors`` (ids kept).

    Raises:
        InputError: an anchor is unknown.
    """
    return [layout.configuration(keep=ids.split()) for ids in frame["anchors"]]


def write_result(folder: str | Path, frames: Mapping[str, pd.DataFrame], about: Mapping[str, Any]) -> None:
    """Write the frames of a search by file name and, last, as the sign that they are there, what it is about.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    from anchorkit import __version__

    for name, frame in frames.items():
        with replacing(Path(folder) / name) as temporary:
            frame.to_csv(temporary, index=False) if name.endswith(".csv") else frame.to_parquet(temporary, index=False)
    versions = {"python": platform.python_version(), "numpy": np.__version__, "pandas": pd.__version__}
    facts = {"version": RESULT_VERSION, **about, "versions": {"anchorkit": __version__, **versions}}
    write_json(Path(folder) / ABOUT_FILE, facts)


def read_about(folder: Path) -> Mapping[str, Any]:
    """What the search in a folder is about.

    Raises:
        InputError: the file is missing, damaged, or from another version.
    """
    source = folder / ABOUT_FILE
    about = read_json(source)
    if not isinstance(about, Mapping) or about.get("version") != RESULT_VERSION:
        found = about.get("version") if isinstance(about, Mapping) else None
        raise InputError(f"{source}: version {found!r}; this anchorkit reads version {RESULT_VERSION}")
    return about


def read_frame(path: Path, cost: str, texts: Collection[str] = ("anchors",)) -> pd.DataFrame:
    """A frame of a search, with exactly the numbers that were written; the columns in `texts` stay text.

    Raises:
        InputError: the file is missing or damaged, or lacks a column or rows.
    """
    try:
        if path.suffix == ".csv":
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
            for name in frame.columns.difference([*texts]):
                # Python's own conversion gives back the very number that was written; pandas' may be off by a last bit.
                frame[name] = frame[name].map(_number)
        else:
            frame = pd.read_parquet(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read, or cut off ({str(error).splitlines()[0]}); search again") from None
    missing = {"accuracy", *texts, cost} - set(frame.columns)
    if missing or len(frame) == 0:
        raise InputError(f"{path}: lacks {f'column {min(missing)!r}' if missing else 'rows'}; search again")
    return frame


def _number(text: str) -> float:
    return int(text) if text.lstrip("-").isdecimal() else float(text)
