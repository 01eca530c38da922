"""Every lesson has the form that teachers, papermill and reviewers rely on."""

from __future__ import annotations

import nbformat
import pytest

from anchorkit.batch.parameters import read_parameters
from anchorkit.bundled import notebooks_dir

LESSONS = sorted(path.stem for path in notebooks_dir().glob("[0-9][0-9]_*.ipynb"))


def test_all_lessons_are_there() -> None:
    assert [name[:2] for name in LESSONS] == ["00", "01", "02", "03", "04", "05", "06", "07"]


@pytest.mark.parametrize("name", LESSONS)
def test_form(name: str) -> None:
    notebook = nbformat.read(notebooks_dir() / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert code[0].metadata.tags == ["parameters"]
    assert max(len(cell.source.splitlines()) for cell in code) <= 16
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for wanted in ("**You will learn**", "**Time:**", "**What to look at.**", "## Exercises", "**Next:**"):
        assert wanted in prose
    assert prose.split("## Exercises")[1].count("*Hint:*") == 2


@pytest.mark.parametrize("name", LESSONS)
def test_parameters_are_typed_and_say_what_they_mean(name: str) -> None:
    parameters = read_parameters(notebooks_dir() / f"{name}.ipynb")
    assert "seed" in parameters
    assert all(parameter.help for parameter in parameters.values())
    assert ("run_dir" in parameters) == (name != "00_start_here")  # the tour writes nothing
