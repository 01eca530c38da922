"""The channel-pruned detectors of a run, in its folder ``channels/``.

``channels/RATIO/`` has a detector with a share of its channels removed (``detector/``), what it predicts on the
validation images (``predictions.parquet``) and on the test images (``predictions_test.parquet``), and how it was made
(``pruning.json``). ``channels/joint/`` has the search over all of them, and what it offers (``points.csv``).
09_channels and 21_channels_and_anchors write both; they work in an empty folder too, with the shipped detector and the
built-in shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.files import read_json, write_json
from anchorkit.predictions import PredictionTable, collect_predictions
from anchorkit.runs.folder import choose_data, left_by_earlier, load_data
from anchorkit.runs.provenance import content_hash
from anchorkit.search.joint import JointResult
from anchorkit.search.result import NEGLIGIBLE_LOSS
from anchorkit.statistics.intervals import percentile_interval
from anchorkit.statistics.joint import JointEvaluator

if TYPE_CHECKING:
    from anchorkit.channels import ChannelStatistics
    from anchorkit.datasets import Dataset
    from anchorkit.detectors import Detector

JOINT = "channels/joint"
"""The joint search, within a run's folder."""

_FACTS = "pruning.json"
_FIGURES = "figures.json"
_PREDICTED = {"val": "predictions.parquet", "test": "predictions_test.parquet"}


@dataclass(frozen=True)
class ChannelRun:
    """Makes the channel-pruned detectors of a run, each once.

    Attributes:
        run_dir: the run's folder; an empty one is filled with the shipped detector's data.
        importance: the score, as for `anchorkit.prune_channels`.
        images: training images to look at.
        seed: of the draw of these images.
        drawn: validation and test images to draw where the folder holds no run.
        progress: show progress bars on standard error.
    """

    run_dir: str | Path
    importance: str = "nuclear"
    images: int = 64
    seed: int = 0
    drawn: int = 200
    progress: bool = False

    @cached_property
    def data(self) -> Dataset:
        """The run's data; in an empty folder the built-in shapes."""
        if (Path(self.run_dir) / "data.json").exists():
            return load_data(self.run_dir)
        train, others = max(self.images, 1), self.drawn
        return choose_data(self.run_dir, "shapes", "", train, others, others, progress=self.progress)

    @cached_property
    def detector(self) -> Detector:
        """The run's detector; in an empty folder the shipped one.

        Raises:
            InputError: it is an ONNX file, whose channels cannot be removed; or the folder has predictions or other
                data, but no detector.
        """
        from anchorkit.detectors import load_detector

        own = Path(self.run_dir) / "detector"
        if (own / "model.onnx").exists():
            raise InputError(f"{own}: channels of a detector that is only an ONNX file cannot be removed")
        if (own / "detector.json").exists():
            return load_detector(own)
        if (Path(self.run_dir) / "predictions.parquet").exists() or self.data.name != "shapes":
            return load_detector(left_by_earlier(self.run_dir, "detector/detector.json").parent)
        return load_detector("tiny_ssd", weights="shapes")

    @cached_property
    def statistics(self) -> ChannelStatistics:
        """What the training images say about the channels."""
        from anchorkit.channels import gather_statistics

        return gather_statistics(self.detector, self.data.train, self.images, seed=self.seed, progress=self.progress)

    def slim(self, ratio: float) -> Detector:
        """The detector without a share of its channels, folded; the whole one for 0.

        Raises:
            InputError: as `anchorkit.prune_channels`.
        """
        from anchorkit.channels import channel_pruning
        from anchorkit.detectors import load_detector, save_detector

        if ratio == 0:
            return self.detector
        folder, facts = channel_folder(self.run_dir, ratio), self._facts(ratio)
        if (folder / _FACTS).exists() and read_json(folder / _FACTS) == facts:
            return load_detector(folder / "detector")
        for name in (_FACTS, *_PREDICTED.values()):
            (folder / name).unlink(missing_ok=True)
        done = channel_pruning(self.detector, self.statistics, ratio=ratio, importance=self.importance, seed=self.seed)
        save_detector(done.detector, folder / "detector")
        write_json(folder / _FACTS, facts)
        return done.detector

    def evaluator(self, ratio: float, split: str = "val") -> Evaluator:
        """The evaluator of a slim detector on the validation or test images.

        Args:
            ratio: as for `slim`.
            split: ``"val"`` or ``"test"``.
        """
        detector, images = self.slim(ratio), self.data.splits()[split]
        own = Path(self.run_dir) if ratio == 0 else channel_folder(self.run_dir, ratio)
        path = own / _PREDICTED[split]
        if ratio == 0 and not (own / "detector" / "detector.json").exists():
            path = channel_folder(self.run_dir, 0.0) / _PREDICTED[split]  # not the predictions of lesson 2
        if not path.exists():
            collect_predictions(detector, images, progress=self.progress).save(path)
        return Evaluator(PredictionTable.load(path), images.ground_truth)

    @cached_property
    def _source(self) -> dict[str, str]:
        """What the slim detectors are made of; asked for each of them, and a hash of all the data."""
        own = Path(self.run_dir) / "detector" / "model.safetensors"
        return {"detector": content_hash(own) if own.exists() else "shipped", "data": self.data.fingerprint()}

    def _facts(self, ratio: float) -> dict[str, Any]:
        return {
            "ratio": ratio,
            "importance": self.importance,
            "images": self.images,
            "seed": self.seed,
            **self._source,
        }


