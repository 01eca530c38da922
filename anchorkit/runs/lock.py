"""One process at a time in a run's folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from anchorkit.errors import InputError


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[int]:
    """Hold `folder` for this process; the system lets go of it when the process ends, however it ends.

    Yields:
        The open lock file. A child process that inherits it holds the folder too, as long as it lives.

    Raises:
        InputError: another process holds it, or the folder cannot be written.
    """
    path = Path(folder) / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            raise InputError(
                f"{folder}: another process (id {holder}) is at work there; wait for it or give another --out"
            ) from None
        with contextlib.suppress(OSError):  # the id only helps people; a full disk must not fail here
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        # The file stays: removing it would let a third process lock a name that nobody else sees any more.
        yield handle
    finally:
        os.close(handle)
