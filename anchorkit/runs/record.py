"""``run.json``: the parameters of a run, which of its notebooks are done, and where its figures come from.

`RunRecord` is the only reader and the only writer of the file.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from anchorkit import __version__
from anchorkit.errors import InputError
from anchorkit.files import read_json, write_json

FORMAT = 1
RECORD_FILE = "run.json"
_RECORDED_PACKAGES = ("numpy", "torch", "torchvision", "pycocotools", "numba", "pandas", "altair", "papermill")


def now() -> str:
    """The current time in the format of run records, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def duration(seconds: float) -> str:
    """A time for people: ``"12 s"``, ``"1 min 27 s"``, ``"2.5 h"``."""
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@dataclass(frozen=True)
class Executed:
    """One notebook that was executed to its end.

    Attributes:
        parameters: its parameters.
        fingerprint: the key of the step, see `anchorkit.batch.plans.Step`; empty if unknown.
        started: when, UTC.
        seconds: how long it took.
        contents: digests of the files and folders that the parameters name.
    """

    parameters: Mapping[str, Any]
    fingerprint: str = ""
    started: str | None = None
    seconds: float = 0.0
    contents: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Executed:
        """The inverse of ``vars``; all fields except ``parameters`` may be missing."""
        known = {one.name: data[one.name] for one in fields(cls) if data.get(one.name) is not None}
        return cls(**{**known, "parameters": dict(data["parameters"]), "seconds": float(data.get("seconds") or 0.0)})


@dataclass(frozen=True)
class RunRecord:
    """The content of ``run.json``.

    Attributes:
        profile: name of the profile, or None.
        data: name or folder of the data.
        detector: name of the detector.
        parameters: the values that the user gave, by ``NAME`` or ``NOTEBOOK.NAME``.
        started: when, UTC.
        finished: when, UTC; None as long as a notebook is not done.
        notebooks: those that are done, by stem, in order.
        anchorkit: the kit's version.
        python: Python's version.
        platform: the operating system.
        versions: of the main packages by name; None for a package that is not installed.
        provenance: see `anchorkit.runs.provenance.provenance`; None before the run is finished.
        sweep: of a sweep's run: its ``name``, the ``run``, the ``varied`` values, its ``steps``.
        repeats: of a repetition: the folder of the original run.
        error: of a failed run: the ``notebook`` and the ``message``.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> RunRecord.begin(data="shapes", detector="tiny_ssd").write(folder)
        >>> RunRecord.read(folder).state
        'unfinished'
    """

    profile: str | None = None
    data: str | None = None
    detector: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    started: str | None = None
    finished: str | None = None
    notebooks: Mapping[str, Executed] = field(default_factory=dict)
    anchorkit: str | None = None
    python: str | None = None
    platform: str | None = None
    versions: Mapping[str, str | None] = field(default_factory=dict)
    provenance: Mapping[str, Any] | None = None
    sweep: Mapping[str, Any] | None = None
    repeats: str | None = None
    error: Mapping[str, str] | None = None

    @classmethod
    def begin(cls, **facts: Any) -> RunRecord:
        """The record of a run that starts now, with the versions on this machine.

        Args:
            **facts: other fields.
        """
        here: dict[str, Any] = {
            "started": now(),
            "anchorkit": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "versions": {name: _version(name) for name in _RECORDED_PACKAGES},
        }
        return cls(**{**here, **facts})

    @classmethod
    def read(cls, folder: str | Path) -> RunRecord:
        """The record in a run's folder.

        Raises:
            InputError: there is none, it cannot be read, or it has another format.
        """
        path = Path(folder) / RECORD_FILE
        if not path.exists():
            raise InputError(f"{folder}: no {RECORD_FILE}, so not a run's folder")
        data = read_json(path)
        if not isinstance(data, dict) or "format" not in data:
            raise InputError(f"{path}: not the record of a run; give another --out or remove the folder")
        if data["format"] != FORMAT:
            raise InputError(
                f"{path}: run format {data['format']!r}; this anchorkit writes format {FORMAT}: "
                "give another --out or remove the folder"
            )
        try:
            known = {one.name: data[one.name] for one in fields(cls) if data.get(one.name) is not None}
            notebooks = {stem: Executed.from_dict(entry) for stem, entry in known.get("notebooks", {}).items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: not the record of a run ({type(error).__name__}: {error}); remove the folder"
            ) from None
        return cls(**{**known, "notebooks": notebooks})

    @classmethod
    def read_if_there(cls, folder: str | Path) -> RunRecord | None:
        """The record in a run's folder; None if there is none.

        Raises:
            InputError: as `read`, but for a missing file.
        """
        return cls.read(folder) if (Path(folder) / RECORD_FILE).exists() else None

    def write(self, folder: str | Path) -> None:
        """Write the record into a run's folder, whole or not at all; optional fields that are None are left out."""
        facts = {one.name: getattr(self, one.name) for one in fields(self)}
        rare = ("provenance", "sweep", "repeats", "error")
        facts = {name: value for name, value in facts.items() if name not in rare or value is not None}
        notebooks = {stem: vars(executed) for stem, executed in self.notebooks.items()}
        write_json(Path(folder) / RECORD_FILE, {"format": FORMAT, **facts, "seeds": self.seeds, "notebooks": notebooks})

    @property
    def seeds(self) -> dict[str, Any]:
        """The seed of every notebook that is done and has the parameter."""
        known = {stem: executed.parameters for stem, executed in self.notebooks.items()}
        return {stem: parameters["seed"] for stem, parameters in known.items() if "seed" in parameters}

    @property
    def seconds(self) -> float:
        """How long all notebooks took together."""
        return sum(executed.seconds for executed in self.notebooks.values())

    @property
    def state(self) -> str:
        """``"done"``, ``"failed"`` or ``"unfinished"``."""
        return "done" if self.finished else "failed" if self.error else "unfinished"

    @property
    def name(self) -> str | None:
        """The detector and the data, such as ``"tiny_ssd on shapes"``; None if the record has neither."""
        from anchorkit.datasets.yolo_description import SUFFIXES

        data = Path(self.data or "")
        described = data.suffix.lower() in SUFFIXES  # such a file is called alike in all data sets
        known = [self.detector and Path(self.detector).name, data.parent.name if described else data.name]
        return " on ".join(part for part in known if part) or None

    def with_notebook(self, stem: str, executed: Executed) -> RunRecord:
        """The record with one more notebook done."""
        return replace(self, notebooks={**self.notebooks, stem: executed})

    def without_notebooks(self, stems: Iterable[str]) -> RunRecord:
        """The unfinished record of a run without some of its notebooks, which will be executed (again)."""
        gone = set(stems)
        kept = {stem: executed for stem, executed in self.notebooks.items() if stem not in gone}
        return replace(self, notebooks=kept, finished=None, provenance=None)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
