from __future__ import annotations

import numpy as np
import pytest

from anchorkit.analysis.kmeans_anchors import kmeans_sizes, kmeans_within, on_levels, shape_fit
from anchorkit.anchors import AnchorLayout, Level
from anchorkit.errors import InputError


def layout() -> AnchorLayout:
    levels = (
        Level("fine", 8, 8, ((10.0, 10.0), (16.0, 8.0)), head_macs_per_anchor=5),
        Level("middle", 4, 4, ((30.0, 30.0), (40.0, 20.0)), head_macs_per_anchor=5),
        Level("coarse", 1, 1, ((90.0, 90.0),), head_macs_per_anchor=5),
    )
    return AnchorLayout("toy", (100, 100), levels)


def crowd() -> np.ndarray:
    """Three kinds of objects, of very different size and number."""
    rng = np.random.default_rng(0)
    kinds = [((10, 10), 50), ((40, 20), 10), ((90, 80), 3)]
    return np.concatenate([np.array(size) * rng.uniform(0.95, 1.05, (n, 2)) for size, n in kinds])


def test_iou_of_sizes() -> None:
    found = shape_fit(np.array([[10.0, 10.0], [20.0, 5.0]]), np.array([[10.0, 10.0], [5.0, 10.0]]))
    assert found == pytest.approx(np.array([[1.0, 0.5], [50 / 150, 25 / 125]]))


def test_finds_the_kinds_however_large() -> None:
    centres = kmeans_sizes(crowd(), 3)
    assert centres == pytest.approx(np.array([[10, 10], [40, 20], [90, 80]]), rel=0.05)


def test_more_clusters_fit_no_worse_and_all_of_them_perfectly() -> None:
    sizes = crowd()
    fits = [shape_fit(sizes, kmeans_sizes(sizes, k, seed=1)).max(axis=1).mean() for k in (1, 2, 4, 8)]
    assert fits == sorted(fits)
    assert shape_fit(sizes, kmeans_sizes(sizes, len(sizes))).max(axis=1).min() == pytest.approx(1.0)


def test_the_same_seed_gives_the_same_anchors() -> None:
    assert (kmeans_sizes(crowd(), 5, seed=3) == kmeans_sizes(crowd(), 5, seed=3)).all()


def test_sizes_go_to_the_level_of_their_size() -> None:
    shapes = on_levels(np.array([[5.0, 5.0], [60.0, 15.0], [100.0, 100.0], [31.0, 29.0]]), layout())
    assert shapes == [[(5.0, 5.0)], [(60.0, 15.0), (31.0, 29.0)], [(100.0, 100.0)]]


@pytest.mark.parametrize(("budget", "counts"), [(160, [0, 2, 0]), (10_000, None)])
def test_as_many_as_the_budget_allows(budget: int, counts: list[int] | None) -> None:
    sizes = np.array([[28.0, 28.0], [44.0, 22.0]] * 3)
    found = [len(level) for level in kmeans_within(sizes, layout(), "head_flops", budget)]
    assert found == (counts or [0, 2, 0])  # there are no more different sizes than two


def test_the_budget_is_kept() -> None:
    for budget in (325, 405, 730, 2000):
        shapes = kmeans_within(crowd(), layout(), "head_flops", budget)
        assert sum(5 * level.cells * len(own) for level, own in zip(layout().levels, shapes, strict=True)) <= budget


@pytest.mark.parametrize(
    ("sizes", "k", "complaint"),
    [
        ([[1, 1], [2, 2]], 3, "3 clusters of 2 different object sizes"),
        ([[1, 1], [2, 2]], 0, "0 clusters"),
        ([[1, 0]], 1, "not above 0"),
        ([[1, float("nan")]], 1, "not above 0"),
    ],
)
def test_bad_input(sizes: list[list[float]], k: int, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        kmeans_sizes(np.array(sizes), k)


def test_a_budget_for_nothing() -> None:
    with pytest.raises(InputError, match="not even one anchor has head_flops of 4 or less"):
        kmeans_within(crowd(), layout(), "head_flops", 4)
