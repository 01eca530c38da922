"""The ``anchorkit`` command: every subcommand is a few lines of the Python API.

Nothing heavy is imported before a command needs it, so that ``--help`` and bad options answer at once. What a command
has to say goes to standard output, everything else (progress, warnings, whatever a library prints) to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from anchorkit import __version__
from anchorkit.costs import COSTS
from anchorkit.errors import InputError, MissingExtraError
from anchorkit.suggest import did_you_mean

if TYPE_CHECKING:
    from anchorkit.anchors import AnchorLayout, Configuration
    from anchorkit.search import SearchResult

EXIT_BAD_INPUT, EXIT_INTERRUPTED = 2, 130
PROFILES = ("smoke", "quick", "full")
METRICS = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
    *("voc07", "voc"),
)
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_FRONTIER_ROWS = 20
_LATENCY_IMAGES = 50


@dataclass(frozen=True)
class Answer:
    """What a command has to say: for people, and with ``--json`` for programs."""

    text: str
    data: Mapping[str, Any]
    exit_code: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 done, 2 bad input (one line on standard error says what and where), 130 interrupted. A bug
        leaves as an exception: Python shows the traceback and exits with 1.
    """
    try:
        options = _parse(sys.argv[1:] if arguments is None else list(arguments))
        # Libraries print where they like (pycocotools does); standard output is for the answer alone.
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            answer: Answer = options.command(options)
        text = json.dumps(answer.data, allow_nan=False) if getattr(options, "json", False) else answer.text
        _print(text)
        return answer.exit_code
    except (InputError, MissingExtraError) as error:
        return _complain(str(error), EXIT_BAD_INPUT)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        return _complain(f"{error.filename or 'output'}: cannot be written ({error.strerror})", EXIT_BAD_INPUT)
    except KeyboardInterrupt as interrupt:
        import logging

        # An event loop that was cut off would report its unfinished tasks while Python ends.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        return _complain(str(interrupt) or "interrupted; the same command goes on from here", EXIT_INTERRUPTED)


def evaluate_command(options: argparse.Namespace) -> Answer:
    """``anchorkit evaluate``: the 12 COCO figures of a configuration."""
    from anchorkit.evaluation import Evaluator
    from anchorkit.predictions import PredictionTable

    predictions = PredictionTable.load(options.predictions)
    configuration = _configuration(predictions.layout, options)
    stats = {
        name: float(value) for name, value in Evaluator(predictions, options.ground_truth).stats(configuration).items()
    }
    rows = [(name, _points(value)) for name, value in stats.items()]
    return Answer(f"{_kept(configuration)}\n{_table(('', 'points'), rows)}", stats)


def search_command(options: argparse.Namespace) -> Answer:
    """``anchorkit search``: the configurations that no other one beats."""
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise InputError(f"--threshold {options.threshold:g}: an accuracy from 0 to 1 is needed (0.45 is 45 points)")
    from anchorkit.evaluation import Evaluator
    from anchorkit.predictions import PredictionTable
    from anchorkit.search import STRATEGIES, SearchInterrupted, search

    if options.strategy not in STRATEGIES:
        raise InputError(f"--strategy {options.strategy}: unknown; {did_you_mean(options.strategy, STRATEGIES)}")
    out: Path | None = options.out
    with contextlib.ExitStack() as held:
        if out is not None:
            from anchorkit.batch.lock import locked

            held.enter_context(locked(out))
        evaluator = Evaluator(PredictionTable.load(options.predictions), options.ground_truth, metric=options.metric)
        try:
            result = search(
                evaluator,
                cost=options.cost,
                threshold=options.threshold,
                strategy=options.strategy,
                moves=options.moves,
                ledger=None if out is None else out / "ledger.jsonl",
            )
        except SearchInterrupted as interrupt:
            raise KeyboardInterrupt(_keep_interrupted(interrupt.result, options.metric, out)) from None
        if out is not None:
            _save_search(result, out)
    return Answer(_search_text(result, options.metric, out), _search_data(result))


