"""Commands for deployment: ``export``, ``latency``."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from anchorkit.cli.answers import Answer, count, table
from anchorkit.cli.options import AddCommand, add_json, one_of
from anchorkit.errors import InputError

_LATENCY_IMAGES = 50


def add_commands(add: AddCommand) -> None:
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

    latency = add(
        "latency", latency_command, "measure how long detectors take, for network and NMS separately, interleaved"
    )
    latency.add_argument("detectors", type=Path, nargs="+", metavar="DETECTOR", help="the folders of saved detectors")
    latency.add_argument(
        "--data",
        default="shapes",
        help="the name of a data set, or a folder; best the data of the detectors (default: shapes)",
    )
    runtimes = ("torch", "onnxruntime", "openvino")
    latency.add_argument(
        "--runtime", type=one_of("runtime", runtimes), default="torch", help="torch (default), onnxruntime or openvino"
    )
    latency.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the runtime (default: 1)")
    add_json(latency)


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
        "nms": facts["nms"],
        "verified": facts["verified"],
        "costs": after,
        "costs_before": before,
    }
    return Answer("\n".join(text), data)


def latency_command(options: argparse.Namespace) -> Answer:
    """``anchorkit latency``: measure how long detectors take, for network and post-processing separately."""
    from anchorkit.datasets import load_dataset
    from anchorkit.detectors import load_detector
    from anchorkit.latency import measure_latency

    detectors = {str(folder): load_detector(folder) for folder in options.detectors}
    if len(detectors) < len(options.detectors):
        raise InputError("latency: the same detector is given twice; name each folder once")
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
        table(("milliseconds", "median", "25 %", "75 %", "on processor"), rows),
        *map(str, comparisons),
    ]
    data = {**report.to_dict(), "comparisons": [dataclasses.asdict(comparison) for comparison in comparisons]}
    return Answer("\n".join(text), data)
