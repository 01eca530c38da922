"""Finds picture files with the same content, reading only what is needed to tell files apart."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

from PIL import Image

__all__ = ["first_of_same"]

_BLOCK = 4096  # bytes from the middle of a file: the heads of pictures from one camera are alike


def first_of_same(paths: Iterable[Path]) -> dict[Path, Path]:
    """For each file with the same content as an earlier one: the first of them.

    Only files of equal size are opened, and only those with an equal block in the middle are read whole. Pictures of a
    single colour are left out, because nothing tells two of them apart.

    Args:
        paths: the files, in the order that decides which is the first; those that cannot be read are left out.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from anchorkit.datasets.copies import first_of_same
        >>> for name in ("a.png", "b.png"):
        ...     Image.linear_gradient("L").save(name)
        >>> first_of_same([Path("a.png"), Path("b.png")])
        {...Path('b.png'): ...Path('a.png')}
    """
    same = [list(dict.fromkeys(paths))]
    for key in (os.path.getsize, _middle, _digest):
        same = [group for candidates in same for group in _alike(candidates, key)]
    return {path: first for first, *others in same if not _one_colour(first) for path in others}


def _alike(paths: Iterable[Path], key: Callable[[Path], Hashable]) -> list[list[Path]]:
    """The groups of two files or more that have the same key."""
    groups: dict[Hashable, list[Path]] = defaultdict(list)
    for path in paths:
        with contextlib.suppress(OSError):
            groups[key(path)].append(path)
    return [group for group in groups.values() if len(group) > 1]


def _middle(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, os.path.getsize(path) - _BLOCK) // 2)
        return file.read(_BLOCK)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _one_colour(path: Path) -> bool:
    """Whether all pixels are equal; True for a file that is no picture, which is reported elsewhere."""
    try:
        with Image.open(path) as image:
            edges = image.convert("RGB").getextrema()
    except Exception:  # broken pictures raise almost anything
        return True
    return all(low == high for low, high in edges)  # type: ignore[misc]  # RGB has a pair per band