def costs_command(options: argparse.Namespace) -> Answer:
    """``anchorkit costs``: what a configuration costs, in all and level by level."""
    from anchorkit.costs import costs, level_costs

    configuration = _configuration(_layout(options), options)
    total, levels = costs(configuration), level_costs(configuration)
    rows = [
        (level["name"], f"{level['height']}x{level['width']}", *(_count(level[key]) for key in _LEVEL_COUNTS))
        for level in levels
    ]
    rows.append(("all", "", _count(total["n_anchors"]), _count(total["boxes"]), _count(total["head_flops"])))
    text = [
        _kept(configuration),
        _table(("level", "cells", "anchors", "boxes", "head FLOPs"), rows),
        f"whole network: {_count(total['total_flops'])} FLOPs; head: {_count(total['head_parameters'])} parameters",
    ]
    return Answer("\n".join(text), {**total, "levels": levels})


def run_command(options: argparse.Namespace) -> Answer:
    """``anchorkit run``: the notebooks, headless, then the page."""
    from anchorkit.batch import run_notebooks
    from anchorkit.batch.parameters import parse_assignments, read_all_parameters
    from anchorkit.bundled import notebooks_dir

    parameters = {}
    if options.parameters:
        parameters = parse_assignments(options.parameters, read_all_parameters(notebooks_dir()))
    folder = run_notebooks(
        profile=options.profile, data=options.data, detector=options.detector, out=options.out, parameters=parameters
    )
    index = folder / "index.html"
    return Answer(f"The result: open {index} in a browser", {"run": str(folder), "index": str(index)})


def export_command(options: argparse.Namespace) -> Answer:
    """``anchorkit export``: a detector of a run as an ONNX file with its description."""
    from anchorkit.batch.run_detectors import choose
    from anchorkit.costs import costs
    from anchorkit.detectors import export_onnx
    from anchorkit.files import read_json

    choice = choose(options.run, options.configuration)
    detector, full = choice.detector, choice.full
    out: Path = options.out or options.run / "export" / choice.name / "detector.onnx"
    model = export_onnx(detector, out, nms=options.nms)
    description = model.with_suffix(".json")
    facts = read_json(description)
    after = {**costs(detector.layout.full), "parameters": detector.parameters}
    before = {**costs(full.layout.full), "parameters": full.parameters}
    names = {"n_anchors": "anchors", "boxes": "boxes", "head_flops": "head FLOPs", "total_flops": "total FLOPs"}
    names["parameters"] = "parameters"
    rows = [(label, _count(before[name]), _count(after[name])) for name, label in names.items()]
    sizes = {str(path): path.stat().st_size for path in (model, description)}
    text = [
        f"{choice.name} of {full.name}{'' if choice.trained else ', pruned and not trained since'}",
        _table(("", "before", "after"), rows),
        *(f"{path}  {size / 1000:,.0f} kB" for path, size in sizes.items()),
    ]
    data = {
        "configuration": choice.name,
        "trained": choice.trained,
        "model": str(model),
        "description": str(description),
        "bytes": sizes[str(model)],
        "nms": facts["nms"],
        "verified": facts["verified"],
        "costs": after,
        "costs_before": before,
    }
    return Answer("\n".join(text), data)


def latency_command(options: argparse.Namespace) -> Answer:
    """``anchorkit latency``: how long detectors take, network and post-processing apart."""
    from anchorkit.datasets import load_dataset
    from anchorkit.detectors import load_detector
    from anchorkit.latency import measure_latency

    detectors = {str(folder): load_detector(folder) for folder in options.detectors}
    if len(detectors) < len(options.detectors):
        raise InputError("latency: the same detector is named twice")
    val = load_dataset(options.data).val
    images = [val.image(image_id) for image_id in val.image_ids[:_LATENCY_IMAGES]]
    report = measure_latency(detectors, images, runtime=options.runtime, threads=options.threads)
    first, *others = detectors
    comparisons = [report.compare(first, other, clock=clock) for other in others for clock in ("wall", "processor")]
    columns = ("median_ms", "q25_ms", "q75_ms", "cpu_ms")
    rows = [
        (f"{row['detector']} {row['part']}", *(f"{row[name]:.3f}" for name in columns))
        for row in report.frame.to_dict("records")
    ]
    text = [
        f"{report.runtime}, threads: {report.threads}, {report.machine['device']}: {report.machine['cpu']}; "
        f"{len(images)} images of {options.data}, one at a time",
        _table(("milliseconds", "median", "25 %", "75 %", "on processor"), rows),
        *map(str, comparisons),
    ]
    data = {**report.to_dict(), "comparisons": [dataclasses.asdict(comparison) for comparison in comparisons]}
    return Answer("\n".join(text), data)


