"""Sparse training: which scales shrink by how much, for how long, and what the history says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from anchorkit.datasets import Dataset
from anchorkit.detectors import Detector, load_detector
from anchorkit.errors import InputError
from anchorkit.training import RECIPES, History, Recipe, fit
from anchorkit.training.sparsity import SMALL, Sparsity, prunable_scales

ADAMW = Recipe("adamw", epochs=3, batch_size=4, lr=1e-3, schedule="cosine", augment="none", sparsity=230.0)
SGD = replace(ADAMW, optimizer="sgd", sparsity=0.5)


def fresh(data: Dataset) -> Detector:
    return load_detector("tiny_ssd", categories=data.categories, size=(96, 96), seed=0)


def train(data: Dataset, recipe: Recipe, **settings: object) -> tuple[Detector, History]:
    detector = fresh(data)
    return detector, fit(detector, data, recipe, precision="no", progress=False, **settings)


def with_scales(detector: Detector) -> torch.Tensor:
    """Give a detector scales from -1 to 1, in a random order; all of them, one after another."""
    parameters = list(prunable_scales(detector).values())
    values = torch.linspace(-1, 1, sum(map(len, parameters)))
    values = values[torch.randperm(len(values), generator=torch.Generator().manual_seed(0))]
    with torch.no_grad():
        for parameter, part in zip(parameters, values.split([len(p) for p in parameters]), strict=True):
            parameter.copy_(part)
    return values


def expected_rates(values: torch.Tensor, share: float, recipe: Recipe) -> torch.Tensor:
    """What the paper says, from a sorted list."""
    rates = torch.full_like(values, recipe.sparsity)
    if share >= recipe.sparsity_from:
        rates[values.abs().argsort(descending=True)[: int(0.35 * len(values))]] *= 0.01
    return rates


@pytest.mark.parametrize("share", [0.0, 0.39, 0.4, 1.0])
def test_adamw_shrinks_each_scale_by_its_rate_and_stops_at_zero(few_shapes: Dataset, share: float) -> None:
    detector = fresh(few_shapes)
    values, sparsity = with_scales(detector), Sparsity(detector, ADAMW)
    assert sparsity.loss([], share) is None
    sparsity.after_step(share, lr=1e-3)
    after = torch.cat([p.detach() for p in prunable_scales(detector).values()])
    shrunk = (values.abs() - 1e-3 * expected_rates(values, share, ADAMW)).clamp(min=0)
    torch.testing.assert_close(after, values.sign() * shrunk)
    assert (after == 0).any()


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_sgd_gets_the_subgradient(few_shapes: Dataset, share: float) -> None:
    detector = fresh(few_shapes)
    values, sparsity = with_scales(detector), Sparsity(detector, SGD)
    loss = sparsity.loss([], share)
    assert loss is not None
    loss.backward()
    sparsity.after_step(share, lr=1.0)
    rates = expected_rates(values, share, SGD)
    gradients = torch.cat([p.grad for p in prunable_scales(detector).values() if p.grad is not None])
    torch.testing.assert_close(gradients, rates * values.sign())
    assert torch.equal(torch.cat([p.detach() for p in prunable_scales(detector).values()]), values)
    assert sparsity.columns(detector.module)["penalty"] == pytest.approx(float(rates @ values.abs()), rel=1e-5)


def test_the_strongest_scales_are_spared_and_the_history_says_how_many_are_small(few_shapes: Dataset) -> None:
    spared, history = train(few_shapes, ADAMW)
    _, of_fixed = train(few_shapes, replace(ADAMW, sparsity_from=1.0))
    sizes = torch.cat([p.detach().abs() for p in prunable_scales(spared).values()])
    assert history.rows[-1]["small_scales"] == pytest.approx(float((sizes < SMALL).float().mean()))
    assert history.rows[-1]["small_scales"] == pytest.approx(0.65, abs=0.01)
    assert of_fixed.rows[-1]["small_scales"] == pytest.approx(1.0, abs=0.01)
    assert history.frame.columns[-2:].tolist() == ["penalty", "small_scales"]


def test_scales_are_those_of_channels_that_can_be_cut_and_are_not_frozen(few_shapes: Dataset) -> None:
    detector = fresh(few_shapes)
    module = detector.module
    norms = [f"{name}.weight" for name, layer in module.named_modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert sorted(prunable_scales(detector)) == sorted(norms)
    name, frozen = next(iter(prunable_scales(detector).items()))
    frozen.requires_grad_(False)
    assert name not in prunable_scales(detector)


def test_a_killed_sparse_training_goes_on_with_the_same_result(
    few_shapes: Dataset, tmp_path: Path, killed: Callable
) -> None:
    recipe = replace(SGD, epochs=2)  # with AdamW: test_distilling
    undisturbed, history = train(few_shapes, recipe)
    killed(2, lambda: train(few_shapes, recipe, out=tmp_path))
    resumed, again = train(few_shapes, recipe, out=tmp_path)
    assert again.frame.drop(columns="seconds").equals(history.frame.drop(columns="seconds"))
    theirs = resumed.module.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in undisturbed.module.state_dict().items())


def test_facts_without_sparsity_are_those_of_versions_without_it(few_shapes: Dataset, tmp_path: Path) -> None:
    train(few_shapes, replace(ADAMW, epochs=1, sparsity=0), out=tmp_path)
    noted = (tmp_path / "training.json").read_text()
    assert "sparsity" not in noted
    assert "distilling" not in noted
    with pytest.raises(InputError, match="a training with another recipe"):
        train(few_shapes, replace(ADAMW, epochs=1), out=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparsity": -1.0}, "sparsity is -1.0; 0"),
        ({"sparsity": float("nan")}, "sparsity is nan"),
        ({"sparsity_from": 1.5}, "sparsity_from is 1.5; a share of the training"),
    ],
)
def test_bad_settings(few_shapes: Dataset, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(few_shapes, replace(ADAMW, **changes))


def test_a_detector_without_norms_is_refused(few_shapes: Dataset) -> None:
    bare = load_detector(
        "ssd300_vgg16", categories=few_shapes.categories, size=(64, 64), shapes=[[(16, 16)]], width=0.1
    )
    with pytest.raises(InputError, match="ssd300_vgg16 has no norm to train"):
        fit(bare, few_shapes, "tiny-sparse", progress=False)


def test_the_recipe_shrinks_a_free_scale_by_its_own_size() -> None:
    """On 2,000 images. Twice as much destroyed the shipped detector (docs/results.md)."""
    sparse, tiny = RECIPES["tiny-sparse"], RECIPES["tiny"]
    steps = sparse.epochs * 2000 // sparse.batch_size
    assert sparse.sparsity * sparse.lr * steps / 2 == pytest.approx(1.0)
    assert sparse.sparsity_from == 0.4
    assert (sparse.optimizer, sparse.lr) == (tiny.optimizer, tiny.lr)
