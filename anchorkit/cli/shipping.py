"""Commands that hand on a result: ``prune``, ``export``, ``handout``, ``latency``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anchorkit.cli.answers import Answer, count, kept, points, table
from anchorkit.cli.options import (
    AddCommand,
    add_facts,
    add_json,
    add_keep_drop,
    add_split,
    chosen_configuration,
    one_of,
    onnx_and_split,
)
from anchorkit.errors import InputError

if TYPE_CHECKING:
    from anchorkit.detectors import Detector

_LATENCY_IMAGES = 50


def add_commands(add: AddCommand) -> None:
    prune = add(
        "prune",
        prune_command,
        "remove anchors from an .onnx file, or anchors and channels from darknet's files or a saved detector",
    )
    prune.add_argument(
        "detector",
        type=Path,
        metavar="FILE.onnx|FILE.cfg|DIR",
        help="an .onnx file, darknet's .cfg, or the folder of a saved detector or a run",
    )
    prune.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="darknet's .weights (default: that beside the .cfg, of the same name)",
    )
    add_keep_drop(prune)
    prune.add_argument("--channels", type=float, metavar="RATIO", help="also remove this share of the channels, 0..1")
    prune.add_argument(
        "--data",
        metavar="DIR",
        help="for --channels: the data set whose training images show which channels can go; for an .onnx file: the "
        "data set (see --split) on which both files are evaluated",
    )
    add_split(prune)
    prune.add_argument(
        "--out", type=Path, required=True, metavar="OUT", help="the smaller .onnx or .cfg file, or folder"
    )
    add_facts(prune)
    add_json(prune)

    export = add(
        "export", export_command, "write a detector of a run as an ONNX file, with a description for other programs"
    )
    export.add_argument("run", type=Path, metavar="RUN", help="a run's folder, or a saved detector's")
    export.add_argument(
        "--configuration",
        metavar="NAME",
        help="shipped (default: the detector that the report ships), full, a trained point such as A-fine-tuned, the "
        "number of a row of the frontier (from 1), or IDS to keep; the last two are pruned but not trained",
    )
    export.add_argument(
        "--nms", action="store_true", help="include threshold, top-k and NMS: the file outputs detections"
    )
    export.add_argument(
        "--out", type=Path, metavar="FILE", help="the .onnx file (default: RUN/export/NAME/detector.onnx)"
    )
    add_json(export)

    handout = add(
        "handout", handout_command, "write a run's anchor board as one HTML file that needs no network and no Python"
    )
    handout.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    handout.add_argument("--out", type=Path, metavar="FILE.html", help="the file (default: RUN/handout.html)")
    handout.add_argument("--no-images", action="store_true", help="leave images and boxes out, for private data")
    handout.add_argument(
        "--scores",
        type=Path,
        metavar="FILE",
        help="instead of writing it: rank the players of a text file with a name and a code on each line",
    )
    add_json(handout)

    latency = add(
        "latency", latency_command, "measure how long detectors take, for network and NMS separately, interleaved"
    )
    latency.add_argument(
        "detectors", type=Path, nargs="+", metavar="DETECTOR", help="the folders of saved detectors, or .onnx files"
    )
    latency.add_argument(
        "--data",
        default="shapes",
        help="the name of a data set, or a folder; best the data of the detectors (default: shapes)",
    )
    runtimes = ("torch", "onnxruntime", "openvino")
    latency.add_argument(
        "--runtime",
        type=one_of("runtime", runtimes),
        help="torch (default for saved detectors), onnxruntime (default for .onnx files) or openvino",
    )
    add_facts(latency)
    add_split(latency)
    latency.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the runtime (default: 1)")
    add_json(latency)


def prune_command(options: argparse.Namespace) -> Answer:
    """``anchorkit prune``: the smaller file or folder."""
    from anchorkit.costs import costs
    from anchorkit.runs.onnx_file import is_onnx, load_with_facts, parse_facts

    source, out = options.detector, options.out
    checked: dict[str, Any] = {}
    lines: list[str] = []
    if options.keep is None and options.drop is None and options.channels is None:
        raise InputError(
            f"prune: give --keep IDS or --drop IDS (`anchorkit anchors {source}` lists them), or --channels RATIO"
        )
    if out.resolve() == source.resolve():
        raise InputError(f"prune: --out {out} would replace the detector itself; give another place")
    if options.weights is not None and source.suffix != ".cfg":
        raise InputError(f"prune: --weights {options.weights}: only for darknet's .cfg; {source} has its own")
    if is_onnx(source):
        if not is_onnx(out):
            raise InputError(f"prune: --out {out}: {source} is an .onnx file; give a file name ending in .onnx")
        if options.channels is not None:
            raise InputError(f"prune: --channels: {source} is an .onnx file, and only anchors can be removed from one")
        whole: Any = load_with_facts(source, parse_facts(options.facts))
        chosen = chosen_configuration(whole.layout, options)
        if not chosen:
            raise InputError("prune: --keep keeps no anchor; a detector needs at least one")
        small = whole.pruned(chosen)
        checked, lines = _checked(small, options, chosen)
        written = small.save(out)
        sizes = [whole.bytes, small.bytes]
        places = f"{written} and, for the program that decodes, {written.with_suffix('.json')}"
    else:
        from anchorkit.detectors import prune

        if is_onnx(out):
            kind = (
                "darknet's; give a .cfg file or a folder"
                if source.suffix == ".cfg"
                else "a saved detector; give a folder"
            )
            raise InputError(f"prune: --out {out}: {source} is {kind}, and export that")
        whole, file = _opened(source, options.weights)
        chosen = chosen_configuration(whole.layout, options)
        small = prune(whole, chosen)
        if options.channels is not None:
            small = _without_channels(small, options)
        places, weights = _saved(small, out)
        sizes = [path.stat().st_size for path in (file, weights)]
    before, after = costs(whole.layout.full), costs(small.layout.full)
    data: dict[str, Any] = {
        "anchors": list(chosen),
        **{name: [before[name], after[name]] for name in ("boxes", "total_flops")},
        "bytes": sizes,
        **checked,
    }
    rows = [(name.replace("_", " "), *map(count, data[name])) for name in ("boxes", "total_flops", "bytes")]
    return Answer("\n".join([kept(chosen), table(("", "before", "after"), rows), *lines, f"Written to {places}"]), data)


def _opened(source: Path, weights: Path | None) -> tuple[Detector, Path]:
    """The detector of darknet's files or of a folder, and the file with its weights."""
    from anchorkit.detectors import load_detector, weights_file

    if source.suffix == ".cfg":
        weights = weights or source.with_suffix(".weights")
        if not weights.is_file():
            raise InputError(f"prune: {weights}: no such file; give the weights of {source} with --weights")
        return load_detector(source, weights=weights), weights
    folder = source / "detector" if (source / "detector").is_dir() else source
    return load_detector(folder), weights_file(folder)


