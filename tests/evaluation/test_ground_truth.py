"""Ground truths are read or refused; nothing in between."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

from anchorkit.errors import InputError
from anchorkit.evaluation.ground_truth import read_ground_truth

GOOD: dict[str, Any] = {
    "images": [{"id": 9}, {"id": 2}],
    "categories": [{"id": 5, "name": "b"}, {"id": 1, "name": "a"}],
    "annotations": [
        {"id": 4, "image_id": 9, "category_id": 5, "bbox": [0, 1, 2, 3], "area": 6, "iscrowd": 1},
        {"id": 3, "image_id": 2, "category_id": 5, "bbox": [1, 1, 2.5, 3], "area": 7.5},
        {"id": 8, "image_id": 9, "category_id": 1, "bbox": [2, 1, 2, 3], "area": 5.0, "iscrowd": 0},
        {"id": 1, "image_id": 9, "category_id": 5, "bbox": [3, 1, 2, 3], "area": 6, "iscrowd": 0},
    ],
}


def test_boxes_are_grouped_and_keep_the_order_of_the_file():
    truth = read_ground_truth(GOOD)
    assert truth.image_ids.tolist() == [2, 9]
    assert truth.category_ids.tolist() == [1, 5]
    assert truth.image.tolist() == [0, 1, 1, 1]
    assert truth.category.tolist() == [1, 0, 1, 1]
    assert truth.boxes[:, 0].tolist() == [1, 2, 0, 3]
    assert truth.crowd.tolist() == [False, False, True, False]
    assert truth.area.dtype == np.float64


def test_difficult_is_read_and_handed_on():
    data = copy.deepcopy(GOOD)
    assert not read_ground_truth(data).difficult.any()
    data["annotations"][3]["difficult"] = 1
    truth = read_ground_truth(data)
    assert truth.difficult.tolist() == [False, False, False, True]
    assert truth.difficult.dtype == bool
    assert truth.crowd.tolist() == [False, False, True, False]
    assert np.array_equal(read_ground_truth(truth.to_coco()).difficult, truth.difficult)


def test_all_forms_of_ground_truth_say_the_same(tmp_path, capsys):
    from pycocotools.coco import COCO

    path = tmp_path / "gt.json"
    path.write_text(json.dumps(GOOD))
    before = copy.deepcopy(GOOD)
    for form in (GOOD, path, str(path), COCO(path)):
        assert np.array_equal(read_ground_truth(form).boxes, read_ground_truth(before).boxes)
    assert before == GOOD


def test_id_zero_is_counted_anew_with_a_warning():
    data = copy.deepcopy(GOOD)
    data["annotations"][1]["id"] = 0
    with pytest.warns(UserWarning, match="id 0"):
        truth = read_ground_truth(data)
    assert [annotation["id"] for annotation in truth.to_coco()["annotations"]] == [1, 2, 3, 4]


@pytest.mark.parametrize("key", ["images", "categories", "annotations"])
def test_a_missing_list_is_named(key):
    data = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(InputError, match=f"no list of {key}"):
        read_ground_truth(data)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("image_id", 3, "annotation 8: image_id is 3.*image ids"),
        ("category_id", 3, "annotation 8: category_id is 3"),
        ("category_id", None, "annotation 8: category_id is None"),
        ("bbox", None, "annotation 8: bbox is None; four numbers"),
        ("bbox", [1, 2, 3], "annotation 8: bbox is"),
        ("bbox", [1, 2, 3, float("nan")], "annotation 8: bbox is"),
        ("bbox", [1, 2, 3, "x"], "annotation 8: bbox is"),
        ("area", float("inf"), "annotation 8: area is inf"),
        ("area", None, "annotation 8: area is None"),
        ("id", 4, "annotation id 4 occurs twice"),
        ("id", 2**63, "annotation number 2 .* more than 64 bits"),
        ("id", "eight", "annotation number 2 .* no whole-number id"),
    ],
)
def test_a_broken_annotation_is_named(field, value, message):
    data = copy.deepcopy(GOOD)
    data["annotations"][2][field] = value
    with pytest.raises(InputError, match=message) as caught:
        read_ground_truth(data)
    assert "\n" not in str(caught.value)


def test_a_missing_area_or_box_is_told():
    data = copy.deepcopy(GOOD)
    del data["annotations"][0]["area"]
    with pytest.raises(InputError, match="annotation 4 has no area"):
        read_ground_truth(data)
    data = copy.deepcopy(GOOD)
    del data["annotations"][0]["bbox"]
    with pytest.raises(InputError, match="annotation 4: bbox"):
        read_ground_truth(data)


def test_an_image_twice_is_refused():
    data = copy.deepcopy(GOOD)
    data["images"].append({"id": 9})
    with pytest.raises(InputError, match="image id 9 occurs twice"):
        read_ground_truth(data)


def test_a_cut_off_file_is_refused(tmp_path):
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(GOOD)[:100])
    with pytest.raises(InputError, match="gt.json: .*cut off"):
        read_ground_truth(path)
    path.write_text("[]")
    with pytest.raises(InputError, match="gt.json: not a COCO ground truth"):
        read_ground_truth(path)
