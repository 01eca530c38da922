"""The commands for many runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from anchorkit import cli
from anchorkit.batch import rerun as rerun_module
from anchorkit.batch import sweeps
from anchorkit.batch.rerun import Difference, Repetition
from anchorkit.batch.sweeps import SweepSummary

from .runs.searched_runs import search_result, write_run


def call(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_compare_for_people_and_programs(tmp_path: Path, capsys) -> None:
    gains = {"low": 0.0, "middle": 0.01, "high": 0.02}
    runs = [write_run(tmp_path / name, search_result(gain), level=name) for name, gain in gains.items()]
    code, out, _ = call(capsys, "compare", *runs, "--max-loss", "0.05")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "hypervolume in head_flops, down to a loss of 10.0 points"
    assert [line.split()[0] for line in lines[2:5]] == ["high", "middle", "low"]
    assert lines[6].split()[:1] == ["level"]
    code, out, _ = call(capsys, "compare", *runs, "--cost", "boxes", "--json")
    data = json.loads(out)
    assert [row["run"] for row in data["runs"]] == ["high", "middle", "low"]
    assert data["effects"][0]["parameter"] == "level"
    assert data["effects"][0]["explained"] == pytest.approx(1.0)


def test_compare_of_other_data_says_so(tmp_path: Path, capsys) -> None:
    runs = [write_run(tmp_path / name, search_result(), data=name) for name in ("one", "two")]
    code, out, _ = call(capsys, "compare", *runs)
    assert code == 0
    assert "Group 1: its data or anchors differ from the other groups" in out
    assert "Group 2: " in out
    assert json.loads(call(capsys, "compare", *runs, "--json")[1])["effects"] is None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--cost", "box"], "did you mean boxes?"),
        (["--max-loss", "2"], "--max-loss 2: an accuracy from 0 to 1"),
        ([], "no run.json"),
    ],
)
def test_compare_refuses(tmp_path: Path, capsys, options: list[str], complaint: str) -> None:
    code, out, err = call(capsys, "compare", tmp_path, *options)
    assert (code, out) == (2, "")
    assert complaint in err


def test_sweep_tells_by_its_exit_code(tmp_path: Path, capsys, monkeypatch) -> None:
    seen: list[Any] = []
    failed: dict[str, str] = {}

    def run_sweep(*arguments: Any, scheduler: str | None) -> SweepSummary:
        seen.append((*arguments, scheduler))
        return SweepSummary(tmp_path, ("a",), failed)

    monkeypatch.setattr(sweeps, "run_sweep", run_sweep)
    code, out, _ = call(capsys, "sweep", "x.yaml", "--out", "there", "--jobs", "3", "--retry-failed")
    assert code == 0
    assert seen == [(Path("x.yaml"), Path("there"), 3, True, None)]
    assert out == f"1 runs done, 0 failed: open {tmp_path / 'index.html'} in a browser\n"
    failed["b"] = "broken: why\nlong story"
    code, out, _ = call(capsys, "sweep", "x.yaml", "--scheduler", "tcp://there:1")
    assert seen[1:] == [(Path("x.yaml"), None, None, False, "tcp://there:1")]
    assert code == 1
    assert out.splitlines()[1:] == ["  b: broken: why", "Give --retry-failed to try these again"]
    code, out, _ = call(capsys, "sweep", "x.yaml", "--json")
    assert (code, json.loads(out)["failed"]) == (1, failed)


def test_sweep_refuses_what_is_no_sweep(tmp_path: Path, capsys) -> None:
    code, out, err = call(capsys, "sweep", tmp_path / "none.yaml")
    assert (code, out) == (2, "")
    assert "none.yaml: no such file" in err


def test_rerun_says_what_is_different(tmp_path: Path, capsys, monkeypatch) -> None:
    found = [Difference("figure", "accuracy", 0.5, 0.4), Difference("file", "predictions.parquet", "a" * 64, "b" * 64)]
    found += [Difference("version", f"package{number}", "1", "2") for number in range(20)]
    for differences, said in ((tuple(found), "not reproduced"), ((), "reproduced")):
        answer = Repetition(tmp_path, 3, 2, differences)
        monkeypatch.setattr(rerun_module, "rerun", lambda *_, answer=answer: answer)
        code, out, _ = call(capsys, "rerun", "run")
        assert code == 0
        assert f"3 figures and 2 files compared: the run was {said}" in out
    monkeypatch.setattr(rerun_module, "rerun", lambda *_: Repetition(tmp_path, 3, 2, tuple(found)))
    lines = call(capsys, "rerun", "run")[1].splitlines()
    assert lines[1] == "  figure accuracy: 0.5, now 0.4"
    assert lines[2] == f"  file predictions.parquet: {'a' * 12}..., now {'b' * 12}..."
    assert lines[-1] == "  and 8 more of this kind (--json lists all)"
    data = json.loads(call(capsys, "rerun", "run", "--json")[1])
    assert data["same"] is False
    assert len(data["differences"]) == 22
