"""run.json has one reader, one writer and one check of its format."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import anchorkit
from anchorkit.errors import InputError
from anchorkit.runs.record import Executed, RunRecord, duration


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    begun = RunRecord.begin(profile="smoke", data="/my/pallets", detector="tiny_ssd", parameters={"04_search.seed": 3})
    done = Executed({"seed": 3, "data": "/my/pallets"}, "abc", begun.started, 1.5, {"data": "f00"})
    record = begun.with_notebook("01_data", Executed({})).with_notebook("04_search", done)
    record.write(tmp_path)
    assert RunRecord.read(tmp_path) == record
    assert (record.seeds, record.seconds, record.name) == ({"04_search": 3}, 1.5, "tiny_ssd on pallets")
    assert RunRecord(data="/my/pallets/data.yaml", detector="/my/yolo.onnx").name == "yolo.onnx on pallets"
    assert RunRecord(data="/my/pallets/DATA.YAML", detector="tiny_ssd").name == "tiny_ssd on pallets"
    assert record.versions["numpy"]
    told = json.loads((tmp_path / "run.json").read_text())
    assert (told["format"], told["anchorkit"], told["seeds"]) == (1, anchorkit.__version__, {"04_search": 3})
    assert not {"sweep", "repeats", "error", "provenance"} & set(told)  # what is not so is not said


def test_a_run_is_unfinished_then_failed_or_done(tmp_path: Path) -> None:
    record = RunRecord.begin(notebooks={"a": Executed({}), "b": Executed({})})
    assert record.state == "unfinished"
    assert replace(record, error={"notebook": "a", "message": "no"}).state == "failed"
    done = replace(record, finished="2026", provenance={"files": {}})
    assert done.state == "done"
    again = done.without_notebooks(["b"])
    assert (again.state, list(again.notebooks), again.provenance) == ("unfinished", ["a"], None)


def test_an_older_record_is_read(tmp_path: Path) -> None:
    old = {"format": 1, "data": "shapes", "notebooks": {"01_data": {"parameters": {"seed": 1}}}, "unknown": 1}
    (tmp_path / "run.json").write_text(json.dumps(old))
    record = RunRecord.read(tmp_path)
    assert record.notebooks["01_data"] == Executed({"seed": 1})
    assert (record.data, record.detector, record.sweep, record.versions) == ("shapes", None, None, {})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", "not the record of a run"),
        ("{}", "not the record of a run"),
        ('{"format": 2}', "run format 2; this anchorkit writes format 1: give another --out or remove the folder"),
        ('{"format": "1"}', "run format '1'"),
        ('{"format": 1, "notebooks": [1]}', "not the record of a run (AttributeError"),
        ('{"format": 1, "notebooks": {"01_data": {}}}', "not the record of a run (KeyError: 'parameters')"),
        ('{"format": 1, "notebooks": {"01_data": {"parameters": {}, "seconds": "x"}}}', "not the record of a run"),
        ('{"format": 1', "cut off"),
    ],
)
def test_what_is_no_record_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=re.escape(complaint)) as caught:
        RunRecord.read_if_there(tmp_path)
    assert str(tmp_path / "run.json") in str(caught.value)


def test_a_folder_without_a_record(tmp_path: Path) -> None:
    assert RunRecord.read_if_there(tmp_path) is None
    with pytest.raises(InputError, match=r"no run\.json, so not a run's folder"):
        RunRecord.read(tmp_path)


def test_nobody_else_opens_the_file() -> None:
    package = Path(anchorkit.__file__).parent
    naming = [path.name for path in package.rglob("*.py") if re.search(r"/ \"run\.json\"", path.read_text())]
    assert naming == []


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0 s"), (87, "1 min 27 s"), (7199, "119 min 59 s"), (9000, "2.5 h")]
)
def test_times_for_people(seconds: float, told: str) -> None:
    assert duration(seconds) == told
