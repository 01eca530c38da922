"""'Did you mean': the nearest known name, for messages about a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a misspelt `name`: the nearest known name or, if none is near, all of them.

    Example:
        >>> did_you_mean("serch", ["run", "search"])
        'did you mean search?'
    """
    known = sorted(set(known))
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"known: {', '.join(known)}" if known else "there are none"
