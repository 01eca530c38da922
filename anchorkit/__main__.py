"""``python -m anchorkit`` is the ``anchorkit`` command."""

from __future__ import annotations

import sys

from anchorkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
