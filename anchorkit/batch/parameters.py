"""The parameters of a notebook: names, types, defaults and meanings, read from its one `parameters` cell.

A line of that cell reads ``name: type = value  # what it means``; papermill shows the same with ``--help-notebook``.
Papermill itself only warns about an unknown name; here it is an error.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anchorkit.errors import InputError
from anchorkit.suggest import did_you_mean

_SCALARS: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_PASSED = "# Parameters"  # begins the cell that papermill puts in
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of a parameters cell.

    Attributes:
        name: the variable's name.
        type: the annotation as written: ``int``, ``float``, ``str``, ``bool`` or ``list[...]`` of one of them.
        default: the value given there.
        help: the comment after it.
    """

    name: str
    type: str
    default: Any
    help: str

    def check(self, value: Any, where: str) -> Any:
        """`value` if it has the parameter's type (a whole number serves as a float).

        Raises:
            InputError: it has another type; the message starts with `where`.
        """
        if self.type.startswith("list["):
            item = Parameter(self.name, self.type[5:-1], None, "")
            if isinstance(value, list | tuple):
                return [item.check(each, where) for each in value]
        elif self.type == "float" and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        elif type(value) is _SCALARS[self.type]:
            return value
        raise InputError(f"{where}: {self.name} is {value!r}; {self.type} is needed{self._meaning()}")

    def parse(self, text: str, where: str) -> Any:
        """The value that `text` stands for, in the parameter's type; lists as ``1,2,3``.

        Raises:
            InputError: the text is no such value; the message starts with `where`.
        """
        if self.type.startswith("list["):
            item = Parameter(self.name, self.type[5:-1], None, "")
            return [item.parse(part.strip(), where) for part in text.split(",") if part.strip()]
        try:
            return _BOOLEANS[text.lower()] if self.type == "bool" else _SCALARS[self.type](text)
        except (ValueError, KeyError):
            raise InputError(f"{where}: {self.name}={text}: {self.type} is needed{self._meaning()}") from None

    def _meaning(self) -> str:
        return f" ({self.help})" if self.help else ""


def read_parameters(notebook: str | Path) -> dict[str, Parameter]:
    """The parameters of a notebook by name, in the order of its `parameters` cell.

    Raises:
        InputError: the notebook cannot be read, has no such cell or more than one, or a line of it is not
            ``name: type = value``; the message names file and line.
    """
    return parse_parameters_cell(_parameters_cell(notebook), source=str(notebook))


def check_parameters() -> None:
    """Check the parameters that papermill passed to the running notebook: unknown names and wrong types are errors.

    Papermill itself only warns about an unknown name, and its option ``-r`` passes numbers as text. The lessons call
    this in the first cell after the parameters. Without papermill it does nothing.

    Raises:
        InputError: papermill passed a name that the parameters cell lacks (the message has the nearest one), or a value
            of another type.

    Example:
        >>> import anchorkit as ak
        >>> ak.check_parameters()  # nothing was passed here
    """
    if "IPython" not in sys.modules:
        return
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    cells: list[str] = list(shell.user_ns.get("In", ())) if shell is not None else []
    # In[1] is the parameters cell, In[2] what papermill put below it, where it put anything.
    if len(cells) > 2 and cells[2].startswith(_PASSED):
        check_passed(cells[1], cells[2])


def check_passed(declared: str, passed: str) -> None:
    """Compare the cell that papermill puts into a notebook with the notebook's own parameters cell.

    Raises:
        InputError: as `check_parameters`.
    """
    known = parse_parameters_cell(declared, "this notebook")
    for statement in ast.parse(passed).body:
        if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
            continue
        name = statement.targets[0].id
        require_known([name], known, "papermill")
        try:
            value = ast.literal_eval(statement.value)
        except ValueError:  # such as float('nan')
            continue
        text = isinstance(value, str) and known[name].type != "str"
        known[name].check(value, "papermill (-r passes text; use -p)" if text else "papermill")


def parse_parameters_cell(code: str, source: str) -> dict[str, Parameter]:
    """The parameters in the text of a cell; `source` is named in errors.

    Raises:
        InputError: a line is not ``name: type = value``.
    """
    found: dict[str, Parameter] = {}
    lines = code.splitlines()
    try:
        statements = ast.parse(code).body
    except SyntaxError as error:
        raise InputError(f"{source}: the parameters cell is not Python (line {error.lineno}: {error.msg})") from None
    for statement in statements:
        where = f"{source}: parameters cell, line {statement.lineno}"
        if not (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and statement.value is not None
        ):
            raise InputError(f"{where}: 'name: type = value  # meaning' is needed")
        name, kind = statement.target.id, ast.unparse(statement.annotation)
        if kind not in _SCALARS and kind not in {f"list[{scalar}]" for scalar in _SCALARS}:
            raise InputError(f"{where}: {name} has type {kind}; use {', '.join(_SCALARS)} or a list of one of them")
        try:
            default = ast.literal_eval(statement.value)
        except ValueError:
            raise InputError(f"{where}: the value of {name} is not a plain number, text or list") from None
        # The comment starts after the value, so a # inside a string is not mistaken for one. Offsets count bytes.
        rest = lines[(statement.end_lineno or 1) - 1].encode()[statement.end_col_offset :].decode()
        meaning = rest.partition("#")[2].strip()
        found[name] = Parameter(name, kind, None, meaning)
        found[name] = Parameter(name, kind, found[name].check(default, where), meaning)
    return found


def require_known(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse names that are not known.

    Raises:
        InputError: the first unknown name, with the nearest known one.
    """
    known = list(known)
    for name in names:
        if name not in known:
            raise InputError(f"{where}: unknown parameter {name!r}; {did_you_mean(name, known)}")


def _parameters_cell(notebook: str | Path) -> str:
    try:
        cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
        tagged = [cell for cell in cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
        sources = ["".join(cell["source"]) for cell in tagged]
    except FileNotFoundError:
        raise InputError(f"{notebook}: no such notebook") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{notebook}: not a notebook ({type(error).__name__}: {error})") from None
    if len(sources) != 1:
        raise InputError(f"{notebook}: {len(sources)} cells are tagged 'parameters'; exactly one is needed")
    return sources[0]
