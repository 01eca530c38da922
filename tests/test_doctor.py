from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path

import pytest

from anchorkit import cli, doctor
from anchorkit.doctor import Check, examine, render, usable


def named(name: str) -> Check:
    (found,) = [check for check in examine() if check.name == name]
    return found


def test_every_dependency_is_looked_at() -> None:
    names = {check.name for check in examine()}
    assert {"torch", "pycocotools", "papermill", "vl-convert-python"} <= names
    assert {"python", "GPU", "cores", "memory", "disk", "kernel", "notebooks", "shipped detectors"} <= names
    assert "pytest" not in names  # an extra
    assert {check.state for check in examine()} <= {"ok", "note", "missing"}


def test_every_trouble_says_how_to_mend_it() -> None:
    assert [check.name for check in examine() if check.state == "missing" and not check.mend] == []


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def without(name: str) -> str:
        if name == "scipy":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without)
    check = named("scipy")
    assert check.state == "missing"
    assert "pip install 'scipy>=" in check.mend
    assert not usable(examine())


def test_an_old_package(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "2.9.1rc1" if name == "altair" else version(name))
    check = named("altair")
    assert check.state == "missing"
    assert check.found.startswith("2.9.1rc1, older than ")


def test_versions_compare_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "10.0+cpu" if name == "torch" else version(name))
    assert named("torch") == Check("torch", "ok", "10.0+cpu")


def test_another_python_behind_the_kernel_is_a_note(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text('{"argv": ["/usr/bin/env"], "display_name": "x", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert named("kernel").state == "note"


def test_an_installation_without_its_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "notebooks_dir", lambda: tmp_path)
    assert named("notebooks").state == "missing"


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.tempfile, "gettempdir", lambda: str(tmp_path / "gone"))
    assert named("temporary folder").state == "missing"


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANCHORKIT_CACHE", str(tmp_path / "not" / "yet" / "there"))
    assert named("cache").state == "ok"
    assert not (tmp_path / "not").exists()
    monkeypatch.setenv("ANCHORKIT_CACHE", "/proc/anchorkit")  # where nobody can make a file, root neither
    assert named("cache").state in ({"note"} if Path("/proc").is_dir() else {"note", "ok"})


def test_text_says_what_to_do() -> None:
    checks = [Check("python", "ok", "3.11"), Check("torch", "missing", "not installed", "install it")]
    assert render(checks).splitlines()[1:] == [
        "ok       python  3.11",
        "MISSING  torch   not installed",
        "                 -> install it",
        "Something is missing: see MISSING above.",
    ]


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("note", 0), ("missing", 2)])
def test_exit_code_and_json(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [Check("x", state, "y")])
    assert cli.main(["doctor", "--json"]) == code
    data = json.loads(capsys.readouterr().out)
    assert data == {"usable": code == 0, "checks": [{"name": "x", "state": state, "found": "y", "mend": ""}]}


def test_names_of_modules_come_from_the_packages_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named("pyyaml").state == "ok"  # its module is yaml
    assert named("pillow").state == "ok"
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "yaml" else found(name))
    assert named("pyyaml").state == "missing"
    assert "its files are missing" in named("pyyaml").found


def test_a_python_that_cannot_render_notebooks_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    assert named("python").state == "ok"
    monkeypatch.setattr(doctor, "_SOUND_PYTHON", (3, 99, 0))
    assert named("python").state == "note"
    assert "3.11.5" in named("python").mend


def test_ready_is_one_line_after_a_real_evaluation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setenv("ANCHORKIT_CACHE", str(tmp_path))
    few = functools.partial(doctor.try_out, train=1, val=6, test=0)
    monkeypatch.setattr(doctor, "try_out", few)
    monkeypatch.setattr(doctor, "examine", list)
    code, out, _ = command("doctor", "--ready")
    assert code == 0
    assert re.fullmatch(r"ready: anchorkit \S+; the shipped detector has AP [1-9]\d\.\d on 6 images, .*\n", out)
    monkeypatch.setattr("anchorkit.evaluation.Evaluator.verify", lambda self, n: 0.25)
    code, out, _ = command("doctor", "--ready")
    assert code == 2
    assert "AP differs from pycocotools by 0.25" in out


def test_a_trial_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("no such library")

    monkeypatch.setattr("anchorkit.datasets.load_dataset", broken)
    check = doctor.try_out()
    assert (check.state, check.found) == ("missing", "failed (OSError: no such library)")
    assert check.mend
