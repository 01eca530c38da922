"""What is said while the evaluator's loops are compiled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import pytest

from anchorkit.evaluation.loops import compiling


def own_event() -> Any:
    return SimpleNamespace(data={"dispatcher": SimpleNamespace(py_func=compiling.popcount)})


@pytest.fixture
def notice(monkeypatch: pytest.MonkeyPatch) -> compiling.Notice:
    monkeypatch.setattr(compiling, "PATIENCE", 0.05)
    return compiling.Notice()


def test_who_waits_is_told_why_once(notice: compiling.Notice, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        notice.on_start(own_event())
        time.sleep(0.3)
        notice.on_end(own_event())
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("compiling")) == ("", 1)


def test_a_moment_is_not_worth_a_word(notice: compiling.Notice, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        notice.on_start(own_event())
        notice.on_end(own_event())
    time.sleep(0.3)
    assert capsys.readouterr().err == ""


def test_what_others_compile_is_their_business(notice: compiling.Notice, capsys: pytest.CaptureFixture[str]) -> None:
    notice.on_start(SimpleNamespace(data={"dispatcher": SimpleNamespace(py_func=time.sleep)}))
    time.sleep(0.3)
    notice.on_end(SimpleNamespace(data={}))
    assert capsys.readouterr().err == ""


def test_machine_code_is_kept_in_a_private_temporary_folder_where_no_other_can_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")

    class Dispatcher:
        _cache = SimpleNamespace(_cache_file=SimpleNamespace(_load_index=dict))

        def __init__(self) -> None:
            self.asked: list[str] = []

        def enable_caching(self) -> None:
            self.asked.append(numba.config.CACHE_DIR)
            if not numba.config.CACHE_DIR:
                raise RuntimeError("no locator available")

    dispatcher = compiling._cached(Dispatcher())
    (folder,) = tmp_path.iterdir()
    assert dispatcher.asked == ["", str(folder)]
    assert folder.stat().st_mode & 0o077 == 0
    assert compiling.kept_in()[1]

    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    folder.chmod(0o777)  # others could put machine code of theirs there
    assert compiling._cached(Dispatcher()).asked == [""]
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path.parent)
    assert compiling._cached(Dispatcher()).asked == [""]


MODULE = """
from typing import NamedTuple
from anchorkit.evaluation.loops.compiling import compiled

class {table}(NamedTuple):
    number: int

@compiled
def double(table):
    return 2 * table.number

print(double({table}(21)))
"""


def test_machine_code_of_an_older_version_is_compiled_again(tmp_path: Path) -> None:
    # The cache's index names the types of the arguments; numba itself fails on one that is gone.
    cache = tmp_path / "cache"
    for table in ("Old", "Newer"):
        (tmp_path / "loops_of_a_version.py").write_text(MODULE.format(table=table))
        command = [sys.executable, "-c", "import loops_of_a_version"]
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert (done.stdout, done.returncode) == ("42\n", 0), done.stderr
        assert list(cache.rglob("loops_of_a_version.double-*.nbi"))
