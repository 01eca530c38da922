from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchorkit.analysis.per_image import compare_image, image_changes, match
from anchorkit.anchors import Configuration
from anchorkit.boxes import box_iou

from ..widgets import stand_ins

masks = st.integers(1, 2**9 - 1)
scores = st.sampled_from([0.0, 0.3, 0.6])


def both(scenes: stand_ins.Scenes, before: int, after: int, iou: float = 0.5) -> tuple[pd.DataFrame, pd.DataFrame]:
    sides = [
        match(scenes.detections(Configuration(scenes.layout, mask)), scenes.ground_truth, iou)
        for mask in (before, after)
    ]
    return sides[0], sides[1]


@given(seed=st.integers(0, 10**6), iou=st.sampled_from([0.3, 0.5, 0.75]))
def test_matches_are_those_of_pycocotools(seed: int, iou: float) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    scenes = stand_ins.Scenes(seed=seed)
    detections = scenes.detections(scenes.layout.full)
    matched = match(detections, scenes.ground_truth, iou)
    truth, found = COCO(), COCO()
    truth.dataset = scenes.ground_truth.to_coco()
    found.dataset = {
        **truth.dataset,
        "annotations": [
            {
                "id": index + 1,
                "image_id": int(row.image_id),
                "category_id": int(row.category_id),
                "bbox": [float(row.x1), float(row.y1), float(row.x2) - float(row.x1), float(row.y2) - float(row.y1)],
                "area": 1.0,
                "score": float(row.score),
                "iscrowd": 0,
            }
            for index, row in enumerate(detections.itertuples())
        ],
    }
    truth.createIndex()
    found.createIndex()
    judge = COCOeval(truth, found, "bbox")
    judge.params.iouThrs = np.array([iou])
    judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
    judge.evaluate()
    objects, kinds = np.full(len(detections), -1), np.full(len(detections), "neither", object)
    for judged in judge.evalImgs:
        if judged is not None:
            for name, hit, ignored in zip(judged["dtIds"], judged["dtMatches"][0], judged["dtIgnore"][0], strict=True):
                if not ignored:
                    kinds[name - 1] = "found" if hit else "false alarm"
                    objects[name - 1] = int(hit) - 1
    assert matched["object"].tolist() == objects.tolist()
    assert matched["kind"].tolist() == kinds.tolist()


@given(seed=st.integers(0, 10**6), before=masks, after=masks, least=scores)
def test_the_change_is_what_the_module_says(seed: int, before: int, after: int, least: float) -> None:
    scenes = stand_ins.Scenes(seed=seed)
    old, new = both(scenes, before, after)
    changes = image_changes(old, new, scenes.ground_truth, least).set_index("image_id")
    assert changes.index.tolist() == list(scenes.image_ids)
    back = image_changes(new, old, scenes.ground_truth, least).set_index("image_id")
    assert changes["change"].to_numpy() == pytest.approx(-back["change"].to_numpy())
    assert changes["turnover"].to_numpy() == pytest.approx(back["turnover"].to_numpy())
    assert changes["lost"].tolist() == back["gained"].tolist()
    assert (changes["turnover"] >= changes["change"].abs() - 1e-9).all()
    for image_id in scenes.image_ids:
        worth = []
        for side in (old, new):
            rows = side[(side["image_id"] == image_id) & (side["score"] >= least)].astype({"score": float})
            worth.append(
                rows[rows["kind"] == "found"]["score"].sum() - rows[rows["kind"] == "false alarm"]["score"].sum()
            )
        assert changes.loc[image_id, "change"] == pytest.approx(worth[1] - worth[0], abs=1e-6)


@given(seed=st.integers(0, 10**6), before=masks, after=masks, least=scores, place=st.integers(0, 5))
def test_an_image_has_every_object_and_every_detection_once(
    seed: int, before: int, after: int, least: float, place: int
) -> None:
    scenes = stand_ins.Scenes(seed=seed)
    truth = scenes.ground_truth
    old, new = both(scenes, before, after)
    changes = image_changes(old, new, truth, least).set_index("image_id")
    image_id = scenes.image_ids[place]
    things = compare_image(old, new, truth, image_id, least)
    objects = things[things["kind"] == "object"]
    here = truth.image_ids[truth.image] == image_id
    assert objects["object"].tolist() == np.flatnonzero(here & ~truth.crowd).tolist()
    assert things["change"].sum() == pytest.approx(changes.loc[image_id, "change"], abs=1e-6)
    assert ((objects["before"] >= 0) & (objects["after"] < 0)).sum() == changes.loc[image_id, "lost"]
    for side, matched in (("before", old), ("after", new)):
        shown = matched[(matched["image_id"] == image_id) & (matched["score"] >= least)]
        assert sorted(things[things[side] >= 0][side]) == shown.index.tolist()
        false = things[(things["kind"] == "false alarm") & (things[side] >= 0)]
        assert len(false) == changes.loc[image_id, f"false_{side}"]
    for pair in things[(things["kind"] != "object") & (things["before"] >= 0) & (things["after"] >= 0)].itertuples():
        one, other = old.loc[pair.before], new.loc[pair.after]
        assert one["category_id"] == other["category_id"]
        corners = [row[["x1", "y1", "x2", "y2"]].to_numpy(float) for row in (one, other)]
        assert box_iou(*corners) >= 0.5


def test_the_same_configuration_changes_nothing() -> None:
    scenes = stand_ins.Scenes()
    old, new = both(scenes, 511, 511)
    changes = image_changes(old, new, scenes.ground_truth, 0.0)
    assert (changes[["change", "turnover", "lost", "gained"]] == 0).all(axis=None)
    things = pd.concat([compare_image(old, new, scenes.ground_truth, image, 0.0) for image in scenes.image_ids])
    assert (things["before"] == things["after"]).all()


def test_no_detections_at_all() -> None:
    scenes = stand_ins.Scenes()
    empty = match(scenes.rows.iloc[:0], scenes.ground_truth)
    assert len(empty) == 0
    changes = image_changes(empty, empty, scenes.ground_truth, 0.3)
    assert (changes["change"] == 0).all()
    things = compare_image(empty, empty, scenes.ground_truth, scenes.image_ids[0], 0.3)
    assert (things["before"] < 0).all()


def test_overlap_of_two_boxes() -> None:
    assert box_iou(np.array([0.0, 0, 2, 2]), np.array([1.0, 0, 3, 2])) == pytest.approx(1 / 3)
    assert box_iou(np.array([0.0, 0, 0, 0]), np.array([0.0, 0, 0, 0])) == 0
