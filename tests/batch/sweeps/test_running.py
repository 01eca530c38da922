"""What a sweep does with steps and runs; the notebooks are executed in this process."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from anchorkit.batch.sweeps import run_sweep
from anchorkit.batch.sweeps.estimate import estimate_sweep
from anchorkit.batch.sweeps.plan import make_plan
from anchorkit.batch.sweeps.sweep_file import read_sweep
from anchorkit.errors import InputError
from anchorkit.runs.lock import locked

GRID = {"size": [1, 2], "factor": [1, 2]}

pytestmark = pytest.mark.usefixtures("in_process")


def run(workshop: Any, **options: Any) -> Any:
    return run_sweep(workshop.folder / "sweep.yaml", workshop.out, progress=False, **options)


def test_shared_steps_are_done_once_and_finished_runs_are_skipped(workshop, in_process) -> None:
    workshop.file(grid=GRID)
    summary = run(workshop)
    assert len(summary.done) == 4
    assert workshop.executed() == ["a_make", "b_multiply", "b_multiply", "a_make", "b_multiply", "b_multiply"]
    assert [value["n"] for value in workshop.figures().values()] == [
        json.loads(key)["size"] * json.loads(key)["factor"] for key in workshop.figures()
    ]
    run(workshop)
    assert len(in_process) == 6
    # Another value: only what is new.
    workshop.file(grid={**GRID, "factor": [1, 2, 3]})
    assert len(run(workshop).done) == 6
    assert workshop.executed() == ["b_multiply", "b_multiply"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_terminal_a_bar_says_how_far_it_is(workshop, monkeypatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")
    workshop.file(grid=GRID)
    run_sweep(workshop.folder / "sweep.yaml", workshop.out)
    said = screen.getvalue()
    assert "sweep: 4 runs, 0 done before, 0 failed before; 6 of 6 steps to do" in said
    assert "6/6 [" in said
    assert "done=4, failed=0, running=0, waiting=0" in said
    assert "[1/6]" not in said  # the plain lines are for where there is no terminal


def test_another_source_is_another_step(workshop) -> None:
    from .conftest import MULTIPLY, SECOND

    workshop.file(grid=GRID)
    run(workshop)
    workshop.executed()
    workshop.notebook("b_multiply", SECOND, [MULTIPLY + "\n# changed"])
    run(workshop)
    assert workshop.executed() == ["b_multiply"] * 4


def test_a_run_folder_is_whole(workshop) -> None:
    workshop.file(grid=GRID, profile="smoke")
    summary = run(workshop)
    folder = summary.folder / "runs" / summary.done[0]
    record = json.loads((folder / "run.json").read_text())
    assert record["format"] == 1
    assert record["profile"] == "smoke"
    assert record["parameters"] == {"size": 1, "factor": 1.0}
    assert list(record["notebooks"]) == ["a_make", "b_multiply"]
    assert record["notebooks"]["b_multiply"]["parameters"] == {"factor": 1.0, "seed": 0, "run_dir": str(folder)}
    assert record["seeds"] == {"a_make": 0, "b_multiply": 0}
    assert record["finished"] >= record["started"]
    assert set(record["provenance"]) == {"data", "files", "packages", "commit", "seeds", "machine"}
    assert list(record["provenance"]["files"]) == ["figures.json"]
    assert sorted(path.name for path in (folder / "notebooks").iterdir()) == ["a_make.ipynb", "b_multiply.ipynb"]
    status = json.loads((summary.folder / "status.json").read_text())
    assert status["counts"] == {"done": 4, "failed": 0, "running": 0, "waiting": 0}
    log = (summary.folder / "logs" / f"{summary.done[1]}.log").read_text()
    assert "a_make: begun, for 2 runs" in log
    assert log.rstrip().endswith("finished")
    assert [path.name for path in summary.folder.rglob(".*")] == [".lock"]


def test_large_files_are_shared_read_only_and_small_ones_are_ones_own(workshop) -> None:
    workshop.file(grid=GRID)
    summary = run(workshop)
    folders = [summary.folder / "runs" / name for name in summary.done]
    large = [(folder / "data.bin").stat() for folder in folders]
    assert large[0].st_ino == large[1].st_ino != large[2].st_ino
    assert large[0].st_nlink == 1 + 2 + 2  # the step, the two steps behind it, their runs
    assert all(stat.st_mode & 0o222 == 0 for stat in large)
    small = [(folder / "figures.json").stat() for folder in folders]
    assert len({stat.st_ino for stat in small}) == 4
    assert all(stat.st_mode & 0o200 for stat in small)


def test_what_a_notebook_does_to_its_files_no_other_run_sees(workshop) -> None:
    from .conftest import SECOND

    appending = "with (Path(run_dir) / 'data.bin').open('ab') as f: f.write(bytes(int(factor)))"
    workshop.notebook("b_multiply", SECOND, [appending])
    workshop.file(grid=GRID)
    summary = run(workshop)
    sizes = [(summary.folder / "runs" / name / "data.bin").stat().st_size for name in summary.done]
    assert sizes == [70_001, 70_002, 140_001, 140_002]


def test_a_shared_file_that_was_changed_in_place_is_found_out(workshop) -> None:
    workshop.file(grid={"factor": [1, 2]})
    summary = run(workshop)
    shared = summary.folder / "runs" / summary.done[0] / "data.bin"
    shared.chmod(0o644)  # root needs not even this
    with shared.open("r+b") as file:
        file.write(b"xyz")
    workshop.file(grid={"factor": [1, 2, 3]})
    summary = run(workshop)
    assert (len(summary.done), len(summary.failed)) == (2, 1)
    message = next(iter(summary.failed.values()))
    assert "data.bin: was changed after its step was done, here or through another hard link" in message
    step = message.rpartition("remove ")[2].partition(",")[0]
    shutil.rmtree(step)
    assert len(run(workshop, retry_failed=True).done) == 3


def test_without_hard_links_there_are_copies(workshop, monkeypatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    workshop.file(grid=GRID)
    summary = run(workshop)
    assert [(summary.folder / "runs" / name / "data.bin").stat().st_nlink for name in summary.done] == [1] * 4


def test_steps_may_be_deleted_and_the_runs_stay(workshop) -> None:
    workshop.file(grid=GRID)
    before = run(workshop)
    shutil.rmtree(before.folder / "steps")
    workshop.executed()
    assert run(workshop).done == before.done
    assert workshop.executed() == []
    assert workshop.figures()
    assert all((before.folder / "runs" / name / "data.bin").stat().st_size for name in before.done)


def test_failures_stop_nobody_else_and_are_retried_on_request(workshop) -> None:
    workshop.file(grid={"size": [1, 2], "factor": [1, 13]})
    summary = run(workshop)
    assert len(summary.done) == 2
    assert list(summary.failed.values()) == ["thirteen", "thirteen"]
    failed = summary.folder / "runs" / next(iter(summary.failed))
    record = json.loads((failed / "run.json").read_text())
    assert record["finished"] is None
    assert record["error"] == {"notebook": "b_multiply", "message": "thirteen"}
    assert [path.name for path in (failed / "notebooks").iterdir()] == ["a_make.ipynb"]
    workshop.executed()
    assert run(workshop).failed == summary.failed
    assert workshop.executed() == []
    assert run(workshop, retry_failed=True).failed == summary.failed
    assert workshop.executed() == ["b_multiply"] * 2


DYING = """\
from anchorkit.batch.execution import KernelDiedError
with open({deaths!r}, "a") as f: f.write("x")
if len(open({deaths!r}).read()) <= {most}: raise KernelDiedError("its process died")"""


@pytest.mark.parametrize(("deaths", "done"), [(1, 4), (2, 2), (99, 0)])
def test_a_step_whose_process_died_is_tried_once_more(workshop, capsys, deaths: int, done: int) -> None:
    from .conftest import FIRST, MAKE

    dying = DYING.format(deaths=str(workshop.folder / "deaths"), most=deaths)
    workshop.notebook("a_make", FIRST, [dying, MAKE])
    workshop.file(grid=GRID)
    summary = run_sweep(workshop.folder / "sweep.yaml", workshop.out)
    assert len(summary.done) == done
    assert set(summary.failed.values()) <= {"its process died"}
    assert capsys.readouterr().err.count("its process died; trying once more") == (1 if deaths < 99 else 2)
    log = (workshop.out / "logs" / f"{next(iter([*summary.done, *summary.failed]))}.log").read_text()
    assert "its process died; trying once more" in log or deaths == 2
    # The next start has patience again, when it is told to try.
    if deaths == 2:
        assert len(run(workshop, retry_failed=True).done) == 4


def test_a_failing_shared_step_fails_all_that_need_it(workshop) -> None:
    from .conftest import FIRST, MAKE

    workshop.notebook("a_make", FIRST, ["assert size == 1, 'too large'", MAKE])
    workshop.file(grid=GRID)
    summary = run(workshop)
    assert list(summary.failed.values()) == ["too large", "too large"]
    assert len(workshop.figures()) == 2
    assert workshop.executed() == ["a_make", "b_multiply", "b_multiply", "a_make"]


def test_results_are_one_table(workshop) -> None:
    workshop.file(grid={"size": [1, 2], "factor": [1, 13]})
    summary = run(workshop)
    table = pd.read_parquet(summary.folder / "results.parquet")
    assert list(table["what"]) == ["run"] * 4
    assert sorted(table["state"]) == ["done", "done", "failed", "failed"]
    done = table[table["state"] == "done"].set_index("run")
    assert dict(zip(done["param.size"], done["figure.n"], strict=True)) == {1: 1.0, 2: 2.0}
    assert done["version.numpy"].notna().all()
    assert (done["seconds"] >= done["seconds.b_multiply"]).all()


def test_the_page_lists_all_runs_and_needs_no_network(workshop) -> None:
    from anchorkit.plots.export import remote_references

    workshop.file(grid={"size": [1, 2], "factor": [1, 13]})
    summary = run(workshop)
    page = (summary.folder / "index.html").read_text()
    assert remote_references(page) == []
    assert page.count("<tr>") == 1 + 4
    assert "2 done, 2 failed" in page
    assert page.count("<small>thirteen</small>") == 2


TELL = """\
import json
def tell(record):
    with open({path!r}, "a") as file: file.write(json.dumps(record) + "\\n")
    if record["parameters"].get("size") == 2: raise OSError("the tracker is down")
