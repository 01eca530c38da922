"""Intervals and simultaneous bounds do what their names say, on draws whose distribution is known."""

from __future__ import annotations

import numpy as np
import pytest

from anchorkit.errors import InputError
from anchorkit.statistics import percentile_interval, share_within, simultaneous_bounds


def test_a_percentile_interval_leaves_out_the_tails():
    changes = np.linspace(-0.01, 0.03, 4001)[:, None] * [1.0, 2.0]
    low, high = percentile_interval(changes, 0.9)
    assert low == pytest.approx([-0.008, -0.016])
    assert high == pytest.approx([0.028, 0.056])


def test_the_share_within_a_margin():
    changes = np.array([[-0.02, 0.0], [-0.005, 0.0], [0.01, -0.1], [0.0, -0.006]])
    assert share_within(changes, 0.005).tolist() == [0.75, 0.5]
    assert share_within(changes, 0.0).tolist() == [0.5, 0.5]


def test_one_point_needs_the_width_of_one_and_many_need_more():
    draws = np.random.default_rng(0).normal(0, 0.01, (10_000, 100))
    change = np.zeros(100)
    one = simultaneous_bounds(change[:1], draws[:, :1], 0.95)
    many = simultaneous_bounds(change, draws, 0.95)
    assert one.width == pytest.approx(1.645, abs=0.06)
    # Of 100 independent deviations the largest: the (0.95 ** (1 / 100)) quantile of one.
    assert many.width == pytest.approx(3.28, abs=0.1)
    assert many.least == pytest.approx(-many.width * many.standard_error)
    # Points that go together are as one.
    together = simultaneous_bounds(change, np.repeat(draws[:, :1], 100, axis=1), 0.95)
    assert together.width == pytest.approx(one.width)


def test_the_bound_of_one_point_is_the_end_of_its_percentile_interval():
    """Draws that scatter far to one side: which side decides."""
    draws = np.random.default_rng(3).exponential(0.01, (1000, 1))
    for changes in (draws, -draws):
        found = simultaneous_bounds(np.median(changes, axis=0), changes, 0.95)
        assert found.least == pytest.approx(percentile_interval(changes, 0.9)[0])
        assert found.standard_error == pytest.approx(changes.std(axis=0, ddof=1), rel=1e-12)


def test_a_bound_never_lies_above_its_point():
    draws = np.linspace(0.01, 0.03, 50)[:, None]
    found = simultaneous_bounds(np.zeros(1), draws)
    assert (found.least.tolist(), found.width) == ([0.0], 0.0)


def test_all_bounds_hold_at_once_as_often_as_said():
    random = np.random.default_rng(1)
    root = np.linalg.cholesky(0.5 + 0.5 * np.eye(12))
    scale = np.geomspace(0.001, 0.02, 12)
    truth = random.normal(0, 0.01, 12)
    held = 0
    for _ in range(400):
        change = truth + scale * (root @ random.normal(size=12))
        draws = change + scale * (random.normal(size=(400, 12)) @ root.T)
        held += bool((simultaneous_bounds(change, draws, 0.9).least <= truth).all())
    assert 0.85 <= held / 400 <= 0.95  # three standard errors about 0.9


def test_what_never_varies_is_its_own_bound():
    draws = np.zeros((50, 2))
    draws[:, 1] = np.linspace(-1, 1, 50)
    bounds = simultaneous_bounds(np.array([0.0, 0.1]), draws)
    assert bounds.least[0] == 0.0
    assert bounds.least[1] < 0.1
    nothing = simultaneous_bounds(np.array([0.0]), np.zeros((50, 1)))
    assert (nothing.least.tolist(), nothing.width) == ([0.0], 0.0)
    assert bounds.first(1).least.tolist() == [0.0]


def test_options_out_of_range_are_refused():
    draws = np.zeros((5, 1))
    for confidence in (0, 1, 95, True):
        with pytest.raises(InputError, match="confidence is"):
            percentile_interval(draws, confidence)
    with pytest.raises(InputError, match="95 may mean 0.95"):
        simultaneous_bounds(np.zeros(1), draws, 95)
    for margin in (-0.1, 1, 5, False):
        with pytest.raises(InputError, match="half a point is 0.005"):
            share_within(draws, margin)
