"""Running experiments on a run's folder: each by itself, then one page with all their answers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anchorkit.batch.execution import Kernel, NotebookError
from anchorkit.batch.parameters import Parameter
from anchorkit.batch.plans import (
    EXPERIMENTS,
    find_notebooks,
    fingerprint,
    known_parameters,
    plan_parameters,
    profile_named,
    say,
)
from anchorkit.bundled import notebooks_dir
from anchorkit.errors import InputError
from anchorkit.files import read_json, write_json
from anchorkit.runs.lock import locked
from anchorkit.runs.record import RunRecord, now
from anchorkit.suggest import did_you_mean

RECORD_FILE = "executed.json"
# What experiments read of a run. Images are told apart by the fingerprint of their annotations, which data.json holds.
_INPUTS = ("data.json", "predictions.parquet", "detector/detector.json", "detector/model.safetensors")
_SEARCH_INPUTS = ("search/search.json", "search/frontier.csv")
_FILE_PARAMETERS = ("predictions", "ground_truth")
_OTHER_FILE_PARAMETERS = ("other_predictions", "other_ground_truth", "test_predictions", "test_ground_truth")
_OTHER_RUN = "other_run_dir"


@dataclass(frozen=True)
class ExperimentsRun:
    """What became of the experiments that were asked for.

    Attributes:
        page: the page with all answers in the run's folder, those of earlier calls too.
        executed: names of the experiments that were executed now.
        skipped: names of those that were done before, with the same source, parameters and inputs.
        failed: what went wrong, by name; an `InputError` or a `NotebookError`.
    """

    page: Path
    executed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    failed: Mapping[str, Exception] = field(default_factory=dict)


def run_experiments(
    run_dir: str | Path,
    names: Sequence[str] | None = None,
    profile: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    progress: bool = True,
    notebooks: str | Path | None = None,
) -> ExperimentsRun:
    """Execute experiments on a run's folder and write the page with their answers.

    Experiments do not build on each other. One that fails does not stop the others; one that was done before with the
    same source, parameters and inputs is not executed again. The executed notebooks stand in ``experiments/NAME/`` of
    the run's folder, beside what the experiment left there.

    Args:
        run_dir: the folder of a run that the lessons have made; or any folder, if the parameters ``predictions`` and
            ``ground_truth`` say what to look at and the experiments asked for need no more.
        names: which experiments, by name (``"12_finetune_or_retrain"``) or number (``"12"``); None for all.
        profile: ``"smoke"``, ``"quick"`` or ``"full"``; None for the run's own, or quick where the folder has none.
        parameters: values by parameter name, for every experiment that has a parameter of that name; they overrule
            the profile.
        progress: one line an experiment on standard error.
        notebooks: folder of the experiments; the shipped ones by default.

    Raises:
        InputError: unknown experiments or parameters, or the folder is in use.
    """
    folder = Path(run_dir).resolve()
    chosen = _chosen(find_notebooks(Path(notebooks) if notebooks is not None else notebooks_dir(), EXPERIMENTS), names)
    values = dict(parameters or {})
    for name in (*_FILE_PARAMETERS, *_OTHER_FILE_PARAMETERS, _OTHER_RUN):  # a notebook has another working folder
        if values.get(name):
            values[name] = str(Path(values[name]).resolve())
    record = RunRecord.read_if_there(folder) or RunRecord()
    table = profile_named(profile or record.profile or "quick")
    plan = plan_parameters(chosen, {"run_dir": str(folder)}, table, values, {"run_dir": "the first argument"})
    with locked(folder):
        executed, skipped, failed = _execute(folder, chosen, plan, progress)
        # Charts and notebooks take a second to import: not before they are needed.
        from anchorkit.pages.answers import write_answers_page

        page = write_answers_page(folder)
    return ExperimentsRun(page, tuple(executed), tuple(skipped), failed)


def experiment_parameters(notebooks: str | Path | None = None) -> dict[str, Parameter]:
    """The parameters of all experiments by name.

    Raises:
        InputError: an experiment's parameters cannot be read, or two of them disagree on a type.
    """
    folder = Path(notebooks) if notebooks is not None else notebooks_dir()
    return known_parameters(find_notebooks(folder, EXPERIMENTS))


def _chosen(experiments: list[Path], names: Sequence[str] | None) -> list[Path]:
    if names is None:
        return experiments
    by_name = {path.stem: path for path in experiments} | {path.stem[:2]: path for path in experiments}
    for name in names:
        if name not in by_name:
            raise InputError(f"unknown experiment {name!r}; {did_you_mean(name, [path.stem for path in experiments])}")
    return sorted({by_name[name] for name in names})


def _execute(
    folder: Path, notebooks: Sequence[Path], plan: Mapping[str, Mapping[str, Any]], progress: bool
) -> tuple[list[str], list[str], dict[str, Exception]]:
    executed: list[str] = []
    skipped: list[str] = []
    failed: dict[str, Exception] = {}
    kernel: Kernel | None = None
    with contextlib.ExitStack() as held:
        for number, notebook in enumerate(notebooks, start=1):
            name, values = notebook.stem, plan[notebook.stem]
            own = folder / "experiments" / name
            say(f"[{number}/{len(notebooks)}] {name}: ", progress)
            current = fingerprint(notebook, values, _inputs(folder, values))
            if _done(own, current):
                say("done before\n", progress)
                skipped.append(name)
                continue
            own.mkdir(parents=True, exist_ok=True)
            # Whatever they said of other parameters or inputs is no longer the answer.
            for stale in (own / RECORD_FILE, own / "answer.json", _executed(own), _executed(own).with_suffix(".html")):
                stale.unlink(missing_ok=True)
            kernel = kernel or held.enter_context(Kernel(folder / "experiments"))
            started, clock = now(), time.perf_counter()
            try:
                kernel.execute(notebook, _executed(own), values)
            except (InputError, NotebookError) as error:
                say("failed\n", progress)
                failed[name] = error
                kernel = None  # its process may have died, or be left in any state
                continue
            except BaseException:
                say("stopped\n", progress)
                raise
            seconds = round(time.perf_counter() - clock, 1)
            record = {"fingerprint": current, "parameters": dict(values), "started": started, "seconds": seconds}
            write_json(own / RECORD_FILE, record)
            say(f"{seconds:.0f} s\n", progress)
            executed.append(name)
    return executed, skipped, failed


def _executed(own: Path) -> Path:
    return own / f"{own.name}.ipynb"


def _done(own: Path, current: str) -> bool:
    record = own / RECORD_FILE
    if not (record.exists() and _executed(own).exists() and (own / "answer.json").exists()):
        return False
    return bool(read_json(record).get("fingerprint") == current)


def _inputs(folder: Path, values: Mapping[str, Any]) -> list[Path]:
    """The files that the result of an experiment depends on."""
    given = [Path(values[name]) for name in _FILE_PARAMETERS if values.get(name)]
    others = [Path(values[name]) for name in _OTHER_FILE_PARAMETERS if values.get(name)]
    if values.get(_OTHER_RUN):
        others += [Path(values[_OTHER_RUN]) / name for name in _INPUTS]
    return (given or [folder / name for name in (*_INPUTS, *_SEARCH_INPUTS)]) + others
