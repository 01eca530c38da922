"""How small the shipped detector gets at a point of test AP: channels, anchors, folding, sparse training, distilling.

`python benchmarks/aim.py FOLDER` trains `tiny_ssd` on shapes in the ways of `ARMS`, each for the same number of steps,
and prints one table. The aim: 70 % fewer parameters and 60 % fewer multiply-adds at no more than one point of test AP.
Each result is kept in FOLDER as it comes (ARM-STEPS-SEED.json), so a stopped benchmark goes on.

With `--data DIR --detector RUN/detector --recipe tiny-transfer` it asks the same of a detector of one's own data.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from measuring import grid, machine

import anchorkit as ak
from anchorkit.channels import gather_statistics
from anchorkit.costs import cost_of
from anchorkit.datasets import Dataset, Split
from anchorkit.detectors import Detector
from anchorkit.files import read_json, write_json
from anchorkit.runs.trainings import at_smaller_input
from anchorkit.training import RECIPES

SHALLOW, DEEP = 0.36, 0.47
"""Ratios of the groups up to stride 8, which hold the multiply-adds, and of the others, which hold the parameters."""
SPARSE_SHARE, SPARSE_STEPS = 2 / 7, 620
"""Of the steps, where sparse training comes first; at most so many."""
SHRINK = 0.93
"""By how much sparse training shrinks a scale that nothing holds; those of the shipped detector are 0.74 to 1.31."""
IMAGES = 256
"""Training images for the statistics of the channels."""
AIM = 0.4
"""Share of the multiply-adds that stays; the full detector on a smaller input may have as many."""


@dataclass(frozen=True)
class Setting:
    """What every arm starts from."""

    data: Dataset
    full: Detector
    steps: int
    seed: int
    recipe: str

    def fit(self, detector: Detector, recipe: Any = None, steps: int | None = None, **options: Any) -> None:
        """Train in place."""
        length = self.steps if steps is None else steps
        plan = recipe or self.recipe
        ak.fit(detector, self.data, plan, steps=length, seed=self.seed, progress="lines", **options)

    def cut(self, detector: Detector, importance: str = "surgeon", fold: bool = True) -> Detector:
        """Cut to the widths that all arms share; which channels stay depends on the score."""
        statistics = gather_statistics(detector, self.data.train, IMAGES, nuclear=False, seed=self.seed)
        groups = statistics.channels.groups
        ratio = {group.name: SHALLOW if group.stride <= 8 else DEEP for group in groups}
        how: dict[str, Any] = {"ratio": ratio, "importance": importance, "fold": fold, "seed": self.seed}
        return ak.prune_channels(detector, statistics, **how)

    def needed(self, detector: Detector, max_loss: float) -> ak.Configuration:
        """The anchors that the validation images need at a loss of AP (0..1)."""
        evaluator = evaluator_of(detector, self.data.val)
        threshold = evaluator.accuracy(evaluator.full) - max_loss - 1e-9
        found = ak.search(evaluator, "total_flops", threshold=threshold, progress=False)
        return found.cheapest(max_loss=max_loss)

    def few(self, detector: Detector) -> Detector:
        """With the anchors that the shipped detector needs; the arms with anchors all start from these."""
        return ak.prune(detector, self.needed(self.full, 0.002))

    def fewer(self, detector: Detector) -> Detector:
        """Without the anchors that a trained detector does not need any more."""
        return ak.prune(detector, self.needed(detector, 0.0))

    def sparse(self, detector: Detector, steps: int) -> None:
        """The first stage: as `tiny-sparse`, with the strength that shrinks a free scale by `SHRINK` in these steps."""
        plan = replace(RECIPES["tiny-sparse"], batch_size=RECIPES[self.recipe].batch_size)
        self.fit(detector, replace(plan, sparsity=SHRINK / (plan.lr * steps / 2)), steps)


def evaluator_of(detector: Detector, split: Split) -> ak.Evaluator:
    """Of a detector's raw predictions on a split."""
    return ak.Evaluator(ak.collect_predictions(detector, split, progress=False), split.ground_truth)


def plain(s: Setting, importance: str = "surgeon", fold: bool = True, distilling: float = 0.0) -> Detector:
    """Cut, then train."""
    small = s.cut(s.full, importance, fold)
    s.fit(small, replace(RECIPES[s.recipe], distilling=distilling), teacher=s.full if distilling else None)
    return small


