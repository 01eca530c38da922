"""Trainings of experiments: made once, measured in one way, told apart by what they begin with."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import anchorkit as ak
from anchorkit.datasets import Category, Dataset
from anchorkit.detectors import export_darknet
from anchorkit.runs import trainings
from anchorkit.runs.learning import Learning
from anchorkit.runs.trainings import Trainer, row
from anchorkit.training import RECIPES


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return ak.load_dataset("shapes", train=4, val=3, test=2, progress=False)


@pytest.fixture
def trainer(dataset: Dataset, tmp_path: Path) -> Trainer:
    return Trainer(tmp_path / "trainings", dataset, "no", progress=False)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments of every training that is really made."""
    made: list[Any] = []
    fit = trainings.fit

    def counted(*arguments: Any, **options: Any) -> Any:
        made.append((arguments[2], options["epochs"], options["seed"]))
        return fit(*arguments, **options)

    monkeypatch.setattr(trainings, "fit", counted)
    return made


def network(dataset: Dataset, seed: int = 0) -> ak.detectors.Detector:
    return ak.load_detector("tiny_ssd", categories=dataset.categories, size=(96, 96), seed=seed)


def test_a_training_is_made_once(trainer: Trainer, dataset: Dataset, fits: list[Any]) -> None:
    first = trainer.train(network(dataset), "tiny", 1, seed=0)
    again = trainer.train(network(dataset), "tiny", 1, seed=0)
    assert fits == [("tiny", 1, 0)]
    assert (again.folder, dict(again.accuracy), again.epochs) == (first.folder, dict(first.accuracy), 1)
    assert set(first.accuracy) == {"val", "test"}
    assert not (first.folder / "checkpoint.pt").exists()
    # The accuracy is that of the detector which was kept.
    evaluators = trainer.evaluators(again)
    assert {name: e.accuracy(e.full) for name, e in evaluators.items()} == pytest.approx(dict(first.accuracy))
    assert (first.folder / "predictions-test.parquet").is_file()


def test_another_beginning_is_another_training(trainer: Trainer, dataset: Dataset, fits: list[Any]) -> None:
    first = trainer.train(network(dataset), "tiny", 1, seed=0)
    other = trainer.train(network(dataset, seed=1), "tiny", 1, seed=1)
    tuned = [trainer.train(ak.load_detector(f.folder), "tiny-finetune", 1, 0, f) for f in (first, other)]
    assert len(fits) == 4
    assert len({t.folder for t in (first, other, *tuned)}) == 4
    assert [t.epochs for t in tuned] == [2, 2]  # those of the first training count


def test_the_weights_themselves_the_teacher_and_the_recipe_tell_trainings_apart(
    trainer: Trainer, dataset: Dataset, fits: list[Any]
) -> None:
    full, gentle = network(dataset), replace(RECIPES["tiny"], lr=1e-4)
    one, other = (
        ak.prune_channels(full, dataset.train, ratio=0.5, importance=score, progress=False)
        for score in ("l1", "random")
    )
    assert one.layout == other.layout
    made = [
        trainer.train(copy.deepcopy(small), recipe, 1, 0, "cut", teacher)
        for small, recipe, teacher in (
            (one, "tiny", None),
            (other, "tiny", None),
            (one, gentle, None),
            (one, "tiny", full),
        )
    ]
    assert len({done.folder for done in made}) == len(fits) == 4
    assert "distilling" in (made[3].folder / "history.csv").read_text()
    assert trainer.train(copy.deepcopy(one), "tiny", 1, 0, "cut", full).folder == made[3].folder
    assert len(fits) == 4
    assert [done.epochs for done in made] == [1] * 4


def test_the_same_weights_on_smaller_images(dataset: Dataset) -> None:
    full = ak.load_detector("tiny_ssd", categories=dataset.categories, seed=0)
    small = trainings.at_smaller_input(full, 60e6)
    assert ak.costs.cost_of(small.layout.full, "total_flops") <= 60e6
    assert small.layout.input_size == (112, 112)
    assert all(torch.equal(v, small.module.state_dict()[n]) for n, v in full.module.state_dict().items())
    assert trainings.at_smaller_input(full, 1e6).layout.input_size == (96, 96)  # the smallest that the family takes


