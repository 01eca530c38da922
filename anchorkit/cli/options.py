"""The parser, and the options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from anchorkit.cli.answers import Answer
from anchorkit.costs import COSTS
from anchorkit.errors import InputError
from anchorkit.suggest import did_you_mean

if TYPE_CHECKING:
    from anchorkit.anchors import AnchorLayout, Configuration
    from anchorkit.datasets import Split
    from anchorkit.onnx import OnnxDetector
    from anchorkit.predictions import PredictionTable


class AddCommand(Protocol):
    """Registers a command under a name and returns the parser for its options."""

    def __call__(
        self, name: str, command: Callable[[argparse.Namespace], Answer], help_: str
    ) -> argparse.ArgumentParser: ...


class Parser(argparse.ArgumentParser):
    """A parser that reports bad options in one line, as any other bad input."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "predictions",
        type=Path,
        metavar="PREDICTIONS",
        help="a prediction table (.parquet), or a detector's .onnx file",
    )
    parser.add_argument(
        "ground_truth",
        type=Path,
        metavar="GROUND_TRUTH",
        help="annotations (COCO .json); for an .onnx file the data set that it looks at",
    )
    add_facts(parser)
    add_split(parser)


def add_facts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p",
        dest="facts",
        action="append",
        metavar="NAME=VALUE",
        help="what an .onnx file cannot say, such as preset=ultralytics, color=BGR or outputs=boxes,scores; repeatable "
        "(see docs/onnx.md)",
    )


def add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--split",
        choices=("train", "val", "test"),
        default="val",
        help="the images of the data set that are looked at (default: val)",
    )


def predictions_and_truth(options: argparse.Namespace) -> tuple[PredictionTable, Any]:
    """The prediction table and the ground truth that a command was given; an ONNX file predicts first."""
    from anchorkit.predictions import PredictionTable, collect_predictions
    from anchorkit.runs.onnx_file import is_onnx

    if not is_onnx(options.predictions):
        if options.facts:
            raise InputError(f"-p {options.facts[0]}: {options.predictions} is not an .onnx file")
        return PredictionTable.load(options.predictions), options.ground_truth
    detector, split = onnx_and_split(options.predictions, options)
    return collect_predictions(detector, split), split.ground_truth


def onnx_and_split(file: Path, options: argparse.Namespace) -> tuple[OnnxDetector, Split]:
    """The detector of an ONNX file, and the images of the data set that it looks at."""
    from anchorkit.datasets import load_dataset
    from anchorkit.runs.onnx_file import open_onnx, parse_facts

    facts = parse_facts(options.facts)
    splits = load_dataset(str(options.ground_truth)).splits()
    if options.split not in splits:
        raise InputError(f"--split {options.split}: {options.ground_truth} has {', '.join(splits)}")
    split = splits[options.split]
    return open_onnx(file, facts, split.categories), split


def add_keep_drop(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--keep", metavar="IDS", help="the anchors to keep (default: all)")
    which.add_argument("--drop", metavar="IDS", help="the anchors to remove")


def add_named_detector(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--classes", type=int, metavar="N", help="object classes of a named detector (default: 80)")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="input size of a named detector in pixels"
    )


def named_size(options: argparse.Namespace) -> tuple[int, int] | None:
    return None if options.size is None else (options.size[0], options.size[1])


def add_scheduler(parser: argparse.ArgumentParser) -> None:
    """Add the option that runs the work on a cluster."""
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="distribute the work over the workers of a Dask scheduler, e.g. tcp://10.0.0.1:8786 (extra cluster)",
    )


def add_cost(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(COSTS)
    parser.add_argument(
        "--cost", type=one_of("cost", COSTS), default="head_flops", help=f"{names} (default: head_flops)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output and nothing else")


def add_max_dets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-dets",
        type=_max_dets,
        default=(1, 10, 100),
        metavar="N[,N[,N]]",
        help="detections of a class in an image that count, rising; AP counts the last (default: 1,10,100)",
    )


def _max_dets(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not 1 <= len(found) <= 3 or found[0] < 1 or list(found) != sorted(set(found)):
        raise argparse.ArgumentTypeError(f"--max-dets {text}: one to three rising whole numbers, as 1,10,300")
    return found


def one_of(what: str, known: Collection[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"unknown {what} {text!r}; {did_you_mean(text, known)}")
        return text

    return check


def chosen_configuration(layout: AnchorLayout, options: argparse.Namespace) -> Configuration:
    from anchorkit.anchors import parse_anchor_list

    keep, drop = (None if text is None else parse_anchor_list(text) for text in (options.keep, options.drop))
    return layout.configuration(keep=keep, drop=drop)
