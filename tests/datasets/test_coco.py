"""COCO json folders: every layout found in the wild, nothing dropped, one clear line on what is broken."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from anchorkit.datasets import load_dataset
from anchorkit.datasets.coco import normalise
from anchorkit.errors import InputError

from .samples import coco_dict, coco_folder, put_json

# The sample has a class without boxes; and few of these tests need images.
pytestmark = pytest.mark.filterwarnings("ignore:.*have no box in any split", "ignore:.*images are not found")


def put_split(root: Path, put_image, source: str, images: str, first: int, count: int = 3) -> None:
    put_json(root / source, coco_dict(count, first))
    for number in range(first, first + count):
        put_image(root / images / f"{number:03d}.png", value=number)


LAYOUTS = {
    "plain": ("annotations/instances_{}.json", "{}", ("train", "val", "test")),
    "year": ("annotations/instances_{}2017.json", "{}2017", ("train", "val", "test")),
    "other year": ("annotations/instances_{}2014.json", "{}2014", ("train", "val", "test")),
    "images by split": ("annotations/instances_{}.json", "images/{}", ("train", "val", "test")),
    "images by split and year": ("annotations/instances_{}2017.json", "images/{}2017", ("train", "val", "test")),
    "flat images": ("annotations/instances_{}.json", "images", ("train", "val", "test")),
    "all in one": ("{}.json", ".", ("train", "val", "test")),
    "roboflow": ("{}/_annotations.coco.json", "{}", ("train", "valid", "test")),
    "short names": ("annotations/{}.json", "{}", ("train", "val", "test")),
    "own prefix": ("annotations/mine_{}.json", "{}", ("train", "val", "test")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, put_image, layout: str):
    source, images, words = LAYOUTS[layout]
    for number, word in enumerate(words):
        put_split(tmp_path, put_image, source.format(word), images.format(word), 10 * number + 1)
    data = load_dataset(tmp_path)
    assert {name: split.image_ids for name, split in data.splits().items()} == {
        "train": (1, 2, 3),
        "val": (11, 12, 13),
        "test": (21, 22, 23),
    }
    assert data.notes == ()
    for split in data.splits().values():
        for image_id in split.image_ids:
            assert (split.image(image_id) == image_id).all()  # the right file, not one of the same name elsewhere


def test_test_split_may_be_missing(tmp_path: Path, put_image):
    put_split(tmp_path, put_image, "annotations/instances_train.json", "train", 1)
    put_split(tmp_path, put_image, "annotations/instances_val.json", "val", 5)
    assert load_dataset(tmp_path).test is None


@pytest.mark.parametrize("name", ["annotations/instances_train.json", "labels.json", "_annotations.coco.json"])
def test_a_lone_json_is_parted_and_says_so(tmp_path: Path, put_image, name: str):
    put_split(tmp_path, put_image, name, "images", 1, count=10)
    with pytest.warns(UserWarning, match="8 to train on and 2 to validate on"):
        data = load_dataset(tmp_path)
    assert len(data.notes) == 1
    assert len(data.train) == 8
    assert len(data.val) == 2
    assert sorted(data.train.image_ids + data.val.image_ids) == list(range(1, 11))
    assert {a["image_id"] for a in data.val.ground_truth["annotations"]} == set(data.val.image_ids)
    with pytest.warns(UserWarning, match="no validation split"):
        assert load_dataset(tmp_path).val.image_ids == data.val.image_ids


def test_test_split_is_kept_when_validation_is_parted(tmp_path: Path, put_image):
    put_split(tmp_path, put_image, "train/_annotations.coco.json", "train", 1, count=5)
    put_split(tmp_path, put_image, "test/_annotations.coco.json", "test", 11)
    with pytest.warns(UserWarning, match="no validation split"):
        data = load_dataset(tmp_path)
    assert [len(split) for split in data.splits().values()] == [4, 1, 3]


def test_captions_and_key_points_beside_the_instances_are_passed_over(tmp_path: Path, put_image):
    for word in ("train", "val"):
        put_split(tmp_path, put_image, f"annotations/instances_{word}2017.json", f"{word}2017", 1)
        put_json(tmp_path / f"annotations/captions_{word}2017.json", {"info": {}})
        put_json(tmp_path / f"annotations/person_keypoints_{word}2017.json", {"info": {}})
    assert len(load_dataset(tmp_path).train) == 3


def test_two_files_for_one_split_are_told(tmp_path: Path):
    put_json(tmp_path / "annotations/instances_train2014.json", coco_dict())
    put_json(tmp_path / "annotations/instances_train2017.json", coco_dict())
    with pytest.raises(InputError, match=r"instances_train2014\.json, instances_train2017\.json"):
        load_dataset(tmp_path)


def test_several_nameless_files_are_told(tmp_path: Path):
    put_json(tmp_path / "a.json", coco_dict())
    put_json(tmp_path / "b.json", coco_dict())
    with pytest.raises(InputError, match=r"a\.json, b\.json"):
        load_dataset(tmp_path)


def test_val_and_test_without_train_are_told(tmp_path: Path):
    put_json(tmp_path / "val.json", coco_dict())
    put_json(tmp_path / "test.json", coco_dict())
    with pytest.raises(InputError, match="none for train"):
        load_dataset(tmp_path)


@pytest.mark.filterwarnings("ignore:.*3 of 6 boxes reach beyond their image")
def test_crowds_empty_images_and_odd_boxes_are_kept_and_marked(tmp_path: Path, put_image):
    truth = coco_dict(3)
    boxes = [[5, 6, 20, 10], [50, 30, 30, 30], [5, 5, 0, 8], [70, 5, 10, 10], [1, 1, 5, 5], [-4, -4, 10, 10]]
    truth["annotations"] = [
        {"id": n, "image_id": 2, "category_id": 7, "bbox": box, "area": 1.0, "iscrowd": int(n == 5)}
        for n, box in enumerate(boxes, start=1)
    ]
    for word in ("train", "val"):
        put_json(tmp_path / f"{word}.json", truth)
    split = load_dataset(tmp_path).train
    assert len(split.ground_truth["annotations"]) == 6
    found = split.annotations(2)
    assert found.boxes.dtype == np.float32
    assert found.boxes.tolist()[1] == [50, 30, 80, 60]  # as annotated, beyond the image
    assert found.ignore.tolist() == [False, False, True, True, True, False]
    empty = split.annotations(1)
    assert empty.boxes.shape == (0, 4)
    assert empty.category_ids.dtype == np.int64
    assert empty.ignore.dtype == np.bool_


def broken(change):
    truth = coco_dict()
    change(truth)
    return truth


BROKEN = {
    "no categories": (lambda t: t.pop("categories"), "'categories' is missing"),
    "no images": (lambda t: t.pop("images"), "'images' is missing"),
    "no annotations": (lambda t: t.pop("annotations"), "'annotations' is missing"),
    "categories no list": (lambda t: t.update(categories={}), "'categories' is not a list"),
    "categories empty": (lambda t: t.update(categories=[]), "'categories' is empty"),
    "images empty": (lambda t: t.update(images=[], annotations=[]), "'images' is empty"),
    "unknown image": (lambda t: t["annotations"][1].update(image_id=99), "image_id 99"),
    "no image": (lambda t: t["annotations"][1].pop("image_id"), "image_id None"),
    "unknown category": (lambda t: t["annotations"][2].update(category_id=4), "category_id 4"),
    "image twice": (lambda t: t["images"].append(dict(t["images"][0])), "image id 1 is used twice"),
    "annotation twice": (lambda t: t["annotations"][1].update(id=1), "annotation id 1 is used twice"),
    "category twice": (lambda t: t["categories"][1].update(id=3), "category id 3 is used twice"),
    "id text": (lambda t: t["images"][0].update(id="one"), "image id 'one' is not a whole number"),
    "id too large": (
        lambda t: t["images"][0].update(id=2**70),
        "image id 1180591620717411303424 is not a whole number",
    ),
    "box of three": (lambda t: t["annotations"][0].update(bbox=[1, 2, 3]), r"bbox \[1, 2, 3\]"),
    "box of text": (lambda t: t["annotations"][0].update(bbox=["1", 2, 3, 4]), "bbox"),
    "box nan": (lambda t: t["annotations"][0].update(bbox=[float("nan"), 2, 3, 4]), "bbox"),
    "box negative": (lambda t: t["annotations"][0].update(bbox=[1, 2, -3, 4]), "negative side"),
    "no box": (lambda t: t["annotations"][0].pop("bbox"), "neither a bbox nor polygons"),
    "crowd 2": (lambda t: t["annotations"][0].update(iscrowd=2), "iscrowd 2"),
    "no file name": (lambda t: t["images"][0].pop("file_name"), "image 1 has no file_name"),
    "width 0": (lambda t: t["images"][0].update(width=0), "width 0"),
    "nameless category": (lambda t: t["categories"][0].pop("name"), "category 0 has no name"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, case: str):
    change, message = BROKEN[case]
    source = put_json(tmp_path / "annotations" / "instances_train.json", broken(change))
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(tmp_path)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cut_off_json_is_refused(tmp_path: Path):
    whole = json.dumps(coco_dict())
    source = put_json(tmp_path / "train.json", whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cut off") as caught:
        load_dataset(tmp_path)
    assert str(source) in str(caught.value)


def test_categories_must_agree_between_splits(tmp_path: Path):
    put_json(tmp_path / "train.json", coco_dict())
    other = coco_dict()
    other["categories"][1]["name"] = "horse"
    put_json(tmp_path / "val.json", other)
    with pytest.raises(InputError, match="category 7 is 'dog' in train and 'horse' in val"):
        load_dataset(tmp_path)


def test_a_split_may_lack_a_category(tmp_path: Path):
    put_json(tmp_path / "train.json", coco_dict())
    other = coco_dict()
    other["categories"].pop()
    put_json(tmp_path / "val.json", other)
    data = load_dataset(tmp_path)
    assert [c.name for c in data.val.categories] == ["cat", "dog"] == [c.name for c in data.categories]
    assert len(data.val.ground_truth["categories"]) == 2


def test_normalise_adds_what_is_missing_and_changes_nothing_else():
    truth = coco_dict()
    truth["annotations"][0] = {
        "image_id": 1,
        "category_id": 3,
        "segmentation": [[10, 10, 30, 12, 20, 35.5]],
        "attributes": {"worn": True},
    }
    truth["licenses"] = ["mine"]
    before = copy.deepcopy(truth)
    done = normalise(truth, "x.json")
    assert truth == before  # a copy
    assert done["annotations"][0] == {
        **before["annotations"][0],
        "id": 4,
        "bbox": [10.0, 10.0, 20.0, 25.5],
        "area": 510.0,
        "iscrowd": 0,
    }
    assert {key: done[key] for key in ("licenses", "images", "categories")} == {
        key: before[key] for key in ("licenses", "images", "categories")
    }
    assert done["annotations"][1:] == before["annotations"][1:]


def test_missing_image_sizes_are_read_from_the_files(tmp_path: Path, put_image):
    truth = coco_dict()
    for entry in truth["images"]:
        del entry["width"], entry["height"]
        put_image(tmp_path / "train" / entry["file_name"], size=(31, 47))
    put_json(tmp_path / "train.json", truth)
    put_json(tmp_path / "val.json", coco_dict())
    assert load_dataset(tmp_path).train.image_size(2) == (31, 47)


def test_missing_image_is_named_when_it_is_opened(tmp_path: Path):
    for word in ("train", "val"):
        put_json(tmp_path / "annotations" / f"instances_{word}2017.json", coco_dict())
    with pytest.raises(InputError, match=r"train2017.001\.png: no such image"):
        load_dataset(tmp_path).train.image(1)


@pytest.mark.filterwarnings("ignore:.*1 pictures of val are also in train")
def test_windows_paths_in_file_names(tmp_path: Path, put_image):
    truth = coco_dict(1)
    truth["images"][0]["file_name"] = "C:\\data\\pictures\\001.png"
    put_image(tmp_path / "images" / "001.png", value=77)
    for word in ("train", "val"):
        put_json(tmp_path / f"{word}.json", truth)
    assert (load_dataset(tmp_path).train.image(1) == 77).all()


boxes = st.tuples(*[st.floats(-20, 80)] * 2, *[st.one_of(st.just(0.0), st.floats(0.1, 70))] * 2).map(list)


@given(st.lists(st.tuples(boxes, st.sampled_from([3, 7]), st.integers(1, 3), st.booleans(), st.booleans()), max_size=8))
def test_pycocotools_reads_what_normalise_gives_and_perfect_detections_score_one(cases):
    truth = coco_dict()
    truth["annotations"] = []
    for number, (box, category, image, crowd, told) in enumerate(cases):  # ids from 0, as some tools write them
        entry = {"id": number, "image_id": image, "category_id": category, "bbox": box}
        truth["annotations"].append({**entry, "area": box[2] * box[3], "iscrowd": int(crowd)} if told else entry)
    reader = COCO()
    reader.dataset = normalise(truth, "x.json")
    assert len(reader.dataset["annotations"]) == len(cases)
    with contextlib.redirect_stdout(io.StringIO()):
        reader.createIndex()
        solid = [a for a in reader.dataset["annotations"] if not a["iscrowd"] and a["bbox"][2] and a["bbox"][3]]
        if not solid or len(solid) < sum(not a["iscrowd"] for a in reader.dataset["annotations"]):
            return
        same = ("image_id", "category_id", "bbox")
        found = reader.loadRes([{**{key: a[key] for key in same}, "score": 1.0} for a in solid])
        judge = COCOeval(reader, found, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)


# ------------------------------------------------------------------------------------------------------------- by name


def test_official_layout(tmp_path: Path, put_image):
    for word, first in (("train", 1), ("val", 11)):
        put_split(tmp_path, put_image, f"annotations/instances_{word}2017.json", f"{word}2017", first)
    data = load_dataset("coco", root=tmp_path)
    assert (data.name, data.test) == ("coco", None)
    assert (data.val.image(12) == 12).all()


@pytest.mark.parametrize("missing", ["annotations/instances_val2017.json", "train2017"])
def test_official_layout_tells_what_is_missing_and_where_to_get_it(tmp_path: Path, put_image, missing: str):
    for word in ("train", "val"):
        put_split(tmp_path, put_image, f"annotations/instances_{word}2017.json", f"{word}2017", 1)
    (tmp_path / missing).rename(tmp_path / "away")
    with pytest.raises(InputError, match="cocodataset.org") as caught:
        load_dataset("coco", root=tmp_path)
    assert str(tmp_path / missing) in str(caught.value)


# ----------------------------------------------------------------------------------------------------------- real data


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "sizes", "classes"),
    [("neu_det", (1440, 360), 6), ("bccd", (205, 87, 72), 3), ("coco_subset", (343, 206), 80)],
)
def test_real_folders(real_data: Path, folder: str, sizes: tuple[int, ...], classes: int):
    data = load_dataset(real_data / folder)
    assert tuple(len(split) for split in data.splits().values()) == sizes
    assert len(data.categories) == classes
    for image_id in data.train.image_ids[:5]:
        assert data.train.image(image_id).shape[:2] == data.train.image_size(image_id)
    for name, split in data.splits().items():
        (source,) = (real_data / folder / "annotations").glob(f"instances_{name}*.json")
        raw = json.loads(source.read_text())
        # Nothing is dropped or changed in data that is in order.
        for part in ("images", "annotations", "categories"):
            assert split.ground_truth[part] == raw[part]


def test_names_with_a_byte_order_mark_and_numbers_as_names(tmp_path: Path):
    folder = coco_folder(tmp_path, 2)
    for split, first in (("train", 1), ("val", 11)):
        truth = coco_dict(2, first)
        truth["images"][0]["file_name"] = "\ufeff" + truth["images"][0]["file_name"]
        truth["categories"] = [{"id": 3, "name": "\ufeffcat"}, {"id": 7, "name": 7}]
        put_json(folder / "annotations" / f"instances_{split}.json", truth)
    data = load_dataset(folder)
    assert [category.name for category in data.categories] == ["cat", "7"]
    assert data.train.image(1).shape == (40, 60, 3)


def test_detections_in_the_place_of_annotations_are_recognised(tmp_path: Path):
    folder = coco_folder(tmp_path, 2)
    rows = [{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}]
    put_json(folder / "annotations" / "instances_train.json", rows)
    with pytest.raises(InputError, match=r"instances_train\.json: this is a COCO results json"):
        load_dataset(folder)


@pytest.mark.real
def test_real_crowds_are_ignored(real_data: Path):
    split = load_dataset(real_data / "coco_subset").train
    crowds = sum(a["iscrowd"] for a in split.ground_truth["annotations"])
    assert crowds > 0
    assert sum(int(split.annotations(image_id).ignore.sum()) for image_id in split.image_ids) == crowds