def test_a_stopped_training_goes_on(
    trainer: Trainer, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as stopped:
        stopped.setattr(trainings, "save_detector", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trainer.train(network(dataset), "tiny", 1, seed=0)
    [checkpoint] = trainer.folder.rglob("checkpoint.pt")
    before = (checkpoint.parent / "history.csv").read_text()
    done = trainer.train(network(dataset), "tiny", 1, seed=0)
    assert done.folder == checkpoint.parent
    assert (done.folder / "history.csv").read_text() == before  # no epoch was trained again
    undisturbed = Trainer(tmp_path / "other", dataset, "no", progress=False)
    assert dict(undisturbed.train(network(dataset), "tiny", 1, seed=0).accuracy) == dict(done.accuracy)


def test_a_search_goes_on_from_its_ledger(trainer: Trainer, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    first = trainer.train(network(dataset), "tiny", 1, seed=0)
    result = trainer.search(first, "boxes", max_drop=0.0)
    asked: list[Any] = []
    monkeypatch.setattr(ak.Evaluator, "children", lambda *arguments: asked.append(arguments))
    again = trainer.search(first, "boxes", max_drop=0.0)
    assert asked == []
    assert again.frontier.equals(result.frontier)


def test_told_on_the_test_images_where_there_are_some(dataset: Dataset, tmp_path: Path) -> None:
    without = Dataset(dataset.name, dataset.train, dataset.val, None, dataset.notes)
    assert Trainer(tmp_path, dataset).told_on == "test"
    assert Trainer(tmp_path, without).told_on == "val"
    layout = network(dataset).layout
    kept = layout.configuration(keep=[0, 4])
    made = row("pruned", "A", 3, kept, {"val": 0.3, "test": 0.2}, 60)
    assert (made["accuracy"], made["val"], made["seed"], made["epochs"]) == (0.2, 0.3, 3, 60)
    assert made["head_flops"] == ak.costs.cost_of(kept, "head_flops")
    assert made["per_level"] == "1 1 0 0 0 0"
    assert row("pruned", "A", 3, kept, {"val": 0.3}, 60)["accuracy"] == 0.3


def test_experiments_of_a_run_share_their_trainings(dataset: Dataset, tmp_path: Path, fits: list[Any]) -> None:
    one, another = (Trainer.of_run(tmp_path, dataset, "no", progress=False) for _ in range(2))
    first = one.train(network(dataset), "tiny", 1, seed=0)
    assert another.train(network(dataset), "tiny", 1, seed=0).folder == first.folder
    assert len(fits) == 1


def test_the_lesson_s_training_is_not_made_again(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson = network(dataset)
    ak.fit(lesson, dataset, epochs=1, out=tmp_path / "detector" / "training", seed=0, precision="no", progress=False)
    steps: list[Any] = []
    forward = type(lesson.module).forward

    def counted(module: Any, images: Any, *rest: Any) -> Any:
        steps.extend([len(images)] if module.training else [])
        return forward(module, images, *rest)

    monkeypatch.setattr(type(lesson.module), "forward", counted)
    trainer = Trainer.of_run(tmp_path, dataset, "no", progress=False)
    taken = trainer.train(network(dataset), "tiny", 1, seed=0)
    assert steps == []
    weights = taken.detector.module.state_dict()
    assert all((weights[key] == value).all() for key, value in lesson.module.state_dict().items())
    assert (tmp_path / "detector" / "training" / "checkpoint.pt").exists()  # it is the lesson's, not ours to remove
    # Another seed, or another number of epochs, is another training.
    trainer.train(network(dataset, seed=1), "tiny", 1, seed=1)
    trainer.train(network(dataset), "tiny", 2, seed=0)
    assert steps == [4, 4, 4]


def test_what_the_lesson_s_detector_begins_with(dataset: Dataset, tmp_path: Path) -> None:
    mine = Dataset("mine", dataset.train, dataset.val, None)
    shipped = ak.load_detector("tiny_ssd", weights="shapes").module.state_dict()
    for data, start, trunk in ((mine, "shipped", True), (mine, "scratch", False), (dataset, "shipped", False)):
        first, before = trainings.first_detector("tiny_ssd", data, start, seed=0)
        weights = first.module.state_dict()
        same = {name: torch.equal(value, shipped[name]) for name, value in weights.items() if "backbone" in name}
        assert all(same.values()) == trunk
        assert first.begins_with == ("the trunk of tiny_ssd-shapes (78 of 78 tensors)" if trunk else "random weights")
        assert before is None
    # A saved detector of the same family, classes and anchors goes on learning with its head.
    saved = ak.load_detector("tiny_ssd", categories=dataset.categories, seed=3)
    ak.save_detector(saved, tmp_path / "detector")
    Learning("settled", 0.3, 0.0, 850, 3.0, "random weights").write(tmp_path)
    on, before = trainings.first_detector("tiny_ssd", mine, str(tmp_path / "detector"))
    assert all(torch.equal(value, on.module.state_dict()[name]) for name, value in saved.module.state_dict().items())
    assert on.begins_with == "the weights after 850 steps of training, which began with random weights"
    assert before is not None
    assert before.accuracy == 0.3
    # One with another input size has other anchors: it gives its trunk.
    other, before = trainings.first_detector("tiny_ssd", mine, str(tmp_path / "detector"), size=(96, 96))
    assert "trunk" in other.begins_with
    assert before is None


def test_given_weights_get_the_classes_of_the_data(dataset: Dataset, tmp_path: Path) -> None:
    yolo = ak.load_detector("tiny_yolo", categories=dataset.categories, size=(96, 96), seed=0)
    cfg = export_darknet(yolo, tmp_path / "mine.cfg")  # darknet's files do not name classes
    given = trainings.given_detector(str(cfg), str(cfg.with_suffix(".weights")), dataset)
    assert given.categories == dataset.categories
    assert given.begins_with.endswith("mine.weights, its classes in the order of the data's")
    named = [Category(10 + category.id, category.name) for category in dataset.categories]
    for number, (categories, fits) in enumerate(((named, True), (named[::-1], False), (named[1:], False))):
        other = ak.load_detector("tiny_yolo", categories=categories, size=(96, 96), seed=0)
        folder = ak.save_detector(other, tmp_path / str(number))
        if fits:
            found = trainings.given_detector("tiny_yolo", str(folder), dataset)
            assert (found.categories, found.begins_with) == (dataset.categories, "random weights")
        else:
            with pytest.raises(ak.InputError, match="for other classes than shapes has"):
                trainings.given_detector("tiny_yolo", str(folder), dataset)