def doctor_command(options: argparse.Namespace) -> Answer:
    """``anchorkit doctor``: what this machine has, what is missing, how to mend it."""
    from anchorkit.doctor import examine, render, usable

    checks = examine()
    data = {"usable": usable(checks), "checks": [check.to_dict() for check in checks]}
    return Answer(render(checks), data, exit_code=0 if usable(checks) else EXIT_BAD_INPUT)


def notebooks_command(options: argparse.Namespace) -> Answer:
    """``anchorkit notebooks``: copy the lessons out, to work on."""
    from anchorkit.bundled import copy_notebooks

    copied = copy_notebooks(options.folder)
    return Answer(f"{len(copied)} files in {options.folder}; start with: jupyter lab {options.folder}", {})


def lab_command(options: argparse.Namespace) -> Answer:
    """``anchorkit lab``: JupyterLab on the lessons."""
    from anchorkit.app.serving import open_lab

    open_lab(options.folder)
    return Answer("JupyterLab was stopped", {})


def app_command(options: argparse.Namespace) -> Answer:
    """``anchorkit app``: the explorers as a page, for people who do not write code."""
    from anchorkit.app.serving import serve_app

    serve_app(options.run, port=options.port, browser=options.browser)
    return Answer("The app was ended", {})


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as for any other bad input."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser, commands = _parser()
    first = next((argument for argument in arguments if not argument.startswith("-")), None)
    if first is not None and first not in commands:
        raise InputError(f"unknown command {first!r}; {did_you_mean(first, commands)}")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [option for action in commands[options.name]._actions for option in action.option_strings]
        what = "option" if unknown[0].startswith("-") else "argument"
        help_ = did_you_mean(unknown[0].partition("=")[0], known) if what == "option" else "there is no place for it"
        raise InputError(f"{options.name}: unknown {what} {unknown[0]}; {help_}")
    return options


