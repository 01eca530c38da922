from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.errors import InputError
from anchorkit.latency import PostprocessModel, PostprocessTime, fit_postprocess_time
from anchorkit.latency.report import LatencyReport
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable
from anchorkit.search import search

from ..search.toys import ToyEvaluator

TRUE = {"base_ms": 0.2, "per_box_ms": 1e-3, "per_box_squared_ms": 2e-7, "loop_ms": 2.0}


def times_of(boxes: np.ndarray) -> np.ndarray:
    steps = np.where(boxes > 1000, TRUE["loop_ms"], 0)
    return TRUE["base_ms"] + TRUE["per_box_ms"] * boxes + TRUE["per_box_squared_ms"] * boxes**2 + steps


def samples(most: int = 4000, count: int = 300, seed: int = 0) -> pd.DataFrame:
    """Times with 5 % of noise, and one in fifteen three times as long: somebody else had the processor."""
    rng = np.random.default_rng(seed)
    boxes = rng.integers(0, most, count)
    spells = np.where(rng.random(count) < 1 / 15, 3.0, 1.0)
    return pd.DataFrame({"boxes": boxes, "ms": times_of(boxes) * rng.normal(1, 0.05, count) * spells})


def test_the_fit_finds_the_curve_in_spite_of_outliers():
    model = fit_postprocess_time(samples())
    asked = np.array([0, 10, 100, 500, 999, 1001, 1500, 3900])
    np.testing.assert_allclose(model.predict(asked), times_of(asked), rtol=0.05)
    assert model.loop_ms == pytest.approx(2.0, rel=0.1)
    assert model.median_error == pytest.approx(0.035, abs=0.01)
    assert model.p90_error > model.median_error
    assert (model.fewest, model.most, model.samples) == (samples().boxes.min(), samples().boxes.max(), 300)
    assert "us a box" in str(model)


def test_a_step_that_was_not_seen_is_not_invented():
    model = fit_postprocess_time(samples(most=900))
    assert model.loop_ms == 0
    assert min(dataclasses.astuple(model)) >= 0


def test_numbers_far_outside_cause_a_warning():
    model = fit_postprocess_time(pd.DataFrame({"boxes": [100, 200, 300, 400, 500], "ms": [1.0, 2.0, 3.0, 4.0, 5.0]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.predict([[70, 300], [400, 530]]).shape == (2, 2)
    for far in (50, 550):
        with pytest.warns(UserWarning, match="fitted on 100 to 500 boxes"):
            model.predict([300, far])
    for bad in (-1, np.nan, np.inf):
        with pytest.raises(InputError, match="finite and not negative"):
            model.predict(bad)


def report_of(frame: pd.DataFrame, batch_size: int = 1) -> LatencyReport:
    """Each sample an image, in three rounds of which one was disturbed."""
    parts = [
        pd.DataFrame(
            {
                "detector": "a",
                "part": part,
                "round": number * len(frame) + np.arange(len(frame)),
                "batch": np.arange(len(frame)),
                "ms": frame["ms"] * factor * (10 if part == "network" else 1),
                "cpu_ms": frame["ms"] * (10 if part == "network" else 1),
                "boxes": frame["boxes"],
            }
        )
        for number, factor in enumerate((1.0, 7.0, 1.0))
        for part in ("network", "postprocess")
    ]
    return LatencyReport(pd.concat(parts), ("a",), "torch", 1, batch_size, {})


def test_of_a_report_the_median_of_each_image_is_taken():
    frame = samples()
    expected = fit_postprocess_time(frame)
    assert fit_postprocess_time(report_of(frame)) == expected
    assert fit_postprocess_time(report_of(frame), clock="processor") == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (pd.DataFrame({"ms": [1.0]}), "column boxes is missing"),
        (pd.DataFrame({"boxes": [1]}), "column ms is missing"),
        (pd.DataFrame({"boxes": [1, 2, 3, 3], "ms": [1.0] * 4}), "fewer than 4 different"),
        (pd.DataFrame({"boxes": [1, 2, 3, 4], "ms": [1.0, 0.0, 1.0, 1.0]}), "above 0 ms"),
        (report_of(samples(), batch_size=2), "batches of 2"),
    ],
)
def test_what_cannot_be_fitted_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        fit_postprocess_time(given)


LAYOUT = AnchorLayout("toy", (8, 8), (Level("P0", 2, 2, ((1.0, 1.0), (2.0, 2.0)), head_macs_per_anchor=1),))
MODEL = PostprocessModel(1.0, 0.5, 0.0, 0.0, fewest=0, most=10, samples=9, median_error=0.1, p90_error=0.2)


def table() -> PredictionTable:
    """Image 1 has two rows of anchor 0 and one of anchor 1 above the threshold; image 2 three of anchor 1."""
    return PredictionTable(
        image_id=[1, 1, 1, 1, 2, 2, 2],
        anchor=[0, 0, 0, 1, 1, 1, 1],
        category_id=[1] * 7,
        score=[0.9, 0.8, 0.1, 0.7, 0.9, 0.8, 0.7],
        boxes=np.tile([0, 0, 4, 4], (7, 1)).astype(np.float32),
        layout=LAYOUT,
        postprocess=PostProcess(score_threshold=0.5),
    )


def test_the_cost_is_the_mean_over_the_images():
    cost = PostprocessTime(MODEL, table())
    assert cost(LAYOUT.full) == pytest.approx(1 + 0.5 * (3 + 3) / 2)
    assert cost(LAYOUT.configuration(keep=[0])) == pytest.approx(1 + 0.5 * (2 + 0) / 2)
    assert cost(LAYOUT.configuration(keep=[1])) == pytest.approx(1 + 0.5 * (1 + 3) / 2)
    other = AnchorLayout("other", (8, 8), LAYOUT.levels)
    with pytest.raises(InputError, match="layouts differ"):
        cost(other.full)
    with pytest.raises(InputError, match="no rows"):
        PostprocessTime(MODEL, PredictionTable([], [], [], [], [], LAYOUT, PostProcess()))


def test_a_search_takes_it_as_a_computed_cost():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = search(ToyEvaluator(LAYOUT), PostprocessTime(MODEL, table()), progress=False)
    assert result.cost == "postprocess_ms"
    assert result.baseline["postprocess_ms"] == 2.5
