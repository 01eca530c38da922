from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from anchorkit.plots.labels import label_places

WIDTH, HEIGHT, HALF = 300.0, 200.0, (7.9 * 5 / 2, 8.5)


def boxes(places: np.ndarray) -> np.ndarray:
    return np.hstack([places - HALF, places + HALF])


def meet(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a[:2] < b[2:]).all() and (b[:2] < a[2:]).all())


def test_a_name_stands_above_its_point_if_it_can() -> None:
    ((x, y),) = label_places(np.array([[150.0, 100.0]]), ["12x12"], WIDTH, HEIGHT)
    assert x == 150
    assert 80 < y < 92


def test_names_of_neighbours_do_not_lie_on_one_another_nor_on_the_points() -> None:
    points = np.array([[150.0, 100.0], [160.0, 96.0], [140.0, 108.0], [155.0, 112.0]])
    found = boxes(label_places(points, ["12x12"] * 4, WIDTH, HEIGHT))
    for number, box in enumerate(found):
        assert not any(meet(box, other) for other in found[number + 1 :])
        assert not any(meet(box, np.hstack([point - 2, point + 2])) for point in points)


def test_what_stands_first_stands_best() -> None:
    points = np.array([[150.0, 100.0], [152.0, 100.0]])
    first = label_places(points, ["12x12", "12x12"], WIDTH, HEIGHT)
    alone = label_places(points[:1], ["12x12"], WIDTH, HEIGHT)
    assert first[0].tolist() == alone[0].tolist()


@given(
    st.lists(st.tuples(st.floats(0, WIDTH), st.floats(0, HEIGHT)), min_size=1, max_size=8),
)
@example([(19.0, 0.0)])  # nearly room enough above
def test_names_stay_beside_their_points_and_within_the_plot(points: list[tuple[float, float]]) -> None:
    at = np.array(points)
    places = label_places(at, ["12x12"] * len(at), WIDTH, HEIGHT)
    assert (np.abs(places - at) <= (50, 45)).all()
    alone = boxes(label_places(at[:1], ["12x12"], WIDTH, HEIGHT))
    for box in (*alone, *boxes(places)):
        assert box[0] >= 0
        assert box[1] >= 0
        assert box[2] <= WIDTH
        assert box[3] <= HEIGHT
