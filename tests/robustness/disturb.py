"""Disturb sweeps on purpose and see that nothing is lost: python tests/robustness/disturb.py --kills 50

A sweep of tiny notebooks is run once in peace. Then the same sweep is run over and over into another folder, and at
random moments one of its processes (the sweep, a worker, or a notebook's) is killed with SIGKILL; until that was done
as often as was asked for and the sweep is through. In the end every file of every run must be as in the undisturbed
one.

One notebook goes on with a growing file where a killed one stopped, as a search does with its ledger. It takes a few
seconds a kill; test_disturbed.py does it by night.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_notebook

PARAMETERS = 'run_dir: str = "runs/x"  # the folder\nsize: int = 1  # how much\nseed: int = 0  # makes it repeatable'
MAKE = """\
import random, time
from pathlib import Path
from anchorkit.files import write_json, write_text
numbers = random.Random(seed)
write_text(Path(run_dir) / "made.csv", "\\n".join(str(numbers.random()) for _ in range(9000 * size)))
time.sleep(0.3)"""
GROW = """\
import json, time
from pathlib import Path
from anchorkit.files import write_json, write_text
# A ledger: whole lines are kept, a line that was cut off is not, and what is there is not computed again.
path = Path(run_dir) / "ledger.jsonl"
text = path.read_text() if path.exists() else ""
kept = text[: text.rfind("\\n") + 1]
path.write_text(kept)
with path.open("a", buffering=1) as ledger:
    for step in range(kept.count("\\n"), 8):
        time.sleep(0.08)
        ledger.write(json.dumps({"step": step, "value": seed * 100 + step * size}) + "\\n")"""
SUM = """\
import json
from pathlib import Path
from anchorkit.files import write_json
lines = [json.loads(line) for line in (Path(run_dir) / "ledger.jsonl").read_text().splitlines()]
made = sum(map(float, (Path(run_dir) / "made.csv").read_text().split()))
figures = {"lines": len(lines), "sum": sum(line["value"] for line in lines), "made": made}
write_json(Path(run_dir) / "figures.json", figures)"""
SWEEP = "notebooks: [a_make.ipynb, b_grow.ipynb, c_sum.ipynb]\ngrid: {size: [1, 2], b_grow.seed: [1, 2, 3]}\n"
RUNS = 6


def write_sweep(folder: Path) -> Path:
    """The notebooks and the sweep file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, cell in (("a_make", MAKE), ("b_grow", GROW), ("c_sum", SUM)):
        first = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}, id="parameters")
        nbformat.write(new_notebook(cells=[first, new_code_cell(cell, id="work")]), folder / f"{name}.ipynb")
    path = folder / "sweep.yaml"
    path.write_text(SWEEP, encoding="utf-8")
    return path


def command(sweep: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "anchorkit", "sweep", str(sweep), "--out", str(out), "--jobs", "2", *more]


def finished(out: Path) -> dict[str, Any]:
    """What the finished runs hold: the digest of every file that notebooks made, by run."""
    runs = {}
    for path in sorted(out.glob("runs/*/run.json")):
        record = json.loads(path.read_text())
        if record["finished"]:
            files = sorted(path.parent.glob("*.*"))
            kept = {file.name: file.read_bytes() for file in files if file.suffix in {".csv", ".jsonl"}}
            runs[path.parent.name] = {**kept, "figures": json.loads((path.parent / "figures.json").read_text())}
    return runs


def disturb(sweep: Path, out: Path, kills: int, seed: int = 0, say: Any = print) -> dict[str, int]:
    """Run a sweep, killing one of its processes at random moments; how often each kind was hit.

    When the sweep is through before it was killed often enough, its steps and runs are removed in part, so that there
    is something to disturb again.
    """
    choice = random.Random(seed)
    hit = {"sweep": 0, "worker": 0, "notebooks": 0}
    while sum(hit.values()) < kills:
        process = subprocess.Popen(
            command(sweep, out, "--retry-failed"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        kind = ""
        while kind != "sweep" and process.poll() is None and sum(hit.values()) < kills:
            # Mostly in the middle of the work, sometimes before it.
            if choice.random() < 0.8:
                while process.poll() is None and "notebooks" not in _family(process):
                    time.sleep(0.05)
            time.sleep(choice.uniform(0.0, 4.0))
            victims = _family(process)
            if process.poll() is None and victims:
                kind = choice.choice(sorted(victims))
                victims[kind].send_signal(signal.SIGKILL)
                hit[kind] += 1
                say(f"kill {sum(hit.values())}: {kind}; {len(finished(out))} of {RUNS} runs finished")
        _, errors = process.communicate()
        if process.returncode not in (0, 1, -signal.SIGKILL):
            raise AssertionError(f"the sweep ended with {process.returncode}: {errors}")
        if process.returncode == 0:
            _undo_some(out, choice)
    done = subprocess.run(command(sweep, out, "--retry-failed"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return hit


def _family(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """A living process of each kind."""
    try:
        parent = psutil.Process(process.pid)
        workers = [child for child in parent.children() if "sweeps.worker" in " ".join(child.cmdline())]
        kernels = [kernel for worker in workers for kernel in worker.children()]
    except psutil.NoSuchProcess:
        return {}
    found = {"sweep": parent}
    return found | ({"worker": workers[0]} if workers else {}) | ({"notebooks": kernels[-1]} if kernels else {})


def _undo_some(out: Path, choice: random.Random) -> None:
    import shutil

    for folder in [*out.glob("runs/*"), *out.glob("steps/*")]:
        if choice.random() < 0.7:
            shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sweep = write_sweep(Path(folder) / "a workshop {ünïcode} 工")
        subprocess.run(command(sweep, Path(folder) / "peace"), check=True, capture_output=True)
        started = time.monotonic()
        hit = disturb(sweep, Path(folder) / "war 戦", options.kills, options.seed)
        before, after = finished(Path(folder) / "peace"), finished(Path(folder) / "war 戦")
        assert len(before) == RUNS
        assert before == after, "the results differ"
    print(f"{hit} killed in {time.monotonic() - started:.0f} s; all {RUNS} runs as undisturbed")


if __name__ == "__main__":
    main()
