"""Running the lessons in order, into one folder, going on where a stopped run left off."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from anchorkit import __version__
from anchorkit.batch.execution import Kernel
from anchorkit.batch.parameters import require_known
from anchorkit.batch.plans import (
    LESSONS,
    find_notebooks,
    fingerprint,
    known_parameters,
    now,
    plan_parameters,
    profile_named,
    say,
)
from anchorkit.bundled import notebooks_dir
from anchorkit.errors import InputError
from anchorkit.files import read_json, write_json
from anchorkit.runs.lock import locked
from anchorkit.runs.provenance import provenance

RUN_FORMAT = 1
_ELSEWHERE = {"run_dir": "--out", "data": "--data", "detector": "--detector"}
_RECORDED_PACKAGES = ("numpy", "torch", "torchvision", "pycocotools", "numba", "pandas", "altair", "papermill")


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
    previous = _read_record(folder, identity)
    with locked(folder):
        _execute_all(folder, lessons, plan, _record(identity, parameters or {}, plan, previous), progress)
        from anchorkit.pages.run import write_index

        write_index(folder)
    return folder


def _data_name(data: str | Path) -> str:
    """A folder or data.yaml as an absolute path, so that it means the same inside the notebooks; a name as it is."""
    from anchorkit.datasets import data_place

    text = str(data)
    place = data_place(text)
    if place is not None:
        return str(place)
    if Path(text).exists():
        raise InputError(
            f"{text}: a folder with COCO json or VOC xml annotations is needed (or with YOLO's, or its data.yaml), not "
            "this file"
        )
    if isinstance(data, Path) or "/" in text or text.startswith((".", "~")):
        raise InputError(f"{text}: no such folder")
    return text


def _read_record(folder: Path, identity: Mapping[str, str]) -> dict[str, Any] | None:
    path = folder / "run.json"
    if not path.exists():
        return None
    record = read_json(path)
    found = record.get("format") if isinstance(record, dict) else None
    if found != RUN_FORMAT:
        raise InputError(
            f"{path}: run format {found!r}; this anchorkit writes format {RUN_FORMAT}: "
            "give another --out or remove the folder"
        )
    for name, value in identity.items():
        if record.get(name) != value:
            raise InputError(
                f"{path}: a run with {name} {record.get(name)!r} is there, not {value!r}: "
                "give another --out or remove the folder"
            )
    return dict(record)


def _record(
    identity: Mapping[str, str],
    overrides: Mapping[str, Any],
    plan: Mapping[str, Mapping[str, Any]],
    previous: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What run.json says: enough to repeat the run, and which lessons are done."""
    return {
        "format": RUN_FORMAT,
        "anchorkit": __version__,
        **identity,
        "parameters": dict(overrides),
        "seeds": {stem: values["seed"] for stem, values in plan.items() if "seed" in values},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _RECORDED_PACKAGES},
        "started": previous["started"] if previous else now(),
        "finished": None,
        "notebooks": dict(previous["notebooks"]) if previous else {},
    }


def _execute_all(
    folder: Path,
    lessons: list[Path],
    plan: Mapping[str, Mapping[str, Any]],
    record: dict[str, Any],
    progress: bool,
) -> None:
    done: dict[str, Any] = record["notebooks"]
    todo = _first_to_do(folder, lessons, plan, done)
    for lesson in lessons[todo:]:
        # Whatever a later lesson made of what is about to change is no longer true.
        done.pop(lesson.stem, None)
        for stale in (_executed(folder, lesson), _executed(folder, lesson).with_suffix(".html"), folder / "index.html"):
            stale.unlink(missing_ok=True)
    write_json(folder / "run.json", record)
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
            done[lesson.stem] = {
                "parameters": dict(plan[lesson.stem]),
                "fingerprint": current,
                "started": started,
                "seconds": seconds,
            }
            write_json(folder / "run.json", record)
            say(f"{seconds:.0f} s\n", progress)
    record["finished"] = now()
    record["provenance"] = provenance(folder)
    write_json(folder / "run.json", record)


def _first_to_do(
    folder: Path, lessons: list[Path], plan: Mapping[str, Mapping[str, Any]], done: Mapping[str, Any]
) -> int:
    for number, lesson in enumerate(lessons):
        finished = done.get(lesson.stem, {}).get("fingerprint") == fingerprint(lesson, plan[lesson.stem])
        if not (finished and _executed(folder, lesson).exists()):
            return number
    return len(lessons)


def _executed(folder: Path, lesson: Path) -> Path:
    return folder / "notebooks" / lesson.name


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
