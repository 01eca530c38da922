"""``anchorkit check``: what is implausible in a data set, or in a prediction table and its ground truth."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from anchorkit.cli.answers import EXIT_BAD_INPUT, Answer
from anchorkit.cli.options import AddCommand, add_json, add_max_dets
from anchorkit.errors import InputError

if TYPE_CHECKING:
    from anchorkit.findings import Finding


def add_commands(add: AddCommand) -> None:
    check = add("check", check_command, "what is implausible in a data set, or in predictions and their ground truth")
    check.add_argument(
        "subject",
        metavar="PREDICTIONS|DATA",
        help="a prediction table (.parquet), or a data set: its folder, a COCO .json, or shapes",
    )
    check.add_argument("ground_truth", type=Path, nargs="?", metavar="GROUND_TRUTH", help="annotations of the table")
    add_max_dets(check)
    add_json(check)


def check_command(options: argparse.Namespace) -> Answer:
    """``anchorkit check``: one line per finding; exit code 2 where the kit refuses the data."""
    from anchorkit.findings import ImplausibleDataError, ImplausibleDataWarning

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
