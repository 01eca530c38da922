"""What the experiment notebooks (10 and up) share: their source of predictions, and the answer at their end.

An experiment works on a run of the lessons, or on any prediction table and its ground truth. It writes its files to
``experiments/NAME/`` in the run's folder: tables, pictures, and ``answer.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from anchorkit.errors import InputError
from anchorkit.evaluation.ground_truth import GroundTruth, read_ground_truth
from anchorkit.files import read_json, write_json
from anchorkit.findings import nothing_can_be_told
from anchorkit.predictions import PredictionTable
from anchorkit.runs.folder import left_by_earlier, load_data

EXECUTED_FILE = "executed.json"
"""`anchorkit experiments` writes it beside an experiment's answer: its parameters and key."""

VERDICTS = ("held", "did not hold", "cannot be told here")
"""The possible verdicts of an experiment on a claim."""


def verdict_of(sign: int, unpruned: Iterable[float]) -> str:
    """The verdict on a claim, by a rule that was fixed beforehand.

    Args:
        sign: 1 if the rule is met (such as a difference whose whole interval is above zero), -1 if its opposite is met,
            0 if neither.
        unpruned: AP (0..1) of the detectors that the comparison starts from, one per seed.

    Returns:
        One of `VERDICTS`; always the last one if a detector is hardly trained.
    """
    if nothing_can_be_told(min(unpruned)):
        return "cannot be told here"
    return {1: "held", -1: "did not hold", 0: "cannot be told here"}[sign]


def judged(verdict: str, answer: str, unpruned: float, images: int | None = None) -> tuple[str, str]:
    """A verdict and an answer by the rule of `anchorkit.findings.nothing_can_be_told`.

    Args:
        verdict: by the experiment's own rule, one of `VERDICTS`.
        answer: with its figures.
        unpruned: AP (0..1) of the full detector.
        images: on how many images it was measured.

    Returns:
        Both as they are; where nothing can be told, the last of `VERDICTS` and the reason before the answer.

    Example:
        >>> judged("held", "All is well.", unpruned=0.01)[0]
        'cannot be told here'
    """
    nothing = nothing_can_be_told(unpruned, images=images)
    return (VERDICTS[2], f"{nothing}. {answer}") if nothing else (verdict, answer)


def open_table(
    run_dir: str | Path = "", predictions: str | Path = "", ground_truth: str | Path = ""
) -> tuple[PredictionTable, GroundTruth]:
    """The predictions of an experiment, and their ground truth.

    Args:
        run_dir: a run's folder, for its detector's predictions on the validation images.
        predictions: a prediction table instead; empty for the run's.
        ground_truth: the annotations (COCO json) that belong to `predictions`.

    Raises:
        InputError: neither a run nor both other arguments are given, or a file is missing or broken.
    """
    if bool(str(predictions)) != bool(str(ground_truth)):
        raise InputError("predictions and ground_truth go together: give both, or neither and the run's folder")
    if str(predictions):
        return PredictionTable.load(predictions), read_ground_truth(str(ground_truth))
    if not str(run_dir):
        raise InputError("nothing to look at: give run_dir, or predictions and ground_truth")
    table = PredictionTable.load(left_by_earlier(run_dir, "predictions.parquet"))
    return table, read_ground_truth(load_data(run_dir).val.ground_truth)


def open_test_table(
    run_dir: str | Path = "",
    predictions: str | Path = "",
    test_predictions: str | Path = "",
    test_ground_truth: str | Path = "",
    progress: bool = False,
) -> tuple[PredictionTable, GroundTruth] | None:
    """Predictions of the same detector on images that no search has seen, if there are any.

    Those of a run are the ones that 02_detector put aside or, in a run without them, collected now by its detector.

    Args:
        run_dir: a run's folder.
        predictions: as for `open_table`; with a table of your own only `test_predictions` gives test images.
        test_predictions: a prediction table instead; empty for the run's.
        test_ground_truth: the annotations (COCO json) that belong to `test_predictions`.
        progress: show a progress bar on standard error.

    Returns:
        The table and its ground truth; None if the data has no test split or the run has no detector.

    Raises:
        InputError: only one of the last two paths is given, or a file is missing or broken.
    """
    if bool(str(test_predictions)) != bool(str(test_ground_truth)):
        raise InputError("test_predictions and test_ground_truth go together: give both or neither")
    if str(test_predictions):
        return open_table(predictions=test_predictions, ground_truth=test_ground_truth)
    folder = Path(run_dir) / "detector"
    if str(predictions) or not (folder / "detector.json").exists():
        return None
    split = load_data(run_dir).test
    if split is None:
        return None
    put_aside = Path(run_dir) / "predictions_test.parquet"
    if put_aside.exists():
        return PredictionTable.load(put_aside), read_ground_truth(split.ground_truth)
    # Only here: an experiment on a table of your own needs no torch.
    from anchorkit.detectors import load_detector
    from anchorkit.predictions import collect_predictions

    return collect_predictions(load_detector(folder), split, progress=progress), read_ground_truth(split.ground_truth)


