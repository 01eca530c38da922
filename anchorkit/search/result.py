"""What a search found."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.errors import InputError
from anchorkit.files import read_json, replacing, write_json
from anchorkit.search.frontier import hypervolume, knee

RESULT_VERSION = 1

# Two accuracies closer than this are the same: room for the rounding in "full accuracy minus a loss", nothing else.
NEGLIGIBLE_LOSS = 0.002
"""Accuracy (0..1) that a choice may lose unless someone says otherwise: 0.2 points of AP."""

_ROUNDING = 1e-12


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search.

    Both frames have the columns ``accuracy`` (0..1), the costs known (``boxes``, ``head_flops``, ``total_flops``,
    ``head_parameters``, and a callable's name), ``n_anchors`` and ``anchors`` (ids kept, separated by spaces).

    Attributes:
        layout: the layout whose anchors were searched.
        cost: name of the cost that the frontier is about.
        threshold: least accuracy that was asked for, 0..1, or None.
        strategy: a name of `anchorkit.search.STRATEGIES`, or ``"exhaustive"``.
        moves: kind of moves, ``"anchor"``, ``"shared"`` or ``"auto"``.
        frontier: the configurations that no other one beats, most accurate first.
        evaluated: every configuration tried, in order; also ``order`` (0, 1, ...) and ``parent`` (the order of the one
            it was first reached from, -1 for the full configuration, which is the first row).
        complete: False if the search was interrupted: the same call has more to find.
        budget: how many configurations the search was allowed to try, or None.
        among: ids of the anchors that were allowed to go, or None for all.
    """

    layout: AnchorLayout = field(repr=False)
    cost: str
    threshold: float | None
    strategy: str
    moves: str
    frontier: pd.DataFrame = field(repr=False)
    evaluated: pd.DataFrame = field(repr=False)
    complete: bool = True
    budget: int | None = None
    among: tuple[str, ...] | None = None

    @cached_property
    def configurations(self) -> list[Configuration]:
        """The configurations of the frontier's rows, in the same order."""
        return [self.layout.configuration(keep=ids.split()) for ids in self.frontier["anchors"]]

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
        """
        if not -1.0 < max_loss < 1.0:
            raise InputError(f"max_loss is {max_loss!r}: accuracies are 0..1, so 2 points are 0.02")
        full = float(self.baseline["accuracy"])
        accuracies = self.frontier["accuracy"].to_numpy()
        enough = np.flatnonzero(accuracies >= full - max_loss - _ROUNDING)
        if len(enough) == 0:
            raise InputError(
                f"no configuration has accuracy {full - max_loss:.4f} or more: the full one has {full:.4f}, the best "
                f"{accuracies.max():.4f}; use max_loss={max(full - accuracies.max(), -1.0):.4f}"
            )
        return self.configurations[int(enough[self.frontier[self.cost].to_numpy()[enough].argmin()])]

    def best(self, **budget: float) -> Configuration:
        """The most accurate configuration of the frontier within a budget, e.g. ``best(head_flops=1.2e9)``.

        Args:
            **budget: the most that a cost may be, by its column's name; several must hold together.

        Raises:
            InputError: no budget is given, a cost is unknown, or nothing is that cheap; the message says what is.
        """
        columns = [name for name in self.frontier.columns if name not in ("accuracy", "anchors")]
        if not budget or not set(budget) <= set(columns):
            raise InputError(f"best({', '.join(budget)}): give a budget for one or more of {', '.join(columns)}")
        fits = np.ones(len(self.frontier), dtype=bool)
        for name, most in budget.items():
            fits &= self.frontier[name].to_numpy() <= most
        if not fits.any():
            asked = " and ".join(f"{name} <= {most:g}" for name, most in budget.items())
            least = ", ".join(f"{name} {self.frontier[name].min():,}" for name in budget)
            raise InputError(f"no configuration of the frontier has {asked}: the least there is {least}")
        accuracies = np.where(fits, self.frontier["accuracy"].to_numpy(), -np.inf)
        return self.configurations[int(accuracies.argmax())]

    def knee(self) -> Configuration:
        """The configuration where the frontier bends most, see `anchorkit.search.frontier.knee`."""
        return self.configurations[knee(self.frontier["accuracy"].tolist(), self.frontier[self.cost].tolist())]

    def hypervolume(self) -> float:
        """How much of the accuracy-cost plane the frontier dominates, 0..1.

        See `anchorkit.search.frontier.hypervolume`.
        """
        return hypervolume(
            self.frontier["accuracy"].tolist(), self.frontier[self.cost].tolist(), float(self.baseline[self.cost])
        )

    def plot(self, **options: Any) -> Any:
        """The frontier as an Altair chart; the options are those of `anchorkit.plots.frontier`."""
        # By name and on the call: a search draws nothing, and works where no chart library can be loaded.
        plots = importlib.import_module("anchorkit.plots")
        options.setdefault("full", self.evaluated.iloc[:1])
        return plots.frontier(self.frontier, self.cost, **options)

    def save(self, folder: str | Path) -> None:
        """Write ``frontier.csv``, ``evaluated.parquet`` and ``search.json`` (what was searched, with versions).

        Raises:
            InputError: the folder cannot be written, or the disk is full.
        """
        folder = Path(folder)
        with replacing(folder / "frontier.csv") as temporary:
            self.frontier.to_csv(temporary, index=False)
        with replacing(folder / "evaluated.parquet") as temporary:
            self.evaluated.to_parquet(temporary, index=False)
        # Last, as the sign that the others are there.
        write_json(folder / "search.json", self._about())

    @classmethod
    def load(cls, folder: str | Path) -> SearchResult:
        """Read what `save` wrote.

        Raises:
            InputError: a file is missing, damaged, or from another version.
        """
        folder = Path(folder)
        source = folder / "search.json"
        about = read_json(source)
        if not isinstance(about, Mapping) or about.get("version") != RESULT_VERSION:
            found = about.get("version") if isinstance(about, Mapping) else None
            raise InputError(f"{source}: version {found!r}; this anchorkit reads version {RESULT_VERSION}")
        try:
            layout = AnchorLayout.from_dict(about["layout"], str(source))
            result = cls(
                layout=layout,
                cost=str(about["cost"]),
                threshold=about["threshold"],
                strategy=str(about["strategy"]),
                moves=str(about["moves"]),
                frontier=_read(folder / "frontier.csv"),
                evaluated=_read(folder / "evaluated.parquet"),
                complete=bool(about.get("complete", True)),
                budget=about.get("budget"),
                among=None if about.get("among") is None else tuple(about["among"]),
            )
        except KeyError as error:
            raise InputError(f"{source}: lacks {error.args[0]!r}; search again") from None
        for name, frame in (("frontier.csv", result.frontier), ("evaluated.parquet", result.evaluated)):
            missing = {"accuracy", "anchors", result.cost} - set(frame.columns)
            if missing or len(frame) == 0:
                lacking = f"column {min(missing)!r}" if missing else "rows"
                raise InputError(f"{folder / name}: lacks {lacking}; search again")
        return result

    def _about(self) -> dict[str, Any]:
        from anchorkit import __version__

        return {
            "version": RESULT_VERSION,
            "cost": self.cost,
            "threshold": self.threshold,
            "strategy": self.strategy,
            "moves": self.moves,
            "full_accuracy": float(self.baseline["accuracy"]),
            "evaluated": len(self.evaluated),
            "complete": self.complete,
            "budget": self.budget,
            "among": self.among,
            "versions": {
                "anchorkit": __version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "pandas": pd.__version__,
            },
            "layout": self.layout.to_dict(),
        }


class SearchInterrupted(KeyboardInterrupt):
    """A search was interrupted; what it had found is not lost.

    Where nobody caught it, a notebook or a Python prompt has it as ``sys.last_value``.

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


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".csv":
            text = pd.read_csv(path, dtype=str, keep_default_na=False)
            # Python's own conversion gives back the very number that was written; pandas' may be off by a last bit.
            return pd.DataFrame(
                {name: text[name] if name == "anchors" else text[name].map(_number) for name in text.columns}
            )
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read, or cut off ({str(error).splitlines()[0]}); search again") from None


def _number(text: str) -> float:
    return int(text) if text.lstrip("-").isdecimal() else float(text)
