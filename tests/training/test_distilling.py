"""Attention distilling: what is compared, what the student learns from it, and which teachers are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from anchorkit.datasets import Category, Dataset
from anchorkit.detectors import Detector, load_detector, prune
from anchorkit.errors import InputError
from anchorkit.training import History, Recipe, fit
from anchorkit.training.distilling import Distilling, attention

SHORT = Recipe("adamw", epochs=2, batch_size=4, lr=1e-3, schedule="cosine", augment="flip", ema_decay=0.9)
CATEGORIES = (Category(1, "cat"), Category(2, "dog"))


def make(data: Dataset, seed: int = 0, **settings: object) -> Detector:
    options = {"categories": data.categories, "size": (96, 96)} | settings
    return load_detector("tiny_ssd", seed=seed, **options)


def train(data: Dataset, recipe: Recipe = SHORT, **settings: object) -> tuple[Detector, History]:
    student = make(data)
    return student, fit(student, data, recipe, precision="no", progress=False, **settings)


def distance(student: Detector, teacher: Detector, images: list[torch.Tensor]) -> float:
    """The distance with the student in evaluation mode."""
    distilling = Distilling(student, teacher, weight=1.0)
    distilling.open()
    try:
        with torch.no_grad():
            student.module.eval()(images)
            return float(distilling.loss(images, 0.0))
    finally:
        distilling.close()


def hooks(detector: Detector) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in detector.module.modules())


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    theirs = second.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in first.state_dict().items())


@pytest.fixture
def images() -> list[torch.Tensor]:
    return list(torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)))


def test_attention_by_hand() -> None:
    features = torch.tensor([[[[3.0, 0.0]], [[0.0, 2.0]]]])  # mean squares 4.5 and 2
    expected = torch.tensor([[4.5, 2.0]]) / (4.5**2 + 2.0**2) ** 0.5
    torch.testing.assert_close(attention(features), expected)
    torch.testing.assert_close(attention(-7 * features.repeat(1, 3, 1, 1)), expected)
    assert torch.equal(attention(torch.zeros(1, 4, 2, 2)), torch.zeros(1, 4))


def test_the_distance_to_oneself_is_zero_and_to_others_it_is_not(
    few_shapes: Dataset, images: list[torch.Tensor]
) -> None:
    student = make(few_shapes)
    assert distance(student, make(few_shapes), images) == 0.0
    assert 0.0 < distance(student, make(few_shapes, seed=1), images) < 2 * 7


@pytest.mark.parametrize(
    ("family", "size", "strides"),
    [
        ("tiny_ssd", (96, 128), [2, 4, 8, 16, 32, 64]),
        ("tiny_retinanet", (128, 128), [2, 4, 8, 8, 16, 16, 32, 32, 64]),
        ("ssdlite320_mobilenet_v3_large", (320, 320), [2, 4, 8, 16, 32, 64, 128, 128]),
        ("efficientdet_d0", (128, 128), [2, 4, 8, 8, 16, 16, 32, 32, 64]),
    ],
)
def test_maps_are_found_in_every_family(family: str, size: tuple[int, int], strides: list[int]) -> None:
    student, teacher = (load_detector(family, categories=CATEGORIES, size=size, seed=seed) for seed in (0, 1))
    distilling = Distilling(student, teacher, weight=1.0)
    distilling.open()
    images = [torch.rand(3, *size)]
    student.module.eval()(images)
    found = {name: size[0] / value.shape[-2] for name, value in distilling.maps[0].maps.items()}
    distilling.close()
    # Each stride's last map before the next smaller one, and each level's map where that is another one.
    near = sorted(2 ** round(torch.tensor(found[name]).log2().item()) for name in distilling.names)
    assert near == strides
    assert not hooks(student)
    assert not hooks(teacher)


def test_the_student_comes_nearer_and_the_teacher_stays(few_shapes: Dataset, images: list[torch.Tensor]) -> None:
    teacher = make(few_shapes, seed=1)
    teacher.module.train()
    before = copy.deepcopy(teacher.module)
    alone, _ = train(few_shapes)
    taught, history = train(few_shapes, replace(SHORT, distilling=100.0), teacher=teacher)
    assert distance(taught, teacher, images) < distance(alone, teacher, images)
    assert history.frame["distilling"].is_monotonic_decreasing
    assert history.frame.columns[-1] == "distilling"
    assert same_weights(before, teacher.module)
    assert teacher.module.training
    assert all(parameter.grad is None for parameter in teacher.module.parameters())
    assert not hooks(teacher)
    assert not hooks(taught)


def test_a_distance_that_counts_nothing_changes_nothing(few_shapes: Dataset) -> None:
    alone, _ = train(few_shapes)
    taught, _ = train(few_shapes, replace(SHORT, distilling=0.0), teacher=make(few_shapes, seed=1))
    assert same_weights(alone.module, taught.module)


def test_a_killed_sparse_distilling_goes_on_with_the_same_result(
    few_shapes: Dataset, tmp_path: Path, killed: Callable
) -> None:
    recipe, teacher = replace(SHORT, sparsity=10.0), make(few_shapes, seed=1)
    undisturbed, history = train(few_shapes, recipe, teacher=teacher)
    killed(2, lambda: train(few_shapes, recipe, teacher=teacher, out=tmp_path))
    assert not hooks(teacher)
    resumed, again = train(few_shapes, recipe, teacher=teacher, out=tmp_path)
    assert {"penalty", "small_scales", "distilling"} <= set(again.frame)
    assert again.frame.drop(columns="seconds").equals(history.frame.drop(columns="seconds"))
    assert same_weights(undisturbed.module, resumed.module)
    with pytest.raises(InputError, match="a training with another teacher"):
        train(few_shapes, recipe, teacher=make(few_shapes, seed=2), out=tmp_path)


def test_a_student_without_some_anchors_and_levels_learns_from_the_whole_detector(
    few_shapes: Dataset, images: list[torch.Tensor]
) -> None:
    teacher = make(few_shapes)
    levels = teacher.layout.levels
    first = len(levels[0].anchors)
    for kept in (range(first + 1), range(first, first + 9)):  # levels 0 and 1; 1 and 2
        student = prune(teacher, teacher.layout.configuration(keep=list(kept)))
        assert distance(student, teacher, images) == 0.0
        with pytest.raises(InputError, match=r"teacher: level L\d of tiny_ssd.* is missing in tiny_ssd-pruned"):
            Distilling(teacher, student, 1.0)


def test_a_narrower_student_of_the_same_family_is_compared_within_the_trunk(images: list[torch.Tensor]) -> None:
    structure = {"categories": CATEGORIES, "size": (96, 96), "shapes": [[(16, 16)], [(32, 32)]], "seed": 0}
    student, teacher = (load_detector("ssd300_vgg16", width=width, **structure) for width in (0.05, 0.1))
    distilling = Distilling(student, teacher, 1.0)
    distilling.open()
    distilling.close()
    # Before each of the three poolings, the map of level 0 before its normalisation, and those of both levels.
    assert [name.split(".")[0] for name in distilling.names] == ["stages"] * 4 + ["level 0", "level 1"]
    assert distance(student, teacher, images) > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": (96, 128)}, r"teacher: its input is 96x128, that of tiny_ssd 96x96 \(height x width\)"),
        ({"categories": CATEGORIES}, r"teacher: its 2 classes are not the 7 of tiny_ssd \(different: "),
        ({"shapes": [[(16, 16)]]}, "teacher: level L1 of tiny_ssd, 6x6 cells, is missing in tiny_ssd: use a teacher"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(few_shapes: Dataset, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        train(few_shapes, teacher=make(few_shapes, **settings))
    assert "\n" not in str(caught.value)


def test_other_mistakes_are_refused(few_shapes: Dataset) -> None:
    student = make(few_shapes)
    with pytest.raises(InputError, match="teacher is the detector that is trained"):
        fit(student, few_shapes, SHORT, teacher=student)
    other = load_detector("tiny_retinanet", categories=few_shapes.categories, size=(96, 96))
    with pytest.raises(InputError, match="teacher: level L0 of tiny_ssd, 12x12 cells, is missing in tiny_retinanet"):
        fit(student, few_shapes, SHORT, teacher=other)
    with pytest.raises(InputError, match="distilling is -1"):
        fit(student, few_shapes, replace(SHORT, distilling=-1), teacher=make(few_shapes, seed=1))
