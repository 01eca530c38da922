"""Running experiments on a run's folder, independently, then one page with all their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from anchorkit.batch.beforehand import look_beforehand
from anchorkit.batch.drive import Desk, InOrder
from anchorkit.batch.execution import Kernel
from anchorkit.batch.plans import EXPERIMENTS, Resolver, Step, find_notebooks, make_step, profile_named
from anchorkit.errors import InputError
from anchorkit.files import read_json, write_json
from anchorkit.runs.answers import EXECUTED_FILE, forget_answer
from anchorkit.runs.lock import locked
from anchorkit.runs.provenance import content_hash, data_content, facts_hash
from anchorkit.runs.record import Executed, RunRecord
from anchorkit.suggest import did_you_mean

# What experiments read of a run.
_DETECTOR = ("detector.json", "model.safetensors", "model.onnx")
_INPUTS = ("data.json", "predictions.parquet", *(f"detector/{name}" for name in _DETECTOR))
_SEARCH_INPUTS = ("search/search.json", "search/frontier.csv")


@dataclass(frozen=True)
class ExperimentsRun:
    """The outcomes of the requested experiments.

    Attributes:
        page: the page with all answers in the run's folder, those of earlier calls too.
        executed: names of the experiments that were executed now.
        skipped: names of those that were done before, with the same source, parameters and inputs.
        failed: the error by name, an `InputError` or a `NotebookError`.
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

    Experiments do not build on each other. A failed one does not stop the others. One that was done before with the
    same source, parameters and inputs (the current data included) is not executed again. The executed notebooks
    are in ``experiments/NAME/`` of the run's folder, beside the experiment's files.

    Args:
        run_dir: the folder of a run that the lessons have made; or any folder, if the parameters ``predictions`` and
            ``ground_truth`` name a table and its annotations and the requested experiments need no more.
        names: which experiments, by name (``"12_finetune_or_retrain"``) or number (``"12"``); None for all.
        profile: ``"smoke"``, ``"quick"`` or ``"full"``; None for the run's own, or quick where the folder has none.
        parameters: values by ``NAME``, for every experiment that has a parameter of that name, or by
            ``EXPERIMENT.NAME``; they take precedence over the profile. Relative paths start from the working folder.
        progress: one line per experiment on standard error.
        notebooks: folder of the experiments; the shipped ones by default.

    Raises:
        InputError: unknown experiments or parameters, or the folder is in use.
    """
    folder = Path(run_dir).resolve()
    chosen = _chosen(find_notebooks(notebooks, EXPERIMENTS), names)
    resolver = experiment_resolver(chosen)
    given = {name: resolver.check(name, value, "-p") for name, value in (parameters or {}).items()}
    record = RunRecord.read_if_there(folder) or RunRecord()
    values = resolver.resolve(given, profile_named(profile or record.profile or "quick"))
    inputs_of = cache(_inputs)  # reads a folder of data once, not once per experiment
    steps = [_step(notebook, values[notebook.stem], folder, inputs_of) for notebook in chosen]
    noted = folder / "data.json"
    look_beforehand([{"01_data": read_json(noted)}] if noted.exists() else [])
    with locked(folder):
        place = _ExperimentFolders(folder)
        drive = InOrder(steps, place, Kernel(folder / "experiments"), progress, keep_going=True)
        drive.execute()
        # Importing charts and notebooks takes a second, so they are imported only here.
        from anchorkit.pages.answers import write_answers_page

        page = write_answers_page(folder)
    return ExperimentsRun(page, tuple(drive.executed), tuple(drive.skipped), drive.failed)


def experiment_resolver(experiments: Sequence[Path] | None = None) -> Resolver:
    """Decides which values the parameters of experiments get; by default of all that are shipped."""
    found = find_notebooks(None, EXPERIMENTS) if experiments is None else experiments
    return Resolver.of(found, {"run_dir": "use the first argument for that"})


def _chosen(experiments: list[Path], names: Sequence[str] | None) -> list[Path]:
    if names is None:
        return experiments
    by_name = {path.stem: path for path in experiments} | {path.stem[:2]: path for path in experiments}
    for name in names:
        if name not in by_name:
            raise InputError(f"unknown experiment {name!r}; {did_you_mean(name, [path.stem for path in experiments])}")
    return sorted({by_name[name] for name in names})


@dataclass(frozen=True)
class _ExperimentFolders:
    """The folder of each experiment in a run's folder."""

    run: Path

    def is_done(self, step: Step) -> bool:
        own = self._own(step)
        if not all((own / name).exists() for name in (EXECUTED_FILE, "answer.json", step.notebook.name)):
            return False
        return bool(read_json(own / EXECUTED_FILE).get("fingerprint") == step.key)

    def begin(self, step: Step) -> Desk:
        self._own(step).mkdir(parents=True, exist_ok=True)
        forget_answer(self._own(step))
        return Desk(self.run / "experiments", self.run, self._own(step) / step.notebook.name)

    def note(self, step: Step, executed: Executed) -> None:
        write_json(self._own(step) / EXECUTED_FILE, vars(executed))

    def _own(self, step: Step) -> Path:
        return self.run / "experiments" / step.name


def _step(
    notebook: Path, values: Mapping[str, Any], run: Path, inputs_of: Callable[[Path, tuple[str, ...]], str]
) -> Step:
    other = values.get("other_run_dir")
    inputs = [] if values.get("predictions") else [inputs_of(run, (*_INPUTS, *_SEARCH_INPUTS))]
    inputs += [inputs_of(Path(other), _INPUTS)] if other else []

    def hash_of(path: Path) -> str:
        return "a run" if str(path) == other else content_hash(path)  # its pages and pictures do not matter

    return make_step(notebook, values, " ".join(inputs) or None, hash_of)


def _inputs(run: Path, names: tuple[str, ...]) -> str:
    """A digest of files of a run, and of the current content of its data."""
    found = {name: content_hash(run / name) if (run / name).is_file() else "missing" for name in names}
    return facts_hash([found, data_content(run)], sort_keys=False)
