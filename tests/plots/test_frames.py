from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorkit.plots.frames import change, level_of, points, sample, thin_outlines, unit


@pytest.mark.parametrize(
    ("cost", "value", "text"),
    [
        ("head_flops", 4_231_000_000, "4.23 G"),
        ("head_flops", 476_300_000, "476 M"),
        ("boxes", 8732, "8,732"),
        ("boxes", 0, "0"),
        ("head_parameters", 123_400, "123 k"),
        ("latency_ms", 3.14159, "3.14"),
    ],
)
def test_numbers_are_readable(cost: str, value: float, text: str) -> None:
    assert unit(cost, [value]).text(value) == text


def test_small_numbers_beside_large_ones() -> None:
    assert unit("head_flops", [15e6]).text(6340) == "6.34 k"
    assert unit("head_flops", [15e9]).text(500) == "500"


def test_titles() -> None:
    assert unit("total_flops", [34.4e9]).title == "Total FLOPs (billion multiply-adds)"
    assert unit("boxes", [8732]).title == "Boxes per image"
    assert unit("latency_ms", [3]).title == "latency ms"


def test_points_and_changes() -> None:
    assert points(0.2571) == "25.7"
    assert change(100, 57) == "−43 %"
    assert change(100, 104) == "+4 %"
    assert change(1000, 999) == "±0 %"
    assert change(0, 5) == ""


def test_level_of() -> None:
    assert level_of("L12/56x28b") == 12


def test_sample_is_the_same_every_time() -> None:
    frame = pd.DataFrame({"a": range(1000)})
    assert sample(frame, 50)["a"].tolist() == sample(frame, 50)["a"].tolist()
    assert sample(frame, 50)["a"].is_monotonic_increasing
    assert len(sample(frame, 2000)) == 1000


@given(st.integers(0, 1000), st.integers(30, 400), st.booleans())
def test_thinned_outlines_stay_near(seed: int, rows: int, closed: bool) -> None:
    rng = np.random.default_rng(seed)
    turn = np.linspace(0, 2 * np.pi, 200, endpoint=closed)
    radius = 1 + 0.2 * np.sin(3 * turn) + 0.01 * rng.random(200) * (not closed)
    outline = pd.DataFrame(
        {
            "anchor_id": "L0/1x1",
            "order": range(200),
            "width": 2 ** (5 + radius * np.cos(turn)),
            "height": 2 ** (5 + radius * np.sin(turn)),
        }
    )
    thin = thin_outlines(outline, rows, ["anchor_id"])
    assert 2 <= len(thin) <= max(rows, 2)
    # Every corner that went is within the last tolerance of what stayed: with 30 corners, a tenth of an octave.
    kept = np.log2(thin[["width", "height"]].to_numpy())
    every = np.log2(outline[["width", "height"]].to_numpy())
    start, end = kept[:-1], kept[1:]
    along = np.clip(
        ((every[:, None] - start) * (end - start)).sum(2) / np.maximum(((end - start) ** 2).sum(1), 1e-12), 0, 1
    )
    near = np.linalg.norm(every[:, None] - (start + along[..., None] * (end - start)), axis=2).min(1)
    assert near.max() < 0.12