def experiment_folder(run_dir: str | Path, name: str) -> Path:
    """The folder for the files of an experiment, made if necessary: ``RUN/experiments/NAME``."""
    folder = Path(run_dir) / "experiments" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def verdict_on_all(verdicts: Iterable[str]) -> str:
    """The verdict on several claims together: held if all held, did not hold if one did not.

    Example:
        >>> verdict_on_all(["held", "cannot be told here"])
        'cannot be told here'
    """
    found = set(verdicts)
    return VERDICTS[1] if VERDICTS[1] in found else VERDICTS[0] if found == {VERDICTS[0]} else VERDICTS[2]


def save_answer(
    folder: str | Path,
    claim: str,
    section: str,
    verdict: str,
    answer: str,
    figures: Mapping[str, Any],
    parts: Mapping[str, tuple[str, str, str]] | None = None,
) -> dict[str, Any]:
    """Write ``answer.json``: the verdict of an experiment on a claim of the paper.

    Args:
        folder: the experiment's, see `experiment_folder`.
        claim: the claim in one sentence.
        section: where the paper makes it, such as ``"3.3, Fig. 3"``; of another paper than the one on anchors with the
            name of that paper.
        verdict: one of `VERDICTS`.
        answer: the result in one or two sentences with figures.
        figures: the figures by name: numbers, texts or lists of them; seeds and intervals too.
        parts: where the experiment looks at several claims, each by its name: claim, verdict and answer.

    Returns:
        What was written.

    Raises:
        InputError: there is no such verdict.
    """
    own = {name: dict(zip(("claim", "verdict", "answer"), part, strict=True)) for name, part in (parts or {}).items()}
    for given in (verdict, *(part["verdict"] for part in own.values())):
        if given not in VERDICTS:
            raise InputError(f"verdict {given!r}: use {', '.join(map(repr, VERDICTS))}")
    written = {"claim": claim, "section": section, "verdict": verdict, "answer": answer, "figures": dict(figures)}
    written |= {"parts": own} if own else {}
    write_json(Path(folder) / "answer.json", written)
    return written


def read_answers(run_dir: str | Path) -> dict[str, dict[str, Any]]:
    """The answers in a run's folder, by the name of the experiment."""
    found = sorted((Path(run_dir) / "experiments").glob("*/answer.json"))
    return {path.parent.name: read_json(path) for path in found}


def forget_answer(folder: str | Path) -> None:
    """Remove the answer of an experiment, because its parameters or inputs have changed.

    Args:
        folder: the experiment's; files that it can resume from stay.
    """
    own = Path(folder)
    for name in (EXECUTED_FILE, "answer.json", f"{own.name}.ipynb", f"{own.name}.html"):
        (own / name).unlink(missing_ok=True)


def forget_answers(run_dir: str | Path) -> list[str]:
    """Remove the answers of all experiments on the run's own predictions, and the page of answers.

    Returns:
        The folders from which an answer was removed.
    """
    run, removed = Path(run_dir), []
    for path in sorted(run.glob(f"experiments/*/{EXECUTED_FILE}")):
        if not read_json(path)["parameters"].get("predictions"):
            forget_answer(path.parent)
            removed.append(path.parent.relative_to(run).as_posix())
    (run / "experiments" / "index.html").unlink(missing_ok=True)
    return removed
