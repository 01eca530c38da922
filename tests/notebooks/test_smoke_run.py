"""All lessons in order, as `anchorkit run --profile smoke` executes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from anchorkit.batch import run_notebooks
from anchorkit.batch.execution import Kernel
from anchorkit.batch.lessons import load_data
from anchorkit.bundled import data_dir, notebooks_dir
from anchorkit.errors import InputError
from anchorkit.plots.export import remote_references

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The few images drawn here stay out of the user's cache; the lessons' processes inherit the setting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCHORKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cache: None) -> Path:
    if not (data_dir() / "detectors" / "tiny_ssd-shapes").is_dir():
        pytest.skip("the trained detector is not in data/detectors; data/make_detector.py makes it")
    return run_notebooks("smoke", out=tmp_path_factory.mktemp("smoke") / "run", progress=False)


def test_the_record_says_how_to_repeat_it(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    lessons = [path.stem for path in sorted(notebooks_dir().glob("0*.ipynb"))]
    assert len(lessons) == 8
    assert list(record["notebooks"]) == lessons
    assert record["finished"] is not None
    assert record["notebooks"]["01_data"]["parameters"]["train_images"] == 48
    assert record["notebooks"]["04_search"]["parameters"]["cost"] == "head_flops"
    assert set(record["seeds"]) == set(lessons)


def test_everything_is_where_it_belongs(run: Path) -> None:
    for name in (
        "data.json",
        "predictions.parquet",
        "detector/model.safetensors",
        "search/frontier.csv",
        "search/random.csv",
        "retrained/A-pruned/model.safetensors",
        "retrained/A-fine-tuned/detector.json",
        "deploy/latency.csv",
        "deploy/unpruned.onnx",
    ):
        assert (run / name).is_file(), name
    assert [len(split) for split in load_data(run).splits().values()] == [48, 24, 24]
    points = pd.read_csv(run / "retrained" / "points.csv")
    assert sorted(set(points["stage"])) == ["fine-tuned", "full", "pruned"]
    assert [path.name for path in run.rglob(".*") if path.name != ".lock"] == []  # nothing half-written


def test_the_page_shows_the_result_and_needs_no_network(run: Path) -> None:
    page = (run / "index.html").read_text()
    assert remote_references(page) == []
    assert "<script" not in page
    assert page.index("of 30 anchors are enough") < page.index("The configurations, before and after")
    assert "Not there yet" not in page
    for lesson in notebooks_dir().glob("0*.ipynb"):
        assert f"notebooks/{lesson.stem}.html" in page
        assert remote_references((run / "notebooks" / f"{lesson.stem}.html").read_text()) == []
    assert sum(path.stat().st_size for path in (run / "index.html", *run.glob("notebooks/*"))) < 20e6


def test_the_executed_notebooks_are_quiet(run: Path) -> None:
    for path in run.glob("notebooks/*.ipynb"):
        outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
        assert [output.text for output in outputs if output.get("name") == "stderr"] == [], path.name


def test_a_second_time_nothing_is_executed(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a lesson was executed again")

    monkeypatch.setattr(Kernel, "execute", never)
    assert run_notebooks("smoke", out=run) == run
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 8
    assert all(line.endswith(": done before") for line in lines)


def test_a_misspelt_parameter_is_refused(run: Path) -> None:
    before = (run / "run.json").read_bytes()
    with pytest.raises(InputError, match="unknown parameter 'val_image'.*val_images"):
        run_notebooks("smoke", out=run, parameters={"val_image": 12})
    assert (run / "run.json").read_bytes() == before


def test_another_profile_in_the_same_folder_is_refused(run: Path) -> None:
    with pytest.raises(InputError, match="a run with profile 'smoke' is there"):
        run_notebooks("quick", out=run)
