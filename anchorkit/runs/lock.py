"""One process at a time in a run's folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anchorkit.errors import InputError

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[int | None]:
    """Lock `folder` for this process; the system releases it when the process ends, even if it is killed.

    Yields:
        The open lock file. A child process that inherits it holds the lock too, as long as it lives. None where
        locks cannot be inherited (Windows).

    Raises:
        InputError: another process holds the lock, or the folder cannot be written.
    """
    path = Path(folder) / ".lock"
    with _written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    # The file stays: if it were removed, two processes could each lock a file of this name.
    with _lock_alone(path) if fcntl is None else _lock_with_children(path) as handle:
        yield handle


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be written ({error.strerror or error})") from error


def _taken(path: Path, holder: str = "") -> InputError:
    holder = holder.strip() or "unknown"
    return InputError(f"{path.parent}: another process (id {holder}) is using it; wait for it or give another --out")


@contextlib.contextmanager
def _lock_with_children(path: Path) -> Iterator[int]:
    """An advisory lock (flock), which belongs to the open file: children that inherit the file share the lock."""
    with _written(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _taken(path, os.read(handle, 32).decode(errors="replace")) from None
        with contextlib.suppress(OSError):  # the id only helps people; a full disk must not fail here
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def _lock_alone(path: Path) -> Iterator[None]:
    import filelock

    lock = filelock.FileLock(path, timeout=0)
    with _written(path):
        try:
            lock.acquire()
        except filelock.Timeout:
            raise _taken(path) from None
    try:
        yield None
    finally:
        lock.release()
