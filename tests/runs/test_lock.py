from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from anchorkit.errors import InputError
from anchorkit.runs.lock import locked

HOLD = """\
import sys
from anchorkit.runs.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    input()
"""


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process \\(id {other.pid}\\)"), locked(tmp_path):
            pass
        other.kill()
        other.wait()
        with locked(tmp_path):  # a killed process holds nothing
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"), locked(tmp_path / "file" / "run"):
        pass


def test_where_locks_cannot_be_inherited_a_second_process_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anchorkit.runs.lock.fcntl", None)  # as on Windows
    with locked(tmp_path) as handle:
        assert handle is None
        with pytest.raises(InputError, match="another process"), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"), locked(tmp_path / "file" / "run"):
        pass
