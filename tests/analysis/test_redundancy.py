from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from anchorkit.analysis.redundancy import (
    anchor_frame,
    box_shapes,
    counts,
    coverage,
    density_contours,
    marginals,
    object_shapes,
)
from anchorkit.anchors import AnchorLayout, Level
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable

LAYOUT = AnchorLayout(
    "toy",
    (100, 200),
    (
        Level("a", 8, 8, ((20.0, 20.0), (40.0, 20.0))),
        Level("b", 4, 4, ((80.0, 80.0), (80.0, 40.0))),
    ),
)
POSTPROCESS = PostProcess(score_threshold=0.05, topk=None, topk_scope="class", nms_iou=0.5, max_detections=100)


def table(anchor, width, height, score=0.9, image_id=1) -> PredictionTable:
    n = len(anchor)
    boxes = np.zeros((n, 4), dtype=np.float32)
    boxes[:, 2], boxes[:, 3] = width, height
    return PredictionTable(
        image_id=np.full(n, image_id),
        anchor=np.asarray(anchor),
        category_id=np.ones(n, dtype=np.int32),
        score=np.broadcast_to(np.float32(score), n).copy(),
        boxes=boxes,
        layout=LAYOUT,
        postprocess=POSTPROCESS,
    )


def lognormal(centres, n=3000, spread=0.3, seed=0) -> pd.DataFrame:
    """Shapes of n boxes an anchor around (width, height) centres; None for an anchor that predicts nothing."""
    rng = np.random.default_rng(seed)
    anchor, width, height = [], [], []
    for number, centre in enumerate(centres):
        if centre is None:
            continue
        anchor += [number] * n
        width += (centre[0] * np.exp2(rng.normal(0, spread, n))).tolist()
        height += (centre[1] * np.exp2(rng.normal(0, spread, n))).tolist()
    return box_shapes(table(anchor, width, height), image_sizes={1: (100, 200)})


def inside(polygons, points) -> np.ndarray:
    """Even-odd rule over all closed paths."""
    crossings = np.zeros(len(points), dtype=int)
    for polygon in polygons:
        for (x1, y1), (x2, y2) in itertools.pairwise(polygon):
            if y1 != y2:
                between = (points[:, 1] < y1) != (points[:, 1] < y2)
                crossings += between & (points[:, 0] < x1 + (points[:, 1] - y1) * (x2 - x1) / (y2 - y1))
    return crossings % 2 == 1


def test_anchor_frame():
    frame = anchor_frame(LAYOUT.configuration(drop=["L0/40x20"]))
    assert frame.to_dict("list") == {
        "anchor_id": ["L0/20x20", "L0/40x20", "L1/80x80", "L1/80x40"],
        "level": [0, 0, 1, 1],
        "width": [20.0, 40.0, 80.0, 80.0],
        "height": [20.0, 20.0, 80.0, 40.0],
        "kept": [True, False, True, True],
    }
    assert anchor_frame(LAYOUT)["kept"].all()


def test_shapes_are_in_input_pixels():
    # The image is twice as high and half as wide as the input.
    shapes = box_shapes(table([0, 3], [10, 50], [40, 100]), image_sizes={1: (200, 100)})
    assert shapes["width"].tolist() == [20.0, 100.0]
    assert shapes["height"].tolist() == [20.0, 50.0]
    assert shapes["anchor_id"].tolist() == ["L0/20x20", "L1/80x40"]
    assert shapes["level"].tolist() == [0, 1]
    assert shapes["anchor"].tolist() == [0, 3]
    assert shapes["anchor_id"].cat.categories.tolist() == list(LAYOUT.ids)


def test_image_sizes_come_from_a_ground_truth(tmp_path):
    predictions = table([0], [10], [40])
    coco = {"images": [{"id": 1, "height": 200, "width": 100}], "annotations": [], "categories": []}
    expected = box_shapes(predictions, image_sizes={1: (200, 100)})
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(coco))
    for ground_truth in (coco, path, str(path), SimpleNamespace(dataset=coco)):
        pd.testing.assert_frame_equal(box_shapes(predictions, ground_truth=ground_truth), expected)


def test_shapes_of_one_class():
    predictions = table([0, 3, 3], [10, 50, 60], [40, 100, 80])
    some = predictions.to_pandas().assign(category_id=[1, 2, 1])
    predictions = PredictionTable.from_pandas(some, LAYOUT, POSTPROCESS)
    sizes = {1: (100, 200)}
    assert box_shapes(predictions, image_sizes=sizes, category_id=1)["width"].tolist() == [10.0, 60.0]
    assert box_shapes(predictions, image_sizes=sizes, category_id=3).empty


