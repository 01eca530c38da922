"""The trained points of a run: ``retrained/points.csv``, and which of them to ship.

`05_prune_and_retrain` writes the table, one row per point, stage and split. The run's page, lessons 5 to 7 and
``anchorkit export`` all take the detector to ship from `Points.shipped`, so they name the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from anchorkit.errors import InputError
from anchorkit.files import read_json, replacing, write_json
from anchorkit.runs.folder import left_by_earlier
from anchorkit.runs.record import RECORD_FILE, RunRecord
from anchorkit.search.result import NEGLIGIBLE_LOSS

STAGES = ("pruned", "fine-tuned", "retrained")
"""The stages of a point, besides ``"full"``, the unpruned detector."""

_FILE = Path("retrained") / "points.csv"
_LOSS_FILE = Path("retrained") / "max_loss.json"
_NEEDED = ("point", "stage", "accuracy", "head_flops")


@dataclass(frozen=True)
class Points:
    """The pruned detectors of a run, measured.

    Attributes:
        table: one row per point, stage and split: ``point`` (``"A"``; ``"unpruned"`` for the full detector), ``stage``
            (``"full"`` or one of `STAGES`), ``split`` (``"val"`` or ``"test"``, where the run names it), ``accuracy``
            (0..1), ``head_flops`` and the other costs, ``anchors``.
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
        """The detector to ship, as point and stage: selected on the validation images, never on the test images.

        It is the cheapest one (by head FLOPs) that loses at most `max_loss`; of equally cheap ones, the most accurate
        one that was trained after pruning. If all lose more, it is the most accurate one.

        Raises:
            InputError: the table has no full detector to compare with, or no pruned one.
        """
        enough, rest = self._candidates()
        if len(enough):
            # An untrained point was selected for its validation accuracy, which is therefore too high; a trained
            # point was not.
            ranks = enough.assign(untrained=enough["stage"] == STAGES[0])
            best = ranks.sort_values(["head_flops", "untrained", "accuracy"], ascending=[True, True, False]).iloc[0]
        else:
            best = rest.sort_values(["accuracy", "head_flops"], ascending=[False, True]).iloc[0]
        return str(best["point"]), str(best["stage"])

    @property
    def loss_kept(self) -> bool:
        """Whether any pruned detector loses at most `max_loss`; if not, `shipped` is the most accurate one."""
        return len(self._candidates()[0]) > 0

    def _candidates(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The pruned detectors that lose at most `max_loss` on the validation images, and all pruned ones."""
        rows = self.table[self.table["split"] == "val"] if "split" in self.table else self.table
        if rows.empty:
            rows = self.reported
        full, rest = rows[rows["stage"] == "full"], rows[rows["stage"].isin(STAGES)]
        if full.empty or rest.empty:
            raise InputError("points: the full detector and a pruned one are needed; run 05_prune_and_retrain")
        return rest[rest["accuracy"] >= float(full["accuracy"].iloc[0]) - self.max_loss], rest


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
