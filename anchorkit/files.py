"""Files and folders that appear whole or not at all, text read as it is found, and what a full disk says."""

from __future__ import annotations

import codecs
import contextlib
import errno
import json
import os
import stat
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anchorkit.errors import InputError

__all__ = ["appearing", "move_over", "read_json", "read_text", "remove", "replacing", "write_json", "write_text"]

NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})  # Windows has no quota
"""Numbers of the errors that a full disk, a used-up quota or a limit on a file's size raises."""


_PAUSES = (0.05, 0.1, 0.2, 0.4) if os.name == "nt" else ()
"""Seconds to wait for a file that an indexer or a virus scanner has open: Windows then refuses to rename over it."""


def says_no_room(message: str) -> bool:
    """Whether the message of an error says that the disk is full."""
    return any(os.strerror(number) in message for number in NO_ROOM)


# UTF-32 first: its mark begins as that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success rename it to `path`, on any error remove it.

    Parent folders are made. The temporary name keeps the suffix, because some writers choose the format by it.

    Raises:
        InputError: the folder cannot be written or the disk is full; the message names the file.

    Example:
        >>> from anchorkit.files import replacing
        >>> with replacing("notes.txt") as temporary:
        ...     _ = temporary.write_text("whole, or not there")
        >>> open("notes.txt").read()
        'whole, or not there'
    """
    target = Path(path)
    with _writing(target):
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp makes files private; give the one that stays the permissions any new file would have.
            temporary.chmod(0o666 & ~_umask())
            move_over(temporary, target)
        finally:
            with contextlib.suppress(OSError):  # on Windows, a writer that failed may have left it open
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Give a new folder beside `folder`; on success rename it to `folder`, on any error remove it.

    A folder that has the name already is put aside first and removed last. A process that is killed in between leaves
    hidden folders, which `remove_leftovers` removes.

    Raises:
        InputError: it cannot be written.
    """
    with _writing(folder):
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}-", dir=folder.parent))
        old = temporary.with_name(f"{temporary.name}-old")
        try:
            temporary.chmod(0o777 & ~_umask())
            yield temporary
            if folder.exists():
                folder.rename(old)
            temporary.rename(folder)
        finally:
            for leftover in (temporary, old):
                with contextlib.suppress(OSError):
                    remove(leftover)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there; read-only files too, as Windows keeps those.

    Raises:
        OSError: it cannot be removed, for example because a program has it open on Windows.
    """
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
        return
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        mode = path.stat().st_mode
        if mode & stat.S_IWRITE:
            raise
        path.chmod(mode | stat.S_IWRITE)
        try:
            path.unlink()
        except OSError:
            path.chmod(mode)
            raise


def move_over(temporary: Path, target: Path) -> None:
    """Rename over `target`. Windows refuses that for a read-only file, and while a program has it open."""
    for pause in (*_PAUSES, None):
        try:
            temporary.replace(target)
            return
        except PermissionError:
            if target.is_file() and not target.stat().st_mode & stat.S_IWRITE:
                remove(target)
                temporary.replace(target)
                return
            if pause is None:
                raise
            time.sleep(pause)


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Make the folder that `target` goes to, and name `target` where the disk refuses."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error


def remove_leftovers(folder: Path) -> None:
    """Remove the hidden folders that killed processes left in a folder; no other process may be working there."""
    for leftover in folder.glob(".*"):
        if leftover.is_dir():
            with contextlib.suppress(OSError):
                remove(leftover)


def write_text(path: str | Path, text: str) -> None:
    """Write text (UTF-8) to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: Any) -> None:
    """Write `data` as readable JSON to `path`, whole or not at all.

    Example:
        >>> from anchorkit.files import read_json, write_json
        >>> write_json("facts.json", {"AP": 0.257})
        >>> read_json("facts.json")
        {'AP': 0.257}
    """
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a byte order mark at its beginning is reported in a warning and left out.

    Raises:
        InputError: the file is missing, cut off or not JSON; the message names the file and the place.

    Example:
        >>> from anchorkit.files import read_json
        >>> read_json("nothing.json")
        Traceback (most recent call last):
        anchorkit.errors.InputError: nothing.json: no such file
    """
    text, mark = read_text(path)
    if mark:
        warnings.warn(f"{path}: begins with a byte order mark, which is left out", stacklevel=2)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not valid JSON, or cut off (line {error.lineno}: {error.msg})") from None


def read_text(path: str | Path, fallback: str | None = None) -> tuple[str, bool]:
    """The text of a file, in UTF-8 or in what its byte order mark says; and whether there was a mark.

    Args:
        path: the file.
        fallback: the encoding of files that are not UTF-8; None if there may be none.

    Raises:
        InputError: the file is missing or cannot be read.
    """
    try:
        data = Path(path).read_bytes()
        for mark, encoding in _MARKS:
            if data.startswith(mark):
                return data[len(mark) :].decode(encoding), True
        try:
            return data.decode(), False
        except UnicodeDecodeError:
            if fallback is None:
                raise
            return data.decode(fallback, errors="replace"), False
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
