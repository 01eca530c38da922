"""How long a command takes before it does anything: `import anchorkit`, `--help`, `anchors` of an ONNX file, a search.

    python benchmarks/start.py [FILE.onnx]

The searches are of two images. *Compiles* finds no machine code. *First after installation* finds what installing left,
which ends with the trial that compiles all loops (`anchorkit doctor --ready`); here the trial has fewer images.

Each runs in a process of its own, several times by turns; the first turn is left out, because it reads the files. The
median is of processor time, which holds on a busy machine, and of wall time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import grid, human

SEARCH = "import anchorkit as ak; from anchorkit.evaluation.toy import toy_evaluator; ak.search(toy_evaluator())"
TRIAL = "from anchorkit.doctor import try_out; try_out(train=1, val=6, test=0)"


def run(command: list[str], machine_code: str | None = None) -> tuple[float, float]:
    """Processor time and wall time of a process, in seconds; numba's folder may be another than usual."""
    before, started = os.times(), time.perf_counter()
    env = os.environ | ({"NUMBA_CACHE_DIR": machine_code} if machine_code else {})
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=env)
    wall, after = time.perf_counter() - started, os.times()
    user, system = after.children_user - before.children_user, after.children_system - before.children_system
    return user + system, wall


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", help="an ONNX file; by default the shipped detector, exported")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = options.file or str(Path(folder) / "shipped.onnx")
        if options.file is None:
            make = "import anchorkit as ak; ak.export_onnx(ak.load_detector('tiny_ssd', weights='shapes'), {!r})"
            run(["-c", make.format(file)])
        commands = {
            "python alone": (["-c", "pass"], ""),
            "import anchorkit": (["-c", "import anchorkit"], "0.2 s, with the next line"),
            "anchorkit --help": (["-m", "anchorkit", "--help"], "0.2 s"),
            "anchorkit anchors FILE.onnx": (["-m", "anchorkit", "anchors", file], "2 s"),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        searches = ("a search that compiles", "first after installation", "second")
        found |= {name: [] for name in searches}
        for _ in range(options.repeats + 1):
            for name, (command, _) in commands.items():
                found[name].append(run(command))
            with tempfile.TemporaryDirectory() as nothing, tempfile.TemporaryDirectory() as installed:
                run(["-c", TRIAL], installed)
                for name, place in zip(searches, (nothing, installed, installed), strict=True):
                    found[name].append(run(["-c", SEARCH], place))
    rows: list[tuple[str, ...]] = [("", "processor time", "wall time", "aim")]
    aims = {name: aim for name, (_, aim) in commands.items()} | {searches[1]: "1.5 times the second"}
    for name in found:
        processor, wall = (statistics.median(turn[kind] for turn in found[name][1:]) for kind in (0, 1))
        rows.append((name, human(processor), human(wall), aims.get(name, "")))
    print(f"load {os.getloadavg()[0]:.1f}")
    print(grid(rows))


if __name__ == "__main__":
    main()
