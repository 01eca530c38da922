from __future__ import annotations

from pathlib import Path

import pytest

from anchorkit.batch.parameters import (
    Parameter,
    check_passed,
    parse_parameters_cell,
    read_parameters,
    require_known,
)
from anchorkit.batch.plans import Resolver
from anchorkit.bundled import notebooks_dir
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
    (found,) = Resolver({"n": parse_parameters_cell(CELL, "n.ipynb")}).parse([text]).values()
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
        Resolver({"n": parse_parameters_cell(CELL, "n.ipynb")}).parse(texts)


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


def test_one_text_has_one_type_everywhere() -> None:
    declared = {
        stem: parse_parameters_cell(cell, stem) for stem, cell in (("a", "n: int = 1"), ("b", "n: float = 1.0"))
    }
    with pytest.raises(InputError, match=r"-p: n has another type in another notebook: give NOTEBOOK\.n"):
        Resolver(declared).parse(["n=2"])
    assert Resolver(declared).parse(["a.n=2", "b.n=2"]) == {"a.n": 2, "b.n": 2.0}


def test_a_notebooks_own_value_wins_over_all_others() -> None:
    cell = "run_dir: str = 'x'\ndata: str = 'd'\nn: int = 1\nm: int = 1\nk: int = 1\nj: int = 1\n"
    resolver = Resolver({stem: parse_parameters_cell(cell, stem) for stem in ("a", "b")}, {"run_dir": "no"})
    profile = {"a": {"m": 3, "k": 3, "j": 3}, "b": {"m": 4}}
    found = resolver.resolve({"a.j": 6, "j": 5, "k": 5}, profile, {"n": 2, "m": 2, "other": 2})
    assert found == {
        "a": {"run_dir": "x", "data": "d", "n": 2, "m": 3, "k": 5, "j": 6},
        "b": {"run_dir": "x", "data": "d", "n": 2, "m": 4, "k": 5, "j": 5},
    }
    with pytest.raises(InputError, match="profile, a: unknown parameter 'o'"):
        resolver.resolve({}, {"a": {"o": 1}})
    with pytest.raises(InputError, match=r"-p: c\.n: no notebook 'c' here; known: a, b"):
        resolver.check("c.n", 1, "-p")
    with pytest.raises(InputError, match="-p: run_dir: no"):
        resolver.check("a.run_dir", "x", "-p")


def test_paths_become_absolute_and_names_stay_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    resolver = Resolver({"a": parse_parameters_cell("weights: str = 'auto'\nother_run_dir: str = ''", "a")})
    (tmp_path / "shapes").mkdir()
    (tmp_path / "best.pt").touch()
    assert resolver.check("weights", "shapes", "-p") == "shapes"  # those that come with the kit, not a folder of data
    assert resolver.check("weights", "best.pt", "-p") == str(tmp_path / "best.pt")
    assert resolver.check("weights", "./shapes", "-p") == str(tmp_path / "shapes")
    assert resolver.check("other_run_dir", "shapes", "-p") == str(tmp_path / "shapes")
    (tmp_path / "shapes" / "detector.json").touch()
    assert resolver.check("weights", "shapes", "-p") == str(tmp_path / "shapes")
    with pytest.raises(InputError, match=r"-p: weights: none\.pt: no such file or folder"):
        resolver.check("weights", "none.pt", "-p")


def test_require_known_accepts_known() -> None:
    require_known(["a"], ["a", "b"], "here")


DECLARED = (
    "data: str = 'shapes'  # the data set\ntrain_images: int = 0  # at most so many\nloss: float = 0.1  # of AP\n"
)


@pytest.mark.parametrize(
    ("passed", "message"),
    [
        ("train_images = '4'", r"-r passes text; use -p\): train_images is '4'; int is needed \(at most so many\)"),
        ("train_images = 4.0", r"papermill: train_images is 4\.0; int is needed"),
        ("dat = 'mine'", r"papermill: unknown parameter 'dat'.*data"),
        ("train_images = True", "train_images is True; int is needed"),
    ],
)
def test_what_papermill_passes_is_checked(passed: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_passed(DECLARED, f"# Parameters\n{passed}\n")


def test_what_papermill_passes_may_be_right() -> None:
    check_passed(DECLARED, "# Parameters\ndata = 'mine'\ntrain_images = 4\nloss = 1\n")
    check_passed(DECLARED, "# Parameters\nloss = float('nan')\n")


@pytest.mark.slow
def test_a_lesson_under_plain_papermill_stops_at_a_misspelt_name(tmp_path: Path) -> None:
    import papermill

    lesson = notebooks_dir() / "01_data.ipynb"
    options = {"kernel_name": "python3", "progress_bar": False, "cwd": tmp_path}
    with pytest.raises(papermill.PapermillExecutionError, match="unknown parameter 'dat'"):
        papermill.execute_notebook(lesson, tmp_path / "out.ipynb", {"dat": "mine", "run_dir": "r"}, **options)
    assert not (tmp_path / "r").exists()
