"""The checks on real data: silent on the data as they are, and right on copies that were corrupted in known ways."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anchorkit.datasets.plausibility import check_boxes
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.predictions_check import check_table

from ..evaluation.real_ssd import real_ssd_table
from .corruptions import corrupted

pytestmark = pytest.mark.real

N_IMAGES = 60


def test_nothing_is_found_in_the_table_of_the_coco_ssd(real_data):
    table, truth = real_ssd_table(real_data, N_IMAGES, 0.05)
    assert check_table(table, truth) == ()


Change = Callable[[np.ndarray, np.ndarray], np.ndarray]
# Of boxes (N, 4) x y w h and image sizes (N, 2); None where the data may not show it.
OF_BOXES: dict[str, tuple[Change, str]] = {
    "normalised": (lambda boxes, sizes: boxes / np.tile(sizes, 2), "normalised_boxes"),
    "corners": (lambda boxes, _: np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1), "corner_boxes"),
    "exchanged": (lambda boxes, _: boxes[:, [1, 0, 3, 2]], "boxes_outside_image"),
    "doubled": (lambda boxes, _: 2 * boxes, "boxes_outside_image"),
    "halved": (lambda boxes, _: boxes / 2, "boxes_scaled_down"),
    "a tenth normalised": (
        lambda boxes, sizes: np.where(np.arange(len(boxes))[:, None] % 10 == 0, boxes / np.tile(sizes, 2), boxes),
        "normalised_boxes",
    ),
}


def corrupted_truths(real_data: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Of each corrupted ground truth: what it is, the finding it should bring, and those it brings."""
    sets = {"bccd": ("train", "val"), "neu_det": ("train", "val"), "coco_subset": ("train2017",)}
    for name, part in ((name, part) for name, parts in sets.items() for part in parts):
        source = real_data / name / "annotations" / f"instances_{part}.json"
        if not source.is_file():
            continue
        truth = read_ground_truth(source)
        sizes = truth.sizes[truth.image]
        assert check_boxes(name, truth.boxes, sizes, range(len(truth))) == []
        for what, (change, expected) in OF_BOXES.items():
            if what == "exchanged" and (sizes[:, 0] == sizes[:, 1]).all():
                continue
            found = check_boxes(name, change(truth.boxes, sizes), sizes, range(len(truth)))
            yield f"{name} {part}, {what}", expected, [finding.name for finding in found]


def test_all_but_two_of_40_corrupted_copies_and_more_are_found_by_name(real_data):
    table, truth = real_ssd_table(real_data, N_IMAGES, 0.05)
    cases = [
        (f"SSD, {one.what}", one.name, [finding.name for finding in check_table(one.table, truth)])
        for one in corrupted(table, truth)
    ]
    cases += list(corrupted_truths(real_data))
    missed = [(what, expected, found) for what, expected, found in cases if expected not in found]
    print(f"{len(cases)} corrupted copies; missed: {missed}")
    assert len(cases) >= 40
    assert len(missed) <= 2


def test_a_split_of_half_the_names_of_coco_is_found(real_data):
    """Names typed again in capitals, over a real list of classes."""
    from anchorkit.datasets.base import Dataset, Split
    from anchorkit.datasets.plausibility import check_dataset

    source = real_data / "coco_subset" / "annotations" / "instances_train2017.json"
    if not source.is_file():
        pytest.skip(f"no {source}")
    data: dict[str, Any] = json.loads(source.read_text())

    def read(entry: Any) -> Any:
        raise AssertionError("no image is needed")

    whole = Split("train", data, read)
    assert check_dataset(Dataset("coco", whole, whole.only(set(), "val"))) == ()
    other = copy.deepcopy(data)
    other["categories"][3]["name"] = other["categories"][2]["name"].upper()
    whole = Split("train", other, read)
    [finding] = check_dataset(Dataset("coco", whole, whole.only(set(), "val")))
    assert finding.name == "categories_differ_in_spelling"
