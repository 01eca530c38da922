from __future__ import annotations

from pathlib import Path

import pytest

from anchorkit.batch.parameters import (
    Parameter,
    parse_assignments,
    parse_parameters_cell,
    read_all_parameters,
    read_parameters,
    require_known,
)
from anchorkit.errors import InputError

CELL = """\
# What this lesson can be told.
epochs: int = 5  # how long
rate: float = 1e-3
note: str = "a # b = c"  # é, not a comment: text
fast: bool = False  # skip the slow part
sizes: list[int] = [1, 2]  # in pixels
negative: int = -1
"""


def test_reads_name_type_default_and_meaning() -> None:
    found = parse_parameters_cell(CELL, "n.ipynb")
    assert list(found) == ["epochs", "rate", "note", "fast", "sizes", "negative"]
    assert found["epochs"] == Parameter("epochs", "int", 5, "how long")
    assert found["rate"] == Parameter("rate", "float", 1e-3, "")
    assert found["note"] == Parameter("note", "str", "a # b = c", "é, not a comment: text")
    assert found["sizes"].default == [1, 2]
    assert found["negative"].default == -1


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        ("epochs = 5", "line 1: 'name: type = value"),
        ("a: int = 1\nepochs: int", "line 2: 'name: type = value"),
        ("epochs: int = 5.5", "epochs is 5.5; int is needed"),
        ("epochs: int = True", "epochs is True; int is needed"),
        ("epochs: dict = {}", "epochs has type dict"),
        ("epochs: int = 2 * n", "not a plain number"),
        ("epochs: int = ", "not Python"),
    ],
)
def test_refuses_what_is_no_parameter(cell: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        parse_parameters_cell(cell, "n.ipynb")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("epochs=7", 7),
        ("epochs= 7 ", 7),
        ("rate=3", 3.0),
        ("note=x=y", "x=y"),
        ("note=", ""),
        ("fast=true", True),
        ("fast=0", False),
        ("sizes=4,5, 6", [4, 5, 6]),
        ("sizes=", []),
    ],
)
def test_parses_assignments(text: str, value: object) -> None:
    (found,) = parse_assignments([text], parse_parameters_cell(CELL, "n.ipynb")).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        (["epoch=7"], "unknown parameter 'epoch'; did you mean epochs?"),
        (["zzz=7"], "known: epochs, fast"),
        (["epochs"], "NAME=VALUE"),
        (["epochs=1.5"], r"epochs=1.5: int is needed \(how long\)"),
        (["fast=maybe"], "bool is needed"),
        (["sizes=1,x"], "int is needed"),
        (["epochs=1", "epochs=2"], "given twice"),
    ],
)
def test_refuses_bad_assignments(texts: list[str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        parse_assignments(texts, parse_parameters_cell(CELL, "n.ipynb"))


def test_reads_a_notebook_as_papermill_does(write_lesson) -> None:
    import papermill

    plain = "".join(line for line in CELL.splitlines(keepends=True) if not line.startswith("note"))
    path = write_lesson("00_first", parameters=plain)
    ours = read_parameters(path)
    theirs = papermill.inspect_notebook(str(path))
    assert list(ours) == list(theirs)
    for name in ("epochs", "rate", "fast", "sizes"):
        assert ours[name].help == theirs[name]["help"]
        assert ours[name].type == theirs[name]["inferred_type_name"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not a notebook"),
        ("[]", "not a notebook"),
        ('{"cells": []}', "0 cells are tagged 'parameters'"),
        ('{"cells": [{"metadata": {"tags": ["parameters"]}}]}', "not a notebook"),
    ],
)
def test_refuses_what_is_no_notebook(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "00_x.ipynb"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_parameters(path)


def test_missing_notebook(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such notebook"):
        read_parameters(tmp_path / "00_x.ipynb")


def test_one_name_has_one_type_everywhere(write_lesson, lessons: Path) -> None:
    write_lesson("00_a", parameters="n: int = 1")
    write_lesson("01_b", parameters="n: float = 1.0")
    with pytest.raises(InputError, match="01_b.ipynb: n has type float, elsewhere int"):
        read_all_parameters(lessons)


def test_require_known_accepts_known() -> None:
    require_known(["a"], ["a", "b"], "here")