"""


def test_the_callback_hears_of_each_run_and_its_errors_cost_nothing(workshop, monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    heard = tmp_path / "heard"
    (workshop.folder / "telling_module.py").write_text(TELL.format(path=str(heard)))
    workshop.file(grid={"size": [1, 2], "factor": [1, 13]}, on_finished="telling_module:tell")
    summary = run_sweep(workshop.folder / "sweep.yaml", workshop.out)
    assert len(summary.done) == 2
    records = [json.loads(line) for line in heard.read_text().splitlines()]
    assert sorted(record["state"] for record in records) == ["done", "done", "failed", "failed"]
    (done,) = [record for record in records if record["state"] == "done" and record["varied"]["size"] == 1]
    assert done["figures"] == {"n": 1.0, "seed": 0}
    assert done["parameters"]["factor"] == 1.0
    assert Path(done["folder"]).name == done["run"]
    assert "on_finished: OSError: the tracker is down" in capsys.readouterr().err
    # Who was not reached is told the next time; who was, is not told twice.
    heard.unlink()
    run(workshop)
    again = [json.loads(line) for line in heard.read_text().splitlines()]
    assert [record["varied"]["size"] for record in again] == [2]


def test_a_second_sweep_in_the_folder_is_refused(workshop) -> None:
    workshop.file(grid=GRID)
    from anchorkit.batch.sweeps import sweep

    with locked(workshop.out):
        (workshop.out / ".lock").write_text("1\n")  # a process that lives
        with pytest.raises(InputError, match="another process"):
            run(workshop)
    assert workshop.executed() == []
    assert sweep._ORPHANS_END_WITHIN >= 10


def test_the_folder_of_another_sweep_is_refused(workshop) -> None:
    workshop.file(grid=GRID)
    run(workshop)
    workshop.file(grid=GRID, name="another")
    with pytest.raises(InputError, match="holds another sweep, not 'another'"):
        run(workshop)


def test_bad_jobs(workshop) -> None:
    workshop.file(grid=GRID)
    with pytest.raises(InputError, match="at least 1"):
        run(workshop, jobs=0)


def test_a_full_disk_ends_the_sweep_and_fails_no_run(workshop) -> None:
    from .conftest import MULTIPLY, SECOND

    full = "import errno, os\nif factor == 2: raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'x')"
    workshop.notebook("b_multiply", SECOND, [full, MULTIPLY])
    workshop.file(grid=GRID)
    with pytest.raises(InputError, match="b_multiply: .*No space left.*; free some space; the same command resumes"):
        run(workshop)
    assert workshop.executed() == ["a_make", "b_multiply", "b_multiply"]
    status = json.loads((workshop.out / "status.json").read_text())
    assert status["counts"] == {"done": 1, "failed": 0, "running": 0, "waiting": 3}


@pytest.mark.parametrize("clock", [0, 4_000_000_000])
def test_nothing_depends_on_the_times_of_files(workshop, clock: int) -> None:
    workshop.file(grid=GRID)
    run(workshop)
    workshop.executed()
    for number, path in enumerate(sorted(workshop.folder.rglob("*"))):
        os.utime(path, (clock, clock + (number % 2) * 1000))
    before = workshop.figures()
    run(workshop)
    assert workshop.executed() == []
    # A step that is done again stays with its own inputs, whatever their times.
    workshop.file(grid={**GRID, "factor": [1, 2, 3]})
    run(workshop)
    assert workshop.executed() == ["b_multiply"] * 2
    assert before.items() <= workshop.figures().items()


def test_data_is_only_read(workshop) -> None:
    from .conftest import FIRST

    data = workshop.folder / "my data"
    data.mkdir()
    (data / "objects.json").write_text("[1, 2, 3]")
    reading = "text = (Path(data) / 'objects.json').read_text()\n(Path(run_dir) / 'data.bin').write_text(text * size)"
    workshop.notebook("a_make", FIRST + 'data: str = "x"  # d\n', [reading])
    (data / "objects.json").chmod(0o444)
    data.chmod(0o555)
    before = {path: path.stat() for path in (data, data / "objects.json")}
    workshop.file(grid=GRID, base={"data": "my data"})
    try:
        assert len(run(workshop).done) == 4
        assert {path: path.stat().st_mtime_ns for path in before} == {p: s.st_mtime_ns for p, s in before.items()}
        assert [path.name for path in data.iterdir()] == ["objects.json"]
    finally:
        data.chmod(0o755)


def test_the_estimate_goes_by_the_nearest_earlier_executions(workshop, tmp_path) -> None:
    plan = make_plan(read_sweep(workshop.file(grid=GRID)))
    unknown = estimate_sweep(plan, workshop.out, tmp_path / "no runs")
    assert (unknown.seconds, unknown.new_bytes) == (None, None)
    assert [(entry.steps, entry.to_do, entry.earlier) for entry in unknown.notebooks] == [(2, 2, 0), (4, 4, 0)]
    run(workshop)
    assert estimate_sweep(plan, workshop.out, tmp_path).notebooks[1].to_do == 0
    for path in workshop.out.glob("steps/*/step.json"):
        record = json.loads(path.read_text())
        size = record["parameters"].get("size", 0)
        path.write_text(json.dumps(record | {"seconds": 10.0 * size + record["parameters"].get("factor", 0)}))
    more = make_plan(read_sweep(workshop.file(grid={"size": [2], "factor": [2, 3]})))
    found = estimate_sweep(more, workshop.out, tmp_path)
    assert list(found.runs.values()) == ["done", "to do"]
    assert found.notebooks[0].to_do == 0
    assert found.notebooks[1].seconds == 1.5  # factor 3 is as near to 1 as to 2
    assert found.new_bytes is not None
    assert 0 < found.new_bytes < 70_000  # data.bin is shared


def test_a_damaged_step_is_told_by_name(workshop) -> None:
    workshop.file(grid=GRID)
    run(workshop)
    broken = next(workshop.out.glob("steps/*/step.json"))
    broken.write_text("{}")
    with pytest.raises(InputError, match="step.json: damaged; remove the folder"):
        run(workshop)