def joint_points(
    result: JointResult,
    evaluators: Sequence[Evaluator],
    tests: Sequence[Evaluator] | None = None,
    *,
    max_loss: float = NEGLIGIBLE_LOSS,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """What a joint search offers for a loss: the whole detector, and the cheapest by anchors, by channels and by both.

    Args:
        result: the joint search; its labels are ratios, 0 for the whole detector.
        evaluators: of each detector, on the images of the search.
        tests: the same on the test images, or None.
        max_loss: accuracy that a choice may lose on the images of the search, 0..1.
        draws: bootstrap samples of the images, for the interval.
        seed: of the draws.

    Returns:
        One row per choice: ``point`` (``"unpruned"``, ``"anchors"``, ``"channels"``, ``"both"``), ``channels`` (the
        ratio), the costs of the frontier, ``n_anchors`` and ``anchors``; ``accuracy`` on the images of the search;
        where there are test images ``test`` (0..1), and ``low`` and ``high``, the 95 % interval of its change there.
        A way that finds nothing within the loss has the whole detector's row.
    """
    tried, whole = result.evaluated, result.whole
    good = tried["accuracy"] >= float(result.baseline["accuracy"]) - max_loss
    own = tried["channels"] == result.labels[whole]
    all_anchors = tried["n_anchors"] == len(result.layout)
    rows = {"unpruned": tried[own & all_anchors].iloc[0]}
    for point, which in (("anchors", own), ("channels", all_anchors), ("both", good)):
        found = tried[good & which].sort_values([result.cost, "accuracy"], ascending=[True, False], kind="stable")
        rows[point] = found.iloc[0]
    table = pd.DataFrame(rows).T.infer_objects().rename_axis("point").reset_index()
    columns = [name for name in result.frontier.columns if name != "accuracy"]
    table = table[["point", "accuracy", *columns]]
    if tests is None:
        return table
    subjects = [
        result.results[result.labels.index(channels)].layout.configuration(keep=anchors.split())
        for channels, anchors in table[["channels", "anchors"]].itertuples(index=False)
    ]
    drawn = JointEvaluator(tests, result).bootstrap(subjects, draws, seed)
    low, high = percentile_interval(drawn.changes, 0.95)
    return table.assign(test=drawn.accuracy, low=low, high=high)


def channel_folder(run_dir: str | Path, ratio: float) -> Path:
    """The folder of a run with the detector that lacks a share of its channels."""
    return Path(run_dir) / "channels" / f"{ratio:g}"


def check_ratios(ratios: Sequence[float]) -> list[float]:
    """Ratios of a joint search in rising order, each once, with 0 for the whole detector.

    Raises:
        InputError: one is not at least 0 and below 1.

    Example:
        >>> check_ratios([0.2, 0.05, 0.2])
        [0.0, 0.05, 0.2]
    """
    for ratio in ratios:
        if not 0 <= ratio < 1:
            raise InputError(f"channel ratio {ratio}: the share of channels that go must be 0 or more and below 1")
    return sorted({0.0, *map(float, ratios)})


def note_figures(run_dir: str | Path, figures: Mapping[str, float]) -> None:
    """Add numbers to the run's ``figures.json``, which the tables of sweeps show as ``figure.NAME``."""
    path = Path(run_dir) / _FIGURES
    known = read_json(path) if path.exists() else {}
    write_json(path, {**known, **{name: float(value) for name, value in figures.items()}})
