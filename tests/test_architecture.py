"""docs/architecture.md against the package: every module is on the page, and its picture shows real imports."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def page(repository: Path) -> str:
    return (repository / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture
def picture(page: str) -> str:
    return page.split("```mermaid\n")[1].split("```")[0]


def modules_in(folder: Path) -> set[str]:
    """Modules and packages directly in a folder, written as on the page."""
    packages = {f"{init.parent.name}/" for init in folder.glob("*/__init__.py")}
    return packages | {path.name for path in folder.glob("*.py") if path.name != "__init__.py"}


def table_of(page: str, heading: str) -> list[str]:
    """The first column of the table below a heading."""
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def same(named: list[str], there: set[str]) -> None:
    """The page names each module once, and no other ones."""
    assert not sorted(there - set(named)), "not on the page"
    assert not sorted(set(named) - there), "on the page, but no module"
    assert len(named) == len(set(named))


def test_the_first_table_has_a_row_for_every_top_level_module(repository: Path, page: str) -> None:
    same(table_of(page, "Modules"), modules_in(repository / "anchorkit"))


def test_the_second_table_has_a_row_for_every_module_of_evaluation(repository: Path, page: str) -> None:
    root = repository / "anchorkit" / "evaluation"
    there = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if path.name != "__init__.py"}
    same(table_of(page, "Modules of `evaluation/`"), there)


def test_every_file_and_folder_that_the_page_names_exists(repository: Path, page: str) -> None:
    named = set(re.findall(r"`((?:\w+/)*(?:\w+/|\w+\.(?:py|js|toml)))`", page))
    roots = (repository, *(repository / "anchorkit" / part for part in ("", "evaluation", "onnx", "pages/handout")))
    assert len(named) > 60
    assert not sorted(name for name in named if not any((root / name).exists() for root in roots))


def test_the_picture_has_every_top_level_module(repository: Path, picture: str) -> None:
    nodes = re.findall(r'\["([^"]+(?:\.py|/))"\]', picture)
    same(nodes, modules_in(repository / "anchorkit") - {"__main__.py"})


def test_the_picture_shows_the_imports_and_they_go_up(repository: Path, picture: str) -> None:
    ranks, imports = layers(repository), set(imported(repository / "anchorkit"))
    solid, dotted = arrows(picture)
    assert not sorted(solid - imports), "arrows without an import"
    assert not sorted((one, other) for one, other in dotted if {(one, other), (other, one)} & imports)
    of_the_package = {"__version__", "modules_on_first_use"}
    everywhere = {"errors", "files", "lighter", *of_the_package}
    missing = {(used, user) for used, user in imports if not reaches(solid, used, user) and used not in everywhere}
    assert not sorted(f"{used} --> {user}" for used, user in missing if user in ranks and user != "__main__")
    assert all(ranks[used] < ranks[user] for used, user in solid)


def reaches(arrows: set[tuple[str, str]], start: str, goal: str) -> bool:
    return start == goal or any(reaches(arrows, user, goal) for used, user in arrows if used == start)


def arrows(picture: str) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """The solid and the dotted arrows; a chain `a --> b --> c` is two."""
    solid: set[tuple[str, str]] = set()
    dotted: set[tuple[str, str]] = set()
    for line in re.sub(r'\["[^"]*"\]', "", picture).splitlines():
        parts = re.split(r"\s*(-->|-\..*?\.->)\s*", line.strip())
        for place in range(1, len(parts), 2):
            (solid if parts[place] == "-->" else dotted).add((parts[place - 1], parts[place + 1]))
    return solid, dotted


def layers(repository: Path) -> dict[str, int]:
    """How high each module is, by the layers in pyproject.toml."""
    contracts = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    lines = next(contract["layers"] for contract in contracts["contracts"] if contract["type"] == "layers")
    return {name: rank for rank, line in enumerate(reversed(lines)) for name in re.findall(r"\w+", line)}


def imported(package: Path) -> Iterator[tuple[str, str]]:
    """Pairs of top-level modules: the second one imports the first one, not for its types alone."""
    for path in package.rglob("*.py"):
        user = path.relative_to(package).parts[0].removesuffix(".py")
        for node in at_run_time(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("anchorkit"):
                names = [node.module.split(".")[1]] if "." in node.module else [alias.name for alias in node.names]
                yield from ((name, user) for name in names)


def at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield node
            yield from at_run_time(node)
