"""The prediction table: written and read unchanged, broken ones refused with one line."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import anchorkit.predictions
from anchorkit.anchors import AnchorLayout, Level
from anchorkit.errors import InputError
from anchorkit.predictions import COLUMNS, PostProcess, PredictionTable, collect_predictions

LAYOUT = AnchorLayout("toy", (32, 32), (Level("a", 4, 4, ((8.0, 8.0), (16.0, 8.0))), Level("b", 1, 1, ((32.0, 32.0),))))
POST = PostProcess(score_threshold=0.1, topk=5, topk_scope="level", nms_iou=0.5, max_detections=None)
GROUND_TRUTH = {"images": [{"id": 7}, {"id": 3}], "categories": [{"id": 1}, {"id": 9}], "annotations": []}


def columns(n: int = 6) -> dict[str, Any]:
    low = np.arange(n, dtype=np.float32)
    return {
        "image_id": np.array([7, 3] * n)[:n].astype(np.int64),
        "anchor": (np.arange(n) % 3).astype(np.int32),
        "category_id": np.array([1, 9, 9] * n)[:n].astype(np.int32),
        "score": np.linspace(0.2, 1, n).astype(np.float32),
        "x1": low,
        "y1": low + 1,
        "x2": low + 4,
        "y2": low + 1,
    }


def table(**changes: Any) -> PredictionTable:
    data = {**columns(), **changes}
    boxes = np.column_stack([data.pop(side) for side in ("x1", "y1", "x2", "y2")])
    return PredictionTable(**data, boxes=boxes, layout=LAYOUT, postprocess=POST)


def write(path: Any, data: dict[str, Any], metadata: dict[str, str] | None = None) -> None:
    if metadata is None:
        metadata = {
            "anchorkit.layout": json.dumps(LAYOUT.to_dict()),
            "anchorkit.postprocess": json.dumps(POST.to_dict()),
        }
    pq.write_table(pa.table(data).replace_schema_metadata(metadata), path)


def test_saved_table_comes_back_unchanged(tmp_path):
    path = tmp_path / "sub" / "predictions.parquet"
    made = table()
    made.save(path)
    read = PredictionTable.load(path)
    for name in ("image_id", "anchor", "category_id", "score", "boxes"):
        assert np.array_equal(getattr(read, name), getattr(made, name))
        assert getattr(read, name).dtype == getattr(made, name).dtype
        assert not getattr(read, name).flags.writeable
    assert read.layout == LAYOUT
    assert read.postprocess == POST


def test_file_is_what_the_format_says(tmp_path):
    path = tmp_path / "predictions.parquet"
    table().save(path)
    schema = pq.read_schema(path)
    assert schema.names == ["image_id", "anchor", "category_id", "score", "x1", "y1", "x2", "y2"]
    assert [str(kind) for kind in schema.types] == ["int64", "int32", "int32"] + ["float"] * 5
    assert json.loads(schema.metadata[b"anchorkit.layout"]) == LAYOUT.to_dict()
    assert json.loads(schema.metadata[b"anchorkit.postprocess"]) == POST.to_dict()


def test_empty_table_is_legal(tmp_path):
    empty = PredictionTable([], [], [], [], [], LAYOUT, POST)
    empty.save(tmp_path / "empty.parquet")
    assert len(PredictionTable.load(tmp_path / "empty.parquet")) == 0
    assert list(empty.to_pandas().columns) == list(COLUMNS)


def test_pandas_there_and_back():
    made = table()
    frame = made.to_pandas()
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == COLUMNS
    frame["remark"] = "ignored"
    back = PredictionTable.from_pandas(frame, LAYOUT, POST)
    assert np.array_equal(back.boxes, made.boxes)
    with pytest.raises(InputError, match="column y2 is missing"):
        PredictionTable.from_pandas(frame.drop(columns="y2"), LAYOUT, POST)


def test_a_table_does_not_change_with_the_arrays_it_was_made_of():
    score = columns()["score"]
    made = table(score=score)
    score[0] = 0.9
    assert made.score[0] == np.float32(0.2)


def test_other_columns_and_other_integer_types_are_accepted(tmp_path):
    path = tmp_path / "p.parquet"
    data = {**columns(), "remark": ["x"] * 6}
    data["anchor"] = data["anchor"].astype(np.uint8)
    data["image_id"] = data["image_id"].astype(np.int32)
    write(path, data)
    assert np.array_equal(PredictionTable.load(path).anchor, columns()["anchor"])


def at(name: str, row: int, value: Any) -> dict[str, Any]:
    changed = columns()[name].copy()
    changed[row] = value
    return {name: changed}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (at("score", 2, np.nan), "column score, row 2 .*nan"),
        (at("score", 2, np.inf), "column score, row 2 .*inf"),
        (at("score", 5, 1.5), r"column score, row 5 .*1\.5.*0 to 1"),
        (at("score", 5, -0.5), r"column score, row 5"),
        (at("x1", 1, np.nan), "column x1, row 1"),
        (at("y2", 4, np.inf), "column y2, row 4"),
        (at("x2", 3, 2.0), "column x2, row 3 .*x1"),
        (at("y2", 3, 2.0), "column y2, row 3 .*y1"),
        (at("anchor", 4, 3), "column anchor, row 4 .*3; the layout has 0 to 2"),
        (at("anchor", 4, -1), "column anchor, row 4"),
        ({"score": columns()["score"].astype(np.float64)}, "column score has type double; float32"),
        ({"anchor": columns()["score"]}, "column anchor has type float; int32"),
        ({"category_id": columns()["image_id"] + 2**40}, "column category_id, row 0 .*does not fit int32"),
        ({"category_id": columns()["image_id"] - 2**40}, "column category_id, row 0 .*does not fit int32"),
        ({"image_id": pa.array([7, 3, None, 3, 7, 3], pa.int64())}, "column image_id, row 2 .*null"),
        ({"score": pa.array([None] * 6, pa.float32())}, "column score, row 0 .*null"),
    ],
)
def test_a_broken_row_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "broken.parquet"
    write(path, {**columns(), **change})
    with pytest.raises(InputError, match=message) as caught:
        PredictionTable.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_missing_column_is_named(tmp_path, name):
    data = columns()
    del data[name]
    write(tmp_path / "p.parquet", data)
    with pytest.raises(InputError, match=f"column {name} is missing"):
        PredictionTable.load(tmp_path / "p.parquet")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_cut_off_file_is_refused(tmp_path, share):
    path = tmp_path / "p.parquet"
    table().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match="not a Parquet file, or cut off") as caught:
        PredictionTable.load(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_page_is_refused(tmp_path):
    path = tmp_path / "p.parquet"
    table().save(path)
    whole = bytearray(path.read_bytes())
    whole[4:60] = bytes(56)
    path.write_bytes(whole)
    with pytest.raises(InputError, match="p.parquet"):
        PredictionTable.load(path)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        PredictionTable.load(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("not a table")
    with pytest.raises(InputError, match="not a Parquet file"):
        PredictionTable.load(tmp_path / "text.parquet")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("layout", None, "lacks 'anchorkit.layout'"),
        ("postprocess", None, "lacks 'anchorkit.postprocess'"),
        ("layout", "{", "'anchorkit.layout' is not JSON"),
        ("layout", json.dumps({**LAYOUT.to_dict(), "version": 2}), "version 2"),
        ("postprocess", json.dumps({**POST.to_dict(), "topk_scope": "box"}), "topk_scope is 'box'"),
        ("postprocess", json.dumps({**POST.to_dict(), "nms_iou": 1.5}), "nms_iou is 1.5"),
        ("postprocess", json.dumps({**POST.to_dict(), "topk": 0}), "topk is 0"),
        ("postprocess", json.dumps({"nms_iou": 0.5}), "lacks"),
    ],
)
def test_broken_metadata_is_refused(tmp_path, key, value, message):
    metadata = {"anchorkit.layout": json.dumps(LAYOUT.to_dict()), "anchorkit.postprocess": json.dumps(POST.to_dict())}
    del metadata[f"anchorkit.{key}"]
    if value is not None:
        metadata[f"anchorkit.{key}"] = value
    write(tmp_path / "p.parquet", columns(), metadata)
    with pytest.raises(InputError, match=message) as caught:
        PredictionTable.load(tmp_path / "p.parquet")
    assert "p.parquet" in str(caught.value)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(InputError, match=r"score has shape \(2,\); \(6,\)"):
        table(score=[0.5, 0.5])
    data = columns()
    with pytest.raises(InputError, match=r"boxes has shape \(6,\)"):
        PredictionTable(data["image_id"], data["anchor"], data["category_id"], data["score"], np.zeros(6), LAYOUT, POST)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anchor": [0.0, 1.0, 2.0] * 2}, "column anchor has type float64; int32 is needed"),
        ({"image_id": [True, False] * 3}, "column image_id has type bool; int64 is needed"),
        ({"score": [True, False] * 3}, "column score has type bool; float32 is needed"),
        ({"score": [0.5j] * 6}, "column score has type complex128; float32 is needed"),
        ({"score": ["0.5"] * 6}, "column score has type <U3; float32 is needed"),
    ],
)
def test_arrays_of_another_type_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        table(**change)


def test_a_subset_has_the_rows_of_its_images_and_is_immutable_too():
    made = table()
    part = made.subset([3, 4])
    assert part.image_id.tolist() == [3, 3, 3]
    for name in ("image_id", "anchor", "category_id", "score", "boxes"):
        assert np.array_equal(getattr(part, name), getattr(made, name)[made.image_id == 3])
        assert not getattr(part, name).flags.writeable


def test_another_postprocess_leaves_the_table_alone():
    made = table()
    other = made.with_postprocess(PostProcess())
    assert (made.postprocess, other.postprocess) == (POST, PostProcess())
    assert other.score is made.score


def in_groups(path: Any, **changes: Any) -> None:
    """A file of six rows in three row groups: images 1 and 2, 2 and 3, 3 and 4."""
    data = {**columns(), "image_id": np.array([1, 2, 2, 3, 3, 4]), **changes}
    write(path, data)
    pq.write_table(pq.read_table(path), path, row_group_size=2)


@pytest.mark.parametrize("first", [0, 1, 2, 3, 4, -np.inf])
@pytest.mark.parametrize("last", [1, 2, 3, 4, 5, np.inf])
def test_the_rows_of_some_images_can_be_read_alone(tmp_path, first, last):
    path = tmp_path / "p.parquet"
    in_groups(path)
    whole, part = PredictionTable.load(path), PredictionTable.load(path, images=(first, last))
    wanted = (whole.image_id >= first) & (whole.image_id <= last)
    for name in ("image_id", "anchor", "category_id", "score", "boxes"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[wanted])
        assert getattr(part, name).dtype == getattr(whole, name).dtype


@pytest.mark.parametrize("images", [None, (3, 4)])
def test_a_missing_value_is_counted_from_the_first_row_of_the_file(tmp_path, monkeypatch, images):
    monkeypatch.setattr(anchorkit.predictions, "ROWS_AT_ONCE", 2)
    path = tmp_path / "p.parquet"
    in_groups(path, score=pa.array([0.5, 0.5, 0.5, 0.5, 0.5, None], pa.float32()))
    with pytest.raises(InputError, match="column score, row 5 .*null"):
        PredictionTable.load(path, images)


def test_an_unknown_image_is_refused():
    with pytest.raises(InputError, match="column image_id, row 2 .*8; there is no such image"):
        table(**at("image_id", 2, 8)).check(GROUND_TRUTH)


def test_unknown_categories_are_counted():
    assert table().check(GROUND_TRUTH) == []
    (warning,) = table(**at("category_id", 2, 5)).check(GROUND_TRUTH)
    assert "1 of 6 rows" in warning
    assert "(5)" in warning


@pytest.mark.parametrize(("count", "listed"), [(8, "8)"), (9, "8 ...)")])
def test_eight_unknown_categories_are_listed(count, listed):
    data = {**columns(9), "category_id": np.minimum(np.arange(1, 10), count)}
    (warning,) = table(**data).check({**GROUND_TRUTH, "categories": []})
    assert f"(1, 2, 3, 4, 5, 6, 7, {listed}" in warning


def test_ground_truth_may_be_a_file(tmp_path):
    path = tmp_path / "gt.json"
    path.write_text(json.dumps(GROUND_TRUTH))
    assert table().check(path) == []
    path.write_text(json.dumps({"images": [{"id": 7}, {"id": 3}]}))
    with pytest.raises(InputError, match="gt.json.*categories"):
        table().check(path)


@dataclass
class Raw:
    boxes: np.ndarray
    scores: np.ndarray
    anchor: np.ndarray


@dataclass
class ToyCategory:
    id: int


class ToyDetector:
    """Three boxes an image; the scores of two classes depend on the image."""

    name = "toy"
    layout = LAYOUT
    categories = (ToyCategory(9), ToyCategory(1))
    postprocess = POST

    def raw_predictions(self, images):
        self.asked = [*getattr(self, "asked", []), len(images)]
        boxes = np.array([[0, 0, 4, 4], [1, 1, 5, 5], [2, 2, 2, 9]], np.float32)
        return [
            Raw(boxes, np.array([[0.5, 0.6], [0.1, image[0, 0, 0] / 255], [0.7, 0.0]], np.float32), np.array([0, 1, 2]))
            for image in images
        ]


class ToySplit:
    image_ids = (7, 3, 4)

    def image(self, image_id):
        return np.full((2, 2, 3), 51 if image_id == 3 else 0, np.uint8)


@pytest.mark.parametrize("free", [False, True])
def test_collected_rows_stand_box_by_box_and_class_by_class(free):
    detector = ToyDetector()
    detector.leaves_cores_free = free
    found = collect_predictions(detector, ToySplit(), batch_size=2, progress=False)
    assert detector.asked == [2, 1]
    assert found.image_id.tolist() == [7] * 3 + [3] * 4 + [4] * 3
    assert found.anchor.tolist() == [0, 0, 2, 0, 0, 1, 2, 0, 0, 2]
    # Box 1 has 0.1 for category 9: that is at the threshold, and left out.
    assert found.category_id.tolist() == [9, 1, 9, 9, 1, 1, 9, 9, 1, 9]
    assert found.score.tolist() == pytest.approx([0.5, 0.6, 0.7, 0.5, 0.6, 0.2, 0.7, 0.5, 0.6, 0.7])
    assert found.boxes[6].tolist() == [2, 2, 2, 9]


@pytest.mark.parametrize("free", [False, True])
def test_the_next_images_are_decoded_beside_a_network_that_leaves_cores_free(free):
    last_decoded = threading.Event()

    class Noting(ToySplit):
        def image(self, image_id):
            if image_id == self.image_ids[-1]:
                last_decoded.set()
            return super().image(image_id)

    class Waiting(ToyDetector):
        leaves_cores_free = free
        beside = ()

        def raw_predictions(self, images):
            self.beside += (last_decoded.wait(30 if free else 0),)
            return super().raw_predictions(images)

    detector = Waiting()
    collect_predictions(detector, Noting(), batch_size=2, progress=False)
    assert detector.beside == (free, True)


def test_collecting_refuses_what_a_broken_detector_says():
    class Broken(ToyDetector):
        def raw_predictions(self, images):
            return [Raw(np.zeros((1, 4)), np.array([[np.nan, 0.0]]), np.array([0])) for _ in images]

    with pytest.raises(InputError, match="predictions of toy: column score, row 0"):
        collect_predictions(Broken(), ToySplit(), progress=False)
    with pytest.raises(InputError, match="batch_size is 0"):
        collect_predictions(ToyDetector(), ToySplit(), batch_size=0, progress=False)
