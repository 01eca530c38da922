"""All lessons in order, as `anchorkit run --profile smoke` executes them, the experiments on what they leave, and the
site with both.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
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
from anchorkit.batch.plans import EXPERIMENTS, LESSONS, find_notebooks
from anchorkit.bundled import data_dir, notebooks_dir
from anchorkit.errors import InputError
from anchorkit.plots.export import remote_references
from anchorkit.runs.answers import VERDICTS, read_answers
from anchorkit.runs.folder import load_data

from ..browser.browsing import visit
from ..browser.conftest import browser  # noqa: F401 (a fixture)
from ..runs import searched_runs
from .cells import execute

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
        said = [output.text for output in outputs if output.get("name") == "stderr"]
        # The first process on a fresh machine says that it compiles.
        assert [text for text in said if not text.startswith("anchorkit: compiling, once")] == [], path.name


def test_the_tour_shows_that_the_pruned_detector_keeps_its_promise(run: Path) -> None:
    outputs = [cell.get("outputs", []) for cell in nbformat.read(run / "notebooks" / "00_start_here.ipynb", 4).cells]
    said = "".join(output.get("text", "") for output in itertools.chain(*outputs)).splitlines()
    assert "and every class: 0.0" in "".join(said)
    promised, kept = (line.split(":")[1] for line in said if line.startswith(("AP promised", "AP of the pruned")))
    assert promised.strip() == kept.strip()


@pytest.mark.parametrize("lesson", ["00_start_here", "03_box_shapes", "04_search", "05_prune_and_retrain"])
def test_an_explorer_leaves_a_picture_and_no_megabytes(run: Path, lesson: str) -> None:
    path = run / "notebooks" / f"{lesson}.ipynb"
    executed = nbformat.read(path, 4)
    assert len(json.dumps(executed.metadata.get("widgets", {}))) < 20_000  # a slider's state, at most
    assert "widget-view" not in path.read_text(encoding="utf-8")
    assert path.stat().st_size < 1_200_000


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
        said = [output.text for output in outputs if output.get("name") == "stderr"]
        # The first process on a fresh machine says that it compiles.
        assert [text for text in said if not text.startswith("anchorkit: compiling, once")] == [], path.name

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


SOLUTIONS: dict[str, dict[str, Any]] = {
    "00_start_here": {"images": 12, "more_images": 24},
    "01_data": {},
    "02_detector": {"epochs": 1},
    "03_box_shapes": {"draws": 3},
    "04_search": {"max_drop": 0.005},
    "05_prune_and_retrain": {"losses": [0.0], "finetune_epochs": 1},
    "06_report": {"draws": 10},
    "07_deploy": {"rounds": 3, "threads": [1]},
    "08_any_onnx": {"images": 12, "rounds": 3},
    "09_channels": {"channel_images": 4},
    "20_compare": {"max_loss": 0.1},
    "21_channels_and_anchors": {"channel_images": 4, "ratios": [0.1], "finer": [0.05], "max_drop": 0.0},
}


@pytest.fixture(scope="module")
def solve(run: Path, patch: pytest.MonkeyPatch, repository: Path) -> Callable[[str], dict[str, Any]]:
    """Runs the solutions to a lesson on what the lessons left; the last tests here, because some write there."""

    def execute_solution(name: str) -> dict[str, Any]:
        folder = None if name == "00_start_here" else run
        given = {"detector": str(run / "deploy" / "unpruned.onnx")} if name == "08_any_onnx" else {}
        return execute(
            repository / "docs" / "teaching" / "solutions" / f"{name}.ipynb", folder, **SOLUTIONS[name], **given
        )

    return execute_solution


def test_every_lesson_has_solutions_without_outputs(repository: Path) -> None:
    folder = repository / "docs" / "teaching" / "solutions"
    lessons = {path.stem for path in find_notebooks(None, LESSONS)} | {"20_compare"}
    assert {path.stem for path in folder.glob("*.ipynb")} == lessons == set(SOLUTIONS)
    for name in lessons:
        notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(not cell.outputs and cell.execution_count is None for cell in code)
        assert code[0].metadata.tags == ["parameters"]
        prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        assert prose.count("\n## ") + prose.startswith("## ") >= 2  # both exercises
        assert prose.count("**A good answer") == 2


@pytest.mark.filterwarnings("ignore:the machine was busy")
def test_solutions_that_only_evaluate(run: Path, solve: Callable[[str], dict[str, Any]]) -> None:
    first = solve("00_start_here")
    assert first["by_boxes"].cost == "boxes"
    assert set(first["full_ap"]) == {12, 24}
    assert len(solve("01_data")["idle"]) == 7  # the riddle
    third = solve("03_box_shapes")
    assert third["loss"](third["guess"]) < third["by_chance"].max()
    fourth = solve("04_search")
    halves = [set(fourth[name].ground_truth.image_ids) for name in ("half", "rest")]
    assert halves[0].isdisjoint(halves[1])
    assert set.union(*halves) == set(load_data(run).val.image_ids)
    spread = solve("06_report")
    assert spread["one"]["shipped"].accuracy(spread["one"]["shipped"].full) == pytest.approx(
        spread["aps"]["shipped"][0] / 100
    )


@pytest.mark.filterwarnings("ignore:the machine was busy", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_solutions_that_need_the_network(run: Path, solve: Callable[[str], dict[str, Any]]) -> None:
    second = solve("02_detector")
    assert second["points"].loc["AP", "shipped"] > second["points"].loc["AP", "1 passes"]
    assert (second["counts"]["detections"] <= second["counts"]["raw"]).all()
    fifth = solve("05_prune_and_retrain")["table"]
    assert list(fifth.index) == ["unpruned", "A"]
    assert fifth["fine-tuned"].between(0, 100).all()
    assert {name: facts["nms"] for name, facts in solve("07_deploy")["facts"].items()} == {
        "with NMS": True,
        "without, as in the lesson": False,
    }
    eighth = solve("08_any_onnx")
    assert eighth["costs"].loc["boxes", "saved (%)"] > 60  # level 0 has two thirds
    ninth = solve("09_channels")
    assert set(ninth["done"]) == {"nuclear", "surgeon"}
    both = solve("21_channels_and_anchors")["found"]
    assert {name: joint.labels for name, joint in both.items()} == {
        "steps of the lesson": (0.0, 0.1),
        "finer steps": (0.0, 0.05),
        "surgeon": (0.0, 0.1),
    }


def test_the_solution_that_compares_runs(repository: Path, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    made = []
    for gain, seed in itertools.product((0.0, 0.01), (0, 1)):
        result, folder = searched_runs.search_result(gain), tmp_path / f"{gain}-{seed}"
        made.append(str(searched_runs.write_run(folder, result, seconds=2 + gain, gain=gain, seed=seed)))
    path = repository / "docs" / "teaching" / "solutions" / "20_compare.ipynb"
    known = execute(path, tmp_path, runs=made, **SOLUTIONS["20_compare"])
    for table in (known["effects"], known["times"]):
        explained = table.set_index("parameter")["explained"]
        assert explained["gain"] == pytest.approx(1.0)
        assert explained["seed"] == pytest.approx(0.0)
