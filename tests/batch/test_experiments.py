"""Experiments run by themselves, go on where they were, and end in one page; with tiny notebooks of the tests' own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anchorkit.batch import profiles, run_experiments, run_notebooks
from anchorkit.batch.execution import NotebookError
from anchorkit.errors import InputError
from anchorkit.plots.export import remote_references

PARAMETERS = 'run_dir: str = "runs/lesson"  # the run\'s folder\nseed: int = 0  # makes it repeatable\n'
TRACE = """\
from pathlib import Path
from anchorkit.runs.answers import experiment_folder, save_answer
with (Path(run_dir) / "trace").open("a") as f: f.write("{number} ")"""
ANSWER = """\
folder = experiment_folder(run_dir, "{name}")
save_answer(folder, "Claim of {number} & more", "3.{number}", "{verdict}", "Found {number}.", {{"gain": 0.1234567}})
(folder / "chart.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")"""


@pytest.fixture
def write(write_lesson):
    def write_experiment(name: str, *cells: str, verdict: str = "held", parameters: str = PARAMETERS) -> Path:
        number = name[:2]
        ends = [TRACE.format(number=number), *cells, ANSWER.format(name=name, number=number, verdict=verdict)]
        return write_lesson(name, ends, parameters)

    return write_experiment


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "data.json").write_text("{}")
    return folder


def trace(run: Path) -> str:
    return (run / "trace").read_text()


def test_each_by_itself_and_a_page_of_all(write, lessons: Path, run: Path, capsys) -> None:
    write("10_first")
    write("12_second", verdict="cannot be told here")
    done = run_experiments(run, notebooks=lessons)
    assert done.executed == ("10_first", "12_second")
    assert (done.skipped, dict(done.failed)) == ((), {})
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        "[1/2] 10_first",
        "[2/2] 12_second",
    ]
    assert done.page == run / "experiments" / "index.html"
    page = done.page.read_text()
    assert remote_references(page) == []
    assert "1 held, 0 did not hold, 1 cannot be told here." in page
    for wanted in ("Claim of 10 &amp; more", "Found 12.", "Section 3.12", "0.1235", "10_first/chart.svg"):
        assert wanted in page, wanted
    for name in ("10_first", "12_second"):
        assert f"{name}/{name}.html" in page
        assert (run / "experiments" / name / f"{name}.html").is_file()
    record = json.loads((run / "experiments" / "12_second" / "executed.json").read_text())
    assert record["parameters"] == {"run_dir": str(run), "seed": 0}
    assert [path.name for path in run.rglob(".*") if path.name != ".lock"] == []


def test_what_is_done_is_skipped_until_something_changes(write, lessons: Path, run: Path) -> None:
    write("10_first")
    write("11_second")
    run_experiments(run, notebooks=lessons)
    again = run_experiments(run, notebooks=lessons)
    assert (again.executed, again.skipped) == ((), ("10_first", "11_second"))
    assert trace(run) == "10 11 "
    # Another source: that one alone.
    write("10_first", "print(1)")
    assert run_experiments(run, notebooks=lessons).executed == ("10_first",)
    # Other parameters.
    assert run_experiments(run, ["11"], parameters={"seed": 1}, notebooks=lessons).executed == ("11_second",)
    # Other inputs: both.
    (run / "predictions.parquet").write_bytes(b"others")
    assert run_experiments(run, parameters={"seed": 0}, notebooks=lessons).executed == ("10_first", "11_second")
    # What it left has gone.
    (run / "experiments" / "10_first" / "answer.json").unlink()
    assert run_experiments(run, notebooks=lessons).executed == ("10_first",)


def test_files_that_parameters_name_are_inputs_and_found_from_anywhere(
    write, lessons: Path, tmp_path: Path, monkeypatch
) -> None:
    more = PARAMETERS + 'predictions: str = ""  # a table\nground_truth: str = ""  # annotations\n'
    write("10_first", "assert Path(predictions).read_text() == 'table'", parameters=more)
    monkeypatch.chdir(tmp_path)
    for name in ("table", "truth"):
        Path(name).write_text(name)
    given = {"predictions": "table", "ground_truth": "truth"}
    done = run_experiments("new", parameters=given, notebooks=lessons)  # a folder that is not there yet
    assert done.executed == ("10_first",)
    assert run_experiments("new", parameters=given, notebooks=lessons).skipped == ("10_first",)
    Path("truth").write_text("another")
    assert run_experiments("new", parameters=given, notebooks=lessons).executed == ("10_first",)


def test_another_run_to_compare_with_is_an_input_and_found_from_anywhere(
    write, lessons: Path, run: Path, tmp_path: Path, monkeypatch
) -> None:
    more = PARAMETERS + 'other_run_dir: str = ""  # a second run\nother_predictions: str = ""  # a table\n'
    read = "assert (Path(other_run_dir) / 'data.json').exists() and Path(other_predictions).exists()"
    write("15_two", read, parameters=more)
    monkeypatch.chdir(tmp_path)
    Path("second").mkdir()
    for name in ("second/data.json", "table"):
        Path(name).write_text("{}")
    given = {"other_run_dir": "second", "other_predictions": "table"}
    assert run_experiments(run, parameters=given, notebooks=lessons).executed == ("15_two",)
    assert run_experiments(run, parameters=given, notebooks=lessons).skipped == ("15_two",)
    for changed in ("second/predictions.parquet", "table"):
        Path(changed).write_text("another")
        assert run_experiments(run, parameters=given, notebooks=lessons).executed == ("15_two",)


def test_a_failure_stops_no_other_and_leaves_no_old_answer(write, lessons: Path, run: Path) -> None:
    write("10_bug")
    write("11_dies")
    write("12_bad_input", "import anchorkit as ak\nraise ak.InputError('x.json: no categories')")
    write("13_fine")
    run_experiments(run, ["10", "11"], notebooks=lessons)
    write("10_bug", "1 / 0")
    write("11_dies", "import os\nos._exit(3)")
    done = run_experiments(run, notebooks=lessons)
    assert done.executed == ("13_fine",)
    assert list(done.failed) == ["10_bug", "11_dies", "12_bad_input"]
    assert isinstance(done.failed["10_bug"], NotebookError)
    assert "process died" in str(done.failed["11_dies"])
    assert isinstance(done.failed["12_bad_input"], InputError)
    assert (run / "experiments" / "10_bug" / "10_bug.failed.ipynb").is_file()
    page = done.page.read_text()
    assert "Claim of 13" in page
    assert "Claim of 10" not in page


def test_profiles_and_the_runs_own(write, lessons: Path, run: Path, monkeypatch) -> None:
    write("10_first", "assert n == (3 if seed == 0 else 4), n", parameters=PARAMETERS + "n: int = 1  # a number\n")
    monkeypatch.setitem(profiles.PROFILES, "smoke", {"10_first": {"n": 3}})
    monkeypatch.setitem(profiles.PROFILES, "full", {"10_first": {"n": 4}})
    (run / "run.json").write_text('{"format": 1, "profile": "smoke", "data": "mine", "detector": "tiny"}')
    assert not run_experiments(run, notebooks=lessons).failed
    done = run_experiments(run, profile="full", parameters={"seed": 1}, notebooks=lessons)
    assert not done.failed
    assert "tiny on mine" in done.page.read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"names": ["10_frist"]}, "unknown experiment '10_frist'; did you mean 10_first?"),
        ({"names": ["19"]}, "unknown experiment '19'"),
        ({"profile": "quik"}, "unknown profile 'quik'; did you mean quick?"),
        ({"parameters": {"sed": 1}}, "unknown parameter 'sed'; did you mean seed?"),
        ({"parameters": {"run_dir": "x"}}, "use the first argument for that"),
    ],
)
def test_bad_arguments_start_nothing(write, lessons: Path, run: Path, arguments, complaint: str) -> None:
    write("10_first")
    with pytest.raises(InputError, match=complaint):
        run_experiments(run, notebooks=lessons, **arguments)
    assert not (run / "experiments").exists()


@pytest.mark.usefixtures("page")
def test_lessons_and_experiments_do_not_mix(write, lessons: Path, run: Path, write_lesson) -> None:
    write("10_first")
    write_lesson("00_lesson", ["from pathlib import Path\n(Path(run_dir) / 'lesson').touch()"])
    out = run_notebooks("smoke", out=run.parent / "other", notebooks=lessons)
    assert (out / "lesson").exists()
    assert not (out / "trace").exists()
    run_experiments(run, notebooks=lessons)
    assert not (run / "lesson").exists()


def test_a_page_without_answers_says_so(write, lessons: Path, run: Path) -> None:
    write("10_first", "1 / 0")
    assert "Not there yet: answers" in run_experiments(run, notebooks=lessons).page.read_text()


@pytest.fixture
def command(lessons: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """``anchorkit experiments`` on the tests' own notebooks: exit code, standard output, standard error."""
    from anchorkit.batch import plans
    from anchorkit.cli import main

    monkeypatch.setattr(plans, "notebooks_dir", lambda: lessons)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["experiments", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_command_tells_the_answers(write, run: Path, command) -> None:
    write("10_first", "assert seed == 2")
    code, out, _ = command(str(run), "10", "-p", "seed=2")
    assert code == 0
    assert out.splitlines() == [
        "10_first: held. Found 10.",
        f"The answers: open {run / 'experiments' / 'index.html'} in a browser",
    ]
    code, out, _ = command(str(run), "10", "-p", "seed=2", "--json")
    told = json.loads(out)
    assert (code, told["skipped"], told["failed"]) == (0, ["10_first"], {})
    assert told["answers"]["10_first"]["figures"] == {"gain": 0.1234567}


@pytest.mark.parametrize(
    ("cell", "code"), [("1 / 0", 1), ("import anchorkit as ak\nraise ak.InputError('no table')", 2)]
)
def test_the_exit_code_tells_of_failures(write, run: Path, command, cell: str, code: int) -> None:
    write("10_first", cell)
    write("11_second")
    found, out, err = command(str(run))
    assert found == code
    assert out.startswith("11_second: held. Found 11.\n10_first: failed. ")
    assert "[1/2] 10_first: failed" in err


def test_the_command_refuses_what_it_does_not_know(write, run: Path, command) -> None:
    write("10_first")
    assert command(str(run), "10", "-p", "sed=2") == (
        2,
        "",
        "anchorkit: -p: unknown parameter 'sed'; did you mean seed?\n",
    )
    assert command(str(run), "--profile", "quik")[0] == 2
