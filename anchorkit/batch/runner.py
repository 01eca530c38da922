"""Running the lessons in order, into one folder; a stopped run resumes."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from anchorkit.batch.beforehand import look_beforehand
from anchorkit.batch.drive import Desk, InOrder
from anchorkit.batch.execution import Kernel
from anchorkit.batch.parameters import require_known
from anchorkit.batch.plans import (
    CHANNEL_LESSONS,
    CHANNEL_RATIO,
    LESSONS,
    ONNX_LESSON,
    Resolver,
    Step,
    asks_for_channels,
    find_notebooks,
    make_chain,
    profile_named,
)
from anchorkit.errors import InputError
from anchorkit.files import replacing
from anchorkit.findings import unchecked
from anchorkit.runs.answers import forget_answers
from anchorkit.runs.folder import HANDOUT, SOURCES, remove_left
from anchorkit.runs.learning import LEARNING_FILE
from anchorkit.runs.lock import locked
from anchorkit.runs.onnx_file import is_detector_file, is_onnx
from anchorkit.runs.provenance import provenance
from anchorkit.runs.record import RECORD_FILE, Executed, RunRecord, now

TOUR, DETECTOR_LESSON = "00_start_here", "02_detector"
_LARGEST_HANDED_OUT = 50_000_000
"""Bytes of a prediction table; with more, the handout takes longer to write than a user expects at the end of a run."""
_ELSEWHERE = {"run_dir": "use --out for that", "data": "use --data for that", "detector": "use --detector for that"}


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

    A lesson is not executed again if it was finished in the same folder with the same source, parameters, data and
    weights. The first lesson that differs is executed again, and so is every later one; the files that they left are
    removed first.

    Args:
        profile: ``"smoke"``, ``"quick"`` or ``"full"``: how much each lesson computes.
        data: name of a data set, or a folder or file as for `anchorkit.load_dataset`.
        data_root: the folder of a named data set, if the lessons have a parameter of that name.
        detector: name of the detector, an ONNX file, or darknet's ``.cfg``.
        out: the run's folder; ``runs/<profile>-<data>`` by default.
        parameters: values by ``NAME``, for every lesson that has a parameter of that name, or by ``LESSON.NAME``; they
            take precedence over the profile. A ``channel_ratio`` above 0 includes the lessons about channels.
        progress: one line per lesson on standard error.
        notebooks: folder of the lessons; the shipped ones by default.

    Returns:
        The run's folder.

    Raises:
        InputError: bad parameters, data that cannot be used, a folder that holds another run or is in use.
        NotebookError: a cell failed for another reason.
    """
    of_profile = profile_named(profile)
    data = _data_name(data)
    # The first lesson is a tour on the built-in shapes.
    left_out = [TOUR] * (data != "shapes") + [ONNX_LESSON] * (not is_onnx(detector))
    known = [path for path in find_notebooks(notebooks, LESSONS) if path.stem not in left_out]
    called = Path(data).parent.name if Path(data).is_file() else Path(data).name
    folder = Path(f"runs/{profile}-{called}" if out is None else out).resolve()
    resolver = lesson_resolver(known)
    given = {name: resolver.check(name, value, "-p") for name, value in (parameters or {}).items()}
    with_channels = _with_channels(resolver, given, detector)
    lessons = [path for path in known if with_channels or path.stem not in CHANNEL_LESSONS]
    detector = _detector_name(detector)
    common = {"data": data, "detector": detector}
    if data_root is not None:
        common["data_root"] = str(Path(data_root).resolve())
        require_known(["data_root"], {name for known in resolver.declared.values() for name in known}, "data_root")
    values = resolver.resolve(given, of_profile, common)

    record = RunRecord.begin(profile=profile, data=data, detector=detector, parameters=given)
    previous = RunRecord.read_if_there(folder)
    if previous is not None:
        for name in ("profile", "data", "detector"):
            was, wanted = getattr(previous, name), getattr(record, name)
            if was != wanted and (name, was, wanted) != ("profile", "quick", "full"):
                raise InputError(
                    f"{folder / RECORD_FILE}: this folder holds a run with {name} {was!r}, not {wanted!r}; "
                    "give another --out or remove the folder"
                )
        record = replace(record, started=previous.started, notebooks=previous.notebooks)
    with locked(folder):
        look_beforehand([values])
        if profile == "full":
            start = quick_detector(folder, previous)
            if start is not None and "start" not in {name.rpartition(".")[2] for name in given}:
                values = resolver.resolve({f"{DETECTOR_LESSON}.start": str(start), **given}, of_profile, common)
        execute_chain(folder, make_chain(lessons, values), record, progress)
        from anchorkit.pages.run import write_index

        _write_handout(folder)
        write_index(folder)
    return folder


def _write_handout(folder: Path) -> None:
    """Write the run's handout, if its lessons left what it needs and it will not be large; otherwise print why not."""
    predictions = folder / "predictions.parquet"
    if not predictions.exists() or not (folder / "search" / "search.json").exists():
        return
    if (folder / HANDOUT).exists():
        return  # of this search, perhaps written with other options: with another search it is removed
    if predictions.stat().st_size > _LARGEST_HANDED_OUT:
        print(
            f"anchorkit: no handout yet, as it would be large; `anchorkit handout {folder}` writes it", file=sys.stderr
        )
        return
    from anchorkit.pages.handout import write_handout

    try:
        with unchecked():  # the lessons have reported what is implausible
            write_handout(folder)
    except InputError as error:  # the result is worth more than the handout
        print(f"anchorkit: no handout: {error}", file=sys.stderr)


