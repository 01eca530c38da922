"""Measuring the pruned detectors of a run, all in one way: what 05_prune_and_retrain writes into `Points`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anchorkit.anchors import Configuration
from anchorkit.costs import costs
from anchorkit.datasets import Split
from anchorkit.detectors import Detector
from anchorkit.evaluation import Evaluator
from anchorkit.findings import nothing_can_be_told
from anchorkit.predictions import PredictionTable, collect_predictions
from anchorkit.runs.holding import cross_fitted_change
from anchorkit.runs.points import CROSS_FITTED, UNPRUNED
from anchorkit.search import SearchResult
from anchorkit.statistics import detector_change

PUT_ASIDE = "predictions_test.parquet"
"""The full detector's predictions on the test images, from 02_detector."""


class Measuring:
    """Runs detectors over the images and notes their accuracy, its interval and their costs.

    Attributes:
        rows: one per detector and split, as `anchorkit.runs.points.Points.table` has them.
        evaluators: by point, stage and split.
    """

    def __init__(
        self, run_dir: str | Path, splits: Mapping[str, Split], result: SearchResult, progress: bool = False
    ) -> None:
        """Measure nothing yet.

        Args:
            run_dir: the run's folder.
            splits: the images by name, ``"val"`` among them.
            result: the run's search; without test images its cross-fit judges pruned points.
            progress: show progress bars on standard error.
        """
        self._run, self._splits, self._result, self._progress = Path(run_dir), splits, result, progress
        self.rows: list[dict[str, Any]] = []
        self.evaluators: dict[tuple[str, str, str], Evaluator] = {}

    @property
    def told_on(self) -> str:
        """The split that figures are reported on: the test images, if there are any."""
        return "test" if "test" in self._splits else "val"

    @property
    def nothing(self) -> str | None:
        """Why nothing can be told, by the full detector on the images that are reported on; None where something can.

        Raises:
            KeyError: the full detector was not measured yet.
        """
        full = self.evaluators[(*UNPRUNED, self.told_on)]
        return nothing_can_be_told(full.accuracy(full.full), full.metric, len(full.ground_truth.image_ids))

    def add(self, point: str, stage: str, detector: Detector, configuration: Configuration) -> str:
        """Measure a detector; the full one first, because changes and their intervals are against it.

        Args:
            point: such as ``"A"``.
            stage: one of `anchorkit.runs.points.STAGES`, or ``"full"``.
            detector: the detector.
            configuration: the anchors that it keeps of the full detector's.

        Returns:
            What was found, in a line.
        """
        facts: dict[str, Any] = {**costs(configuration), "anchors": " ".join(configuration.ids)}
        found = []
        for name, split in self._splits.items():
            table = self._predictions(point, detector, name, split)
            evaluator = self.evaluators[point, stage, name] = Evaluator(table, split.ground_truth)
            _, low, high = detector_change(self.evaluators[(*UNPRUNED, name)], evaluator)
            accuracy = evaluator.accuracy(evaluator.full)
            self._note(point, stage, name, accuracy, low, high, facts)
            found.append(f"{100 * accuracy:.1f} on {name}")
        if self.told_on == "val" and stage in ("full", "pruned"):
            spent = self._result.asked.cost.compute(configuration)
            fitted = cross_fitted_change(self._run, spent)
            if fitted is not None:
                change, low, high = fitted if stage == "pruned" else (0.0, 0.0, 0.0)
                accuracy = float(self._result.baseline["accuracy"]) + change
                self._note(point, stage, CROSS_FITTED, accuracy, low, high, facts)
                found.append(f"{100 * accuracy:.1f} in the cross-fit")
        return f"{point} {stage}: AP {', '.join(found)}"

    def _predictions(self, point: str, detector: Detector, name: str, split: Split) -> PredictionTable:
        put_aside = self._run / PUT_ASIDE
        if (point, name) == (UNPRUNED[0], "test") and put_aside.exists():
            return PredictionTable.load(put_aside)
        return collect_predictions(detector, split, progress=self._progress)

    def _note(
        self, point: str, stage: str, split: str, accuracy: float, low: float, high: float, facts: Mapping[str, Any]
    ) -> None:
        about = {"point": point, "stage": stage, "split": split, "accuracy": accuracy, "low": low, "high": high}
        self.rows.append({**about, **facts})
