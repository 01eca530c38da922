"""Starting the app and JupyterLab; tests/browser looks at what they show."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from anchorkit import cli
from anchorkit.app import serving
from anchorkit.errors import InputError, MissingExtraError

from .browser import material


def test_the_page_is_a_notebook_without_outputs_that_the_template_can_find() -> None:
    page = nbformat.read(serving.HERE / "page.ipynb", as_version=4)
    nbformat.validate(page)
    assert all(not cell.outputs and cell.execution_count is None for cell in page.cells)
    templates = serving.HERE / "jupyter" / "voila" / "templates" / "anchorkit"
    assert json.loads((templates / "conf.json").read_text()) == {"base_template": "lab"}
    assert (templates / "index.html.j2").is_file()


def test_without_voila_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "voila" else find(name))
    with pytest.raises(MissingExtraError, match=r"anchorkit\[app\]"):
        serving.start_app(None, 1)
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [name for name in extras["app"] if name.startswith("voila>=")]


def test_voila_is_started_for_this_machine_alone_on_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[Any] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setattr(subprocess, "Popen", lambda command, **options: started.append((command, options["env"])))
    monkeypatch.setenv("JUPYTER_PATH", "elsewhere")
    serving.start_app(tmp_path, 1234, "secret")
    command, environment = started[0]
    assert {"--Voila.ip=127.0.0.1", "--port=1234", "--token=secret", "--template=anchorkit"} <= set(command)
    assert str(serving.HERE / "page.ipynb") in command
    assert environment["JUPYTER_PATH"].split(":")[-1] == "elsewhere"
    assert environment[serving.RUN_VARIABLE] == str(tmp_path)


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"data\.json is missing"):
        serving.checked_run(tmp_path)
    (tmp_path / "data.json").write_text("{}")
    (tmp_path / "predictions.parquet").write_text("")
    with pytest.raises(InputError, match=r"search/search\.json is missing"):
        serving.checked_run(tmp_path)
    assert cli.main(["app", str(tmp_path)]) == 2
    assert "search/search.json is missing" in capsys.readouterr().err


def test_the_page_begins_with_what_was_picked_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anchorkit.app import pages
    from anchorkit.evaluation import Evaluator
    from anchorkit.runs.selection import save_selection

    monkeypatch.setenv("ANCHORKIT_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "run"
    material.write_run(run)
    found = pages.from_run(run)
    begun: list[Any] = []
    board = pages.AnchorBoard
    monkeypatch.setattr(
        pages, "AnchorBoard", lambda *given, start, **more: begun.append(start) or board(*given, **more)
    )
    pages.page(found)
    evaluator = Evaluator(found.predictions, found.split.ground_truth)
    picked = evaluator.full.without([2])
    save_selection(run, picked, evaluator.fingerprint)
    pages.page(found)
    assert begun == [found.result.cheapest(pages._MAX_LOSS), picked]
    assert begun[0] != picked


def test_a_server_that_ends_is_no_server() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as server,
        pytest.raises(InputError, match="exit code 3"),
    ):
        serving.wait_until_up(server, f"http://127.0.0.1:{serving.free_port()}/")


def test_a_free_port_is_free() -> None:
    port = serving.free_port()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


def test_lab_copies_the_lessons_out_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from jupyterlab.labapp import LabApp

    opened: list[list[str]] = []
    monkeypatch.setattr(LabApp, "launch_instance", opened.append)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    folder = tmp_path / "work"
    assert cli.main(["lab", str(folder)]) == 0
    assert opened == [[f"--notebook-dir={folder}"]]
    lesson = folder / "00_start_here.ipynb"
    assert lesson.is_file()
    lesson.write_text("changed")
    assert cli.main(["lab", str(folder)]) == 0
    assert lesson.read_text() == "changed"


def test_lab_passes_options_on_and_says_what_root_has_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jupyterlab.labapp import LabApp

    started: list[list[str]] = []
    monkeypatch.setattr(LabApp, "launch_instance", started.append)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert cli.main(["lab", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(f"anchorkit lab {tmp_path} --allow-root\n")
    options = ["--no-browser", "--ip", "0.0.0.0", "--port", "9000", "--", "--ServerApp.token=a"]
    assert cli.main(["lab", str(tmp_path), "--allow-root", *options]) == 0
    assert started == [
        [f"--notebook-dir={tmp_path}", "--no-browser", "--allow-root", "--ip=0.0.0.0", "--port=9000", *options[-1:]]
    ]
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert cli.main(["lab", str(tmp_path)]) == 0
    assert started[1] == [f"--notebook-dir={tmp_path}"]
