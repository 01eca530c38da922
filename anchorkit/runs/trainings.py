"""The trainings of a run's experiments: each is done once, resumes after a stop, and is measured in the same way.

An experiment that compares trainings does many of them, which takes hours. The name of each training's folder is a
digest of its start and its settings. So an experiment that was stopped, or that gets one more seed, trains only what is
missing. All experiments of a run share one folder: they reuse each other's trainings, and the training of the run's own
detector. Checkpoints of finished trainings are removed, because only the weights are needed.
"""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from anchorkit.anchors import Configuration
from anchorkit.costs import cost_of, known_costs
from anchorkit.datasets import Dataset, Split
from anchorkit.detectors import Detector, load_detector, save_detector
from anchorkit.detectors.base import structure
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.files import read_json, replacing, write_json
from anchorkit.findings import unchecked
from anchorkit.predictions import PredictionTable, collect_predictions
from anchorkit.runs.folder import training_folder
from anchorkit.runs.learning import Learning, read_learning_in
from anchorkit.search import SearchResult, search
from anchorkit.training import Recipe, fit
from anchorkit.training.distilling import weights_digest
from anchorkit.training.loop import training_facts
from anchorkit.training.state import CHECKPOINT_FILE, FACTS_FILE

MEASURED_FILE = "measured.json"
LESSON_FOLDER = Path("detector") / "training"
"""The folder for 02_detector's checkpoint of the run's own detector."""


def first_detector(
    name: str, dataset: Dataset, start: str, size: tuple[int, int] | None = None, seed: int = 0
) -> tuple[Detector, Learning | None]:
    """The detector that lesson 2 trains, before its training.

    Args:
        name: of the detector.
        dataset: the data; on the shapes everything starts from scratch, because the shipped detector knows them.
        start: ``"scratch"`` for random weights; ``"shipped"`` for the trunk of a shipped detector, where one fits; or
            the folder of a saved detector. One of the same family, classes and anchors goes on learning, any other
            gives its trunk.
        size: (height, width) of the input; the detector's own by default.
        seed: of the fresh weights.

    Returns:
        The detector, and the training that it goes on from, if there is one.

    Raises:
        InputError: as `load_detector`.
    """
    about: dict[str, Any] = {"categories": dataset.categories, "size": size, "seed": seed}
    if start == "scratch" or (start == "shipped" and dataset.name == "shapes"):
        return load_detector(name, **about), None
    fresh = load_detector(name, backbone_weights=start, **about)
    if not (Path(start) / "detector.json").is_file():
        return fresh, None
    saved = load_detector(start)
    if (saved.architecture, saved.categories, saved.layout) != (name, fresh.categories, fresh.layout):
        return fresh, None
    before = read_learning_in(start)
    steps = "an earlier training" if before is None else f"{before.steps:,} steps of training"
    saved.begins_with = f"the weights after {steps}, which began with {saved.begins_with}"
    return saved, before


def given_detector(name: str, weights: str, dataset: Dataset) -> Detector:
    """A detector with weights that are there already, for the classes of the data.

    Weights whose classes are called as the data's, in the same order, get the data's numbers. Those that do not name
    them, such as darknet's, are taken to be in the order of the data; `Detector.begins_with` says so.

    Args:
        name: of the detector, or a ``.cfg`` file.
        weights: as `load_detector` takes them.
        dataset: the data.

    Raises:
        InputError: as `load_detector`, or the weights are for other classes.
    """
    detector = load_detector(name, weights=weights)
    names, wanted = ([category.name for category in of.categories] for of in (detector, dataset))
    unnamed = names == [f"class {number}" for number in range(1, len(names) + 1)]
    if names != wanted and not (unnamed and len(names) == len(wanted)):
        raise InputError(f"the weights {weights!r} are for other classes than {dataset.name} has; use weights='none'")
    if unnamed and names != wanted:
        detector.begins_with += ", its classes in the order of the data's"
    detector.categories = tuple(dataset.categories)
    return detector


