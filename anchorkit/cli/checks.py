"""``anchorkit check``: what is implausible in a data set, or in a prediction table and its ground truth."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from anchorkit.cli.answers import EXIT_BAD_INPUT, Answer, points, table
from anchorkit.cli.options import AddCommand, add_facts, add_json, add_max_dets, add_split, onnx_and_split
from anchorkit.errors import InputError

if TYPE_CHECKING:
    from anchorkit.datasets import Split
    from anchorkit.findings import Finding
    from anchorkit.onnx import OnnxDetector


def add_commands(add: AddCommand) -> None:
    check = add("check", check_command, "what is implausible in a data set, or in predictions and their ground truth")
    check.add_argument(
        "subject",
        metavar="PREDICTIONS|DATA",
        help="a prediction table (.parquet), a data set (its folder, a COCO .json, or shapes), or an .onnx file",
    )
    check.add_argument(
        "ground_truth",
        type=Path,
        nargs="?",
        metavar="GROUND_TRUTH|DATA",
        help="annotations of the table; for an .onnx file the data set with its images",
    )
    add_facts(check)
    add_split(check)
    check.add_argument("--out", type=Path, metavar="FILE", help="draw what the .onnx file finds: a .png file")
    add_max_dets(check)
    add_json(check)


def check_command(options: argparse.Namespace) -> Answer:
    """``anchorkit check``: one line per finding; exit code 2 where the kit refuses the data."""
    from anchorkit.findings import ImplausibleDataError, ImplausibleDataWarning
    from anchorkit.runs.onnx_file import is_onnx

    if is_onnx(options.subject):
        return _preparation(options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImplausibleDataWarning)  # the answer says it
        try:
            findings = _data(options.subject) if options.ground_truth is None else _table(options)
        except ImplausibleDataError as error:
            findings = error.findings
    lines = [f"{finding.severity}: {finding.name}: {finding}" for finding in findings]
    refused = any(finding.severity == "refused" for finding in findings)
    return Answer(
        "\n".join(lines) or f"{options.subject}: nothing implausible found",
        {"findings": [finding.to_dict() for finding in findings]},
        EXIT_BAD_INPUT if refused else 0,
    )


def _preparation(options: argparse.Namespace) -> Answer:
    """Whether an ONNX file is fed as it was trained: AP of all anchors, and of other ways to prepare the images."""
    from anchorkit.analysis.preprocessing import better_preprocessing, try_preprocessing

    if options.ground_truth is None:
        raise InputError(f"{options.subject}: give the data set with its images: check {options.subject} DATA")
    detector, split = onnx_and_split(options.subject, options)
    tried = try_preprocessing(detector, split)
    better = better_preprocessing(tried)
    rows = [
        (f"{row['preprocess']}{' (in use)' if row['used'] else ''}", points(row["AP"]), points(row["AP50"]))
        for row in tried.to_dict("records")
    ]
    text = [
        str(detector),
        table((f"on {min(len(split), 50)} images", "AP", "AP50"), rows),
        "No other way to prepare the images gives a clearly higher AP." if better is None else f"Better: {better}",
    ]
    if options.out is not None:
        in_use = str(tried.loc[tried["used"], "preprocess"].iloc[0])
        text.append(f"Drawn in {_first_look(options.out, detector, split, in_use)}")
    data = {"tried": tried.to_dict("records"), "better": better, "findings": []}
    return Answer("\n".join(text), data)


def _first_look(path: Path, detector: OnnxDetector, split: Split, preparation: str) -> Path:
    from anchorkit import plots
    from anchorkit.analysis.preprocessing import samples
    from anchorkit.evaluation import Evaluator
    from anchorkit.predictions import collect_predictions

    some = split.subset(min(50, len(split)))
    evaluator = Evaluator(collect_predictions(detector, some), some.ground_truth)
    heading = f"AP {points(evaluator.accuracy(evaluator.full))} on {len(some)} images\n{preparation}"
    return plots.save(plots.first_look(*samples(evaluator, some), heading), path)


def _table(options: argparse.Namespace) -> tuple[Finding, ...]:
    from anchorkit.evaluation.ground_truth import read_ground_truth
    from anchorkit.predictions import PredictionTable
    from anchorkit.predictions_check import check_pair

    table = PredictionTable.load(options.subject)
    truth = read_ground_truth(str(options.ground_truth))
    for warning in table.check(truth):
        warnings.warn(warning, stacklevel=2)
    return check_pair(table, truth, options.ground_truth, options.max_dets[-1])


def _data(subject: str) -> tuple[Finding, ...]:
    from anchorkit.datasets import load_dataset
    from anchorkit.datasets.coco import load_coco_file
    from anchorkit.datasets.plausibility import check_dataset

    path = Path(subject).expanduser()
    if path.suffix == ".parquet":
        raise InputError(f"{path}: a prediction table is checked against its annotations: check {path} GROUND_TRUTH")
    if path.suffix == ".json" and path.is_file():
        annotations = load_coco_file(path)
        for note in annotations.notes:
            warnings.warn(note, stacklevel=2)
        return check_dataset(annotations)
    data = load_dataset(subject)
    # Loading has checked everything but the set that the kit draws itself.
    return check_dataset(data) if subject == "shapes" else data.findings