def quick_detector(folder: Path, previous: RunRecord | None) -> Path | None:
    """The detector that profile ``quick`` trained in a run's folder, kept for ``full`` to go on from; None without one.

    Args:
        folder: the run's folder, locked.
        previous: its record so far.
    """
    kept, found = folder / "quick" / "detector", folder / "detector"
    quick = previous is not None and previous.profile == "quick" and DETECTOR_LESSON in previous.notebooks
    if quick and (found / LEARNING_FILE).is_file():
        kept.mkdir(parents=True, exist_ok=True)
        for name in ("model.safetensors", LEARNING_FILE, "detector.json"):
            with replacing(kept / name) as temporary:
                shutil.copyfile(found / name, temporary)
    return kept if (kept / "detector.json").is_file() else None


def lesson_resolver(lessons: Sequence[Path] | None = None) -> Resolver:
    """Decides which values the parameters of the lessons get; by default of the shipped ones."""
    return Resolver.of(find_notebooks(None, LESSONS) if lessons is None else lessons, _ELSEWHERE)


def execute_chain(folder: Path, steps: Sequence[Step], record: RunRecord, progress: bool) -> None:
    """Execute steps in the folder of a run, from the first one that is not done, and keep its record.

    Args:
        folder: the run's folder, locked.
        steps: in order.
        record: of the run, with the notebooks that are done.
        progress: one line per step on standard error.

    Raises:
        InputError: as `Kernel.execute`.
        NotebookError: as `Kernel.execute`.
    """
    place = _RunFolder(folder, record)
    note = place.forget_from(steps)
    if note and progress:
        print(note, file=sys.stderr)
    InOrder(steps, place, Kernel(folder), progress).execute()
    place.finish()


class _RunFolder:
    """The folder of a run: all steps work in it, and ``run.json`` records which are done."""

    def __init__(self, folder: Path, record: RunRecord) -> None:
        self.folder, self.record = folder, record

    def forget_from(self, steps: Sequence[Step]) -> str:
        """Remove the files that the first step that is not done, and all later ones, left earlier: they are outdated.

        A stopped step resumes from its files.

        Returns:
            One line that says what was removed and why; empty if nothing was.
        """
        to_do = list(itertools.dropwhile(self.is_done, steps))
        known = self.record.notebooks
        changes = {step.name: step.differs(known[step.name]) for step in to_do if step.name in known}
        note = ""
        if changes:
            begin = next(number for number, step in enumerate(to_do) if step.name in changes)
            sources = any(changes.get(name) for name in SOURCES)
            removed = remove_left(self.folder, [step.name for step in to_do[begin:]], everything=sources)
            if sources:
                removed += forget_answers(self.folder)
                # Lessons that an earlier run included and this one leaves out are outdated, too.
                dropped = [name for name in known if name not in {step.name for step in steps}]
                removed += remove_left(self.folder, dropped, everything=True)
                for name in dropped:
                    for ending in (".ipynb", ".html"):
                        (self.folder / "notebooks" / f"{name}{ending}").unlink(missing_ok=True)
                self.record = self.record.without_notebooks(dropped)
            names = dict.fromkeys(name for changed in changes.values() for name in changed)
            why = " and ".join(names) or "the notebook or anchorkit"
            note = f"{why} changed since {to_do[begin].name} was done; removed: {', '.join(removed)}" if removed else ""
        for step in to_do:
            for stale in (self._executed(step), self._executed(step).with_suffix(".html"), self.folder / "index.html"):
                stale.unlink(missing_ok=True)
        # The record comes last: if the process is killed earlier, the next start removes the files again.
        self.record = self.record.without_notebooks(step.name for step in to_do)
        self.record.write(self.folder)
        return note

    def is_done(self, step: Step) -> bool:
        done = self.record.notebooks.get(step.name)
        return done is not None and done.fingerprint == step.key and self._executed(step).exists()

    def begin(self, step: Step) -> Desk:
        return Desk(self.folder, self.folder, self._executed(step))

    def note(self, step: Step, executed: Executed) -> None:
        self.record = self.record.with_notebook(step.name, executed)
        self.record.write(self.folder)

    def finish(self) -> None:
        """Record that all steps are done, and the provenance of the run's figures."""
        self.record = replace(self.record, finished=now())
        self.record.write(self.folder)  # the provenance reads the seeds from it
        replace(self.record, provenance=provenance(self.folder)).write(self.folder)

    def _executed(self, step: Step) -> Path:
        return self.folder / "notebooks" / step.notebook.name


def _with_channels(resolver: Resolver, given: Mapping[str, Any], detector: str) -> bool:
    """Whether a run includes the lessons about channels: a ratio above 0 asks for them.

    Raises:
        InputError: a parameter that only these lessons have is given without a ratio, or the detector is an ONNX file.
    """
    asked = any(value > 0 for name, value in given.items() if asks_for_channels([name]))
    if asked and is_onnx(detector):
        raise InputError(f"-p {CHANNEL_RATIO}: channels of a detector that is only an ONNX file cannot be removed")
    others = {name for stem, own in resolver.declared.items() if stem not in CHANNEL_LESSONS for name in own}
    for name in given:
        stem, _, plain = name.rpartition(".")
        only_there = stem in CHANNEL_LESSONS or plain not in others
        if only_there and not asked and plain != CHANNEL_RATIO:
            raise InputError(f"-p {name}: only the lessons about channels have it; give -p {CHANNEL_RATIO}=0.2, too")
    return asked


def _detector_name(detector: str) -> str:
    """The absolute path of a detector's file, because notebooks run in another folder; a name is unchanged."""
    if not is_detector_file(detector):
        return detector
    path = Path(detector).expanduser().resolve()
    if not path.is_file():
        raise InputError(f"{detector}: no such file")
    return str(path)


def _data_name(data: str | Path) -> str:
    """The absolute path of a folder or data.yaml, because notebooks run in another folder; a name is unchanged."""
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