@dataclass(frozen=True)
class Trained:
    """A detector after its training.

    Attributes:
        folder: where it is saved; the name is unique to this training.
        detector: the detector itself.
        accuracy: AP (0..1) by split: ``val``, and ``test`` where the data has one.
        epochs: passes over the training images, including those of the training that it starts from, if one is named.
        seconds: time of this training alone.
    """

    folder: Path
    detector: Detector = field(repr=False)
    accuracy: Mapping[str, float]
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Trainer:
    """What the trainings of an experiment have in common.

    Attributes:
        folder: the folder of all trainings, including those of other experiments.
        dataset: the data to train and measure on.
        precision: as for `anchorkit.fit`.
        workers: as for `anchorkit.fit`.
        progress: show progress bars on standard error.
        lesson: the folder of an existing training (``detector/training`` of a run); an identical training starts from
            its checkpoint and so ends immediately. None for none.
    """

    folder: Path
    dataset: Dataset = field(repr=False)
    precision: str = "auto"
    workers: int = -1
    progress: bool = True
    lesson: Path | None = None

    @classmethod
    def of_run(
        cls, run_dir: str | Path, dataset: Dataset, precision: str = "auto", workers: int = -1, progress: bool = True
    ) -> Trainer:
        """The trainer of a run's experiments; all its trainings are in ``RUN/experiments/trainings``."""
        run = Path(run_dir)
        return cls(run / "experiments" / "trainings", dataset, precision, workers, progress, run / LESSON_FOLDER)

    @property
    def splits(self) -> dict[str, Split]:
        """The splits to measure on: ``val`` and, where there is one, ``test``."""
        return {name: split for name, split in self.dataset.splits().items() if name != "train"}

    @property
    def told_on(self) -> str:
        """The split to report accuracies on: ``test``, or ``val`` if there is no test split."""
        return "test" if "test" in self.splits else "val"

    def train(
        self,
        network: Detector,
        recipe: str | Recipe,
        epochs: int,
        seed: int,
        start: Trained | str | None = None,
        teacher: Detector | None = None,
    ) -> Trained:
        """Train `network` in place, unless this training was done before.

        Args:
            network: the detector to train.
            recipe: a name of `anchorkit.training.RECIPES`, or a recipe.
            epochs: passes over the training images.
            seed: of the order of the images and of their augmentation.
            start: the training that the weights come from; or, where that does not tell the weights (channels were cut
                by a score), words for it: then the weights themselves tell one training from another. None for fresh
                weights (from the same seed).
            teacher: as for `anchorkit.fit`.

        Raises:
            InputError: as `anchorkit.fit`.
        """
        before = start.folder.name if isinstance(start, Trained) else start
        telling = [network] if isinstance(start, str) else []
        own = [weights_digest(detector) for detector in (*telling, *([teacher] if teacher is not None else []))]
        plan = recipe if isinstance(recipe, str) else asdict(recipe)
        what = network.layout.to_dict(), dict(network.options), self.dataset.fingerprint()
        folder = training_folder(self.folder / network.architecture, *what, plan, epochs, seed, before, *own)
        if not (folder / MEASURED_FILE).exists():
            if start is None:
                self._take_over(folder, training_facts(network, self.dataset, recipe, epochs, seed))
            how: dict[str, Any] = {"precision": self.precision, "workers": self.workers, "progress": self.progress}
            how["teacher"] = teacher
            history = fit(network, self.dataset, recipe, epochs=epochs, out=folder, seed=seed, **how)
            save_detector(network, folder)
            accuracy = {split: e.accuracy(e.full) for split, e in self._measured(network).items()}
            total = epochs + (start.epochs if isinstance(start, Trained) else 0)
            facts = {"accuracy": accuracy, "epochs": total, "seconds": history.seconds, "recipe": plan, "seed": seed}
            # Written last: marks the training as complete.
            write_json(folder / MEASURED_FILE, {**facts, "begins with": before or "fresh weights"})
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
        about = read_json(folder / MEASURED_FILE)
        return Trained(folder, load_detector(folder), about["accuracy"], about["epochs"], about["seconds"])

    def evaluators(self, trained: Trained) -> dict[str, Evaluator]:
        """One evaluator per split of a trained detector's predictions, which are kept beside the detector."""
        return self._measured(trained.detector, trained.folder)

    def search(self, trained: Trained, cost: str, max_drop: float) -> SearchResult:
        """Search the frontier of a trained detector on the validation images; the ledger is kept beside the detector.

        Args:
            trained: the detector.
            cost: name of the cost.
            max_drop: accuracy (0..1) that a configuration may lose to be explored further.

        Raises:
            InputError: as `anchorkit.search`.
        """
        evaluator = self.evaluators(trained)["val"]
        threshold = max(evaluator.accuracy(evaluator.full) - max_drop, 0.0)
        ledger = trained.folder / f"ledger-{evaluator.fingerprint}.jsonl"  # one ledger per set of predictions
        with unchecked():  # the experiment's answer says what a hardly trained detector can tell
            return search(evaluator, cost=cost, threshold=threshold, ledger=ledger, progress=self.progress)

    def _take_over(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Start from the checkpoint of the lesson's training if it is the same training."""
        if self.lesson is None or (folder / CHECKPOINT_FILE).exists():
            return
        noted, checkpoint = self.lesson / FACTS_FILE, self.lesson / CHECKPOINT_FILE
        if noted.exists() and checkpoint.exists() and read_json(noted) == json.loads(json.dumps(facts)):
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / CHECKPOINT_FILE) as temporary:
                shutil.copyfile(checkpoint, temporary)

    def _measured(self, detector: Detector, kept: Path | None = None) -> dict[str, Evaluator]:
        found = {}
        for name, split in self.splits.items():
            path = None if kept is None else kept / f"predictions-{name}.parquet"
            with unchecked():
                if path is None or not path.exists():
                    table = collect_predictions(detector, split, progress=self.progress)
                    if path is not None:
                        table.save(path)
                else:
                    table = PredictionTable.load(path)
                found[name] = Evaluator(table, split.ground_truth)
        return found


