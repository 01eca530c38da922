"""What each profile of `anchorkit run` sets in each notebook.

A profile is a plain table: notebook stem -> parameter -> value. What it does not name keeps the notebook's default.
`smoke` proves that everything runs, `quick` shows the method in minutes, `full` takes the time the method deserves.
"""

from __future__ import annotations

from typing import Any

PROFILES: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {},
    "quick": {},
    "full": {},
}
