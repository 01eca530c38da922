from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from anchorkit.errors import InputError
from anchorkit.runs.answers import verdict_of
from anchorkit.statistics.seeds import difference, mean_of, summary


def table() -> pd.DataFrame:
    rows = [
        ("pruned", "50 %", 0, 0.30),
        ("pruned", "50 %", 1, 0.40),
        ("pruned", "50 %", 2, 0.35),
        ("retrained", "50 %", 2, 0.40),  # seeds in another order
        ("retrained", "50 %", 0, 0.34),
        ("retrained", "50 %", 1, 0.45),
        ("retrained", "25 %", 0, 0.20),
    ]
    frame = pd.DataFrame(rows, columns=["treatment", "point", "seed", "accuracy"])
    return frame.assign(epochs=60, n_anchors=[3, 4, 4, 4, 3, 4, 2], boxes=100, head_flops=1000)


def test_the_interval_is_students() -> None:
    values = [0.31, 0.35, 0.33, 0.40]
    found = mean_of(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((np.mean(values), low, high, 4))


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [mean_of(rng.normal(0.3, 0.01, 3).tolist()) for _ in range(2000)]
    assert 0.935 < np.mean([mean.low <= 0.3 <= mean.high for mean in found]) < 0.965


def test_one_value_tells_nothing_of_the_spread() -> None:
    found = mean_of([0.3])
    assert (found.low, found.high, found.sign) == (-math.inf, math.inf, 0)
    assert found.points() == "30.0"
    with pytest.raises(InputError, match="there are no values"):
        mean_of([])


@pytest.mark.parametrize(
    ("values", "sign"),
    [([0.02, 0.021, 0.019], 1), ([-0.02, -0.021, -0.019], -1), ([0.02, -0.01, 0.0], 0), ([0.0, 0.0], 0)],
)
def test_sign_is_that_of_the_whole_interval(values: list[float], sign: int) -> None:
    assert mean_of(values).sign == sign


def test_words_are_in_points() -> None:
    assert mean_of([0.01, 0.01]).points(signed=True) == "+1.0 (+1.0 to +1.0)"
    assert mean_of([-0.0001, -0.0001]).points(signed=True).startswith("+0.0")  # no minus zero


def test_differences_are_taken_seed_by_seed() -> None:
    found = difference(table(), ("retrained", "50 %"), ("pruned", "50 %"))
    assert found.mean == pytest.approx(np.mean([0.04, 0.05, 0.05]))
    assert found.sign == 1  # although the seeds scatter by 10 points
    assert difference(table(), ("retrained", "25 %"), ("pruned", "50 %")).n == 1
    with pytest.raises(InputError, match="fine-tuned 50 % and pruned 50 %: no seed in common"):
        difference(table(), ("fine-tuned", "50 %"), ("pruned", "50 %"))


def test_summary_keeps_the_order_and_averages() -> None:
    found = summary(table())
    assert list(found.index) == [("pruned", "50 %"), ("retrained", "50 %"), ("retrained", "25 %")]
    row = found.loc[("pruned", "50 %")]
    assert row["AP (points)"].startswith("35.0 (")
    assert (row["spread"], row["seeds"], row["epochs"], row["n_anchors"]) == (10.0, 3, 60, 4)
    uneven = table().assign(epochs=[50, 60, 40, 60, 60, 60, 60])
    assert summary(uneven).loc[("pruned", "50 %"), "epochs"] == 60  # of the seed that was trained longest


def test_nothing_is_told_of_detectors_that_have_hardly_begun() -> None:
    assert [verdict_of(sign, [0.3, 0.4]) for sign in (1, -1, 0)] == ["held", "did not hold", "cannot be told here"]
    assert verdict_of(1, [0.3, 0.04]) == verdict_of(-1, [0.01]) == "cannot be told here"
