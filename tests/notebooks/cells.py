"""Runs a notebook's cells in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

from anchorkit.bundled import notebooks_dir


def execute(name: str | Path, folder: Path | None = None, **parameters: Any) -> dict[str, Any]:
    """Run the cells without a kernel: quicker to start, and errors arrive as they are raised.

    Args:
        name: of the notebook; a path if it is no lesson.
        folder: of the run, if the notebook has a parameter for it.
        parameters: other values than the notebook's.

    Returns:
        The names that the cells leave.
    """
    if folder is not None:
        parameters["run_dir"] = str(folder)
    known: dict[str, Any] = {}
    path = name if isinstance(name, Path) else notebooks_dir() / f"{name}.ipynb"
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            exec(cell.source, known)
        if "parameters" in cell.metadata.get("tags", ()):
            known.update(parameters)
    return known