def test_objects_are_in_input_pixels(tmp_path):
    coco = {
        "images": [{"id": 1, "height": 200, "width": 100}, {"id": 2, "height": 100, "width": 200}],
        "annotations": [
            {"image_id": 1, "category_id": 5, "bbox": [1, 2, 10, 20]},
            {"image_id": 2, "category_id": 6, "bbox": [1, 2, 10, 20]},
            {"image_id": 2, "category_id": 6, "bbox": [0, 0, 90, 90], "iscrowd": 1},
        ],
        "categories": [],
    }
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(coco))
    for truth in (coco, path, SimpleNamespace(dataset=coco)):
        assert object_shapes(truth, LAYOUT).to_numpy().tolist() == [[20.0, 10.0], [10.0, 20.0]]
    assert object_shapes(coco, LAYOUT, 6).to_numpy().tolist() == [[10.0, 20.0]]
    assert object_shapes(coco, LAYOUT, 7).empty
    del coco["annotations"][0]["bbox"]
    with pytest.raises(InputError, match="annotations need image_id, category_id and bbox"):
        object_shapes(coco, LAYOUT)


def test_scores_and_samples():
    predictions = table([0] * 100 + [1] * 10, np.arange(1, 111), 10, score=0.5)
    all_rows = box_shapes(predictions, image_sizes={1: (100, 200)})
    assert len(all_rows) == 110
    assert box_shapes(predictions, min_score=0.51, image_sizes={1: (100, 200)}).empty
    assert len(box_shapes(predictions, min_score=0.5, image_sizes={1: (100, 200)})) == 110
    some = box_shapes(predictions, max_rows_per_anchor=30, image_sizes={1: (100, 200)})
    assert counts(some, LAYOUT)["count"].tolist() == [30, 10, 0, 0]
    assert some["width"].is_unique
    pd.testing.assert_frame_equal(some, box_shapes(predictions, max_rows_per_anchor=30, image_sizes={1: (100, 200)}))
    other = box_shapes(predictions, max_rows_per_anchor=30, seed=1, image_sizes={1: (100, 200)})
    assert some["width"].tolist() != other["width"].tolist()


def test_counts_do_not_forget_silent_anchors():
    frame = counts(lognormal([(20, 20), None, (80, 80), None], n=5), LAYOUT)
    assert frame["count"].tolist() == [5, 0, 5, 0]
    assert frame["anchor_id"].tolist() == list(LAYOUT.ids)
    assert frame["width"].tolist() == [20.0, 40.0, 80.0, 80.0]
    nothing = box_shapes(table([], [], []), image_sizes={})
    assert counts(nothing, LAYOUT)["count"].tolist() == [0, 0, 0, 0]


def test_contours_hold_the_mass_they_promise():
    shapes = lognormal([(20, 20), (60, 20), None, None], n=4000)
    contours = density_contours(shapes, mass=(0.5, 0.8))
    assert contours.columns.tolist() == ["anchor_id", "level", "mass", "path", "order", "width", "height"]
    assert set(contours["anchor_id"]) == {"L0/20x20", "L0/40x20"}
    for (anchor_id, mass), group in contours.groupby(["anchor_id", "mass"]):
        polygons = [
            np.log2(path.sort_values("order")[["width", "height"]].to_numpy()) for _, path in group.groupby("path")
        ]
        for polygon in polygons:
            assert polygon[0] == pytest.approx(polygon[-1])
        points = np.log2(shapes.loc[shapes["anchor_id"] == anchor_id, ["width", "height"]].to_numpy())
        # Smoothing widens the region a little.
        assert mass - 0.02 < inside(polygons, points).mean() < mass + 0.06
    # Half of a round normal distribution lies within 1.18 standard deviations.
    half = contours[(contours["anchor_id"] == "L0/20x20") & (contours["mass"] == 0.5) & (contours["path"] == 0)]
    radius = np.hypot(np.log2(half["width"] / 20), np.log2(half["height"] / 20)).mean()
    assert radius == pytest.approx(1.177 * 0.3, rel=0.1)


def test_contours_of_one_box_and_of_boxes_without_area():
    one = density_contours(box_shapes(table([0], [32], [16]), image_sizes={1: (100, 200)}), mass=0.8)
    assert one["mass"].unique().tolist() == [0.8]
    assert np.exp2(np.log2(one["width"]).mean()) == pytest.approx(32, rel=0.02)
    assert one["width"].between(24, 43).all()
    flat = density_contours(box_shapes(table([0, 0], [0, 0], [16, 0]), image_sizes={1: (100, 200)}))
    assert np.isfinite(flat["width"]).all()
    assert len(flat) > 0


def test_everything_is_deterministic_and_plain():
    shapes = lognormal([(20, 20), (40, 20), (80, 80), None], n=200)
    for function in (density_contours, marginals, coverage):
        first = function(shapes)
        pd.testing.assert_frame_equal(first, function(shapes.copy()))
        # Charts and csv files want plain strings, not categories.
        assert all(isinstance(name, str) for name in first["anchor_id"])
        assert not isinstance(first["anchor_id"].dtype, pd.CategoricalDtype)


