"""Every lesson and experiment has the form that teachers, papermill and reviewers rely on."""

from __future__ import annotations

import nbformat
import pytest

from anchorkit.batch.parameters import read_parameters
from anchorkit.batch.plans import EXPERIMENTS, LESSONS, Resolver, find_notebooks
from anchorkit.batch.profiles import PROFILES
from anchorkit.bundled import notebooks_dir

FOLDER = notebooks_dir()
LESSON_NAMES = [path.stem for path in find_notebooks(None, LESSONS)]
EXPERIMENT_NAMES = [path.stem for path in find_notebooks(None, EXPERIMENTS)]
ALL = sorted([*LESSON_NAMES, *EXPERIMENT_NAMES, "20_compare"])


def test_all_are_there_and_each_is_a_lesson_or_an_experiment() -> None:
    assert [name[:2] for name in LESSON_NAMES] == ["00", "01", "02", "03", "04", "05", "06", "07", "08"]
    assert {"12_finetune_or_retrain", "13_overanchorized", "14_shared_head"} <= set(EXPERIMENT_NAMES)
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == ALL
    numbers = [name[:2] for name in EXPERIMENT_NAMES]
    assert len(set(numbers)) == len(numbers)  # an experiment may be asked for by its number


@pytest.mark.parametrize("name", ALL)
def test_form(name: str) -> None:
    notebook = nbformat.read(notebooks_dir() / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert code[0].metadata.tags == ["parameters"]
    assert len(code[0].source.splitlines()) <= 20  # one line per parameter
    assert max(len(cell.source.splitlines()) for cell in code[1:]) <= 16
    assert "ak.check_parameters()" in code[1].source
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for wanted in ("**You will learn**", "**Time:**", "**What to look at.**", "## Exercises", "**Next:**"):
        assert wanted in prose
    assert prose.split("## Exercises")[1].count("*Hint:*") == 2


@pytest.mark.parametrize("name", ALL)
def test_parameters_are_typed_and_say_what_they_mean(name: str) -> None:
    parameters = read_parameters(notebooks_dir() / f"{name}.ipynb")
    assert "seed" in parameters
    assert all(parameter.help for parameter in parameters.values())
    assert ("run_dir" in parameters) == (name != "00_start_here")  # the tour writes nothing


@pytest.mark.parametrize("name", EXPERIMENT_NAMES)
def test_an_experiment_ends_with_an_answer_in_its_own_folder(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert f'experiment_folder(run_dir, "{name}")' in code
    assert code.count("save_answer(") == 1


def test_experiments_agree_on_what_a_parameter_is() -> None:
    """``anchorkit experiments RUN -p NAME=VALUE`` sets it in all of them."""
    resolver = Resolver.of([FOLDER / f"{name}.ipynb" for name in EXPERIMENT_NAMES])
    names = {name for parameters in resolver.declared.values() for name in parameters}
    for name in names:
        assert len({parameter.type for parameter in resolver.named(name, "all")}) == 1, name


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_set_parameters_that_exist(profile: str) -> None:
    for stem, values in PROFILES[profile].items():
        parameters = read_parameters(FOLDER / f"{stem}.ipynb")
        for name, value in values.items():
            assert parameters[name].check(value, stem) == value
