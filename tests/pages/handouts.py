"""The handout's evaluator in node, and the edits of its source that tests must notice."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from anchorkit import Evaluator, PostProcess, PredictionTable
from anchorkit.anchors import AnchorLayout, Level
from anchorkit.pages.handout import drop as dropping
from anchorkit.pages.handout import table as tables
from anchorkit.pages.handout.pack import pack
from anchorkit.pages.handout.page import script
from anchorkit.pages.handout.table import Table, read_table

EVALUATOR = ("inflate.js", "unpack.js", "evaluate.js", "costs.js", "state.js")

_DRIVER = """
import { readFileSync } from "node:fs";
for (const { sets, layout, text } of JSON.parse(readFileSync(0, "utf8"))) {
  const level = layout.levels.flatMap(({ anchors }, number) => anchors.map(() => number));
  const keeps = sets.map((set) => level.map((_, anchor) => Number(set.includes(anchor))));
  const { head, table } = await unpack(await inflate(text));
  const evaluator = new Evaluator(head, table, level);
  const accuracies = keeps.map((keep) => evaluator.accuracy(keep));
  console.log(JSON.stringify({ accuracies, costs: keeps.map((keep) => costsOf(layout, keep)) }));
}
"""


@dataclass(frozen=True)
class Question:
    """An evaluator, some sets of anchors, and what it answers for them."""

    evaluator: Evaluator
    sets: list[list[int]]
    expected: list[float]

    @classmethod
    def of(cls, evaluator: Evaluator, sets: Sequence[Sequence[int]]) -> Question:
        return cls(evaluator, [list(map(int, kept)) for kept in sets], [evaluator.accuracy(kept) for kept in sets])

    @classmethod
    def at_random(cls, evaluator: Evaluator, n: int = 300, seed: int = 0) -> Question:
        """All sets of few anchors, else random ones from none to all."""
        random, anchors = np.random.default_rng(seed), len(evaluator.layout)
        if 2**anchors <= n:
            return cls.of(evaluator, [np.flatnonzero(k >> np.arange(anchors) & 1).tolist() for k in range(2**anchors)])
        shares = random.choice([0.2, 0.5, 0.8, 0.95], n)
        sets = [np.flatnonzero(random.random(anchors) < share).tolist() for share in shares]
        return cls.of(evaluator, [[], list(range(anchors)), *sets[2:]])


# Each answer is interrupted by the one for the next set, as a tap interrupts what the page computes with pauses.
_INTERRUPTED = _DRIVER.replace(
    "keeps.map((keep) => evaluator.accuracy(keep))",
    """keeps.map((keep, i) => {
    const work = new State(evaluator, { layout, frontier: [] }).settle(keep);
    let step = work.next();
    evaluator.accuracy(keeps[(i + 1) % keeps.length]);
    while (!step.done) step = work.next();
    return step.value;
  })""",
)

Answers = dict[str, Any]


def ask(
    questions: Sequence[tuple[Question, Table]], edit: tuple[str, str] | None = None, *, interrupted: bool = False
) -> list[Answers]:
    """What the page answers for each question by a table: ``accuracies`` and ``costs``, one per set.

    Args:
        questions: each with the table to answer it by.
        edit: text of the source and what to put in its place.
        interrupted: interrupt each answer by another one.
    """
    source = script(*EVALUATOR)
    source = source if edit is None else edited(source, *edit)
    jobs = [
        {"sets": one.sets, "layout": one.evaluator.layout.to_dict(), "text": pack(table, {})}
        for one, table in questions
    ]
    return in_node(source + (_INTERRUPTED if interrupted else _DRIVER), json.dumps(jobs))


def in_node(code: str, given: str = "") -> list[Any]:
    """What a module writes, a JSON value on each line; skips where there is no node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on the path: the handout's JavaScript runs in it")
    command = [node, "--input-type=module", "--eval", code]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def edited(source: str, old: str, new: str) -> str:
    assert source.count(old) == 1, f"{source.count(old)} places for the edit of {old!r}"
    return source.replace(old, new)


def edited_left(module: ModuleType, old: str, new: str) -> Callable[[Evaluator], Table]:
    """`left` with an edit of the source of `table` or `drop`, as plain Python: compiling takes seconds."""
    names = plain(module, old, new)
    return lambda evaluator: names["drop"](names.get("read_table", read_table)(evaluator))


def plain(module: ModuleType, old: str, new: str) -> dict[str, Any]:
    """What a module with compiled loops defines, with an edit of its source and nothing compiled."""
    source = edited(Path(str(module.__file__)).read_text(encoding="utf-8"), old, new)
    source = re.sub(r"^from anchorkit\.evaluation\.loops\.compiling import .*\n", "", source, flags=re.MULTILINE)
    names: dict[str, Any] = {"__name__": module.__name__, "drop": dropping.drop}
    names |= dict.fromkeys(("compiled", "inlined"), lambda function: function)
    names |= {
        "bit_at": lambda number: np.uint64(1 << (number & 63)),
        "lowest_bit": lambda word: np.uint64(int(word) & -int(word)),
        "position": lambda bit: int(bit).bit_length() - 1,
    }
    exec(compile(source, f"edited {module.__name__}", "exec"), names)
    return names


