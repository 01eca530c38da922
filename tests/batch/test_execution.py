"""The process that executes notebooks: what becomes of it between two of them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from anchorkit.batch.execution import Kernel

TELL = "import os\nfrom pathlib import Path\nPath('pid').write_text(str(os.getpid()))"


@pytest.mark.slow
def test_a_process_that_died_between_two_notebooks_is_replaced(write_lesson, tmp_path: Path) -> None:
    lesson = write_lesson("00_a", [TELL])
    with Kernel(tmp_path) as kernel:
        kernel.execute(lesson, tmp_path / "first.ipynb", {})
        first = int((tmp_path / "pid").read_text())
        os.kill(first, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(first)], timeout=10)
        kernel.execute(lesson, tmp_path / "second.ipynb", {})
        assert int((tmp_path / "pid").read_text()) != first


@pytest.mark.slow
def test_the_folder_may_change_between_two_notebooks(write_lesson, tmp_path: Path) -> None:
    lesson = write_lesson("00_a", [TELL])
    folders = [tmp_path / "one", tmp_path / "it's {two}"]
    with Kernel(folders[0], log=tmp_path / "notebooks.log") as kernel:
        for folder in folders:
            folder.mkdir()
            kernel.folder = folder
            kernel.execute(lesson, folder / "done.ipynb", {})
    first, second = ((folder / "pid").read_text() for folder in folders)
    assert first == second
    assert (tmp_path / "notebooks.log").exists()
    assert not (folders[0] / "kernel.log").exists()
