"""The score of DCODP from one decomposition: golden values, properties, and equation (10) as it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anchorkit.channels.nuclear import naive_nuclear_drops, nuclear_drops, torch_nuclear_drops
from anchorkit.errors import InputError

ROOT2, ROOT3, ROOT5 = 2**0.5, 3**0.5, 5**0.5


def with_torch(features: Any) -> np.ndarray:
    return torch_nuclear_drops(torch.as_tensor(np.asarray(features, np.float64))).numpy()


@pytest.fixture(params=[nuclear_drops, with_torch], ids=["numpy", "torch"])
def drops(request: pytest.FixtureRequest) -> Callable[[Any], np.ndarray]:
    return request.param


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ([[1, 0], [1, 0], [0, 1]], [ROOT2 - 1, ROOT2 - 1, 1]),
        ([[1, 0], [0, 1], [1, 1]], [ROOT3 + 1 - ROOT5, ROOT3 + 1 - ROOT5, ROOT3 - 1]),
        ([[3, 0], [0, 4]], [3, 4]),
        (np.ones((4, 9)), [6 - 3 * ROOT3] * 4),
        ([[0, 0], [1, 2]], [0, ROOT5]),
    ],
)
def test_golden_values(drops: Callable[[Any], np.ndarray], features: Any, expected: list[float]) -> None:
    np.testing.assert_allclose(drops(features), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("shape", [(20, 50), (20, 7), (1, 9), (9, 1)])
def test_the_wide_and_the_tall_equal_the_naive_way(drops: Callable[[Any], np.ndarray], shape: tuple[int, int]) -> None:
    features = np.random.default_rng(0).gamma(1, size=shape)
    largest = np.linalg.norm(features, 2)
    np.testing.assert_allclose(drops(features), naive_nuclear_drops(features), rtol=0, atol=1e-12 * largest)


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    """Wide, tall, of full rank or not, with twins and dead rows, at scales from 1e-6 to 1e6."""
    n, m = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    features = rng.normal(size=(n, m))
    kind = draw(st.sampled_from(["full rank", "low rank", "twins", "dead", "scaled rows"]))
    if kind == "low rank":
        rank = draw(st.integers(1, min(n, m)))
        features = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, m))
    elif kind == "twins":
        features[-1] = features[0]
    elif kind == "dead":
        features[: draw(st.integers(0, n))] = 0
    elif kind == "scaled rows":
        features *= 10.0 ** rng.uniform(-6, 6, size=(n, 1))
    return features * 10.0 ** draw(st.integers(-6, 6))


@given(matrices())
def test_the_score_equals_the_naive_one_and_lies_between_0_and_the_rows_length(features: np.ndarray) -> None:
    found, largest = nuclear_drops(features), float(np.linalg.norm(features, 2))
    np.testing.assert_allclose(found, naive_nuclear_drops(features), rtol=0, atol=1e-10 * largest)
    np.testing.assert_allclose(with_torch(features), found, rtol=0, atol=1e-10 * largest)
    assert (found >= 0).all()
    assert (found <= np.linalg.norm(features, axis=1) + 1e-12 * largest).all()


@given(matrices(), st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_the_score_scales_and_ignores_the_order_and_rotation_of_columns(
    features: np.ndarray, seed: int, factor: float
) -> None:
    found, largest = nuclear_drops(features), float(np.linalg.norm(features, 2))
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(features.shape[1],) * 2))[0]
    same = {"atol": 1e-10 * largest, "rtol": 0}
    np.testing.assert_allclose(nuclear_drops(-factor * features) / factor, found, **same)
    np.testing.assert_allclose(nuclear_drops(features[:, rng.permutation(features.shape[1])]), found, **same)
    np.testing.assert_allclose(nuclear_drops(features @ rotation), found, **same)


@given(st.integers(0, 1000), st.integers(2, 8))
def test_only_a_row_orthogonal_to_all_others_counts_with_its_length(seed: int, n: int) -> None:
    features = np.random.default_rng(seed).normal(size=(n, 9))
    features[0] = 0
    features[0, 8], features[1:, 8] = 2, 0
    found, lengths = nuclear_drops(features), np.linalg.norm(features, axis=1)
    assert found[0] == pytest.approx(lengths[0], rel=1e-12)
    assert n == 2 or (found[1:] < lengths[1:] * (1 - 1e-9)).all()


def test_a_dead_row_beside_many_scores_zero(drops: Callable[[Any], np.ndarray]) -> None:
    features = np.random.default_rng(1).gamma(1, size=(30, 100))
    features[[4, 17]] = 0
    found = drops(features)
    assert (found[[4, 17]] == 0).all()
    assert (np.delete(found, [4, 17]) > 0.1).all()


def test_a_batch_is_its_matrices_one_by_one(drops: Callable[[Any], np.ndarray]) -> None:
    batch = np.random.default_rng(2).normal(size=(4, 6, 10))
    batch[1], batch[2, 3] = 0, batch[2, 4]  # one matrix of zeros, one that its Gram matrix does not tell exactly
    found = drops(batch)
    np.testing.assert_allclose(found, [drops(each) for each in batch], rtol=0, atol=1e-13)
    assert (found[1] == 0).all()


def test_half_precision_is_converted_before_anything_is_multiplied() -> None:
    features = torch.rand(1, 8, 20, generator=torch.Generator().manual_seed(0)).half() * 1000  # squares overflow
    expected = naive_nuclear_drops(features[0].double().numpy())
    np.testing.assert_allclose(torch_nuclear_drops(features)[0].numpy(), expected, rtol=1e-11)


def test_bad_features(drops: Callable[[Any], np.ndarray]) -> None:
    with pytest.raises(InputError, match="not finite"):
        drops([[1.0, np.nan]])
    with pytest.raises(InputError, match=r"shape \(2,\); give \(channels, values\)"):
        drops([1.0, 2.0])
