"""Tiny lessons to run, and a page writer that stands in for the real one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

PARAMETERS = """\
run_dir: str = "runs/lesson"  # where the lessons leave their work
data: str = "shapes"  # a data set's name, or a folder
detector: str = "tiny_ssd"  # a detector's name
seed: int = 0  # makes the lesson repeatable
"""

Write = Callable[..., Path]


@pytest.fixture
def lessons(tmp_path: Path) -> Path:
    folder = tmp_path / "lessons"
    folder.mkdir()
    return folder


@pytest.fixture
def write_lesson(lessons: Path) -> Write:
    def write(name: str, cells: Sequence[str] = (), parameters: str = PARAMETERS) -> Path:
        first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
        notebook = new_notebook(cells=[first, *(new_code_cell(cell) for cell in cells)])
        # A kernel that no machine has: the runner must not go by the notebook's word.
        notebook.metadata["kernelspec"] = {"name": "elsewhere", "display_name": "elsewhere", "language": "python"}
        path = lessons / f"{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page writer that needs nothing of a run."""
    report = ModuleType("anchorkit.pages.run")

    def write_index(folder: Path) -> Path:
        (folder / "index.html").write_text("<p>done", encoding="utf-8")
        return folder / "index.html"

    report.write_index = write_index  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "anchorkit.pages.run", report)
    monkeypatch.setattr("anchorkit.batch.runner._write_handout", lambda folder: None)
