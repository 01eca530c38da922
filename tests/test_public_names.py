"""What is public: every name of the short list, and every name that README, docs or a docstring mentions.

A reader who has only typed `import anchorkit as ak` can use any name that the texts give him.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import anchorkit as ak

DOTTED = re.compile(r"\b(?:ak|anchorkit)((?:\.[A-Za-z_]\w*)+)")
NO_NAMES = {"anchorkit.layout", "anchorkit.postprocess", "anchorkit.empty_images"}
"""Keys of a file's metadata."""


def mentioned(repository: Path) -> set[str]:
    """Dotted names in README and docs, and in the docstrings of the package: in backticks or in code."""
    texts = [
        path.read_text(encoding="utf-8") for path in [repository / "README.md", *(repository / "docs").glob("*.md")]
    ]
    for path in (repository / "anchorkit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                texts.append(ast.get_docstring(node) or "")
    code = [part for text in texts for part in re.findall(r"`[^`]+`|^ {4,}.*$", text, re.MULTILINE)]
    return {f"anchorkit{name}" for part in code for name in DOTTED.findall(part)} - NO_NAMES


def test_every_name_that_is_public_or_mentioned_is_reached_by_one_import(repository: Path) -> None:
    names = mentioned(repository)
    assert {"anchorkit.search", "anchorkit.load_detector", "anchorkit.testing"} <= names
    names |= {f"anchorkit.{name}" for name in ak.__all__}
    script = """\
import sys
import anchorkit
for name in sys.argv[1:]:
    found = anchorkit
    try:
        for part in name.split(".")[1:]:
            found = getattr(found, part) if part not in getattr(found, "__annotations__", ()) else None
    except AttributeError as error:
        print(f"{name}: {error}")
"""
    done = subprocess.run([sys.executable, "-c", script, *sorted(names)], check=True, capture_output=True, text=True)
    assert done.stdout == ""


def test_every_public_module_says_what_is_public_in_it() -> None:
    for name in set(dir(ak)) - set(ak.__all__):
        module = getattr(ak, name)
        assert isinstance(module, ModuleType), f"ak.{name} is neither public nor a module"
        assert module.__all__, module.__name__
        assert module.__doc__, module.__name__
        missing = [public for public in module.__all__ if not hasattr(module, public)]
        assert not missing, f"{module.__name__}.__all__ has {missing}"


def test_what_was_looked_up_is_kept() -> None:
    code = "import anchorkit as ak; ak.prune; ak.metrics; print({'prune', 'metrics'} <= vars(ak).keys())"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "True\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    for owner in (ak, ak.analysis, ak.evaluation, ak.search):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            getattr(owner, "nothing")  # noqa: B009
