"""What is implausible in a prediction table, compared with its ground truth.

Cheap sums look at every row. Where boxes and classes lie is judged on the best rows of a sample of images: the boxes
are read in every wrong way that is known (normalised, in input pixels, axes exchanged ...), and a way is reported if
the boxes lie far better on the objects so, and better than on the objects of other images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anchorkit.findings import Finding, checks_are_on
from anchorkit.predictions_check.classes import classes
from anchorkit.predictions_check.places import coordinates, images_to_compare, sample_of
from anchorkit.predictions_check.sums import crowded, steps, tiny, without_rows
from anchorkit.predictions_check.truth import Table, Truth, Whole, objects_of

__all__ = ["Truth", "Whole", "check_pair", "check_table", "images_to_compare", "objects_of"]


def check_pair(
    table: Table, truth: Truth, given: Any, counted: int = 100, whole: Whole | None = None
) -> tuple[Finding, ...]:
    """What is implausible in a prediction table and in its ground truth.

    Args:
        table: the predictions.
        truth: the annotated boxes of (at least) the same images.
        given: where `truth` was read from. The boxes of a file are checked here; those of a dict were when it was made.
        counted: how many detections of a class in an image the metric counts (the last of ``max_dets``).
        whole: see `check_table`.
    """
    if not checks_are_on():
        return ()
    wrong = []
    if isinstance(given, str | Path):
        # Here, because the readers of data sets take a while to import.
        from anchorkit.datasets.plausibility import check_boxes

        wrong = check_boxes(str(given), truth.boxes, truth.sizes[truth.image], truth.image_ids[truth.image].tolist())
    return (*wrong, *check_table(table, truth, counted, not wrong, whole))


def check_table(
    table: Table,
    truth: Truth,
    counted: int = 100,
    boxes_are_right: bool = True,
    whole: Whole | None = None,
) -> tuple[Finding, ...]:
    """What is implausible in a prediction table.

    Args:
        table: the predictions.
        truth: the annotated boxes of (at least) the same images.
        counted: how many detections of a class in an image the metric counts (the last of ``max_dets``).
        boxes_are_right: False where the annotated boxes are implausible themselves: then nothing is measured by them.
        whole: what is counted over all rows, where `table` has only those of `images_to_compare`.

    Returns:
        The findings. Without objects in the ground truth there is nothing to compare, and nothing is found.
    """
    objects = ~truth.crowd
    if not objects.any() or not checks_are_on():
        return ()
    found = [*tiny(table, truth)] if len(table) else []
    if found and found[0].count == len(table):
        return tuple(found)
    found += without_rows(table, truth, objects, whole or Whole.of(table))
    if not len(table):
        return tuple(found)
    found += [*crowded(table, truth, objects, counted), *steps(table)]
    sample = sample_of(table, truth, objects) if boxes_are_right else None
    if sample is not None:
        wrong = coordinates(table, sample)
        if wrong is not None:
            finding, sample = wrong
            found.append(finding)
        found += classes(table, truth, sample)
    return tuple(found)
