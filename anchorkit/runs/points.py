"""The trained points of a run: ``retrained/points.csv``, and which of them to ship.

`05_prune_and_retrain` writes the table, one row per point, stage and split. The run's page, lessons 5 to 7 and
``anchorkit export`` all take the detector to ship from `Points.shipped`, so they name the same one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from anchorkit.errors import InputError
from anchorkit.files import read_json, replacing, write_json
from anchorkit.findings import nothing_can_be_told
from anchorkit.runs.folder import left_by_earlier
from anchorkit.runs.record import RECORD_FILE, RunRecord
from anchorkit.search.result import NEGLIGIBLE_LOSS
from anchorkit.statistics.intervals import in_points, interval_words
from anchorkit.statistics.removal import points_of

STAGES = ("pruned", "fine-tuned", "retrained")
"""The stages of a point, besides ``"full"``, the unpruned detector."""

_FILE = Path("retrained") / "points.csv"
_LOSS_FILE = Path("retrained") / "max_loss.json"
_NEEDED = ("point", "stage", "accuracy", "head_flops")


UNPRUNED = ("unpruned", "full")
"""Point and stage of the full detector."""

CROSS_FITTED = "cross-fit"
"""The ``split`` of cross-fitted figures: of all validation images, each with a choice that it took no part in."""


@dataclass(frozen=True)
class Changed:
    """How a detector does against the full one on some images.

    Attributes:
        split: which images.
        before: AP of the full detector, 0..1. after: its own.
        low: the ends of the 95 % interval of the change, 0..1; NaN where it is unknown. high: the other end.
    """

    split: str
    before: float
    after: float
    low: float
    high: float

    @property
    def where(self) -> str:
        """On which images, for a sentence."""
        return "in the cross-fit" if self.split == CROSS_FITTED else f"on the {self.split} images"

    @property
    def words(self) -> str:
        """Both accuracies, the change and its interval, in points."""
        change = f"AP {100 * self.before:.1f} \N{RIGHTWARDS ARROW} {100 * self.after:.1f}"
        if math.isnan(self.low):
            return change
        return f"{change}, a change of {in_points(self.after - self.before)} ({interval_words(self.low, self.high)})"


@dataclass(frozen=True)
class Shipment:
    """The detector to ship.

    Attributes:
        point: its point, or ``"unpruned"``.
        stage: its stage, or ``"full"``.
        why: why it was chosen, in one or two sentences.
    """

    point: str
    stage: str
    why: str

    @property
    def pruned(self) -> bool:
        """Whether it is a pruned detector."""
        return (self.point, self.stage) != UNPRUNED

    def folder(self, run_dir: str | Path) -> Path:
        """Where the run keeps it."""
        return detector_folder(run_dir, self.point, self.stage)


def detector_folder(run_dir: str | Path, point: str, stage: str) -> Path:
    """The folder of a run with the detector of a point and stage."""
    return (
        Path(run_dir) / "detector" if (point, stage) == UNPRUNED else Path(run_dir) / "retrained" / f"{point}-{stage}"
    )


@dataclass(frozen=True)
class Points:
    """The pruned detectors of a run, measured.

    Attributes:
        table: one row per point, stage and split: ``point`` (``"A"``; ``"unpruned"`` for the full detector), ``stage``
            (``"full"`` or one of `STAGES`), ``split`` (``"val"``, ``"test"`` or `CROSS_FITTED`, where the run names
            it), ``accuracy`` (0..1), ``low`` and ``high`` (ends of the interval of its change against the full
            detector, where it was computed), ``head_flops`` and the other costs, ``anchors``.
        max_loss: accuracy that the detector to ship may lose compared with the full one, absolute, 0..1.

    Example:
        >>> import pandas as pd
        >>> rows = [("unpruned", "full", 0.50, 100), ("A", "pruned", 0.499, 70), ("B", "pruned", 0.496, 50)]
        >>> table = pd.DataFrame(rows, columns=["point", "stage", "accuracy", "head_flops"])
        >>> Points(table).shipped, Points(table, max_loss=0.005).shipped
        (('A', 'pruned'), ('B', 'pruned'))
    """

    table: pd.DataFrame
    max_loss: float = NEGLIGIBLE_LOSS

    @classmethod
    def read(cls, run_dir: str | Path, needed: Sequence[str] = ()) -> Points:
        """Read the points of a run, with the loss that the run allows.

        Args:
            run_dir: the run's folder.
            needed: columns that the caller needs besides ``point``, ``stage``, ``accuracy`` and ``head_flops``.

        Raises:
            InputError: the file is not there (the message names the notebook that writes it), cannot be read, or lacks
                a column.
        """
        path = left_by_earlier(run_dir, str(_FILE))
        table = read_table(path, (*_NEEDED, *needed), "the notebook 05_prune_and_retrain")
        return cls(table, _recorded_loss(Path(run_dir)))

    @classmethod
    def read_if_there(cls, run_dir: str | Path, needed: Sequence[str] = ()) -> Points | None:
        """The points of a run; None if 05_prune_and_retrain has not written any.

        Raises:
            InputError: as `read`, but for a missing file.
        """
        if not (Path(run_dir) / _FILE).exists():
            return None
        points = cls.read(run_dir, needed)
        return points if len(points.table) else None

    def write(self, run_dir: str | Path) -> None:
        """Write the table into a run's folder; the file appears whole or not at all."""
        with replacing(Path(run_dir) / _FILE) as temporary:
            self.table.to_csv(temporary, index=False)

    def record_loss(self, run_dir: str | Path) -> None:
        """Record in the run's folder how much the detector to ship may lose; every later reader applies it."""
        write_json(Path(run_dir) / _LOSS_FILE, {"max_loss": self.max_loss})

    @property
    def reported_split(self) -> str | None:
        """The split that results are reported on: ``"test"`` if there is one; None if the table names no splits."""
        if "split" not in self.table:
            return None
        splits = list(self.table["split"])
        return "test" if "test" in splits else str(splits[0])

    @property
    def reported(self) -> pd.DataFrame:
        """The rows of `reported_split`."""
        if self.reported_split is None:
            return self.table
        return self.table[self.table["split"] == self.reported_split].reset_index(drop=True)

    @property
    def shipped(self) -> tuple[str, str]:
        """The detector to ship, as point and stage; see `shipment`.

        Raises:
            InputError: as `shipment`.
        """
        return self.shipment.point, self.shipment.stage

    @property
    def looked_at(self) -> tuple[str, str]:
        """The pruned detector that lessons show: the one to ship or, if that is the unpruned one, the first considered.

        Raises:
            InputError: as `shipment`.
        """
        return self.shipped if self.shipment.pruned else self._ordered()[0]

    @cached_property
    def shipment(self) -> Shipment:
        """The detector to ship, and why: selected on the validation images, and dropped if other images refute it.

        The rule: of all pruned detectors that lose at most `max_loss` on the validation images, the cheapest one (by
        head FLOPs); of equally cheap ones, the most accurate one that was trained after pruning. If all lose more, the
        most accurate one. A detector is passed over if it loses half of the full detector's AP or more on the test
        images, or if these show with their whole interval that it loses more than `max_loss`. Without a test split, the
        cross-fitted figures (``split`` ``"cross-fit"``) of a point do the same. If none is left, or the full detector
        is hardly trained, the unpruned detector is the one to ship.

        Raises:
            InputError: the table has no full detector to compare with, or no pruned one.
        """
        nothing = nothing_can_be_told(self._full_accuracy(self._chosen_on))
        if nothing:
            return Shipment(*UNPRUNED, f"{nothing}.")
        passed_over: list[str] = []
        for point, stage in self._ordered():
            against = self._refuted(point, stage)
            if against is None:
                return Shipment(point, stage, self._why(point, stage, passed_over))
            passed_over.append(f"{point} {stage} {against}")
        return Shipment(*UNPRUNED, f"No pruned detector can be shipped: {'; '.join(passed_over)}.")

    @property
    def loss_kept(self) -> bool:
        """Whether any pruned detector loses at most `max_loss` on the validation images."""
        return len(self._candidates()[0]) > 0

    def changed(self, point: str, stage: str, split: str) -> Changed | None:
        """The change of AP of a detector against the full one on a split; None where it was not measured."""
        if "split" not in self.table:
            return None
        rows = self.table[self.table["split"] == split]
        own = rows[(rows["point"].astype(str) == point) & (rows["stage"] == stage)]
        full = rows[rows["stage"] == "full"]
        if own.empty or full.empty:
            return None
        before, after = float(full["accuracy"].iloc[0]), float(own["accuracy"].iloc[0])
        low, high = (float(own[name].iloc[0]) if name in own else math.nan for name in ("low", "high"))
        return Changed(split, before, after, low, high)

    @property
    def _chosen_on(self) -> pd.DataFrame:
        """The rows that the choice is made on: the validation images, where the table has them."""
        rows = self.table[self.table["split"] == "val"] if "split" in self.table else self.table
        return self.reported if rows.empty else rows

    def _full_accuracy(self, rows: pd.DataFrame) -> float:
        full = rows[rows["stage"] == "full"]
        if full.empty or not rows["stage"].isin(STAGES).any():
            raise InputError("points: the full detector and a pruned one are needed; run 05_prune_and_retrain")
        return float(full["accuracy"].iloc[0])

    def _candidates(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The pruned detectors that lose at most `max_loss` on the validation images, and all pruned ones."""
        rows = self._chosen_on
        least = self._full_accuracy(rows) - self.max_loss
        rest = rows[rows["stage"].isin(STAGES)]
        return rest[rest["accuracy"] >= least], rest

    def _ordered(self) -> list[tuple[str, str]]:
        """The pruned detectors in the order in which they are considered."""
        enough, rest = self._candidates()
        if len(enough):
            # An untrained point was selected for its validation accuracy, which is therefore too high; a trained
            # point was not.
            ranks = enough.assign(untrained=enough["stage"] == STAGES[0])
            ranks = ranks.sort_values(["head_flops", "untrained", "accuracy"], ascending=[True, True, False])
        else:
            ranks = rest.sort_values(["accuracy", "head_flops"], ascending=[False, True])
        return list(zip(ranks["point"].astype(str), ranks["stage"].astype(str), strict=True))

    def examined(self, point: str, stage: str) -> bool:
        """Whether images that did not choose a detector have measured it: test images, or those of a cross-fit."""
        return self._evidence(point, stage) is not None

    def _evidence(self, point: str, stage: str) -> Changed | None:
        """How a detector does on images that did not choose it: on the test images, or cross-fitted."""
        return self.changed(point, stage, "test") or self.changed(point, stage, CROSS_FITTED)

    def _refuted(self, point: str, stage: str) -> str | None:
        """Why a detector must not be shipped, or None."""
        found = self._evidence(point, stage)
        if found is None:
            return None
        if found.after < 0.5 * found.before:
            return f"lost most of its AP {found.where} ({found.words})"
        if self.loss_kept and found.high < -self.max_loss:
            return f"loses more than {self._allowed} {found.where} ({found.words})"
        return None

    def _why(self, point: str, stage: str, passed_over: Sequence[str]) -> str:
        if self.loss_kept:
            text = f"The cheapest that loses at most {self._allowed} on the validation images"
        else:
            text = f"All lose more than {self._allowed} on the validation images; this one loses least"
        if passed_over:
            text += f" and is not refuted ({'; '.join(passed_over)})"
        found = self._evidence(point, stage)
        if found is None:
            return f"{text}. No other images have confirmed it."
        if found.low >= -self.max_loss:
            return f"{text}, confirmed {found.where}: {found.words}."
        return f"{text}. Neither confirmed nor refuted {found.where}: {found.words}."

    @property
    def _allowed(self) -> str:
        return points_of(self.max_loss)


def read_table(path: Path, needed: Iterable[str], maker: str) -> pd.DataFrame:
    """A table that a lesson has left.

    Raises:
        InputError: it cannot be read, or lacks a column; the message says which lesson to run again.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
    for name in needed:
        if name not in table:
            raise InputError(f"{path}: lacks the column {name!r}; run {maker} again")
    return table


def _recorded_loss(folder: Path) -> float:
    """The loss that a run allows: recorded by lesson 6 or, of older runs, lesson 6's parameter in run.json."""
    if (folder / _LOSS_FILE).is_file():
        path, facts = folder / _LOSS_FILE, read_json(folder / _LOSS_FILE)
    else:
        record = RunRecord.read_if_there(folder)
        report = record.notebooks.get("06_report") if record is not None else None
        path, facts = folder / RECORD_FILE, dict(report.parameters) if report is not None else {}
    loss = facts.get("max_loss", NEGLIGIBLE_LOSS) if isinstance(facts, dict) else None
    if not isinstance(loss, int | float) or isinstance(loss, bool):
        raise InputError(f"{path}: max_loss is {loss!r}: a number is needed; run the notebook 06_report again")
    return float(loss)
