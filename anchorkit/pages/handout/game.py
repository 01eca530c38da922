"""The game of the handout: keep more AP within a budget than the search did. The teacher collects and scores codes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anchorkit.anchors import AnchorLayout, Configuration
from anchorkit.costs import COSTS, cost_of
from anchorkit.errors import InputError
from anchorkit.files import read_text
from anchorkit.search import SearchResult
from anchorkit.search.frontier import accuracy_within

if TYPE_CHECKING:
    from anchorkit.evaluation import Evaluator

SHARE = 0.5
"""The budget of the game: this share of what the full detector costs."""

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # base 32 without I, L, O and U, which are misread
_MISREAD = str.maketrans("ILOU", "110V")
_CODE = re.compile(r"[0-9A-Z]{3}-[0-9A-Z]+-[0-9A-Z]{2}")


@dataclass(frozen=True)
class Budget:
    """What a player may spend, and what the search reached with it.

    Attributes:
        cost: name of the cost.
        limit: the most that a configuration may cost.
        accuracy: the best accuracy that the search found within the limit, 0..1.
    """

    cost: str
    limit: float
    accuracy: float

    @classmethod
    def of(cls, search: SearchResult) -> Budget:
        """Half of the full detector's cost, or what the cheapest point of the frontier costs if that is more.

        The cost is that of the search or, where only a measurement gives that, head FLOPs.
        """
        name = search.cost if search.cost in COSTS else "head_flops"
        found = [cost_of(configuration, name) for configuration in search.configurations]
        limit = max(SHARE * cost_of(search.layout.full, name), min(found))
        return cls(name, limit, float(accuracy_within(search.frontier["accuracy"].tolist(), found, [limit])[0]))


def tag_of(fingerprint: str) -> int:
    """A number of 15 bits from the fingerprint of an evaluator: a code of another run is recognised by it."""
    return int(fingerprint[:4], 16) % 2**15


def code_of(configuration: Configuration, tag: int) -> str:
    """The code of a configuration: the run, the anchors kept, and two digits that catch typing errors.

    Examples:
        >>> from anchorkit.search.toy import toy_evaluator
        >>> layout = toy_evaluator().layout
        >>> code_of(layout.configuration(keep=[0, 3]), 1234)
        '16J-09-FC'
        >>> print(read_code(layout, 1234, "16J-09-FC"))
        2 of 6 anchors: L0/16x16 L1/32x32
    """
    kept = _written(configuration.mask, -(-len(configuration.layout) // 5))
    return f"{_written(tag, 3)}-{kept}-{_written(_check(configuration.mask, tag), 2)}"


def read_code(layout: AnchorLayout, tag: int, code: str) -> Configuration:
    """The configuration of a code.

    Raises:
        InputError: the code has a typing error or is of another run.
    """
    parts = [_number(part) for part in code.upper().split("-")]
    if len(parts) != 3 or parts[1] >= 2 ** len(layout) or parts[2] != _check(parts[1], parts[0]):
        raise InputError(f"{code} is no code of a handout: a digit may be mistyped")
    if parts[0] != tag:
        raise InputError(f"{code} is of another run's handout")
    return Configuration(layout, parts[1])


def score_codes(evaluator: Evaluator, search: SearchResult, path: str | Path) -> list[dict[str, Any]]:
    """The players of a file of codes, the best first.

    Args:
        evaluator: of the handout's run.
        search: the run's search.
        path: a text file; each line has a name and a code, or a code alone.

    Returns:
        One dictionary per line: ``name``, ``code``, and either ``problem`` (why it does not count) or ``accuracy``
        (0..1), ``lead`` (over the search, 0..1), ``n_anchors`` and ``cost``. Of players with the same accuracy, the
        cheaper first; those who do not count last.

    Raises:
        InputError: the file is missing or has no line.
    """
    lines = [line.strip() for line in read_text(path)[0].splitlines()]
    budget, tag = Budget.of(search), tag_of(evaluator.fingerprint)
    rows = [_score(line, evaluator, budget, tag) for line in lines if line]
    if not rows:
        raise InputError(f"{path}: no codes; put a name and a code on each line, such as: Ada 16J-09-FC")
    return sorted(rows, key=lambda row: (-row.get("accuracy", -2.0), row.get("cost", 0.0)))


def _score(line: str, evaluator: Evaluator, budget: Budget, tag: int) -> dict[str, Any]:
    found = _CODE.findall(line.upper())
    if not found:
        return {"name": line, "code": "", "problem": "no code on this line"}
    code = found[-1]
    at = line.upper().rindex(code)
    row: dict[str, Any] = {"name": (line[:at] + line[at + len(code) :]).strip(" \t,;:") or "?", "code": code}
    try:
        configuration = read_code(evaluator.layout, tag, code)
    except InputError as error:
        return row | {"problem": str(error)}
    cost = cost_of(configuration, budget.cost)
    if not configuration or cost > budget.limit:
        return row | {"problem": "over the budget" if configuration else "keeps no anchor"}
    accuracy = evaluator.accuracy(configuration)
    return row | {
        "accuracy": accuracy,
        "lead": accuracy - budget.accuracy,
        "n_anchors": len(configuration),
        "cost": cost,
    }


def _check(mask: int, tag: int) -> int:
    return (31 * mask + tag) % 1021


def _written(number: int, digits: int) -> str:
    return "".join(_DIGITS[number >> 5 * place & 31] for place in range(digits - 1, -1, -1))


def _number(text: str) -> int:
    number = 0
    for digit in text.translate(_MISREAD):
        number = 32 * number + max(_DIGITS.find(digit), 0)
    return number
