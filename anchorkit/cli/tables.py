"""Commands that work on a prediction table or a layout: ``evaluate``, ``search``, ``costs``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anchorkit.cli.answers import Answer, count, kept, points, table
from anchorkit.cli.layouts import find_layout
from anchorkit.cli.options import (
    AddCommand,
    add_cost,
    add_facts,
    add_inputs,
    add_json,
    add_keep_drop,
    add_max_dets,
    add_named_detector,
    add_scheduler,
    chosen_configuration,
    named_size,
    one_of,
    predictions_and_truth,
)
from anchorkit.costs import COSTS
from anchorkit.errors import InputError
from anchorkit.findings import nothing_can_be_told
from anchorkit.runs.onnx_file import is_onnx
from anchorkit.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anchorkit.search import AccuracyOf, SearchResult

_FRONTIER_ROWS = 20
_LEVEL_COUNTS = ("anchors", "boxes", "head_flops")


def add_commands(add: AddCommand) -> None:
    evaluate = add("evaluate", evaluate_command, "compute the accuracy of a configuration, as pycocotools does")
    add_inputs(evaluate)
    add_keep_drop(evaluate)
    add_max_dets(evaluate)
    add_json(evaluate)

    search = add("search", search_command, "find the configurations with the best trade-off of accuracy and cost")
    add_inputs(search)
    add_cost(search)
    search.add_argument(
        "--metric",
        default="AP",
        metavar="NAME",
        help="the metric: AP (default), another COCO figure such as AP50 or APs, voc07 or voc (VOC AP)",
    )
    search.add_argument("--threshold", type=float, metavar="X", help="lowest accuracy to explore, 0..1")
    search.add_argument(
        "--strategy", default="algorithm1", metavar="NAME", help="default: algorithm1; an unknown name lists all"
    )
    search.add_argument("--budget", type=int, metavar="N", help="end after N configurations (see docs/search.md)")
    search.add_argument(
        "--moves",
        type=one_of("kind of moves", ("auto", "anchor", "shared")),
        default="auto",
        help="what one step removes: anchor, or shared (a shape or level of a shared head); default: auto",
    )
    search.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder for the frontier; an interrupted search resumes from it"
    )
    add_max_dets(search)
    add_scheduler(search)
    add_json(search)

    costs = add("costs", costs_command, "compute the costs of a configuration: boxes, FLOPs, parameters")
    costs.add_argument(
        "layout",
        metavar="LAYOUT",
        help="a layout .json, a prediction table, an .onnx file, darknet's .cfg, the folder of a saved detector or of "
        "a run, or a detector's name",
    )
    add_named_detector(costs)
    add_facts(costs)
    add_keep_drop(costs)
    add_json(costs)


def evaluate_command(options: argparse.Namespace) -> Answer:
    """``anchorkit evaluate``: compute the 12 COCO figures of a configuration."""
    from anchorkit.evaluation import single

    predictions, truth = predictions_and_truth(options)
    configuration = chosen_configuration(predictions.layout, options)
    found = single.stats(predictions, truth, configuration, options.max_dets)
    stats = {name: float(value) for name, value in found.items()}
    rows = [(name, points(value)) for name, value in stats.items()]
    # Of a subset of the anchors a low AP may be what was asked for.
    whole = len(configuration) == len(predictions.layout)
    if whole and stats["AP"] >= 0 and (nothing := nothing_can_be_told(stats["AP"])):
        return Answer(f"{nothing}.\n{kept(configuration)}\n{table(('', 'points'), rows)}", stats)
    return Answer(f"{kept(configuration)}\n{table(('', 'points'), rows)}", stats)


def search_command(options: argparse.Namespace) -> Answer:
    """``anchorkit search``: find the configurations that no other one beats."""
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise InputError(f"--threshold {options.threshold:g}: an accuracy from 0 to 1 is needed (0.45 is 45 points)")
    from anchorkit.evaluation.metrics import named_metrics
    from anchorkit.runs.lock import locked
    from anchorkit.search import STRATEGIES, SearchInterrupted, search

    metrics = named_metrics()
    if options.metric not in metrics:
        raise InputError(f"--metric {options.metric}: unknown; {did_you_mean(options.metric, metrics)}")
    if options.strategy not in STRATEGIES:
        raise InputError(f"--strategy {options.strategy}: unknown; {did_you_mean(options.strategy, STRATEGIES)}")
    out: Path | None = options.out
    with contextlib.nullcontext() if out is None else locked(out), _evaluator(options) as evaluator:
        try:
            result = search(
                evaluator,
                cost=options.cost,
                threshold=options.threshold,
                strategy=options.strategy,
                moves=options.moves,
                ledger=None if out is None else out / "ledger.jsonl",
                budget=options.budget,
            )
        except SearchInterrupted as interrupt:
            raise KeyboardInterrupt(_keep_interrupted(interrupt.result, options.metric, out)) from None
        if out is not None:
            _save_search(result, out)
    return Answer(_search_text(result, options.metric, out), _search_data(result))


@contextlib.contextmanager
def _evaluator(options: argparse.Namespace) -> Iterator[AccuracyOf]:
    """The evaluator of the table: in this process, or on the given cluster."""
    if options.scheduler is not None:
        if is_onnx(options.predictions):
            raise InputError(f"--scheduler: {options.predictions} has to predict first; give a prediction table")
        from anchorkit.cluster import ShardedEvaluator, connect

        with (
            connect(options.scheduler) as client,
            ShardedEvaluator(
                client, options.predictions, options.ground_truth, options.metric, max_dets=options.max_dets
            ) as spread,
        ):
            yield spread
    else:
        from anchorkit.evaluation import Evaluator

        predictions, truth = predictions_and_truth(options)
        yield Evaluator(predictions, truth, metric=options.metric, max_dets=options.max_dets)


def costs_command(options: argparse.Namespace) -> Answer:
    """``anchorkit costs``: compute the costs of a configuration, in total and per level."""
    from anchorkit.costs import costs, level_costs

    layout = find_layout(options.layout, options.classes, named_size(options), options.facts)
    configuration = chosen_configuration(layout, options)
    total, levels = costs(configuration), level_costs(configuration)
    rows = [
        (level["name"], f"{level['height']}x{level['width']}", *(count(level[key]) for key in _LEVEL_COUNTS))
        for level in levels
    ]
    rows.append(("all", "", count(total["n_anchors"]), count(total["boxes"]), count(total["head_flops"])))
    text = [
        kept(configuration),
        table(("level", "cells", "anchors", "boxes", "head FLOPs"), rows),
        "; ".join(f"{cost.words}: {count(total[name])}" for name, cost in COSTS.items() if name not in _LEVEL_COUNTS),
    ]
    return Answer("\n".join(text), {**total, "levels": levels})


def _save_search(result: SearchResult, out: Path) -> None:
    from anchorkit import plots

    result.save(out)
    plots.setup()
    chart = plots.frontier(result.frontier, result.cost, full=result.baseline.to_frame().T, evaluated=result.evaluated)
    for name in ("frontier.png", "frontier.html"):
        plots.save(chart, out / name)


def _keep_interrupted(result: SearchResult, metric: str, out: Path | None) -> str:
    """Write the result of an interrupted search, or show it, and say how to resume.

    Standard output stays empty, so that no program takes half a search for a whole one.
    """
    if out is not None:
        print(f"stopping: writing the frontier so far to {out}", file=sys.stderr)
        _save_search(result, out)
        return f"interrupted after {len(result.evaluated):,} configurations; the same command resumes from here"
    print(_search_text(result, metric), file=sys.stderr)
    return "interrupted; the frontier so far is above. With --out DIR, the same command could resume from here"


def _search_data(result: SearchResult) -> dict[str, Any]:
    names = [name for name in COSTS if name in result.frontier.columns]
    frontier = [
        {
            "accuracy": float(row["accuracy"]),
            "costs": {name: row[name] for name in names},
            "anchors": list(configuration),
        }
        for row, configuration in zip(result.frontier.to_dict("records"), result.configurations, strict=True)
    ]
    return {"frontier": frontier, "evaluated": len(result.evaluated)}


def _search_text(result: SearchResult, metric: str, out: Path | None = None) -> str:
    names = [name for name in COSTS if name in result.frontier.columns]
    rows = [
        (points(row["accuracy"]), str(row["n_anchors"]), *(count(row[name]) for name in names))
        for row in result.frontier.to_dict("records")
    ]
    step = max(1, -(-len(rows) // _FRONTIER_ROWS))
    shown = rows[::step] if (len(rows) - 1) % step == 0 else [*rows[::step], rows[-1]]
    good = "accuracy" if metric == "AP" else metric
    heading = f"{len(rows)} configurations that no other one beats in {good} and {result.cost}"
    if len(shown) < len(rows):
        heading += f"; {len(shown)} of them shown"
    nothing = nothing_can_be_told(float(result.baseline["accuracy"]), metric)
    text = [f"{nothing}."] if nothing else []
    text += [f"{len(result.evaluated)} configurations tried. {heading}:", table(("points", "anchors", *names), shown)]
    if out is not None:
        text.append(f"Written to {out}: frontier.csv, evaluated.parquet, frontier.png, frontier.html")
    return "\n".join(text)
