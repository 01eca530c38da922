"""One step of a sweep: executed in a folder of its own, which then holds all that a run has so far.

A step's folder begins as a copy of the folder of the step before, so that whatever a notebook does to its files, no
other run sees it. When the notebook has succeeded, ``step.json`` is written: it lists every file with its digest, and
is the sign that the step is done. Large files that are as the step before left them are then replaced by hard links;
so are those of a run's own folder. Such files are read-only: a program that writes a file whole (as the kit does)
puts a new one in the place of the link, and one that would change it in place, under other runs' feet, is refused; root
is not, so whatever is taken from a step is compared with its digest.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anchorkit.batch.execution import Kernel
from anchorkit.batch.sweeps.plan import Step
from anchorkit.errors import InputError
from anchorkit.files import read_json, write_json
from anchorkit.runs.provenance import content_hash, visible_files
from anchorkit.runs.record import now

STEP_FILE, FAILURE_FILE = "step.json", "failure.json"
_LINKED_FROM = 64 * 1024  # bytes; copies of smaller files cost nothing worth a link
_GROWING = {".jsonl", ".log"}  # files that are appended to
# Not part of what a step leaves for the next one.
_OWN = {STEP_FILE, FAILURE_FILE, "kernel.log"}
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class StepRecord:
    """What ``step.json`` says.

    Attributes:
        notebook: the notebook's stem.
        parameters: what it was executed with, ``run_dir`` too.
        started: when, UTC.
        seconds: how long it took.
        new_bytes: what its folder takes on the disk: the size of the files that are no links to the step before.
        files: by path, ``[SHA-256, size in bytes]``.
    """

    notebook: str
    parameters: Mapping[str, Any]
    started: str
    seconds: float
    new_bytes: int
    files: Mapping[str, tuple[str, int]]


def step_folder(sweep_folder: Path, key: str) -> Path:
    return sweep_folder / "steps" / key


def read_step(folder: Path) -> StepRecord | None:
    """What a step's folder says of itself; None if the step is not done."""
    if not (folder / STEP_FILE).exists():
        return None
    try:
        found = read_json(folder / STEP_FILE)
        files = {name: (str(digest), int(size)) for name, (digest, size) in found["files"].items()}
        return StepRecord(
            found["notebook"], found["parameters"], found["started"], found["seconds"], found["new_bytes"], files
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"{folder / STEP_FILE}: damaged; remove the folder to have the step done again") from None


def execute_step(step: Step, sweep_folder: Path, kernel: Kernel) -> StepRecord:
    """Execute a step whose step before is done; its folder is gone on with if a stopped attempt left one.

    Raises:
        InputError: a cell raised InputError, a file cannot be written or is not what the step before left, or the disk
            is full.
        NotebookError: a cell raised any other error.
    """
    folder = step_folder(sweep_folder, step.key)
    before = None if step.before is None else step_folder(sweep_folder, step.before)
    earlier = None if before is None else read_step(before)
    if not _begun(folder):
        with appearing(folder) as temporary:
            for name, (digest, _) in earlier.files.items() if earlier is not None else ():
                _copy(before / name, temporary / name, digest)  # type: ignore[operator]  # not None here
    (folder / FAILURE_FILE).unlink(missing_ok=True)
    kernel.folder = folder
    parameters = {**step.parameters, "run_dir": str(folder)}
    started, clock = now(), time.perf_counter()
    kernel.execute(step.notebook, folder / "notebooks" / step.notebook.name, parameters)
    seconds = round(time.perf_counter() - clock, 2)
    files = _digests(folder)
    new_bytes = 0
    for name, (digest, size) in files.items():
        known = before is not None and earlier is not None and earlier.files.get(name) == (digest, size)
        if known and _may_be_linked(name, size):
            _link(before / name, folder / name)  # type: ignore[operator]  # not None here
        else:
            new_bytes += size
    record = StepRecord(step.notebook.stem, parameters, started, seconds, new_bytes, files)
    write_json(folder / STEP_FILE, {"format": 1, "key": step.key, "before": step.before, **vars(record)})
    return record


def gather_files(folder: Path, record: StepRecord, target: Path) -> None:
    """Put all files of a finished step into `target`: large ones linked, the others copied.

    Raises:
        InputError: a file is not what the step left.
    """
    for name, (digest, size) in record.files.items():
        if _may_be_linked(name, size):
            _link(folder / name, target / name)
            _same(folder / name, target / name, digest)
        else:
            _copy(folder / name, target / name, digest)


@contextlib.contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Give a new folder beside `folder`; on success it takes its name, on any error it goes.

    A folder that had the name before is put aside first, and removed last. Killed in between, it leaves hidden folders,
    which `remove_leftovers` removes.

    Raises:
        InputError: it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}-", dir=folder.parent))
        temporary.chmod(0o777 & ~_umask())
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    old = temporary.with_name(f"{temporary.name}-old")
    try:
        yield temporary
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _begun(folder: Path) -> bool:
    """Whether there is something to go on with: a note of a failure alone says that it never came to a beginning."""
    return folder.exists() and any(path.name != FAILURE_FILE for path in folder.iterdir())


def remove_leftovers(folder: Path) -> None:
    """Remove the hidden folders that killed processes have left in a folder; nobody else may be at work there."""
    for leftover in folder.glob(".*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)


def _digests(folder: Path) -> dict[str, tuple[str, int]]:
    names = [name for name in visible_files(folder) if name not in _OWN and not name.endswith(".failed.ipynb")]
    return {name: (content_hash(folder / name), (folder / name).stat().st_size) for name in names}


def _may_be_linked(name: str, size: int) -> bool:
    return size >= _LINKED_FROM and Path(name).suffix not in _GROWING


def _copy(source: Path, target: Path, digest: str) -> None:
    # Without the permissions: the copy may be written whatever its source is.
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    _same(source, target, digest)


def _same(source: Path, target: Path, digest: str) -> None:
    """Refuse what a step did not leave so: root may write to read-only files, and a link has many names."""
    if content_hash(target) != digest:
        step = next(folder for folder in source.parents if folder.parent.name == "steps")
        raise InputError(
            f"{source}: was changed after its step was done, here or under one of its other names: remove {step}, and "
            "it is done again"
        )


def _link(source: Path, target: Path) -> None:
    """Make `target` another name of `source`, read-only; a copy where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    source.chmod(source.stat().st_mode & 0o555)
    handle, name = tempfile.mkstemp(prefix=".link-", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        temporary.unlink()
        try:
            temporary.hardlink_to(source)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
