"""``anchorkit run``: execute the lessons headless."""

from __future__ import annotations

import argparse
from pathlib import Path

from anchorkit.cli.answers import Answer
from anchorkit.cli.options import AddCommand, one_of

PROFILES = ("smoke", "quick", "full")


def add_commands(add: AddCommand) -> None:
    run = add("run", run_command, "execute the notebooks headless, and write one HTML page with the result")
    run.add_argument(
        "--profile", type=one_of("profile", PROFILES), default="quick", help="smoke, quick (default) or full"
    )
    run.add_argument(
        "--data",
        default="shapes",
        help="a data set's name, a folder with COCO json, VOC xml, CVAT xml or YOLO txt files, or a data.yaml",
    )
    run.add_argument(
        "--detector",
        default="tiny_ssd",
        metavar="NAME",
        help="the name of a detector (default: tiny_ssd), darknet's .cfg, or an .onnx file; -p says what a file cannot "
        "say, such as -p weights=my.weights or -p preset=ultralytics",
    )
    run.add_argument("--out", type=Path, metavar="DIR", help="the run's folder (default: runs/PROFILE-DATA)")
    run.add_argument(
        "-p", dest="parameters", action="append", metavar="[NOTEBOOK.]NAME=VALUE", help="a parameter; repeatable"
    )


def run_command(options: argparse.Namespace) -> Answer:
    """``anchorkit run``: execute the notebooks headless, then write the page."""
    from anchorkit.batch import run_notebooks
    from anchorkit.batch.runner import lesson_resolver
    from anchorkit.pages.run_words import last_words

    parameters = lesson_resolver().parse(options.parameters)
    folder = run_notebooks(
        profile=options.profile, data=options.data, detector=options.detector, out=options.out, parameters=parameters
    )
    index = folder / "index.html"
    text = [*last_words(folder), f"The result: open {index} in a browser"]
    return Answer("\n".join(text), {"run": str(folder), "index": str(index)})