def scratch(s: Setting) -> Detector:
    """The same widths from random weights."""
    small = ak.untrained(s.cut(s.full), seed=s.seed)
    s.fit(small)
    return small


def full(s: Setting) -> Detector:
    """Nothing is cut; the training goes on."""
    longer = copy.deepcopy(s.full)
    s.fit(longer)
    return longer


def smaller_input(s: Setting) -> Detector:
    """The full detector, with all its weights, on smaller images."""
    smaller = at_smaller_input(s.full, AIM * cost_of(s.full.layout.full, "total_flops"))
    s.fit(smaller)
    return smaller


def sparse_first(s: Setting) -> Detector:
    """Sparse training, then cut, fold and train, in as many steps together."""
    first = round(s.steps * SPARSE_SHARE)
    wide = copy.deepcopy(s.full)
    s.sparse(wide, first)
    small = s.cut(wide)
    s.fit(small, steps=s.steps - first)
    return small


def anchors(s: Setting) -> Detector:
    """Anchors, channels, fold, then train; then the anchors that are not needed any more."""
    small = s.cut(s.few(s.full))
    s.fit(small)
    return s.fewer(small)


def together(s: Setting) -> Detector:
    """All of it: sparse training, anchors, channels, fold, training with the full detector as teacher, anchors."""
    wide, first = copy.deepcopy(s.full), min(round(s.steps * SPARSE_SHARE), SPARSE_STEPS)
    s.sparse(wide, first)
    small = s.cut(s.few(wide))
    s.fit(small, steps=s.steps - first, teacher=s.full)
    return s.fewer(small)


ARMS: dict[str, Callable[[Setting], Detector]] = {
    "full": full,
    "smaller-input": smaller_input,
    "scratch": scratch,
    "random": lambda s: plain(s, "random", fold=False),
    "random-fold": lambda s: plain(s, "random"),
    "cut": lambda s: plain(s, fold=False),
    "fold": plain,
    "distil-1": lambda s: plain(s, distilling=1.0),
    "distil-10": lambda s: plain(s, distilling=10.0),
    "sparse": sparse_first,
    "anchors": anchors,
    "together": together,
}


def measured(name: str, setting: Setting, folder: Path) -> dict[str, Any]:
    """Run one arm, and what came out."""
    wall, processor = time.perf_counter(), time.process_time()
    detector = ARMS[name](setting)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    ak.save_detector(detector, folder / f"{name}-{setting.steps}-{setting.seed}")
    accuracy = {}
    for split in (setting.data.val, setting.data.test or setting.data.val):
        evaluator = evaluator_of(detector, split)
        accuracy[split.name] = float(evaluator.accuracy(evaluator.full))
    return {
        "arm": name,
        "steps": setting.steps,
        "seed": setting.seed,
        "AP": accuracy,
        "parameters": detector.parameters,
        "total_flops": cost_of(detector.layout.full, "total_flops"),
        "anchors": len(detector.layout),
        "minutes": round(wall / 60, 2),
        "processor minutes": round(processor / 60, 2),
        "machine": machine(),
    }


def main() -> None:
    """Train what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--steps", type=int, default=434, help="of 32 images; 62 are a pass over the 2,000")
    parser.add_argument("--data", default="shapes")
    parser.add_argument("--detector", type=Path, help="a folder of save_detector; the shipped one if it is not given")
    parser.add_argument("--recipe", default="tiny", help="of all trainings but the sparse one")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = ak.load_dataset(options.data)
    detector = options.detector
    start = ak.load_detector("tiny_ssd", weights="shapes") if detector is None else ak.load_detector(detector)
    setting = Setting(data, start, options.steps, options.seed, options.recipe)
    whole = setting.full.parameters, cost_of(setting.full.layout.full, "total_flops")
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = [("arm", "steps", "val AP", "test AP", "parameters", "multiply-adds", "anchors", "processor minutes")]
    for name in options.arms:
        path = options.folder / f"{name}-{options.steps}-{options.seed}.json"
        if not path.exists():
            write_json(path, measured(name, setting, options.folder))
        found = read_json(path)
        points = (f"{100 * found['AP'].get(split, math.nan):.1f}" for split in ("val", "test"))
        shares = (
            f"{100 * (found[key] / of - 1):+.0f} %"
            for key, of in zip(("parameters", "total_flops"), whole, strict=True)
        )
        rows.append(
            (name, str(found["steps"]), *points, *shares, str(found["anchors"]), str(found["processor minutes"]))
        )
    print(grid(rows))


if __name__ == "__main__":
    main()
