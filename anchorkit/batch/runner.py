"""Running the lessons in order, into one folder, going on where a stopped run left off."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from anchorkit import __version__
from anchorkit.batch.execution import Kernel
from anchorkit.batch.lock import locked
from anchorkit.batch.parameters import Parameter, read_parameters, require_known
from anchorkit.batch.profiles import PROFILES
from anchorkit.bundled import notebooks_dir
from anchorkit.errors import InputError
from anchorkit.files import read_json, write_json
from anchorkit.suggest import did_you_mean

RUN_FORMAT = 1
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
    if profile not in PROFILES:
        raise InputError(f"unknown profile {profile!r}; {did_you_mean(profile, PROFILES)}")
    lessons = _lessons(Path(notebooks) if notebooks is not None else notebooks_dir())
    data = _data_name(data)
    folder = Path(out) if out is not None else Path("runs") / f"{profile}-{Path(data).name}"
    folder = folder.resolve()
    common = {"run_dir": str(folder), "data": data, "detector": detector}
    if data_root is not None:
        common["data_root"] = str(Path(data_root).resolve())
    plan = _plan(lessons, common, PROFILES[profile], dict(parameters or {}))

    identity = {"profile": profile, "data": data, "detector": detector}
    previous = _read_record(folder, identity)
    with locked(folder):
        _execute_all(folder, lessons, plan, _record(identity, parameters or {}, plan, previous), progress)
        from anchorkit.batch.report import write_index

        write_index(folder)
    return folder


def _lessons(folder: Path) -> list[Path]:
    lessons = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not lessons:
        raise InputError(f"{folder}: no notebooks named like 00_name.ipynb")
    return lessons


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


def _plan(
    lessons: list[Path],
    common: Mapping[str, Any],
    profile: Mapping[str, Mapping[str, Any]],
    overrides: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """The parameters each lesson is executed with, by its stem: all of them, defaults included."""
    declared = {lesson.stem: read_parameters(lesson) for lesson in lessons}
    known = {name for of_lesson in declared.values() for name in of_lesson}
    for name in sorted(set(common) & set(overrides) - {"data_root"}):
        raise InputError(f"-p {name}: use --{'out' if name == 'run_dir' else name} for that")
    require_known(overrides, known, "-p")
    if "data_root" in common:
        require_known(["data_root"], known, "data_root")
    plan: dict[str, dict[str, Any]] = {}
    for lesson in lessons:
        parameters: dict[str, Parameter] = declared[lesson.stem]
        of_profile = profile.get(lesson.stem, {})
        require_known(of_profile, parameters, f"profile, {lesson.stem}")
        values = {name: parameter.default for name, parameter in parameters.items()}
        for source in (common, of_profile, overrides):
            for name in source.keys() & parameters.keys():
                values[name] = parameters[name].check(source[name], lesson.stem)
        plan[lesson.stem] = values
    return plan


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
        "started": previous["started"] if previous else _now(),
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
                _say(f"{label}: done before\n", progress)
                continue
            _say(f"{label}: ", progress)
            fingerprint = _fingerprint(lesson, plan[lesson.stem])  # of the source as it is executed, not as it is later
            started, clock = _now(), time.perf_counter()
            try:
                kernel.execute(lesson, _executed(folder, lesson), plan[lesson.stem])
            except BaseException:
                _say("stopped\n", progress)
                raise
            seconds = round(time.perf_counter() - clock, 1)
            done[lesson.stem] = {
                "parameters": dict(plan[lesson.stem]),
                "fingerprint": fingerprint,
                "started": started,
                "seconds": seconds,
            }
            write_json(folder / "run.json", record)
            _say(f"{seconds:.0f} s\n", progress)
    record["finished"] = _now()
    write_json(folder / "run.json", record)


def _first_to_do(
    folder: Path, lessons: list[Path], plan: Mapping[str, Mapping[str, Any]], done: Mapping[str, Any]
) -> int:
    for number, lesson in enumerate(lessons):
        finished = done.get(lesson.stem, {}).get("fingerprint") == _fingerprint(lesson, plan[lesson.stem])
        if not (finished and _executed(folder, lesson).exists()):
            return number
    return len(lessons)


def _executed(folder: Path, lesson: Path) -> Path:
    return folder / "notebooks" / lesson.name


def _fingerprint(lesson: Path, values: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(lesson.read_bytes())
    digest.update(json.dumps(dict(values), sort_keys=True).encode())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _say(text: str, progress: bool) -> None:
    if progress:
        print(text, end="", file=sys.stderr, flush=True)