def _parser() -> tuple[_Parser, dict[str, argparse.ArgumentParser]]:
    parser = _Parser(
        prog="anchorkit",
        description="Find out which anchors an object detector does not need, and make it smaller by them.",
        epilog="Exit codes: 0 done, 2 bad input, 130 interrupted, 1 a bug. IDS is a comma-separated list of anchor ids "
        "(L0/56x28) or indices.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"anchorkit {__version__}")
    adder = parser.add_subparsers(dest="name", metavar="COMMAND", required=True, parser_class=_Parser)
    commands: dict[str, argparse.ArgumentParser] = {}

    def add(name: str, command: Callable[[argparse.Namespace], Answer], help_: str) -> argparse.ArgumentParser:
        commands[name] = adder.add_parser(name, help=help_, description=help_, allow_abbrev=False)
        commands[name].set_defaults(command=command)
        return commands[name]

    run = add("run", run_command, "the notebooks, headless, then one HTML page with the result")
    run.add_argument(
        "--profile", type=_one_of("profile", PROFILES), default="quick", help="smoke, quick (default) or full"
    )
    run.add_argument("--data", default="shapes", help="a data set's name, or a folder with COCO json or VOC xml")
    run.add_argument("--detector", default="tiny_ssd", metavar="NAME", help="default: tiny_ssd")
    run.add_argument("--out", type=Path, metavar="DIR", help="the run's folder (default: runs/PROFILE-DATA)")
    run.add_argument(
        "-p", dest="parameters", action="append", metavar="NAME=VALUE", help="a parameter of the notebooks; repeatable"
    )

    evaluate = add("evaluate", evaluate_command, "the accuracy of a configuration, as pycocotools says")
    _add_inputs(evaluate)
    _add_keep_drop(evaluate)
    _add_json(evaluate)

    search = add("search", search_command, "the configurations that trade accuracy for cost best")
    _add_inputs(search)
    search.add_argument("--cost", type=_one_of("cost", COSTS), default="head_flops", help=f"{', '.join(COSTS)}")
    search.add_argument(
        "--metric",
        type=_one_of("metric", METRICS),
        default="AP",
        metavar="NAME",
        help="what accuracy means: AP (default), another of COCO's figures, as AP50 or APs, voc07 or voc (VOC AP)",
    )
    search.add_argument("--threshold", type=float, metavar="X", help="least accuracy, 0..1: nothing below is explored")
    search.add_argument("--strategy", default="algorithm1", metavar="NAME", help="algorithm1 (default) or authors")
    search.add_argument(
        "--moves",
        type=_one_of("kind of moves", ("auto", "anchor", "shared")),
        default="auto",
        help="what one step removes: an anchor, or a shape or level of a shared head (default: auto)",
    )
    search.add_argument(
        "--out", type=Path, metavar="DIR", help="write the frontier there; a stopped search goes on from it"
    )
    _add_json(search)

    costs = add("costs", costs_command, "what a configuration costs: boxes, FLOPs, parameters")
    costs.add_argument(
        "layout", metavar="LAYOUT", help="a layout .json, a prediction table, a saved or a named detector"
    )
    costs.add_argument("--classes", type=int, metavar="N", help="object classes of a named detector (default: 80)")
    costs.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="input size of a named detector in pixels")
    _add_keep_drop(costs)
    _add_json(costs)

    export = add("export", export_command, "a detector of a run as an ONNX file, with a description for other programs")
    export.add_argument("run", type=Path, metavar="RUN", help="a run's folder, or a saved detector's")
    export.add_argument(
        "--configuration",
        metavar="NAME",
        help="shipped (default: what the report ships), full, a retrained point as A-fine-tuned, the number of a row "
        "of the frontier from 1, or IDS to keep; the last two are pruned and not trained",
    )
    export.add_argument("--nms", action="store_true", help="put threshold, top-k and NMS inside: it gives detections")
    export.add_argument(
        "--out", type=Path, metavar="FILE", help="the .onnx file (default: RUN/export/NAME/detector.onnx)"
    )
    _add_json(export)

    latency = add("latency", latency_command, "how long detectors take, measured in turn; network and NMS apart")
    latency.add_argument("detectors", type=Path, nargs="+", metavar="DETECTOR", help="the folders of saved detectors")
    latency.add_argument("--data", default="shapes", help="a data set's name, or a folder; the detectors' own is best")
    runtimes = ("torch", "onnxruntime")
    latency.add_argument("--runtime", type=_one_of("runtime", runtimes), default="torch", help=" or ".join(runtimes))
    latency.add_argument("--threads", type=int, default=1, metavar="N", help="default: 1")
    _add_json(latency)

    doctor = add("doctor", doctor_command, "what this machine has, what is missing, how to mend it")
    _add_json(doctor)

    notebooks = add("notebooks", notebooks_command, "copy the lessons to a folder, to work on")
    notebooks.add_argument("folder", type=Path, metavar="DIR")

    lab = add("lab", lab_command, "JupyterLab on the lessons, copied to a folder first if they are not there")
    lab.add_argument("folder", type=Path, nargs="?", default=Path("lessons"), metavar="DIR", help="default: lessons")

    app = add(
        "app", app_command, "the explorers as a page in the browser, no code needed (pip install 'anchorkit[app]')"
    )
    app.add_argument("run", type=Path, nargs="?", metavar="RUN", help="a run's folder (default: the shipped detector)")
    app.add_argument("--port", type=int, default=0, metavar="N", help="default: any that is free")
    app.add_argument("--no-browser", dest="browser", action="store_false", help="say the address, open nothing")
    return parser, commands


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="a prediction table (.parquet)")
    parser.add_argument("ground_truth", type=Path, metavar="GROUND_TRUTH", help="annotations (COCO .json)")


def _add_keep_drop(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--keep", metavar="IDS", help="the anchors to keep (default: all)")
    which.add_argument("--drop", metavar="IDS", help="the anchors to leave out")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, and nothing else")


def _one_of(what: str, known: Sequence[str]) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"unknown {what} {text!r}; {did_you_mean(text, known)}")
        return text

    return check


def _configuration(layout: AnchorLayout, options: argparse.Namespace) -> Configuration:
    from anchorkit.anchors import parse_anchor_list

    keep = None if options.keep is None else parse_anchor_list(options.keep)
    drop = None if options.drop is None else parse_anchor_list(options.drop)
    return layout.configuration(keep=keep, drop=drop)


