"""What it costs to spread a table over workers: the same questions to one process, and to 1, 2, 4 Dask workers here.

    python benchmarks/spread.py --images 20000

Every answer of the workers must equal the single process's, or this stops. Workers have one thread each. Of a child's
wall-clock time *work* is what the slowest shard's kernel took, *reading* what the accuracies took
that are read off the board here (threads add up), *the rest* is Dask: graphs, messages, copying.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import coco_scale
import psutil
from measuring import clock, grid, human, machine

import anchorkit as ak
from anchorkit.cluster import ShardedEvaluator, shards
from anchorkit.evaluation.engine import Engine

PARENTS = 3
HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    logging.getLogger("distributed").setLevel(logging.ERROR)
    made = coco_scale.files(options.images)
    print(f"{options.images:,} images of made-up data; {json.dumps(machine())}\n")

    alone = in_one_process(made)
    expected = alone.pop("answers")
    rows = [("", "ready", "a child", "of it: work", "reading", "the rest", "sent, a child", "memory here", "a worker")]
    rows.append(line("one process, threads=1", alone))
    found = {"alone": alone}
    for n in options.workers:
        spread = on_workers(made, n)
        if spread.pop("answers") != expected:
            raise SystemExit(f"{n} workers: not the answers of one process")
        rows.append(line(f"{n} workers", spread))
        found[f"{n} workers"] = spread
    print(grid(rows))
    print("\nAll answers are equal, to the last bit.")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def in_one_process(made: coco_scale.Files) -> dict[str, Any]:
    start = time.perf_counter()
    evaluator = ak.Evaluator(ak.PredictionTable.load(made.predictions), str(made.truth), threads=1)
    answers, figures = ask(evaluator)
    return {"ready": time.perf_counter() - start - figures["asking"], "answers": answers, **figures, "here": memory()}


def on_workers(made: coco_scale.Files, n: int) -> dict[str, Any]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=":0", memory_limit=0) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.run(compile_all)
        start = time.perf_counter()
        with ShardedEvaluator(client, made.predictions, str(made.truth)) as evaluator:
            sent, work = [], []

            @contextmanager
            def watched() -> Iterator[None]:
                """Count what comes from the shards, and how long the slowest took."""
                own = evaluator._ask

                def asked(task: Callable[..., Any], *arguments: Any, **options: Any) -> list[Any]:
                    if task is not shards.differences:
                        return own(task, *arguments, **options)
                    answers = own(timed, *arguments, **options)
                    sent.append(sum(sum(array.nbytes for array in answer) for answer, _ in answers))
                    work.append(max(seconds for _, seconds in answers))
                    return [answer for answer, _ in answers]

                evaluator._ask = asked  # type: ignore[method-assign]
                yield

            with watched():
                answers, figures = ask(evaluator, work=work, sent=sent)
            total = time.perf_counter() - start
            used = max(client.run(memory).values())
    return {"ready": total - figures["asking"], "answers": answers, **figures, "here": memory(), "worker": used}


def timed(*arguments: Any) -> shards.Answer:
    seconds, answer = clock(lambda: shards.differences(*arguments))
    return shards.Answer((answer.found, seconds), answer.worker)


def compile_all() -> None:
    """Have the machine code at hand: it is compiled once on a machine, and takes longer than all else."""
    from ours import warm_up

    warm_up(1)


def ask(evaluator: Any, work: list[float] | None = None, sent: list[int] | None = None) -> tuple[Any, dict[str, float]]:
    """Children of some parents, as a search asks for them."""
    layout = evaluator.layout
    parents = [layout.full.without(range(n)) for n in range(PARENTS)]
    answers: list[Any] = [evaluator.accuracy(parents[0])]
    reading = 0.0
    own = Engine._look

    def look(self: Engine, children: Any, read: Any) -> Any:
        def timed_read(board: Any) -> Any:
            nonlocal reading
            seconds, figure = clock(lambda: read(board))
            reading += seconds
            return figure

        return own(self, children, timed_read)

    if work is not None and sent is not None:
        work.clear()
        sent.clear()
    Engine._look = look  # type: ignore[method-assign]
    try:
        asking, asked = 0.0, 0
        for parent in parents:
            seconds, found = clock(lambda parent=parent: evaluator.children(parent, ak.moves(parent)).tolist())
            answers.append(found)
            asking += seconds
            asked += len(found)
    finally:
        Engine._look = own  # type: ignore[method-assign]
    figures = {"asking": asking, "child": asking / asked, "reading": reading / asked}
    if work:
        figures |= {"work": sum(work) / asked, "sent": sum(sent or []) / asked}
    return answers, figures


def memory() -> int:
    """Bytes that this process holds."""
    return int(psutil.Process(os.getpid()).memory_info().rss)


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
        f"{found['sent'] / 1e3:,.0f} kB" if "sent" in found else "",
        f"{found['here'] / 1e6:,.0f} MB",
        f"{found['worker'] / 1e6:,.0f} MB" if "worker" in found else "",
    )


if __name__ == "__main__":
    main()
