"""Mended data, or weights that change under their name: the run is done again from the lesson that reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from anchorkit.batch import experiments, profiles, run_experiments, run_notebooks, runner
from anchorkit.errors import InputError
from anchorkit.runs.folder import load_data
from anchorkit.runs.record import RunRecord

from ..datasets.samples import coco_folder
from .sweeps.conftest import Interpreter

pytestmark = pytest.mark.usefixtures("page")

RUN_DIR = 'run_dir: str = "x"  # the folder\n'
TRACE = "from pathlib import Path\nrun = Path(run_dir)\nwith (run / 'trace').open('a') as f: f.write({name!r} + ' ')\n"
CHOOSE = "from anchorkit.runs.folder import choose_data\nchoose_data(run_dir, data, progress=False)"
DETECT = """\
from anchorkit.runs.folder import load_data
found = load_data(run_dir).fingerprint()
(run / "detector" / "training").mkdir(parents=True, exist_ok=True)
(run / "figures").mkdir(exist_ok=True)
kept = run / "detector" / "training" / "checkpoint.pt"
assert not kept.exists() or kept.read_text() == found, "a training with another dataset"  # as `fit` does
if not kept.exists():
    with (run / 'trace').open('a') as f: f.write('trains ')
kept.write_text(found)
if stop: raise ValueError("stopped")
text = found + (Path(weights).read_text() if weights != "auto" else "")
for name in ("detector/model.safetensors", "predictions.parquet", "figures/02_detections.svg"):
    (run / name).write_text(text)"""
SEARCH = """\
text = (run / "predictions.parquet").read_text()
(run / "search").mkdir(exist_ok=True)
for name in ("search.json", f"ledger-{text[:9]}.jsonl"):
    (run / "search" / name).write_text(text)"""


class Here(Interpreter):
    """A kernel in this process."""

    def __init__(self, folder: Path) -> None:
        super().__init__()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return coco_folder(tmp_path / "my däta", 2)


@pytest.fixture
def lessons(lessons: Path, write_lesson, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runner, "Kernel", Here)
    monkeypatch.setitem(profiles.PROFILES, "quick", {})
    more = 'weights: str = "auto"  # a file\nstop: bool = False  # in the middle\n'
    write_lesson("00_start_here", [], "images: int = 1  # of the tour\n")
    write_lesson("01_data", [TRACE.format(name="01"), CHOOSE], RUN_DIR + 'data: str = ""  # a folder\n')
    write_lesson("02_detector", [TRACE.format(name="02"), DETECT], RUN_DIR + more)
    write_lesson("04_search", [TRACE.format(name="04"), SEARCH], RUN_DIR + "seed: int = 0  # s\n")
    return lessons


@pytest.fixture
def run(data: Path, lessons: Path, tmp_path: Path) -> Any:
    def execute(**parameters: Any) -> Path:
        return run_notebooks("quick", data, out=tmp_path / "run", parameters=parameters, notebooks=lessons)

    return execute


def mend(data: Path) -> None:
    path = data / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"][2] += 1
    path.write_text(json.dumps(content))


def executed(folder: Path) -> str:
    text = (folder / "trace").read_text()
    (folder / "trace").write_text("")
    return text


def files_with(folder: Path, text: str) -> list[str]:
    return [
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and text in path.read_text()
    ]


def test_mended_annotations_do_the_data_and_all_later_lessons_again(run, data: Path, capsys) -> None:
    folder = run()
    old = load_data(folder).fingerprint()
    assert executed(folder) == "01 02 trains 04 "
    run()
    assert executed(folder) == ""
    capsys.readouterr()
    mend(data)
    with pytest.raises(InputError, match="have changed since: execute 01_data again"):
        load_data(folder)
    run()
    assert executed(folder) == "01 02 trains 04 "
    assert load_data(folder).fingerprint() != old
    assert files_with(folder, old) == []
    assert files_with(folder, load_data(folder).fingerprint()[:9])
    assert list((folder / "search").glob("*.jsonl")) == [
        folder / "search" / f"ledger-{load_data(folder).fingerprint()[:9]}.jsonl"
    ]
    said = capsys.readouterr().err.splitlines()
    assert said[0] == (
        "data changed since 01_data was done; removed: data.json, detector, predictions.parquet, figures, search"
    )
    assert [line.rpartition(": ")[2] for line in said[1:]] == ["0 s", "0 s", "0 s"]


def test_times_and_pictures_of_the_same_size_are_no_change(run, data: Path) -> None:
    folder = run()
    executed(folder)
    for path in data.rglob("*.*"):
        path.touch()
    run()
    assert executed(folder) == ""


def test_a_run_within_the_folder_of_its_data_is_no_change_of_it(data: Path, lessons: Path) -> None:
    folder = run_notebooks("quick", data, out=data / "runs" / "first", notebooks=lessons)
    assert executed(folder) == "01 02 trains 04 "
    run_notebooks("quick", data, out=data / "runs" / "second", notebooks=lessons)
    run_notebooks("quick", data, out=folder, notebooks=lessons)
    assert executed(folder) == ""


def test_what_was_stopped_before_the_data_was_mended_is_not_gone_on_with(run, data: Path) -> None:
    with pytest.raises(ValueError, match="stopped"):
        run(stop=True)
    mend(data)
    folder = run()
    assert executed(folder) == "01 02 trains 01 02 trains 04 "
    assert (folder / "detector" / "training" / "checkpoint.pt").read_text() == load_data(folder).fingerprint()


def test_what_was_stopped_is_gone_on_with(run, lessons: Path, write_lesson, capsys) -> None:
    with pytest.raises(ValueError, match="stopped"):
        run(stop=True)
    checkpoint = run(stop=False) / "detector" / "training" / "checkpoint.pt"
    assert checkpoint.exists()
    assert "removed" not in capsys.readouterr().err


def test_other_weights_under_the_same_name(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_file({"w": np.frombuffer(b"old weights", np.uint8)}, "best.safetensors")
    folder = run(weights="best.safetensors")  # as on a command line: from where one stands
    assert executed(folder) == "01 02 trains 04 "
    assert files_with(folder, "old weights")
    save_file({"w": np.frombuffer(b"new weights", np.uint8)}, "best.safetensors")
    run(weights="best.safetensors")
    assert executed(folder) == "02 trains 04 "
    assert files_with(folder, "old weights") == []
    assert RunRecord.read(folder).notebooks["02_detector"].contents.keys() == {"weights"}


def test_another_source_or_search_costs_no_training(run, lessons: Path, write_lesson, capsys) -> None:
    folder = run()
    found = load_data(folder).fingerprint()
    executed(folder)
    capsys.readouterr()
    write_lesson("01_data", [TRACE.format(name="01"), CHOOSE, "1"], RUN_DIR + 'data: str = ""  # a folder\n')
    run(seed=1)
    assert executed(folder) == "01 02 04 "
    assert (folder / "detector" / "training" / "checkpoint.pt").read_text() == found
    assert (folder / "search" / f"ledger-{found[:9]}.jsonl").exists()
    assert capsys.readouterr().err.startswith("seed changed since 01_data was done; removed: data.json, detector, ")


def test_a_folder_that_lessons_made_by_hand_is_not_touched(run, data: Path, tmp_path: Path) -> None:
    folder = run()
    (folder / "run.json").unlink()
    mend(data)
    with pytest.raises(InputError, match="this run was made on other data"):
        run()
    assert (folder / "predictions.parquet").exists()


ANSWER = """\
from anchorkit.runs.answers import experiment_folder, save_answer
save_answer(experiment_folder(run_dir, "10_first"), "Claim", "3", "held", "Found.", {})"""


def test_an_answer_on_data_that_was_mended_is_gone_with_it(
    run, data: Path, lessons: Path, write_lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiments, "Kernel", Here)
    write_lesson("10_first", [ANSWER], RUN_DIR)
    folder = run()
    assert run_experiments(folder, notebooks=lessons).executed == ("10_first",)
    assert run_experiments(folder, notebooks=lessons).skipped == ("10_first",)
    mend(data)
    run()
    assert not (folder / "experiments" / "10_first" / "answer.json").exists()
    assert not (folder / "experiments" / "index.html").exists()
    assert run_experiments(folder, notebooks=lessons).executed == ("10_first",)
    mend(data)
    assert run_experiments(folder, notebooks=lessons).executed == ("10_first",)  # the run speaks of other data
