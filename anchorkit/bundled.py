"""Where the lessons and the shipped data lie, in a checkout and when installed from a wheel."""

from __future__ import annotations

from pathlib import Path

from anchorkit.errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def notebooks_dir() -> Path:
    """The folder of the numbered lessons.

    Raises:
        InputError: the installation lacks them.
    """
    return _find("notebooks")


def data_dir() -> Path:
    """The folder of what the default run needs: the shipped detector, its card, expected figures.

    Raises:
        InputError: the installation lacks it.
    """
    return _find("data")


def _find(name: str) -> Path:
    # A wheel carries the folders inside the package. A checkout has them beside it; pyproject.toml tells a checkout from
    # a folder of the same name that happens to stand beside an installed package.
    installed = _PACKAGE / "_bundled" / name
    if installed.is_dir():
        return installed
    root = _PACKAGE.parent
    if (root / "pyproject.toml").is_file() and (root / name).is_dir():
        return root / name
    raise InputError(f"{installed}: missing, so this installation of anchorkit is not whole; install it again")