def _saved(small: Detector, out: Path) -> tuple[str, Path]:
    """Write a detector as darknet's files or into a folder; where, in words, and the file with the weights."""
    from anchorkit.detectors import export_darknet, save_detector, weights_file

    if out.suffix == ".cfg":
        weights = export_darknet(small, out).with_suffix(".weights")
        return f"{out} and {weights}", weights
    return str(out), weights_file(save_detector(small, out))


def _checked(small: Any, options: argparse.Namespace, chosen: Any) -> tuple[dict[str, Any], list[str]]:
    """How far a cut ONNX file is from the whole one, as data and in lines: its rows, and its AP on ``--data``."""
    check = small.check
    data: dict[str, Any] = {"verified": check.to_dict()}
    lines = [f"The kept rows differ from those of the whole file by {check.difference:.2g} at most."]
    if check.optimized is not None:
        lines = [
            f"Without the runtime's graph optimizations, the kept rows differ from those of the whole file by "
            f"{check.difference:.2g} at most; with them (as most programs run the file) by {check.optimized:.2g}."
        ]
    if options.data is not None:
        from anchorkit.evaluation import single
        from anchorkit.predictions import collect_predictions

        whole, split = onnx_and_split(options.detector, argparse.Namespace(**vars(options), ground_truth=options.data))
        predictions = collect_predictions(whole, split)
        run = collect_predictions(whole.pruned(whole.layout.configuration(keep=chosen.indices)), split)
        found = {
            "whole": single.stats(predictions, split.ground_truth, predictions.layout.full)["AP"],
            "expected": single.stats(predictions, split.ground_truth, chosen)["AP"],
            "run": single.stats(run, split.ground_truth, run.layout.full)["AP"],
        }
        data["AP"] = {name: float(value) for name, value in found.items()}
        texts = {name: points(value) for name, value in data["AP"].items()}
        lines.append(
            f"AP on {len(split)} images ({options.split}): {texts['whole']} whole, {texts['expected']} of its rows for "
            f"these anchors, {texts['run']} of the cut file as it runs."
        )
    elif check.optimized:
        lines.append(f"`anchorkit evaluate {options.out} DATA`, or --data here, gives its AP as it runs.")
    return data, lines