def test_marginals_integrate_to_one():
    curves = marginals(lognormal([(20, 20), (40, 20), None, (80, 40)], n=500), bins=40)
    assert len(curves) == 3 * 2 * 40
    for (anchor_id, side), curve in curves.groupby(["anchor_id", "side"]):
        octaves = np.log2(curve["value"].to_numpy())
        assert np.diff(octaves) == pytest.approx(np.full(39, octaves[1] - octaves[0]))
        assert curve["density"].sum() * (octaves[1] - octaves[0]) == pytest.approx(1)
        middle = np.exp2(np.average(octaves, weights=curve["density"]))
        width, height = map(int, anchor_id.split("/")[1].split("x"))
        assert middle == pytest.approx(width if side == "width" else height, rel=0.1)
    wide = curves[(curves["side"] == "width")].groupby("anchor_id")["value"].apply(tuple)
    assert len(set(wide)) == 1


def test_coverage_by_the_same_by_something_else_and_by_all():
    same = lognormal([(20, 20), (20, 20), (160, 80), None])
    pairs = coverage(same, mass=0.9).set_index(["anchor_id", "by_id"])["share"]
    a, b, far, silent = LAYOUT.ids
    assert pairs[a, b] == pytest.approx(0.9, abs=0.03)
    assert pairs[a, far] == pytest.approx(0.0, abs=1e-6)
    assert pairs[far, "all others"] == pytest.approx(0.0, abs=1e-6)
    assert pairs[a, "all others"] == pytest.approx(pairs[a, b])
    # A silent anchor covers nothing, and is not known to be covered.
    assert pairs[a, silent] == 0.0
    assert np.isnan(pairs[silent, a])
    assert np.isnan(pairs[silent, "all others"])
    assert len(pairs) == 4 * 3 + 4
    assert pairs.dropna().between(0, 1).all()


def test_two_neighbours_together_cover_more():
    shapes = lognormal([(20, 20), (24, 20), (16, 20), None], spread=0.2)
    pairs = coverage(shapes).set_index(["anchor_id", "by_id"])["share"]
    a, b, c, _ = LAYOUT.ids
    assert max(pairs[a, b], pairs[a, c]) < pairs[a, "all others"] <= pairs[a, b] + pairs[a, c]


def test_a_wide_distribution_covers_a_narrow_one_but_not_the_reverse():
    narrow, wide = (
        lognormal([(20, 20), None, None, None], spread=0.1),
        lognormal([None, (20, 20), None, None], spread=0.6),
    )
    pairs = coverage(pd.concat([narrow, wide])).set_index(["anchor_id", "by_id"])["share"]
    assert pairs[LAYOUT.ids[0], LAYOUT.ids[1]] > 0.98
    assert pairs[LAYOUT.ids[1], LAYOUT.ids[0]] < 0.3


def test_without_a_single_box():
    nothing = box_shapes(table([], [], []), image_sizes={})
    assert density_contours(nothing).empty
    assert marginals(nothing).empty
    pairs = coverage(nothing)
    assert len(pairs) == 16
    assert pairs["share"].isna().all()
    assert density_contours(nothing).columns.tolist() == density_contours(lognormal([(20, 20)])).columns.tolist()
    assert marginals(nothing).columns.tolist() == marginals(lognormal([(20, 20)])).columns.tolist()


def test_bad_input_is_refused():
    predictions = table([0], [10], [10])
    with pytest.raises(InputError, match="give ground_truth or image_sizes"):
        box_shapes(predictions)
    with pytest.raises(InputError, match="size of image 1 is unknown"):
        box_shapes(predictions, image_sizes={2: (10, 10)})
    with pytest.raises(InputError, match="images need id, height and width"):
        box_shapes(predictions, ground_truth={"images": [{"id": 1}]})
    with pytest.raises(InputError, match="images need"):
        box_shapes(predictions, ground_truth={})
    with pytest.raises(InputError, match="no such file"):
        box_shapes(predictions, ground_truth="nowhere.json")
    with pytest.raises(InputError, match=r"scores are 0\.\.1"):
        box_shapes(predictions, min_score=30, image_sizes={1: (1, 1)})
    with pytest.raises(InputError, match="at least one row"):
        box_shapes(predictions, max_rows_per_anchor=0, image_sizes={1: (1, 1)})
    shapes = box_shapes(predictions, image_sizes={1: (100, 200)})
    for bad in (0, 1, 80, float("nan")):
        with pytest.raises(InputError, match=r"such as 0\.8"):
            density_contours(shapes, mass=bad)
        with pytest.raises(InputError, match=r"such as 0\.8"):
            coverage(shapes, mass=bad)
    with pytest.raises(InputError, match="too coarse"):
        coverage(shapes, grid=2)