def at_smaller_input(detector: Detector, total_flops: float) -> Detector:
    """The same weights on smaller images: the largest square input within a number of multiply-adds.

    A smaller input is the simplest way to a cheaper detector, so every other one has to beat it.

    Args:
        detector: it is left as it is; its channels must be whole.
        total_flops: multiply-adds of the whole network at most. Where even the smallest input that the family takes
            needs more, that input is taken.

    Example:
        >>> import anchorkit as ak
        >>> from anchorkit.runs.trainings import at_smaller_input
        >>> at_smaller_input(ak.load_detector("tiny_ssd", weights="shapes"), 60e6).layout.input_size
        (112, 112)
    """
    own, given = min(detector.layout.input_size), structure(detector.layout)
    small = copy.deepcopy(detector)
    for side in range(own - own % 16, 0, -16):
        if cost_of(small.layout.full, "total_flops") <= total_flops:
            break
        scaled = [[(width * side / own, height * side / own) for width, height in level] for level in given["shapes"]]
        options = {**given, **detector.options, "size": (side, side), "shapes": scaled}
        with contextlib.suppress(InputError):  # some families take only some sizes
            small = load_detector(detector.architecture, categories=detector.categories, **options)
            small.module.load_state_dict(detector.module.state_dict())
    return small


def row(
    treatment: str, point: str, seed: int, configuration: Configuration, accuracy: Mapping[str, float], epochs: int
) -> dict[str, Any]:
    """A row of an experiment's table: the treatment, its epochs, the accuracy and the costs.

    Args:
        treatment: such as ``"retrained"``.
        point: the name of the configuration.
        seed: of the replication.
        configuration: the anchors kept.
        accuracy: AP (0..1) by split.
        epochs: passes over the training images in all.

    Returns:
        ``treatment``, ``point``, ``seed``, ``epochs``, ``accuracy`` (on ``test``, or ``val`` without a test split),
        ``val`` (on the validation images), ``n_anchors``, the known costs, ``per_level`` and ``anchors`` (ids).
    """
    return {
        "treatment": treatment,
        "point": point,
        "seed": seed,
        "epochs": epochs,
        "accuracy": accuracy.get("test", accuracy["val"]),
        "val": accuracy["val"],
        "n_anchors": len(configuration),
        **known_costs(configuration),
        "per_level": " ".join(map(str, configuration.per_level)),
        "anchors": " ".join(configuration.ids),
    }