def _without_channels(detector: Detector, options: argparse.Namespace) -> Detector:
    """The detector with fewer channels, chosen on the training images of a data set."""
    from anchorkit.channels import prune_channels
    from anchorkit.datasets import load_dataset

    if options.data is None:
        raise InputError("prune: --channels needs --data, the data set whose training images show which can go")
    return prune_channels(detector, load_dataset(options.data).train, ratio=options.channels)


def export_command(options: argparse.Namespace) -> Answer:
    """``anchorkit export``: a detector of a run as an ONNX file with its description."""
    from anchorkit.costs import COSTS, costs
    from anchorkit.detectors import export_onnx
    from anchorkit.files import read_json
    from anchorkit.runs.detectors import choose

    choice = choose(options.run, options.configuration)
    detector, full = choice.detector, choice.full
    out: Path = options.out or options.run / "export" / choice.name / "detector.onnx"
    model = export_onnx(detector, out, nms=options.nms)
    description = model.with_suffix(".json")
    facts = read_json(description)
    after = {**costs(detector.layout.full), "parameters": detector.parameters}
    before = {**costs(full.layout.full), "parameters": full.parameters}
    names = {"n_anchors": "anchors", **{name: cost.words for name, cost in COSTS.items()}, "parameters": "parameters"}
    rows = [(label, count(before[name]), count(after[name])) for name, label in names.items()]
    sizes = {str(path): path.stat().st_size for path in (model, description)}
    text = [
        f"{choice.name} of {full.name}{'' if choice.trained else ', pruned but not trained'}",
        table(("", "before", "after"), rows),
        *(f"{path}  {size / 1000:,.0f} kB" for path, size in sizes.items()),
    ]
    data = {
        "configuration": choice.name,
        "trained": choice.trained,
        "model": str(model),
        "description": str(description),
        "bytes": sizes[str(model)],
        "nms": options.nms,
        "verified": facts.get("verified"),
        "costs": after,
        "costs_before": before,
    }
    return Answer("\n".join(text), data)


def handout_command(options: argparse.Namespace) -> Answer:
    """``anchorkit handout``: the handout of a run as a file, or the scores of its players."""
    from anchorkit.pages.handout import write_handout

    if options.scores is not None:
        return _scores(options.run, options.scores)
    path = write_handout(options.run, options.out, images=not options.no_images)
    size = path.stat().st_size
    text = f"{path}  {size / 1000:,.0f} kB\nIt opens in any browser; it needs no network and no Python."
    return Answer(text, {"handout": str(path), "bytes": size, "images": not options.no_images})


def _scores(run: Path, codes: Path) -> Answer:
    """The players of a file of codes, the best first."""
    from anchorkit.pages.handout import open_run, score_codes

    evaluator, search, _ = open_run(run)
    players = score_codes(evaluator, search, codes)
    counted = [row for row in players if "problem" not in row]
    rows = [
        (
            row["name"],
            f"{100 * row['accuracy']:.2f}",
            f"{100 * row['lead']:+.2f}",
            count(row["n_anchors"]),
            count(row["cost"]),
        )
        for row in counted
    ]
    lines = [table(("", "AP", "over the search", "anchors", "cost"), rows)] if rows else ["No code counts."]
    lines += [f"{row['name']}: {row['problem']}" for row in players if "problem" in row]
    return Answer("\n".join(lines), {"players": players})


def latency_command(options: argparse.Namespace) -> Answer:
    """``anchorkit latency``: measure how long detectors take, for network and post-processing separately."""
    from anchorkit.datasets import load_dataset
    from anchorkit.detectors import load_detector
    from anchorkit.latency import measure_latency
    from anchorkit.runs.onnx_file import is_onnx, open_onnx, parse_facts

    facts = parse_facts(options.facts)
    detectors = {
        str(place): open_onnx(place, facts) if is_onnx(place) else load_detector(place) for place in options.detectors
    }
    if len(detectors) < len(options.detectors):
        raise InputError("latency: the same detector is given twice; name each once")
    runtime = options.runtime or ("onnxruntime" if any(map(is_onnx, options.detectors)) else "torch")
    splits = load_dataset(options.data).splits()
    if options.split not in splits:
        raise InputError(f"--split {options.split}: {options.data} has {', '.join(splits)}")
    split = splits[options.split]
    images = [split.image(image_id) for image_id in split.image_ids[:_LATENCY_IMAGES]]
    report = measure_latency(detectors, images, runtime=runtime, threads=options.threads)
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
        table(("milliseconds", "median", "25 %", "75 %", "on processor"), rows),
        *map(str, comparisons),
    ]
    data = {**report.to_dict(), "comparisons": [dataclasses.asdict(comparison) for comparison in comparisons]}
    return Answer("\n".join(text), data)
