"""What it costs to spread a table over workers: the same questions to one process, and to 1, 2, 4 Dask workers here.

    python benchmarks/spread.py --images 20000

Every answer of the workers must equal the single process's, or this stops. Workers have one thread each. A question
asks for all children of a configuration; it is told by the child. *A child* is wall-clock time, in the fastest of the
questions: of it, *work* is what the slowest shard took, *reading* what the accuracies took that are read off
the board here (threads add up), *the rest* is Dask (graphs, messages), copying, and the board. *Processor time* is the
mean over the questions, here (Dask's scheduler lives in this process too) and in all workers together: unlike the
others it stands a machine with fewer free cores than workers. Memory is the most that a process has held.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import coco_scale
from measuring import clock, grid, human, machine

import anchorkit as ak
from anchorkit.cluster import ShardedEvaluator, shards
from anchorkit.evaluation.engine import Engine

PARENTS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--score-threshold", type=float, metavar="X", help="only rows above it (default: 0.02)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    made = coco_scale.files(options.images)
    least = coco_scale.SCORE_THRESHOLD if options.score_threshold is None else options.score_threshold
    rows_above = int((ak.PredictionTable.load(made.predictions).score > least).sum())
    print(f"{options.images:,} images of made-up data, {rows_above:,} rows above {least:g}; {json.dumps(machine())}\n")

    # In a process of its own, since memory is told by its highest mark.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        alone = pool.submit(in_one_process, made, least).result()
    expected = alone.pop("answers")
    heads = ("", "ready", "a child", "of it: work", "reading", "the rest", "processor: here", "workers")
    rows = [(*heads, "sent, a child", "memory here", "a worker")]
    rows.append(line("one process, threads=1", alone))
    found = {"alone": alone}
    for n in options.workers:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            spread = pool.submit(on_workers, made, least, n).result()
        if spread.pop("answers") != expected:
            raise SystemExit(f"{n} workers: not the answers of one process")
        rows.append(line(f"{n} workers", spread))
        found[f"{n} workers"] = spread
    print(grid(rows))
    print("\nAll answers are equal, to the last bit.")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def in_one_process(made: coco_scale.Files, least: float) -> dict[str, Any]:
    compile_all()
    start = time.perf_counter()
    table = ak.PredictionTable.load(made.predictions)
    table = table.with_postprocess(replace(table.postprocess, score_threshold=least))
    evaluator = ak.Evaluator(table, str(made.truth), threads=1)
    answers = [evaluator.accuracy(evaluator.layout.full)]
    ready = time.perf_counter() - start
    found, figures = ask(evaluator)
    return {"ready": ready, "answers": answers + found, **figures, "here": memory()}


def on_workers(made: coco_scale.Files, least: float, n: int) -> dict[str, Any]:
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.ERROR)
    with (
        LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=":0", memory_limit=0) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.run(compile_all)
        start = time.perf_counter()
        with ShardedEvaluator(client, made.predictions, str(made.truth), score_threshold=least) as evaluator:
            answers = [evaluator.accuracy(evaluator.layout.full)]
            ready = time.perf_counter() - start
            found, figures = ask(evaluator, Watch(evaluator, client))
            used = list(client.run(memory).values())
    return {"ready": ready, "answers": answers + found, **figures, "here": memory(), "worker": max(used)}


class Watch:
    """Counts what comes from the shards, how long the slowest took, and how long all processors."""

    def __init__(self, evaluator: ShardedEvaluator, client: Any) -> None:
        self._client = client
        self.begin()
        self._ask = evaluator._ask
        evaluator._ask = self._asked  # type: ignore[method-assign]

    def begin(self) -> None:
        """Count from here."""
        self.sent, self.work, self._before = 0, 0.0, self._processor()

    def counted(self) -> dict[str, float]:
        """What was counted since the beginning."""
        return {"work": self.work, "sent": self.sent, "workers' processor": self._processor() - self._before}

    def _processor(self) -> float:
        return float(sum(self._client.run(time.process_time).values()))

    def _asked(self, task: Callable[..., Any], *arguments: Any, **options: Any) -> list[Any]:
        if task is not shards.differences:
            return self._ask(task, *arguments, **options)
        answers = self._ask(timed, *arguments, **options)
        self.sent += sum(sum(array.nbytes for array in answer) for answer, _ in answers)
        self.work += max(seconds for _, seconds in answers)
        return [answer for answer, _ in answers]


def timed(*arguments: Any) -> shards.Answer:
    seconds, answer = clock(lambda: shards.differences(*arguments))
    return shards.Answer((answer.found, seconds), answer.worker)


def compile_all() -> None:
    """Have the machine code at hand: it is compiled once on a machine, and takes longer than all else."""
    from ours import warm_up

    warm_up(1)


def ask(evaluator: Any, watch: Watch | None = None) -> tuple[list[Any], dict[str, float]]:
    """Children of some parents, as a search asks for them: the answers, and what a child took."""
    layout = evaluator.layout
    answers: list[Any] = []
    questions: list[dict[str, float]] = []
    with reading() as read:
        for n in range(PARENTS):
            parent = layout.full.without(range(n))
            answers.append(evaluator.accuracy(parent))  # to go there is no part of the question
            read.seconds = 0.0
            if watch is not None:
                watch.begin()
            processor = time.process_time()
            seconds, found = clock(lambda parent=parent: evaluator.children(parent, ak.moves(parent)).tolist())
            processor = time.process_time() - processor
            answers.append(found)
            question = {"child": seconds, "reading": read.seconds, "processor": processor}
            if watch is not None:
                question |= watch.counted()
            questions.append({name: value / len(found) for name, value in question.items()})
    fastest = min(questions, key=lambda question: question["child"])
    means = {
        name: mean([question[name] for question in questions])
        for name in fastest
        if name == "sent" or "processor" in name
    }
    return answers, fastest | means


class Read:
    """Seconds that reading accuracies off boards took."""

    seconds = 0.0


@contextmanager
def reading() -> Iterator[Read]:
    """Clock what an engine reads."""
    own, total = Engine._look, Read()

    def look(self: Engine, children: Any, read: Any) -> Any:
        def timed_read(board: Any) -> Any:
            seconds, figure = clock(lambda: read(board))
            total.seconds += seconds
            return figure

        return own(self, children, timed_read)

    Engine._look = look  # type: ignore[method-assign]
    try:
        yield total
    finally:
        Engine._look = own  # type: ignore[method-assign]


def memory() -> int:
    """The most bytes that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux the figure below is never less than what the parent had held
        return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def line(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    work = found.get("work")
    rest = found["child"] - found["reading"] - work if work else None
    return (
        name,
        human(found["ready"]),
        human(found["child"]),
        human(work) if work else human(found["child"] - found["reading"]),
        human(found["reading"]),
        human(rest) if rest else "",
        human(found["processor"]),
        human(found["workers' processor"]) if work else "",
        f"{found['sent'] / 1e3:,.0f} kB" if "sent" in found else "",
        f"{found['here'] / 1e6:,.0f} MB",
        f"{found['worker'] / 1e6:,.0f} MB" if "worker" in found else "",
    )


if __name__ == "__main__":
    main()
