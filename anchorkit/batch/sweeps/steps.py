"""One step of a sweep, executed in its own folder, which then has all files of a run so far.

A step's folder starts as a copy of the folder of the step before, so changes by a notebook affect no other run. When
the notebook has succeeded, the sweep writes ``step.json``, which lists every file with its digest and marks the step as
done. It then replaces large files that are unchanged since the step before by hard links, and does the same in the
run's own folder. Such files are read-only. A program that replaces the whole file (as the kit does) puts a new file in
the place of the link. Writing into the file would change it for other runs too, so the write fails. Root can write
all the same, so every file that is taken from a step is compared with its digest.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from anchorkit.batch.drive import Desk
from anchorkit.batch.plans import Step
from anchorkit.errors import InputError
from anchorkit.files import appearing, move_over, read_json, remove, write_json
from anchorkit.runs.provenance import content_hash, visible_files
from anchorkit.runs.record import Executed

STEP_FILE, FAILURE_FILE = "step.json", "failure.json"
_LINKED_FROM = 64 * 1024  # bytes; for smaller files a link saves nothing
_GROWING = {".jsonl", ".log"}  # files that are appended to
# Not copied to the next step.
_OWN = {STEP_FILE, FAILURE_FILE, "kernel.log"}


@dataclass(frozen=True)
class StepRecord:
    """The content of ``step.json``.

    Attributes:
        notebook: the notebook's stem.
        parameters: its parameters, ``run_dir`` included.
        started: when, UTC.
        seconds: how long it took.
        new_bytes: the disk space of its folder: the size of the files that are not links to the step before; None if
            unknown.
        files: by path, ``[SHA-256, size in bytes]``.
    """

    notebook: str
    parameters: Mapping[str, Any]
    started: str | None
    seconds: float
    new_bytes: int | None
    files: Mapping[str, tuple[str, int]]


def step_folder(sweep_folder: Path, key: str) -> Path:
    return sweep_folder / "steps" / key


def read_step(folder: Path) -> StepRecord | None:
    """The record in a step's folder; None if the step is not done."""
    if not (folder / STEP_FILE).exists():
        return None
    try:
        found = read_json(folder / STEP_FILE)
        files = {name: (str(digest), int(size)) for name, (digest, size) in found["files"].items()}
        return StepRecord(
            found["notebook"], found["parameters"], found["started"], found["seconds"], found["new_bytes"], files
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(
            f"{folder / STEP_FILE}: damaged; remove the folder, and the sweep executes the step again"
        ) from None


class StepFolders:
    """The folders of the steps of a sweep; see `anchorkit.batch.drive.Place`."""

    def __init__(self, sweep_folder: Path) -> None:
        self._sweep = sweep_folder

    def is_done(self, step: Step) -> bool:
        return read_step(step_folder(self._sweep, step.key)) is not None

    def begin(self, step: Step) -> Desk:
        """Make the step's folder from that of the step before; if a stopped attempt left one, use that.

        Raises:
            InputError: a file cannot be written, or was changed after the step before was done.
        """
        folder = step_folder(self._sweep, step.key)
        if not _begun(folder):
            before, earlier = self._before(step)
            with appearing(folder) as temporary:
                for name, (digest, _) in earlier.items():
                    _copy(before / name, temporary / name, digest)
        (folder / FAILURE_FILE).unlink(missing_ok=True)
        return Desk(folder, folder, folder / "notebooks" / step.notebook.name)

    def note(self, step: Step, executed: Executed) -> None:
        folder = step_folder(self._sweep, step.key)
        before, earlier = self._before(step)
        files = _digests(folder)
        new_bytes = 0
        for name, (digest, size) in files.items():
            if earlier.get(name) == (digest, size) and _may_be_linked(name, size):
                _link(before / name, folder / name)
            else:
                new_bytes += size
        record = StepRecord(step.name, executed.parameters, executed.started, executed.seconds, new_bytes, files)
        write_json(folder / STEP_FILE, {"format": 1, "key": step.key, "before": step.before, **vars(record)})

    def _before(self, step: Step) -> tuple[Path, Mapping[str, tuple[str, int]]]:
        """The folder of the step before, and its files."""
        if step.before is None:
            return self._sweep, {}
        folder = step_folder(self._sweep, step.before)
        record = read_step(folder)
        return folder, record.files if record is not None else {}


def gather_files(folder: Path, target: Path) -> None:
    """Put all files of a finished step, in `folder`, into `target`: link large ones, copy the others.

    Raises:
        InputError: a file was changed after the step was done.
    """
    record = read_step(folder)
    for name, (digest, size) in record.files.items() if record is not None else ():
        if _may_be_linked(name, size):
            _link(folder / name, target / name)
            _same(folder / name, target / name, digest)
        else:
            _copy(folder / name, target / name, digest)


def _begun(folder: Path) -> bool:
    """Whether a stopped attempt left files; a record of a failure alone does not count."""
    return folder.exists() and any(path.name != FAILURE_FILE for path in folder.iterdir())


def _digests(folder: Path) -> dict[str, tuple[str, int]]:
    names = [name for name in visible_files(folder) if name not in _OWN and not name.endswith(".failed.ipynb")]
    return {name: (content_hash(folder / name), (folder / name).stat().st_size) for name in names}


def _may_be_linked(name: str, size: int) -> bool:
    return size >= _LINKED_FROM and Path(name).suffix not in _GROWING


def _copy(source: Path, target: Path, digest: str) -> None:
    # Without the permissions: the copy can be written even if its source is read-only.
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    _same(source, target, digest)


def _same(source: Path, target: Path, digest: str) -> None:
    """Refuse a file that was changed since its step was done: root can write to read-only files and their links."""
    if content_hash(target) != digest:
        step = next(folder for folder in source.parents if folder.parent.name == "steps")
        raise InputError(
            f"{source}: was changed after its step was done, here or through another hard link; remove {step}, and the "
            "sweep executes the step again"
        )


def _link(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, read-only; a copy where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    read_only = source.stat().st_mode & 0o555
    source.chmod(read_only)
    temporary = target.with_name(f".link-{uuid4().hex}")
    try:
        try:
            temporary.hardlink_to(source)
        except OSError:  # which error says so depends on the system; a full disk stops the copy too
            shutil.copyfile(source, temporary)
        move_over(temporary, target)
        if os.path.samefile(source, target):  # to take an earlier link's place, Windows needs it to be writable
            source.chmod(read_only)
    finally:
        remove(temporary)
