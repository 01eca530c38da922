"""How long the plausibility check of a prediction table takes, beside building the evaluator of the same table.

    python benchmarks/checks.py                    5,000 images, 4.5 million rows of made-up data
    python benchmarks/checks.py --images 500 --repeats 3

Both are measured in this process, in turns and with one thread, as processor time, so that their ratio holds on a busy
machine too. The check is also measured on the rows alone that it compares, as the workers of a cluster hand them over.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import coco_scale
from measuring import Times, grid

from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.findings import unchecked
from anchorkit.predictions import PredictionTable
from anchorkit.predictions_check import Whole, check_table, images_to_compare

AIM = 0.2
"""The largest share of building the evaluator that a check may take."""


def work(call: Callable[[], Any]) -> float:
    """Seconds of processor time that a call took."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000, help="how many of the made-up images")
    parser.add_argument("--repeats", type=int, default=5, help="how often each is measured")
    options = parser.parse_args()
    made = coco_scale.files(options.images)
    table, truth = PredictionTable.load(made.predictions), read_ground_truth(made.truth)
    with unchecked():
        Evaluator(table, truth)  # compiles
    check_table(table, truth)
    whole = Whole(len(table), table.image_id)
    some = table.subset(images_to_compare(truth))
    seconds: dict[str, list[float]] = {"building": [], "check": [], "of some rows": []}
    for _ in range(options.repeats):
        with unchecked():
            seconds["building"].append(work(lambda: Evaluator(table, truth, threads=1)))
        seconds["check"].append(work(lambda: check_table(table, truth)))
        seconds["of some rows"].append(work(lambda: check_table(some, truth, whole=whole)))
    building, check, part = (Times(tuple(values)) for values in seconds.values())
    print(f"{options.images:,} images, {len(table):,} rows; load {os.getloadavg()[0]:.1f}")
    shares = [f"{one.median / building.median:.3f}" for one in (check, part)]
    rows = [
        ("building the evaluator, without the check", str(building), ""),
        ("the check", str(check), shares[0]),
        (
            f"the check of the {len(some):,} compared rows",
            str(part),
            shares[1],
        ),
    ]
    print(grid([("", "processor time", f"share (aim: at most {AIM})"), *rows]))


if __name__ == "__main__":
    main()