def _layout(options: argparse.Namespace) -> AnchorLayout:
    path = Path(options.layout)
    if path.suffix in {".json", ".parquet"} or path.is_dir():
        if options.classes is not None or options.size is not None:
            raise InputError(f"{path}: has its classes and size; --classes and --size are for a detector's name")
        return _read_layout(path)
    if path.exists() or len(path.parts) > 1:
        raise InputError(f"{path}: not a layout .json, a prediction table .parquet or a detector's folder")
    from anchorkit.detectors import layout_of

    size = None if options.size is None else (options.size[0], options.size[1])
    return layout_of(options.layout, 80 if options.classes is None else options.classes, size)


def _read_layout(path: Path) -> AnchorLayout:
    if path.suffix == ".parquet":
        from anchorkit.predictions import PredictionTable

        return PredictionTable.load(path).layout
    from anchorkit.anchors import AnchorLayout
    from anchorkit.files import read_json

    source = path / "detector.json" if path.is_dir() else path
    data = read_json(source)
    if isinstance(data, dict) and "layout" in data:  # a saved detector's file has its layout inside
        data = data["layout"]
    return AnchorLayout.from_dict(data, str(source))


def _save_search(result: SearchResult, out: Path) -> None:
    from anchorkit import plots

    result.save(out)
    plots.setup()
    chart = plots.frontier(result.frontier, result.cost, full=result.baseline.to_frame().T, evaluated=result.evaluated)
    for name in ("frontier.png", "frontier.html"):
        plots.save(chart, out / name)


def _keep_interrupted(result: SearchResult, metric: str, out: Path | None) -> str:
    """Write what an interrupted search has found, or show it, and say how to go on.

    Standard output stays empty: nobody shall take half a search for the whole.
    """
    if out is not None:
        print(f"stopping: writing what was found to {out}", file=sys.stderr)
        _save_search(result, out)
        return f"interrupted after {len(result.evaluated):,} configurations; the same command goes on from here"
    print(_search_text(result, metric), file=sys.stderr)
    return "interrupted; the frontier so far is above. With --out DIR, the same command would go on from here"


def _search_data(result: SearchResult) -> dict[str, Any]:
    names = [name for name in COSTS if name in result.frontier.columns]
    frontier = [
        {
            "accuracy": float(row["accuracy"]),
            "costs": {name: int(row[name]) for name in names},
            "anchors": list(configuration.indices),
        }
        for row, configuration in zip(result.frontier.to_dict("records"), result.configurations, strict=True)
    ]
    return {"frontier": frontier, "evaluated": len(result.evaluated)}


def _search_text(result: SearchResult, metric: str, out: Path | None = None) -> str:
    names = [name for name in COSTS if name in result.frontier.columns]
    rows = [
        (_points(row["accuracy"]), str(row["n_anchors"]), *(_count(row[name]) for name in names))
        for row in result.frontier.to_dict("records")
    ]
    step = max(1, -(-len(rows) // _FRONTIER_ROWS))
    shown = rows[::step] if (len(rows) - 1) % step == 0 else [*rows[::step], rows[-1]]
    good = "accuracy" if metric == "AP" else metric
    heading = f"{len(rows)} configurations that no other one beats in {good} and {result.cost}"
    if len(shown) < len(rows):
        heading += f"; {len(shown)} of them"
    text = [f"{len(result.evaluated)} configurations tried. {heading}:", _table(("points", "anchors", *names), shown)]
    if out is not None:
        text.append(f"Written to {out}: frontier.csv, evaluated.parquet, frontier.png, frontier.html")
    return "\n".join(text)


_LEVEL_COUNTS = ("anchors", "boxes", "head_flops")


def _kept(configuration: Configuration) -> str:
    return f"{configuration.layout.detector}: {len(configuration)} of {len(configuration.layout)} anchors"


def _points(accuracy: float) -> str:
    """An accuracy of 0..1 in points; COCO's -1 (nothing to find) as a dash."""
    return "-" if accuracy < 0 else f"{100 * accuracy:.1f}"


def _count(value: float | None) -> str:
    return "unknown" if value is None else f"{int(value):,}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they need; the first to the left, numbers to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Whoever read has gone (`anchorkit search ... | head`). Python would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str, code: int) -> int:
    # Progress bars leave the cursor in the middle of a line.
    start = "\n" if code == EXIT_INTERRUPTED else ""
    print(f"{start}anchorkit: {' '.join(message.split())}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"anchorkit: warning: {' '.join(str(message).split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
