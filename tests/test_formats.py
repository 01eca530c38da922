"""What is not read is recognised and named, with the conversion that helps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anchorkit.cli import main
from anchorkit.coco_json import whole_number
from anchorkit.datasets import load_dataset
from anchorkit.errors import InputError
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.formats import recognise
from anchorkit.predictions import PredictionTable

RESULTS = [{"image_id": 1, "category_id": 2, "bbox": [10.5, 3, 20, 8], "score": 0.5}]
TRUTH = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 60, "height": 40}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0}],
    "categories": [{"id": 2, "name": "bolt"}],
}
LABELME = {
    "version": "5.4",
    "flags": {},
    "shapes": [{"label": "bolt", "points": [[1, 2], [3, 4]], "shape_type": "rectangle"}],
    "imagePath": "a.jpg",
    "imageData": "x" * 9000,
}
VIA = {"a.jpg1234": {"filename": "a.jpg", "size": 1234, "regions": [{"shape_attributes": {"name": "rect", "x": 1}}]}}
VIA_PROJECT = {"_via_settings": {}, "_via_img_metadata": VIA, "_via_attributes": {}}
CREATEML = [
    {"image": "a.jpg", "annotations": [{"label": "bolt", "coordinates": {"x": 1, "y": 2, "width": 3, "height": 4}}]}
]
LABEL_STUDIO = [{"id": 1, "data": {"image": "/data/upload/1/a.jpg"}, "annotations": [{"result": []}]}]
LABEL_STUDIO_MIN = [{"image": "/data/upload/1/a.jpg", "id": 1, "label": [], "annotator": 1, "annotation_id": 1}]
SUPERVISELY = {"description": "", "tags": [], "size": {"height": 40, "width": 60}, "objects": []}
VOTT = {"asset": {"id": "x", "name": "a.jpg"}, "regions": [], "version": "2.1.0"}
DATUMARO = {"info": {}, "categories": {"label": {}}, "items": []}
CSV = "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,60,40,bolt,1,2,3,4\n"
KITTI = "Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59\n"
DOTA = "imagesource:GoogleEarth\ngsd:0.14\n1.0 2.0 3.0 2.0 3.0 4.0 1.0 4.0 plane 0\n"
VIDEO = '<?xml version="1.0"?><annotations><track id="0" label="bolt"><box frame="0"/></track></annotations>'
NDJSON = '{"data_row": {"id": "x"}, "projects": {}}\n{"data_row": {"id": "y"}, "projects": {}}\n'

# Where the file lies in the folder that is given, what is in it, and what the message says of it.
FOREIGN: dict[str, tuple[str, Any, str, str]] = {
    "LabelMe": ("a.json", LABELME, "LabelMe json", "labelme2coco"),
    "LabelMe below": ("annotations/train/a.json", LABELME, "LabelMe json", "labelme2coco"),
    "VIA": ("via_region_data.json", VIA, "VIA", "export it from VIA again as COCO"),
    "VIA project": ("via_project.json", VIA_PROJECT, "VIA", "export it from VIA again as COCO"),
    "CreateML": ("train/_annotations.createml.json", CREATEML, "CreateML json", "x - width / 2"),
    "CSV": ("annotations.csv", CSV, "CSV file", r"bbox \[xmin, ymin, xmax - xmin, ymax - ymin\]"),
    "CSV of Roboflow": ("train/_annotations.csv", CSV, "CSV file", "COCO json"),
    "Label Studio": ("project.json", LABEL_STUDIO, "Label Studio's own json", "export the project again as COCO"),
    "Label Studio, short": ("project.json", LABEL_STUDIO_MIN, "Label Studio's own json", "YOLO with images"),
    "Supervisely": ("ds0/ann/a.jpg.json", SUPERVISELY, "Supervisely's own json", "export the project again"),
    "VoTT": ("vott-json-export/parts-asset.json", VOTT, "VoTT json", "Pascal VOC"),
    "Datumaro": ("annotations/default.json", DATUMARO, "Datumaro json", "datum convert -f coco"),
    "KITTI": ("label_2/000001.txt", KITTI, "KITTI labels", "COCO json or YOLO"),
    "DOTA": ("labelTxt/P0001.txt", DOTA, "DOTA labels", "the box around the corners"),
    "TFRecord": ("train/parts.tfrecord", "\0\0", "TFRecord files", "export the data again"),
    "CVAT for video": ("annotations.xml", VIDEO, "CVAT's 'for video' xml", "CVAT for images 1.1"),
    "JSON lines": ("export.ndjson", NDJSON, "JSON lines", "COCO json"),
    "COCO results": ("results.json", RESULTS, "COCO results json", "predictions_from_npz.py"),
}


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("case", FOREIGN)
def test_a_folder_of_another_format_is_named(tmp_path: Path, case: str):
    name, content, called, helps = FOREIGN[case]
    source = put(tmp_path / name, content)
    (source.parent / "a.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(InputError, match=called) as caught:
        load_dataset(tmp_path)
    assert str(source) in str(caught.value)
    assert caught.match(helps)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ['{"epochs": 3}', "[1, 2, 3]", "", "{", "plain words", "<svg/>", "\x00\x01", "null"]
)
def test_what_is_nothing_known_is_not_named(tmp_path: Path, content: str):
    for suffix in (".json", ".txt", ".xml", ""):
        assert recognise(put(tmp_path / f"a{suffix}", content)) is None
    assert recognise(tmp_path / "nowhere") is None
    assert recognise(tmp_path) is None


GIVEN = {
    "results.json": (RESULTS, "COCO results json", "needs the anchor of each box before NMS"),
    "truth.json": (TRUTH, "COCO ground truth", "exchange the two"),
    "boxes.csv": (CSV, "CSV file", "prediction table"),
    "via.json": (VIA, "VIA", "prediction table"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_was_given_in_the_place_of_a_table_is_told(tmp_path: Path, name: str):
    content, called, helps = GIVEN[name]
    path = put(tmp_path / name, content)
    with pytest.raises(
        InputError, match=f"{name}: this is .*{called}.*a prediction table .Parquet. is needed"
    ) as caught:
        PredictionTable.load(path)
    assert helps in str(caught.value)


def test_long_files_are_told_by_their_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("anchorkit.formats._WHOLE_JSON", 1000)
    assert "COCO results" in recognise(put(tmp_path / "a.json", RESULTS * 100)).name
    assert recognise(put(tmp_path / "b.json", TRUTH | {"images": TRUTH["images"] * 100})).is_ground_truth
    assert "VIA" in recognise(put(tmp_path / "c.json", VIA_PROJECT | {"more": ["x"] * 1000})).name


def test_numpy_files_are_told(tmp_path: Path):
    np.savez(tmp_path / "a.npz", boxes=np.zeros(3))
    with pytest.raises(InputError, match=r"a\.npz: this is a NumPy file.*predictions_from_npz\.py"):
        PredictionTable.load(tmp_path / "a.npz")


def test_exchanged_arguments_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import pyarrow as pa
    import pyarrow.parquet as pq

    truth, table = put(tmp_path / "truth.json", TRUTH), tmp_path / "table.parquet"
    pq.write_table(pa.table({"image_id": [1]}), table)
    with pytest.raises(InputError, match="this is a Parquet file, as prediction tables are.*exchange the two"):
        read_ground_truth(table)
    assert main(["evaluate", str(truth), str(table)]) == 2
    said = capsys.readouterr().err
    assert "this is a COCO ground truth" in said
    assert "exchange the two" in said
    with pytest.raises(InputError, match="COCO results json.*a COCO ground truth is needed here"):
        read_ground_truth(put(tmp_path / "results.json", RESULTS))


# ------------------------------------------------------------------------------------------------ unambiguous spellings


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_left_out_with_a_line(tmp_path: Path, encoding: str):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(TRUTH), encoding=encoding)
    with pytest.warns(UserWarning, match=r"truth\.json: begins with a byte order mark"):
        found = read_ground_truth(path)
    assert len(found) == 1
    for split in ("train", "val"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{split}.json").write_text(json.dumps(TRUTH), encoding=encoding)
    with pytest.warns(UserWarning, match=r"train\.json: begins with a byte order mark"):
        data = load_dataset(tmp_path / "data")
    assert data.train.ground_truth["images"] == TRUTH["images"]


SPELT = {
    ("annotations", "image_id"): ["1", 1.0, " 1 ", "1.0", "01"],
    ("annotations", "category_id"): ["2", 2.0],
    ("annotations", "id"): ["1", 1.0],
    ("images", "id"): ["1", 1.0],
    ("categories", "id"): ["2", 2.0],
    ("images", "width"): ["60", 60.0],
}


@pytest.mark.parametrize(("part", "key", "value"), [(*place, value) for place in SPELT for value in SPELT[place]])
def test_ids_that_stand_for_whole_numbers_are_read_with_a_line(tmp_path: Path, part: str, key: str, value: Any):
    truth = json.loads(json.dumps(TRUTH))
    truth[part][0][key] = value
    with pytest.warns(UserWarning, match=f"1 ids or sizes .*{key} {value!r} in {part}"):
        found = read_ground_truth(truth)
    assert (found.image_ids.tolist(), found.category_ids.tolist(), len(found)) == ([1], [2], 1)
    assert truth[part][0][key] == value  # the caller's own
    for split in ("train", "val"):
        put(tmp_path / f"{split}.json", truth)
    with pytest.warns(UserWarning, match=rf"train\.json: 1 ids or sizes .*{key} {value!r} in {part}"):
        data = load_dataset(tmp_path)
    for name in TRUTH:
        assert data.train.ground_truth[name] == TRUTH[name]
    assert sum("train.json" in note for note in data.notes) == 1


def test_tables_know_such_ids_too(tmp_path: Path):
    truth = json.loads(json.dumps(TRUTH))
    truth["images"][0]["id"] = "1"
    from anchorkit.predictions import _ids, read_coco

    data, name, notes = read_coco(put(tmp_path / "truth.json", truth))
    assert _ids(data, "images", name).tolist() == [1]
    assert len(notes) == 1


@pytest.mark.parametrize("value", ["one", "", "1.5", 1.5, True, None, "1e3", "0x1", float("nan"), float("inf"), [1]])
def test_other_values_are_no_whole_numbers(value: Any):
    assert whole_number(value) is None


def test_ids_that_become_equal_are_refused():
    truth = json.loads(json.dumps(TRUTH))
    truth["images"].append(truth["images"][0] | {"id": "1"})
    with pytest.warns(UserWarning, match="1 ids"), pytest.raises(InputError, match="image id 1 occurs twice"):
        read_ground_truth(truth)
