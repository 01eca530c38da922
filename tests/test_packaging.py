"""What pyproject.toml promises, environment.yml repeats, and the wheel delivers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

CONDA_NAMES = {"torch": "pytorch"}


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_conda_environment_says_what_pyproject_says(repository: Path, project: dict[str, Any]) -> None:
    environment = yaml.safe_load((repository / "environment.yml").read_text(encoding="utf-8"))
    expected = {f"python{project['requires-python']}", "pip"}
    for requirement in project["dependencies"]:
        name, bound = re.fullmatch(r"([a-z0-9-]+)(.*)", requirement).groups()  # type: ignore[union-attr]
        expected.add(CONDA_NAMES.get(name, name) + bound)
    assert set(environment["dependencies"]) == expected
    assert len(environment["dependencies"]) == len(expected)


def test_every_dependency_has_a_lower_bound_and_no_other(project: dict[str, Any]) -> None:
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    for requirement in project["dependencies"] + extras:
        if requirement == "anchorkit[app,cluster,docs,efficientdet,onnx,openvino]":
            continue  # developers test the optional parts too
        assert re.fullmatch(r"[a-z0-9-]+>=[0-9.]+", requirement), requirement


def test_citation_names_the_version(repository: Path) -> None:
    import anchorkit

    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == anchorkit.__version__


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_carries_lessons_data_and_types(repository: Path, wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    # Everything of the package, stylesheets and py.typed too.
    package = {path.relative_to(repository).as_posix() for path in (repository / "anchorkit").rglob("*.*")}
    package = {name for name in package if "__pycache__" not in name and (repository / name).is_file()}
    assert "anchorkit/py.typed" in package
    assert package <= names
    for folder in ("notebooks", "data"):
        files = [path for path in (repository / folder).rglob("*") if path.is_file()]
        shipped = {
            path.relative_to(repository).as_posix()
            for path in files
            if not any(part.startswith(".") for part in path.relative_to(repository).parts)
        }
        assert shipped
        assert {f"anchorkit/_bundled/{name}" for name in shipped} <= names
    assert not [name for name in names if ".ipynb_checkpoints" in name or name.startswith(("tests/", "notebooks/"))]


@pytest.mark.slow
def test_installed_from_the_wheel_the_command_finds_its_lessons(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)  # what installing a pure wheel without its dependencies does
    environment = {**os.environ, "PYTHONPATH": str(site)}
    work = tmp_path / "work"
    work.mkdir()
    where = subprocess.run(
        [sys.executable, "-c", "import anchorkit.bundled as b; print(b.__file__, b.data_dir(), sep='\\n')"],
        cwd=work,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert all(Path(line).is_relative_to(site) for line in where)
    subprocess.run(
        [sys.executable, "-m", "anchorkit", "notebooks", "lessons"],
        cwd=work,
        env=environment,
        check=True,
        capture_output=True,
    )
    copied = {path.name for path in (work / "lessons").glob("*.ipynb")}
    assert copied == {path.name for path in (site / "anchorkit" / "_bundled" / "notebooks").glob("*.ipynb")}
    assert copied
