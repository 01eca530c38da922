"""Writing files so that they appear whole or not at all, and reading text as it is found."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anchorkit.errors import InputError

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
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files private; give the one that stays the permissions any new file would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write text (UTF-8) to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: Any) -> None:
    """Write `data` as readable JSON to `path`, whole or not at all."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a byte order mark at its beginning is reported in a warning and left out.

    Raises:
        InputError: the file is missing, cut off or not JSON; the message names the file and the place.
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
