"""Tables that the kit collects itself: a poor detector is no broken table, and a broken detector is still found."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import anchorkit as ak
from anchorkit.datasets import Dataset
from anchorkit.datasets.base import Split
from anchorkit.errors import InputError
from anchorkit.findings import ImplausibleDataWarning, unchecked
from anchorkit.predictions import PredictionTable, collect_predictions
from anchorkit.predictions_check import check_table, objects_of

from .corruptions import Corrupted, corrupted, made_up

STEPS = (0, 2, 6)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    cache = tmp_path_factory.mktemp("cache")
    return ak.load_dataset("shapes", train=8, val=6, test=2, cache=cache, progress=False)


def trained(data: Dataset, steps: int) -> Any:
    """A tiny_ssd after some steps, of 8 images each."""
    detector = ak.load_detector("tiny_ssd", categories=data.categories, seed=0)
    if steps:
        ak.fit(detector, data.limited(train=8, val=2), "tiny", epochs=steps, batch_size=8, progress=False)
    return detector


def check_at_every_threshold(detector: Any, split: Split) -> None:
    """Collect tables at thresholds that leave all, some, few and no images with rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ImplausibleDataWarning)
        table = collect_predictions(detector, split, progress=False)
        best = [table.score[table.image_id == image_id].max(initial=0) for image_id in split.image_ids]
        for share in (0.2, 0.5, 1.0):
            post = replace(detector.postprocess, score_threshold=float(np.quantile(best, share)))
            detector.postprocess, usual = post, detector.postprocess
            fewer = collect_predictions(detector, split, progress=False)
            detector.postprocess = usual
            assert fewer.findings == table.findings == ()
            assert set(fewer.empty_images) | set(fewer.image_id) == set(split.image_ids)
            assert len(fewer.empty_images) >= round(share * len(split))


@pytest.mark.parametrize("steps", STEPS)
def test_nothing_is_found_in_the_table_of_a_hardly_trained_detector(shapes: Dataset, steps: int) -> None:
    check_at_every_threshold(trained(shapes, steps), shapes.val)


@pytest.mark.real
@pytest.mark.parametrize("name", ["bccd", "neu_det"])
@pytest.mark.parametrize("steps", STEPS[1:2])
def test_nothing_is_found_on_real_images_either(real_data: Path, name: str, steps: int) -> None:
    if not (real_data / name).is_dir():
        pytest.skip(f"no {real_data / name}")
    data = ak.load_dataset(real_data / name).limited(train=8, val=8)
    check_at_every_threshold(trained(data, steps), data.val)


def test_what_the_detector_was_given_is_known_after_reading_the_file_too(shapes: Dataset, tmp_path: Path) -> None:
    detector = trained(shapes, 0)
    detector.postprocess = replace(detector.postprocess, score_threshold=1.0)
    first, second = (shapes.val.only(set(ids)) for ids in (shapes.val.image_ids[:4], shapes.val.image_ids[4:]))
    collect_predictions(detector, first, progress=False).save(tmp_path / "table.parquet")
    table = PredictionTable.load(tmp_path / "table.parquet")
    assert table.empty_images.tolist() == sorted(first.image_ids)
    assert table.subset(first.image_ids[:3]).empty_images.tolist() == sorted(first.image_ids[:3])
    assert check_table(table, objects_of(first.ground_truth)) == ()
    [finding] = check_table(table, objects_of(second.ground_truth))  # images that the detector was not given
    assert finding.name == "no_rows"
    [finding] = check_table(table, objects_of(shapes.val.ground_truth))
    assert finding.name == "no_rows"


class _Raw:
    def __init__(self, boxes: Any, scores: Any) -> None:
        self.boxes, self.scores, self.anchor = boxes, scores, np.zeros(len(boxes), np.int64)


class _Detector:
    """Says what a table says."""

    name = "mine"

    def __init__(self, table: PredictionTable, split: Split, ids: list[int]) -> None:
        self.table, self.split, self.ids = table, split, ids
        self.layout, self.postprocess, self.categories = table.layout, table.postprocess, split.categories

    def raw_predictions(self, images: list[Any]) -> Any:
        for image in images:
            rows = np.flatnonzero(self.table.image_id == int(image[0, 0, 0]))
            scores = np.zeros((len(rows), len(self.categories)), np.float32)
            scores[np.arange(len(rows)), np.searchsorted(self.ids, self.table.category_id[rows])] = self.table.score[
                rows
            ]
            yield _Raw(self.table.boxes[rows], scores)


def own_detector(case: Corrupted) -> tuple[Any, Split]:
    split = Split("val", COCO, lambda entry: np.full((entry["height"], entry["width"], 3), entry["id"], np.uint8))
    return _Detector(case.table, split, [category.id for category in split.categories]), split


TABLE, COCO = made_up()
SAID_OF_A_DETECTOR = [
    case
    for case in corrupted(TABLE, objects_of(COCO))  # type: ignore[arg-type]  # all that it needs
    if set(case.table.category_id.tolist()) <= {category["id"] for category in COCO["categories"]}
    and case.name not in ("images_without_rows", "no_rows")
]


@pytest.mark.parametrize("case", SAID_OF_A_DETECTOR, ids=lambda case: case.what)
def test_a_detector_of_ones_own_that_is_wrong_is_found(case: Corrupted) -> None:
    detector, split = own_detector(case)
    if case.what == "normalised":
        with pytest.raises(InputError, match="predictions of mine: all 960 boxes lie within 0..1"):
            collect_predictions(detector, split, progress=False)
        return
    with pytest.warns(ImplausibleDataWarning) as caught:
        assert [finding.name for finding in collect_predictions(detector, split, progress=False).findings] == [
            case.name
        ]
    assert len(caught) == 1


def test_nothing_is_looked_for_unchecked() -> None:
    [case] = [one for one in SAID_OF_A_DETECTOR if one.what == "normalised"]
    detector, split = own_detector(case)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with unchecked():
            table = collect_predictions(detector, split, progress=False)
            assert table.findings == ak.Evaluator(table, COCO).findings == ()
        with pytest.raises(InputError, match="normalised"):
            ak.Evaluator(table, COCO)
