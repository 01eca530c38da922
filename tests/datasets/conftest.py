"""What the tests of data sets share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def put_image() -> Callable[..., None]:
    """Writes an image of (height, width) whose pixels tell its number."""

    def put(path: Path, size: tuple[int, int] = (40, 60), value: int = 100) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*size, 3), value, dtype=np.uint8)).save(path)

    return put
