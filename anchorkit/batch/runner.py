"""Running the lessons in order, into one folder, going on where a stopped run left off."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from anchorkit.batch.execution import Kernel
from anchorkit.batch.parameters import require_known
from anchorkit.batch.plans import (
    LESSONS,
    find_notebooks,
    fingerprint,
    known_parameters,
    plan_parameters,
    profile_named,
    say,
)
from anchorkit.bundled import notebooks_dir
from anchorkit.errors import InputError
from anchorkit.runs.lock import locked
from anchorkit.runs.provenance import provenance
from anchorkit.runs.record import RECORD_FILE, Executed, RunRecord, now

_ELSEWHERE = {"run_dir": "--out", "data": "--data", "detector": "--detector"}


def run_notebooks(
    profile: str = "quick",
    data: str | Path = "shapes",
    data_root: str | Path | None = None,
    detector: str = "tiny_ssd",
    out: str | Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    progress: bool = True,
    notebooks: str | Path | None = None,
) -> Path:
    """Execute the lessons in order and write the run's folder, its record and its page.

    A lesson that an earlier, stopped run into the same folder finished with the same source and parameters is not
    executed again; the first one that differs is, and so is every later one.

    Args:
        profile: ``"smoke"``, ``"quick"`` or ``"full"``: how much each lesson does.
        data: name of a data set, or a folder with COCO json or VOC xml annotations.
        data_root: where a named data set lies, if the lessons have a parameter of that name.
        detector: name of the detector.
        out: the run's folder; ``runs/<profile>-<data>`` by default.
        parameters: values by parameter name, for every lesson that has a parameter of that name; they overrule the
            profile.
        progress: one line a lesson on standard error.
        notebooks: folder of the lessons; the shipped ones by default.

    Returns:
        The run's folder.

    Raises:
        InputError: bad parameters, data that cannot be used, a folder that holds another run or is in use.
        NotebookError: a cell failed for another reason.
    """
    of_profile = profile_named(profile)
    lessons = find_notebooks(Path(notebooks) if notebooks is not None else notebooks_dir(), LESSONS)
    data = _data_name(data)
    folder = Path(out) if out is not None else Path("runs") / f"{profile}-{Path(data).name}"
    folder = folder.resolve()
    common = {"run_dir": str(folder), "data": data, "detector": detector}
    if data_root is not None:
        common["data_root"] = str(Path(data_root).resolve())
        require_known(["data_root"], known_parameters(lessons), "data_root")
    plan = plan_parameters(lessons, common, of_profile, parameters or {}, _ELSEWHERE)

    identity = {"profile": profile, "data": data, "detector": detector}
    previous = _previous(folder, identity)
    record = RunRecord.begin(**identity, parameters=dict(parameters or {}))
    if previous is not None:
        record = replace(record, started=previous.started, notebooks=previous.notebooks)
    with locked(folder):
        _execute_all(folder, lessons, plan, record, progress)
        from anchorkit.pages.run import write_index

        write_index(folder)
    return folder


def _data_name(data: str | Path) -> str:
    """A folder as an absolute path, so that it means the same inside the notebooks; a name as it is."""
    text = str(data)
    if Path(text).is_dir():
        return str(Path(text).resolve())
    if Path(text).exists():
        raise InputError(f"{text}: a folder with COCO json or VOC xml annotations is needed, not a file")
    if isinstance(data, Path) or "/" in text or text.startswith((".", "~")):
        raise InputError(f"{text}: no such folder")
    return text


def _previous(folder: Path, identity: Mapping[str, str]) -> RunRecord | None:
    previous = RunRecord.read_if_there(folder)
    for name, value in identity.items() if previous is not None else ():
        if getattr(previous, name) != value:
            raise InputError(
                f"{folder / RECORD_FILE}: a run with {name} {getattr(previous, name)!r} is there, not {value!r}: "
                "give another --out or remove the folder"
            )
    return previous


def _execute_all(
    folder: Path, lessons: list[Path], plan: Mapping[str, Mapping[str, Any]], record: RunRecord, progress: bool
) -> None:
    todo = _first_to_do(folder, lessons, plan, record)
    # Whatever a later lesson made of what is about to change is no longer true.
    record = record.without_notebooks(lesson.stem for lesson in lessons[todo:])
    for lesson in lessons[todo:]:
        for stale in (_executed(folder, lesson), _executed(folder, lesson).with_suffix(".html"), folder / "index.html"):
            stale.unlink(missing_ok=True)
    record.write(folder)
    with Kernel(folder) as kernel:
        for number, lesson in enumerate(lessons):
            label = f"[{number + 1}/{len(lessons)}] {lesson.stem}"
            if number < todo:
                say(f"{label}: done before\n", progress)
                continue
            say(f"{label}: ", progress)
            current = fingerprint(lesson, plan[lesson.stem])  # of the source as it is executed, not as it is later
            started, clock = now(), time.perf_counter()
            try:
                kernel.execute(lesson, _executed(folder, lesson), plan[lesson.stem])
            except BaseException:
                say("stopped\n", progress)
                raise
            seconds = round(time.perf_counter() - clock, 1)
            record = record.with_notebook(lesson.stem, Executed(dict(plan[lesson.stem]), current, started, seconds))
            record.write(folder)
            say(f"{seconds:.0f} s\n", progress)
    record = replace(record, finished=now())
    record.write(folder)  # the provenance reads the seeds from it
    replace(record, provenance=provenance(folder)).write(folder)


def _first_to_do(folder: Path, lessons: list[Path], plan: Mapping[str, Mapping[str, Any]], record: RunRecord) -> int:
    for number, lesson in enumerate(lessons):
        done = record.notebooks.get(lesson.stem)
        same = done is not None and done.fingerprint == fingerprint(lesson, plan[lesson.stem])
        if not (same and _executed(folder, lesson).exists()):
            return number
    return len(lessons)


def _executed(folder: Path, lesson: Path) -> Path:
    return folder / "notebooks" / lesson.name
