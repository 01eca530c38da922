from __future__ import annotations

import sys
from pathlib import Path

# The made-up frames serve the tests of the widgets and of the report as well.
sys.path.insert(0, str(Path(__file__).parent))
