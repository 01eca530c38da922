"""Finds the lessons and the shipped data, in a checkout or an installation from a wheel."""

from __future__ import annotations

from pathlib import Path

from anchorkit.errors import InputError
from anchorkit.files import replacing

_PACKAGE = Path(__file__).resolve().parent


def notebooks_dir() -> Path:
    """The folder of the numbered lessons.

    Raises:
        InputError: the installation lacks them.
    """
    return _find("notebooks")


def data_dir() -> Path:
    """The folder with the data of the default run: the shipped detector, its card, expected figures.

    Raises:
        InputError: the installation lacks it.
    """
    return _find("data")


def checkout_dir() -> Path:
    """The root of the repository that this anchorkit runs from.

    Raises:
        InputError: anchorkit was installed from a wheel.
    """
    root = _PACKAGE.parent
    if (root / "pyproject.toml").is_file():
        return root
    raise InputError("this anchorkit was installed from a wheel; run the command in a checkout of the repository")


def _find(name: str) -> Path:
    # A wheel has the folders inside the package, a checkout has them beside it. pyproject.toml distinguishes a checkout
    # from a folder of the same name beside an installed package.
    installed = _PACKAGE / "_bundled" / name
    if installed.is_dir():
        return installed
    root = _PACKAGE.parent
    if (root / "pyproject.toml").is_file() and (root / name).is_dir():
        return root / name
    raise InputError(f"{installed}: missing, so this installation of anchorkit is incomplete; install it again")


def copy_notebooks(folder: str | Path) -> list[Path]:
    """Copy the lessons to `folder`, to work on them. Identical files in the folder stay as they are.

    Returns:
        The copies.

    Raises:
        InputError: a file in `folder` differs and would be lost (then nothing is copied), or the folder cannot be
            written.
    """
    source, target = notebooks_dir(), Path(folder)
    files = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    files = [path for path in files if not any(part.startswith((".", "_")) for part in path.parts)]
    for path in files:
        if (target / path).exists() and (target / path).read_bytes() != (source / path).read_bytes():
            raise InputError(f"{target / path}: was changed and would be lost; move it away or give another folder")
    for path in files:
        with replacing(target / path) as temporary:
            temporary.write_bytes((source / path).read_bytes())
    return [target / path for path in files]