EDITS = {
    "cap": ("part.limited ? (head.cap ?? Infinity) : Infinity", "Infinity"),
    "100 of a class": ("++seen > head.most_counted", "++seen > Infinity"),
    "top-k": ("if (part.topped)", "if (false)"),
    "top-k by class": ("class: classes[i],", "class: 0,"),
    "top-k by level": ("level: this.level[anchor],", "level: 0,"),
    "top-k by image": ("image: 0 }", "image: classes[i] }"),
    "top-k before NMS": (
        "if (seen > this.head.topk) this.state[p] = 1",
        "if (seen > this.head.topk + 1) this.state[p] = 1",
    ),
    "crowd": ("if (!crowd[truth])", "if (true)"),
    "ignored": ("if (real[truth]) continue;", "continue;"),
    "outside": ("if (!outside[p]) counted++", "counted++"),
    "order of the sum": (
        "pairwiseSum(this.precision, 0, this.precision.length)",
        "this.precision.reduce((a, b) => a + b, 0)",
    ),
    "false positives": ("before[j] - right", "before[j]"),
    "NMS": ("state[victim[e]] = 1", "state[victim[e]] |= 0"),
}
"""Edits of the page's evaluator that break a rule."""

DROP_EDITS = {
    "cliques": (tables, "while k < found and not _is_part(cliques[k], sets[c])", "while k < found and False"),
    "rule 3, cap": (dropping, ">= cap\n", ">= cap - 1\n"),
    "rule 3, unsuppressed": (dropping, "minlength=len(table)) == 0\n", "minlength=len(table)) >= 0\n"),
    "rule 3, top-k": (dropping, " & ~table.topped[table.image]\n", "\n"),
    "rule 4, last": (dropping, "table.order > last[table.klass]", "table.order >= last[table.klass]"),
    "rule 4, place": (dropping, "(~table.limited[table.image] | (table.order > last[table.image]))", "True"),
}
"""Edits of what the handout leaves out that leave out too much."""


def left(evaluator: Evaluator) -> Table:
    """What the handout has of an evaluator's tables."""
    return dropping.drop(read_table(evaluator))


NASTY = {
    "cap": PostProcess(0.0, None, "class", 0.2, 8),
    "class": PostProcess(0.0, 4, "class", 0.5, 7),
    "level": PostProcess(0.0, 11, "level", 0.5, None),
    "image": PostProcess(0.0, 18, "image", 0.4, None),
    "long": PostProcess(0.0, None, "class", 0.9, None),
}
"""Post-processings under which each rule of the evaluation matters, see `nasty`."""


def nasty(name: str) -> Question:
    """A table full of ties, crowds, ignored and huge boxes, and classes that the ground truth lacks; all its sets.

    ``long`` has more detections of a class in an image than count.
    """
    long = name == "long"
    random = np.random.default_rng([sorted(NASTY).index(name), 7])
    shapes = ((16.0, 16.0), (30.0, 15.0), (15.0, 30.0), (40.0, 40.0))
    levels = tuple(Level(f"P{k}", 4, 4, shapes, 0, 100 + k, 0, 50) for k in range(2))
    layout = AnchorLayout("nasty", (160, 160), levels)
    n, n_images, n_truth = (800, 2, 60) if long else (500, 3, 40)
    # A lattice gives equal IoUs; with "long" most boxes stand apart, so that NMS leaves them.
    corner = random.integers(0, 400 if long else 12, (n_truth, 2)) * (3.0 if long else 8.0)
    truth = np.concatenate([corner, random.choice([20.0, 24.0, 28.0], (n_truth, 2))], axis=1)
    boxes = truth[random.integers(0, n_truth, n)] + random.integers(-2, 3, (n, 4)) * random.choice([0, 1, 2], (n, 1))
    far = random.random(n) < (0.8 if long else 0.2)
    boxes[far, :2] = random.integers(0, 400 if long else 100, (far.sum(), 2))
    huge = random.random(n) < 0.03
    boxes[huge, :2] -= 1e5 * random.random((huge.sum(), 1))
    boxes[huge, 2:] += 2e5
    image = random.integers(1, n_images + 1, n)
    category = random.choice([1, 2, 3, 9], n, p=[0.5, 0.25, 0.1, 0.15])  # the ground truth lacks 9
    score = random.integers(1, 40, n) / 40
    annotations = [
        {
            "id": i + 1,
            "image_id": int(random.integers(1, n_images + 1)),
            "category_id": int(random.choice([1, 2])),
            "bbox": box,
            # COCO ignores what is larger than its largest range.
            "area": 2e10 if random.random() < 0.1 else box[2] * box[3],
            "iscrowd": int(random.random() < 0.2),
        }
        for i, box in enumerate(truth.tolist())
    ]
    ids = ("images", n_images), ("categories", 3)
    data = {key: [{"id": i + 1} for i in range(count)] for key, count in ids} | {"annotations": annotations}
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    table = PredictionTable(image, random.integers(0, 8, n), category, score, corners, layout, NASTY[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = Evaluator(table, data)
    return Question.at_random(evaluator, 256)
