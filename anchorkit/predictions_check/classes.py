"""Which class of a prediction table lies on the objects of which class."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from anchorkit.boxes import box_iou
from anchorkit.findings import Finding
from anchorkit.predictions_check.places import Sample
from anchorkit.predictions_check.truth import Array, Table, Truth

_FINDS_OBJECTS = 0.2
"""AP50 without regard to class (0..1) from which on a detector can be said to find objects."""


def classes(table: Table, truth: Truth, sample: Sample) -> Iterator[Finding]:
    """Class ids that mean other classes than in the ground truth: again and again one lies on another one's objects."""
    row, thing = sample.pairs(np.arange(len(sample.image)))
    over = box_iou(sample.boxes[row], sample.objects[thing]) >= 0.5
    row, thing = row[over], thing[over]
    # Rows of an image are sorted by score: the first one over an object is its best.
    hit, first = np.unique(thing, return_index=True)
    if len(hit) < 5:
        return
    # Pairs go row by row: sort by object, keeping the order of rows.
    said, meant = sample.category[row[first]], sample.object_category[hit]
    pairs, counts = np.unique(np.stack([said, meant]), axis=1, return_counts=True)
    lies_on: dict[int, int] = {}
    mapped = 0
    strong = []
    for (predicted, actual), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        precision, recall = count / (said == predicted).sum(), count / (meant == actual).sum()
        if predicted != actual and precision >= 0.6 and recall >= 0.5:
            lies_on[predicted] = actual
            mapped += count
            strong += [predicted] * int(min(precision, recall) >= 0.8 and count >= 5)
    unknown = [predicted for predicted in lies_on if predicted not in truth.category_ids]
    whole = mapped >= 0.5 * len(hit) and (len(lies_on) > 1 or bool(unknown))
    if not whole and len(strong) < 2:
        return
    ids = truth.category_ids
    told = ", ".join(f"{predicted} on {actual}" for predicted, actual in list(lies_on.items())[:5])
    told += " ..." if len(lies_on) > 5 else ""
    name, how = "class_ids_permuted", "they look like the ids of another list of classes"
    predicted, actual = np.array(list(lies_on)), np.array(list(lies_on.values()))
    indices = f"they look like class indices from 0 (the ground truth has ids from {ids[0]} to {ids[-1]})"
    readings: dict[str, Callable[[Array], Array]] = {
        indices: lambda part: ids[np.clip(part, 0, len(ids) - 1)],
        "they are one too low": lambda part: part + 1,
        "they are one too high": lambda part: part - 1,
    }
    for words, read in readings.items():
        if (read(said) == meant).sum() >= 0.8 * mapped and (read(predicted) == actual).mean() >= 0.75:
            name, how = "class_ids_off_by_one", words
            break
    exact, any_class = (ap50(sample, table.postprocess.nms_iou, by_class) for by_class in (True, False))
    if any_class < _FINDS_OBJECTS:
        return  # hardly trained: what it says of classes is chance
    what = (
        f"{table.source}: rows of one class lie on objects of another ({told}): {how}. AP50 on {len(sample.sizes)} "
        f"images is {100 * exact:.1f} points, without regard to class {100 * any_class:.1f}"
    )
    mend = "map the class ids of the rows to the ground truth's"
    example = {"file": table.source, "value": f"class {next(iter(lies_on))} lies on {next(iter(lies_on.values()))}"}
    yield Finding(name, "warning", len(lies_on), what, mend, example)


def ap50(sample: Sample, nms_iou: float, by_class: bool) -> float:
    """AP at an IoU of 0.5 on the sample, 0..1: mean over classes, or as if all classes were one."""
    category = sample.category if by_class else np.zeros_like(sample.category)
    meant = sample.object_category if by_class else np.zeros_like(sample.object_category)
    kept, right = [], []
    for image in range(len(sample.sizes)):
        rows, things = np.flatnonzero(sample.image == image), np.flatnonzero(sample.object_image == image)
        alive, free = np.ones(len(rows), np.bool_), np.ones(len(things), np.bool_)
        for place, row in enumerate(rows):
            if not alive[place]:
                continue
            box = sample.boxes[row]
            alive &= (box_iou(box, sample.boxes[rows]) <= nms_iou) | (category[rows] != category[row])
            overlap = box_iou(box, sample.objects[things]) * (free & (meant[things] == category[row]))
            if len(things) and overlap.max() >= 0.5:
                free[overlap.argmax()] = False
            kept.append(row)
            right.append(len(things) > 0 and overlap.max() >= 0.5)
    rows, hits = np.array(kept), np.array(right)
    order = np.argsort(-sample.score[rows], kind="stable")
    rows, hits = rows[order], hits[order]
    figures = []
    for one in np.unique(meant):
        own = hits[category[rows] == one]
        precision = np.cumsum(own) / np.arange(1, len(own) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        figures.append(float(precision[own].sum() / (meant == one).sum()))
    return float(np.mean(figures))
