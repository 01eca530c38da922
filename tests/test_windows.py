"""What a user starts needs nothing that only POSIX systems have. No test ran on Windows itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
