"""What a user starts needs nothing that only POSIX systems have. No test ran on Windows itself."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anchorkit import files
from anchorkit.batch.sweeps.steps import _link
from anchorkit.errors import InputError
from anchorkit.files import read_json, remove, replacing, write_json
from anchorkit.runs.folder import remove_left

from .test_cli import make_layout, write_files

# Removes what Windows lacks before the kit is imported. Libraries are imported first: they are builds for this system.
WITHOUT_POSIX = """\
import os, signal, sys
import asyncio, getpass, multiprocessing, selectors, subprocess, tempfile, threading
{libraries}
for name in "fcntl pwd grp resource termios tty pty posix syslog".split():
    sys.modules[name] = None
for name in "getuid geteuid getgid sysconf fork killpg sched_getaffinity statvfs uname pwrite".split():
    if hasattr(os, name):
        delattr(os, name)
for name in "SIGKILL SIGHUP SIGUSR1 SIGALRM SIGQUIT alarm setitimer".split():
    if hasattr(signal, name):
        delattr(signal, name)
"""
LIBRARIES = (
    "import PIL.Image, filelock, numba, numpy, pandas, psutil, pyarrow, pycocotools.coco, scipy.spatial, tqdm, yaml"
)
RUN = "from anchorkit.cli import main\nsys.exit(main(sys.argv[1:]))\n"
MODULES = """\
import importlib
for name in "runner experiments rerun sweeps.sweep sweeps.workers sweeps.worker".split():
    importlib.import_module(f"anchorkit.batch.{name}")
for name in "runs.lock runs.record runs.provenance pages.run app.serving doctor".split():
    importlib.import_module(f"anchorkit.{name}")
"""


def without_posix(code: str, *arguments: object, libraries: str = "") -> str:
    program = WITHOUT_POSIX.format(libraries=libraries) + code
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_starts() -> None:
    assert "sweep" in without_posix(RUN, "--help")


def test_what_executes_notebooks_is_imported() -> None:
    without_posix(MODULES, libraries=LIBRARIES + "\nimport altair, vl_convert")


@pytest.mark.slow
def test_tables_are_evaluated_and_searched(tmp_path: Path) -> None:
    files = write_files(tmp_path, make_layout())
    assert '"AP"' in without_posix(RUN, "evaluate", files.table, files.truth, "--json", libraries=LIBRARIES)
    out = tmp_path / "found"
    without_posix(RUN, "search", files.table, files.truth, "--out", out, libraries=LIBRARIES + "\nimport altair")
    assert (out / "frontier.csv").is_file()


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Windows neither removes nor replaces files that are read-only, or open: those in the set that this gives."""
    is_open: set[Path] = set()

    def refuse(path: Any, folder: int | None = None, read_only_too: bool = True) -> None:
        if os.path.lexists(path) or folder is not None:
            locked = not os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode & stat.S_IWRITE
            if (locked and read_only_too) or Path(os.fspath(path)) in is_open:
                raise PermissionError(13, "Access is denied", os.fspath(path))

    unlink, replace, rename = os.unlink, os.replace, os.rename

    def guarded_unlink(path: Any, *, dir_fd: int | None = None) -> None:
        refuse(path, dir_fd)
        unlink(path, dir_fd=dir_fd)

    def guarded(move: Any) -> Any:
        def inner(source: Any, target: Any) -> None:
            refuse(target)
            refuse(source, read_only_too=False)
            move(source, target)

        return inner

    monkeypatch.setattr(os, "unlink", guarded_unlink)
    monkeypatch.setattr(os, "remove", guarded_unlink)
    monkeypatch.setattr(os, "replace", guarded(replace))
    monkeypatch.setattr(os, "rename", guarded(rename))
    return is_open


def read_only(path: Path) -> Path:
    write_json(path, [1])
    path.chmod(0o444)
    return path


def test_read_only_files_are_replaced_and_removed(tmp_path: Path, windows: set[Path]) -> None:
    kept = read_only(tmp_path / "a" / "b" / "kept.json")
    with pytest.raises(PermissionError):
        kept.unlink()
    write_json(kept, [2])
    assert read_json(kept) == [2]
    read_only(tmp_path / "a" / "other.json")
    remove(tmp_path / "a")
    remove(tmp_path / "never was there")
    assert list(tmp_path.iterdir()) == []


def test_a_lesson_s_read_only_files_are_removed(tmp_path: Path, windows: set[Path]) -> None:
    read_only(tmp_path / "search" / "frontier.csv")
    read_only(tmp_path / "search" / "deep" / "ledger.jsonl")
    assert remove_left(tmp_path, ["04_search"], everything=True) == ["search"]
    assert not (tmp_path / "search").exists()


def test_a_file_that_a_program_has_open_is_named_and_stays(tmp_path: Path, windows: set[Path]) -> None:
    target = tmp_path / "table.json"
    write_json(target, [1])
    windows.add(target)
    with pytest.raises(InputError, match=r"table\.json: cannot be written \(Access is denied\)"):
        write_json(target, [2])
    assert read_json(target) == [1]
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_is_open_for_a_moment_is_waited_for(
    tmp_path: Path, windows: set[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "table.json"
    write_json(target, [1])
    windows.add(target)
    monkeypatch.setattr(files, "_PAUSES", (0.01, 0.02, 0.04))
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            windows.clear()

    monkeypatch.setattr(files.time, "sleep", sleep)
    write_json(target, [2])
    assert (read_json(target), waited) == ([2], [0.01, 0.02])


def test_an_error_while_a_file_is_open_is_not_hidden(tmp_path: Path, windows: set[Path]) -> None:
    def write() -> None:
        with replacing(tmp_path / "a.json") as temporary:
            windows.add(temporary)
            raise ValueError("the writer's own")

    with pytest.raises(ValueError, match="the writer's own"):
        write()


@pytest.mark.parametrize("links", [True, False])
def test_files_are_shared_by_hard_links_or_copied(
    tmp_path: Path, windows: set[Path], monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(22, "Incorrect function")  # what Windows says on a file system without hard links

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "step" / "table.json", tmp_path / "run" / "table.json"
    write_json(source, [1])
    for _ in range(2):  # the second time, the target is there and read-only
        _link(source, target)
    assert read_json(target) == [1]
    assert os.path.samefile(source, target) == links
    assert not source.stat().st_mode & stat.S_IWRITE
    assert [path.name for path in target.parent.iterdir()] == ["table.json"]


RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def test_names_in_the_repository_exist_on_windows() -> None:
    root = Path(__file__).parent.parent
    names = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    if not any(names) or shutil.which("git") is None:
        pytest.skip("no git checkout")
    parts = {part for name in names if name for part in name.split("/")}
    assert not [part for part in parts if set(part) & set('<>:"|?*\\') or part.endswith((" ", "."))]
    assert not [part for part in parts if part.partition(".")[0].lower() in RESERVED]
    assert len({name.lower() for name in names}) == len(names)  # letter case does not tell files apart there
