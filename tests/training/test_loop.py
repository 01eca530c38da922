"""The training loop: it learns, it can be repeated, and it goes on where it was stopped."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anchorkit.datasets import Dataset
from anchorkit.detectors import Detector, load_detector
from anchorkit.errors import InputError
from anchorkit.files import read_json
from anchorkit.training import RECIPES, Recipe, fit
from anchorkit.training import pace as pace_module
from anchorkit.training.data import StepSampler, TrainingSet, training_loader
from anchorkit.training.loop import _channels_last, _rate, _threads
from anchorkit.training.pace import Pace
from anchorkit.training.recipes import planned

SHORT = Recipe(
    "adamw", epochs=3, batch_size=4, lr=1e-3, schedule="cosine", augment="ssd-small", ema_decay=0.9, clip_norm=5
)


@pytest.fixture
def data(few_shapes: Dataset) -> Dataset:
    return few_shapes


def fresh(data: Dataset) -> Detector:
    return load_detector("tiny_ssd", categories=data.categories, size=(96, 96), seed=0)


def train(data: Dataset, **settings: object) -> tuple[Detector, list[float]]:
    detector = fresh(data)
    options = {"precision": "no", "progress": False} | settings
    history = fit(detector, data, options.pop("recipe", SHORT), **options)
    return detector, history.frame.loss.tolist()


def same_weights(first: Detector, second: Detector) -> bool:
    theirs = second.module.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in first.module.state_dict().items())


def test_the_loss_falls(data: Dataset) -> None:
    _, losses = train(data, epochs=8)
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]


def test_without_additions_it_is_the_plain_loop_to_the_bit(data: Dataset) -> None:
    trained, _ = train(data)

    plain = fresh(data)
    module, mean = plain.module, None
    module.backbone.register_forward_pre_hook(_channels_last)
    images = TrainingSet(data.train, plain.categories, plain.layout.input_size, SHORT.augment, seed=0)
    loader, sampler = training_loader(images, SHORT.batch_size, seed=0, workers=0)
    matrices, vectors = ([p for p in module.parameters() if (p.ndim > 1) == wanted] for wanted in (True, False))
    groups = [{"params": matrices, "weight_decay": SHORT.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=SHORT.lr, fused=True)
    mean, step = {name: value.clone() for name, value in module.state_dict().items()}, 0
    module.train()
    for epoch in range(SHORT.epochs):
        sampler.steps = range(epoch * sampler.per_epoch, (epoch + 1) * sampler.per_epoch)
        for batch, targets in loader:
            for group in optimizer.param_groups:
                group["lr"] = SHORT.lr * _rate(step, SHORT.epochs * sampler.per_epoch, SHORT)
            optimizer.zero_grad()
            torch.stack(list(module(batch, targets).values())).sum().backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), SHORT.clip_norm)
            optimizer.step()
            for name, value in module.state_dict().items():
                if step == 0 or not value.is_floating_point():
                    mean[name].copy_(value)
                else:
                    mean[name].lerp_(value, max(1 - SHORT.ema_decay, 9 / (10 + step)))
            step += 1
    module.load_state_dict(mean)
    assert same_weights(trained, plain)


def test_a_seed_repeats_a_training(data: Dataset) -> None:
    first, losses = train(data, seed=3)
    second, again = train(data, seed=3)
    other, _ = train(data, seed=4)
    assert losses == again
    assert same_weights(first, second)
    assert not same_weights(first, other)


@pytest.mark.parametrize(("threads", "cores", "free"), [(1, 2, True), (2, 2, False), (4, 2, False), (1, 1, False)])
def test_a_thread_works_beside_a_network_that_leaves_cores_free(
    data: Dataset, monkeypatch: pytest.MonkeyPatch, threads: int, cores: int, free: bool
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    detector = fresh(data)
    assert detector.leaves_cores_free is free
    assert (_threads(-1, detector), _threads(3, detector)) == (int(free), 3)


def test_workers_do_not_change_the_result(data: Dataset) -> None:
    alone, losses = train(data, epochs=1, workers=0)
    for workers in (1, 3):
        helped, again = train(data, epochs=1, workers=workers)
        assert losses == again
        assert same_weights(alone, helped)


@pytest.mark.parametrize("killed_in_epoch", [1, 2, 3])
def test_a_killed_training_goes_on_with_the_same_result(
    data: Dataset, tmp_path: Path, killed: Callable, killed_in_epoch: int
) -> None:
    undisturbed, losses = train(data)

    killed(killed_in_epoch, lambda: train(data, out=tmp_path))
    resumed, again = train(data, out=tmp_path)

    assert again == losses
    assert same_weights(undisturbed, resumed)


def test_a_finished_training_is_not_done_again(data: Dataset, tmp_path: Path) -> None:
    first, losses = train(data, out=tmp_path)
    second, again = train(data, out=tmp_path)
    assert again == losses
    assert same_weights(first, second)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "history.csv", "training.json"]


def test_a_folder_of_another_training_is_refused(data: Dataset, tmp_path: Path) -> None:
    train(data, out=tmp_path, epochs=1)
    with pytest.raises(InputError, match="a training with another recipe and seed"):
        train(data, out=tmp_path, epochs=2, seed=1)


def test_a_training_of_another_version_is_refused(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(data, out=tmp_path, epochs=1)
    monkeypatch.setattr("anchorkit.training.loop.SAMPLES_VERSION", 99)
    with pytest.raises(InputError, match="begun by a version of anchorkit that made other training samples"):
        train(data, out=tmp_path, epochs=1)


def test_a_cut_off_checkpoint_is_refused(data: Dataset, tmp_path: Path) -> None:
    train(data, out=tmp_path, epochs=1)
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"checkpoint\.pt: not a whole checkpoint"):
        train(data, out=tmp_path, epochs=1)


def test_no_trace_of_mixed_precision_stays(data: Dataset) -> None:
    detector, _ = train(data, epochs=1, precision="bf16")
    assert all(value.dtype != torch.bfloat16 for value in detector.module.state_dict().values())
    assert "forward" not in vars(detector.module)


def test_an_infinite_loss_stops_the_training(data: Dataset) -> None:
    with pytest.raises(InputError, match="the loss is"):
        train(data, recipe=Recipe("sgd", epochs=3, batch_size=4, lr=1e30))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "ssdd"}, "unknown recipe 'ssdd': use one of ssd"),
        ({"epochs": 0}, "epochs is 0"),
        ({"steps": 0}, "steps is 0; 1 or more are needed"),
        ({"minutes": 0.0}, "minutes is 0.0; more than 0 are needed"),
        ({"minutes": float("nan")}, "minutes is nan; more than 0"),
        ({"epochs": 3, "minutes": 3.0}, "epochs and minutes are given"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"precision": "int3"}, "unknown precision 'int3'"),
    ],
)
def test_bad_settings(data: Dataset, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(data, **settings)


def test_the_papers_schedule() -> None:
    plan = RECIPES["ssd"]
    rates = {epoch: plan.lr * _rate(epoch, plan.epochs, plan) for epoch in (0, 79, 80, 109, 110, 119)}
    assert rates == pytest.approx({0: 1e-3, 79: 1e-3, 80: 1e-4, 109: 1e-4, 110: 1e-5, 119: 1e-5})
    assert (plan.momentum, plan.weight_decay) == (0.9, 5e-4)
    assert (RECIPES["ssd-finetune"].epochs, RECIPES["ssd-finetune"].lr) == (10, 1e-5)
    assert RECIPES["ssd-voc"].epochs == 2 * plan.epochs


def test_milestones_move_with_the_epochs() -> None:
    plan = planned("ssd", 100, epochs=12)
    assert plan.milestones == (8, 11)


def test_steps_are_as_good_as_epochs(data: Dataset, tmp_path: Path) -> None:
    whole, _ = train(data)  # three epochs of three steps
    by_steps, losses = train(data, steps=9, out=tmp_path)
    assert same_weights(whole, by_steps)
    assert len(losses) == 9  # a lap is a twelfth of the steps, but one step at least
    few, _ = train(data, steps=8)
    assert not same_weights(whole, few)


def test_minutes_become_steps_that_can_be_repeated(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A second at each look: so long do six steps take, and four validations.
    monkeypatch.setattr(pace_module, "_clock", itertools.count().__next__)
    timed, losses = train(data, minutes=1.25 / 60, out=tmp_path / "timed", progress="lines")
    plan = read_json(tmp_path / "timed" / "plan.json")
    assert plan["steps"] == 6
    assert len(losses) == 6
    assert "training: about 1 s: 6 steps of 4 images (2 passes over 12)" in capsys.readouterr().out
    # What was timed was taken back: the same number of steps gives the same weights.
    explicit, again = train(data, steps=6)
    assert again == losses
    assert same_weights(timed, explicit)
    # In the folder of the one, the other is the same training, and is done.
    done, _ = train(data, steps=6, out=tmp_path / "timed")
    assert same_weights(timed, done)


def test_a_killed_training_of_minutes_goes_on_with_its_own_plan(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: Callable
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pace_module, "_clock", itertools.count().__next__)
        killed(2, lambda: train(data, minutes=2.25 / 60, out=tmp_path))
        assert read_json(tmp_path / "plan.json")["steps"] == 12
    # A machine that is slower now has no say in it.
    monkeypatch.setattr(pace_module, "_clock", itertools.count(step=50).__next__)
    resumed, losses = train(data, minutes=2.25 / 60, out=tmp_path)
    undisturbed, again = train(data, steps=12)
    assert losses == again
    assert same_weights(undisturbed, resumed)


@pytest.mark.parametrize(("fast_from", "restarts"), [(0, 0), (30, True), (10**9, 0)])
def test_minutes_are_counted_again_when_the_machine_becomes_faster(
    monkeypatch: pytest.MonkeyPatch, fast_from: int, restarts: bool
) -> None:
    steps, taken_back, seconds = 0, [], [0.0]
    monkeypatch.setattr(pace_module, "_clock", lambda: sum(seconds))
    pace = Pace(60, 29, least=10, minutes=3, validate_every=0)
    accelerator = SimpleNamespace(num_processes=1)
    for now in pace.laps(0, accelerator, lambda: taken_back.append(sum(seconds)), lambda: None):
        for _ in now:
            seconds.append(0.1 if steps >= fast_from else 0.5)
            steps += 1
    assert now.stop == pace.steps
    assert (len(taken_back) > 1) == bool(restarts)  # once for the steps that were timed
    assert all(when < 3 * 60 / 4 for when in taken_back)
    assert 0.75 * 180 < sum(seconds) < 180 + 7  # the timed steps come on top
    assert (pace.steps > 1200) == (fast_from < 10**9)


def test_a_training_that_begins_again_is_that_of_the_larger_number(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The time goes by images: a second each for the first ones, a quarter of that for later ones.
    seen, load = [0.0], TrainingSet.__getitem__

    def loaded(self: TrainingSet, index: int) -> Any:
        seen.append(seen[-1] + (1.0 if len(seen) < 20 else 0.25))
        return load(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(pace_module, "_clock", lambda: seen[-1])
        patch.setattr(TrainingSet, "__getitem__", loaded)
        again, losses = train(data, minutes=0.5, out=tmp_path)
    steps = read_json(tmp_path / "plan.json")["steps"]
    assert 20 < steps < 30  # it was 8 at first
    explicit, expected = train(data, steps=steps)
    assert losses == expected
    assert same_weights(again, explicit)
    done, _ = train(data, steps=steps, out=tmp_path)
    assert same_weights(again, done)


def test_few_images_get_as_many_steps_as_many() -> None:
    for images in (237, 2000):
        sampler = StepSampler(images, batch_size=8, seed=0)
        pace = Pace(60, sampler.per_epoch, least=100, steps=850)
        sampler.steps = range(pace.ends[-1])
        assert len(sampler) == 850 * 8
        assert len(pace.ends) == 12
        assert pace.epoch_at(850) == round(850 / (images // 8), 2)


def test_validations_on_the_way_take_little_of_the_time() -> None:
    cheap = Pace(60, 29, least=100, steps=900, minutes=3, validate_every=None, validation=1)
    assert sum(cheap.validates(lap) for lap in range(1, 13)) == 10
    dear = Pace(60, 29, least=100, steps=900, minutes=3, validate_every=None, validation=12)
    assert [lap for lap in range(1, 13) if dear.validates(lap)] == [6, 12]
    hardly = Pace(60, 29, least=100, steps=900, minutes=3, validate_every=None, validation=300)
    assert [lap for lap in range(1, 13) if hardly.validates(lap)] == [12]
