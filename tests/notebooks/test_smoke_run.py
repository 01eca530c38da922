"""All lessons in order, as `anchorkit run --profile smoke` executes them, the experiments on what they leave, and the
site with both.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pandas as pd
import pytest

import anchorkit as ak
from anchorkit import cli
from anchorkit.batch import run_experiments, run_notebooks
from anchorkit.batch.execution import Kernel
from anchorkit.batch.experiments import ExperimentsRun
from anchorkit.batch.plans import EXPERIMENTS, find_notebooks
from anchorkit.bundled import data_dir, notebooks_dir
from anchorkit.errors import InputError
from anchorkit.plots.export import remote_references
from anchorkit.runs.answers import VERDICTS, read_answers
from anchorkit.runs.folder import load_data

from ..browser.browsing import visit
from ..browser.conftest import browser  # noqa: F401 (a fixture)

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
    lessons = [path.stem for path in sorted(notebooks_dir().glob("0[0-7]*.ipynb"))]
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
    assert page.index("<h1>24 images are too few") < page.index("The configurations, before and after")
    assert "Not there yet" not in page
    for lesson in notebooks_dir().glob("0[0-7]*.ipynb"):
        assert f"notebooks/{lesson.stem}.html" in page
        assert remote_references((run / "notebooks" / f"{lesson.stem}.html").read_text()) == []
    assert sum(path.stat().st_size for path in (run / "index.html", *run.glob("notebooks/*"))) < 20e6


def test_the_executed_notebooks_are_quiet(run: Path) -> None:
    for path in run.glob("notebooks/*.ipynb"):
        outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
        assert [output.text for output in outputs if output.get("name") == "stderr"] == [], path.name


@pytest.mark.parametrize("lesson", ["00_start_here", "03_box_shapes", "04_search", "05_prune_and_retrain"])
def test_an_explorer_leaves_a_picture_and_no_megabytes(run: Path, lesson: str) -> None:
    path = run / "notebooks" / f"{lesson}.ipynb"
    executed = nbformat.read(path, 4)
    assert len(json.dumps(executed.metadata.get("widgets", {}))) < 20_000  # a slider's state, at most
    assert "widget-view" not in path.read_text(encoding="utf-8")
    assert path.stat().st_size < 1_000_000


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
    with pytest.raises(InputError, match="this folder holds a run with profile 'smoke', not 'quick'"):
        run_notebooks("quick", out=run)


@pytest.fixture(scope="module")
def experiments(run: Path) -> ExperimentsRun:
    """All of them on the run of the lessons, which is theirs to read; its own profile is smoke."""
    return run_experiments(run, progress=False)


def test_every_experiment_gives_an_answer(run: Path, experiments: ExperimentsRun) -> None:
    names = [path.stem for path in find_notebooks(None, EXPERIMENTS)]
    assert {name: str(error) for name, error in experiments.failed.items()} == {}
    assert list(experiments.executed) == names
    answers = read_answers(run)
    assert sorted(answers) == names
    for answer in answers.values():
        assert answer["verdict"] in VERDICTS
        assert answer["answer"]
        assert "nan" not in answer["answer"].lower()
    page = experiments.page.read_text()
    assert remote_references(page) == []
    for name, answer in answers.items():
        assert escape(answer["claim"]) in page
        assert f"{name}/{name}.html" in page
    # The run itself is as the lessons left it.
    assert json.loads((run / "run.json").read_text())["finished"] is not None
    assert not list(run.glob("experiments/**/checkpoint.pt"))


def test_experiments_are_quiet_and_not_executed_twice(
    run: Path, experiments: ExperimentsRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in run.glob("experiments/*/*.ipynb"):
        outputs = [output for cell in nbformat.read(path, 4).cells for output in cell.get("outputs", [])]
        assert [output.text for output in outputs if output.get("name") == "stderr"] == [], path.name

    def never(*_: object) -> None:
        raise AssertionError("an experiment was executed again")

    monkeypatch.setattr(Kernel, "execute", never)
    assert run_experiments(run, progress=False).skipped == experiments.executed


def test_what_was_chosen_is_told_on_the_test_split_too(run: Path, experiments: ExperimentsRun) -> None:
    answer = read_answers(run)["18_is_it_luck"]
    assert "told on 24 test images" in answer["answer"]
    low, high = answer["figures"]["kept on the test images (points)"][1:]
    assert low <= high


def test_trainings_of_several_seeds_are_compared(run: Path, experiments: ExperimentsRun) -> None:
    table = pd.read_csv(run / "experiments" / "12_finetune_or_retrain" / "trainings.csv")
    counts = table.groupby(["treatment", "point"])["seed"].nunique()
    assert set(counts) == {2}
    assert set(table["treatment"]) == {"unpruned", "unpruned, fine-tuned", "pruned", "fine-tuned", "retrained"}
    epochs = table.groupby("treatment")["epochs"].max()
    assert epochs["retrained"] == epochs["unpruned"]  # retraining is given no longer than the first training
    costs = table[table["point"] == "50 %"].pivot_table(index="seed", columns="treatment", values="head_flops")
    assert (costs["pruned"] == costs["retrained"]).all()
    assert (costs["pruned"] <= 0.5 * table.query("treatment == 'unpruned'")["head_flops"].max()).all()
    shared = pd.read_csv(run / "experiments" / "14_shared_head" / "trainings.csv")
    s1a1 = shared.query("point == 's1a1'")["head_flops"].max()
    assert shared.query("point == 'as cheap as s1a1'")["head_flops"].max() <= s1a1
    sets = pd.read_csv(run / "experiments" / "13_overanchorized" / "trainings.csv")
    budget = sets.query("treatment == 'two squares'")["head_flops"].max()
    assert (sets.query("treatment != 'overanchorized'")["head_flops"] <= budget).all()


@pytest.fixture(scope="module")
def site(repository: Path, run: Path, experiments: ExperimentsRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs RUN=...` builds, where every warning of Sphinx is an error."""
    pytest.importorskip("myst_nb", reason="the extra 'docs' is not installed")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(repository / "docs" / "make_site.py"), "--run", str(run), "--out", str(out)]
    built = subprocess.run([*command, "--executed-only"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return out / "html"


def test_the_site_has_every_public_name_and_command(site: Path) -> None:
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]  # behind four lines of comments
    known = {line.rsplit(" ", 4)[0] for line in zlib.decompress(packed).decode().splitlines()}
    names = [f"anchorkit.{name}" for name in dir(ak)]
    for name in dir(ak):
        module = getattr(ak, name)
        if isinstance(module, ModuleType):
            names += [f"anchorkit.{name}.{inner}" for inner in module.__all__]
    assert len(names) > 250
    assert [name for name in names if name not in known] == []
    for name, parser in cli.make_parser()[1].items():
        options = [option for action in parser._actions for option in action.option_strings if "-h" not in option]
        assert [option for option in options if f"anchorkit-{name}.{option}" not in known] == []


def test_the_site_opens_from_disk_and_asks_nothing_of_the_network(site: Path, browser: Any) -> None:  # noqa: F811
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert remote_references(text) == [], page.name
        # What axe reports: a heading of a table without text, a list of definitions without terms.
        assert page.name == "board.html" or not re.search(r"<th[^>]*>\s*</th>|<dl>\s*<dd>", text), page.name
    made = visit(browser, (site / "index.html").as_uri())
    made.page.locator("nav").get_by_role("link", name="Lessons").first.click()
    made.page.get_by_role("link", name="4. Search").first.click()
    pictures = made.page.locator("main img")
    pictures.nth(3).wait_for()
    for picture in pictures.all():
        assert picture.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 0
        assert picture.get_attribute("alt")
    made.page.goto((site / "search.html").as_uri() + "?q=prune_channels")
    made.page.locator("#search-results a", has_text="prune_channels").first.click()
    assert made.page.url.endswith("channels.html#anchorkit.prune_channels")
    made.page.goto((site / "handout.html").as_uri())
    board = made.page.frame_locator("iframe")
    board.locator("body").evaluate("() => window.anchorkit.ready")
    assert made.errors == []
    assert [address for address in made.foreign if not address.startswith("file:")] == []
    made.page.context.close()
