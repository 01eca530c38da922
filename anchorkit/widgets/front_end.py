"""Is there a person in front of this notebook, or a program that executes it?"""

from __future__ import annotations

import os
import sys
from typing import Any


def is_live() -> bool:
    """True if widgets will be seen and touched.

    A front end that a person sits at can answer ``input()`` and says so with every cell it sends; papermill and
    nbconvert cannot. Voila executes in the same way, but shows what comes out to people. ``ANCHORKIT_STATIC=1``
    asks for static pictures everywhere.
    """
    if os.environ.get("ANCHORKIT_STATIC", "0") not in ("", "0"):
        return False
    if os.environ.get("SERVER_SOFTWARE", "").startswith("voila"):
        return True
    return bool(_request().get("content", {}).get("allow_stdin", False))


def _request() -> dict[str, Any]:
    """The message that made the kernel execute the current cell; empty outside a kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return {}
    message = kernel.get_parent("shell")
    return dict(message) if message else {}
