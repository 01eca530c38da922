"""What the check says of prediction tables that other tools made wrong, and that it is silent on right ones."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator, single
from anchorkit.evaluation.ground_truth import GroundTruth, read_ground_truth
from anchorkit.files import write_json
from anchorkit.findings import ImplausibleDataError, ImplausibleDataWarning
from anchorkit.predictions import PredictionTable
from anchorkit.predictions_check import check_pair, check_table, objects_of

from .corruptions import corrupted, made_up, remade

WRONG = [one.what for one in corrupted(made_up()[0], read_ground_truth(made_up()[1]))]


@pytest.fixture(scope="module")
def made() -> tuple[PredictionTable, GroundTruth]:
    table, truth = made_up()
    return table, read_ground_truth(truth)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("right", [0.0, 0.1, 0.3, 0.6, 0.95])
def test_nothing_is_found_in_a_right_table_however_poor_the_detector(seed, right):
    table, truth = made_up(seed, images=3 + 4 * seed, right=right)
    assert check_table(table, read_ground_truth(truth)) == ()


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("seed", range(2))
def test_every_corruption_is_found_under_its_name_and_no_other(what, seed):
    table, coco = made_up(seed)
    truth = read_ground_truth(coco)
    [case] = [one for one in corrupted(table, truth, seed) if one.what == what]
    found = check_table(case.table, truth)
    assert [finding.name for finding in found] == [case.name]
    assert "\n" not in str(found[0])


def test_what_is_said_of_input_pixels(made):
    table, truth = made
    [case] = [one for one in corrupted(table, truth) if one.what == "input pixels"]
    [finding] = check_table(case.table, truth)
    assert finding.severity == "warning"
    assert finding.count == len(table)
    assert "(320x320)" in finding.what
    assert finding.mend.startswith("multiply x by image width / input width")
    assert finding.to_dict()["example"]["file"] == "made up"


def test_classes_say_what_lies_on_what_and_the_accuracy_without_regard_to_class(made):
    table, truth = made
    [case] = [one for one in corrupted(table, truth) if one.what == "class indices from 0"]
    [finding] = check_table(case.table, truth)
    assert "0 on 1, 1 on 2, 2 on 4, 3 on 7" in finding.what
    assert "indices from 0" in finding.what
    exact, whichever = (
        float(part.split()[0]) for part in finding.what.split("AP50 on 24 images is ")[1].split("class ")
    )
    assert exact < 10
    assert whichever > 60


def test_a_single_class_off_by_one():
    table, coco = made_up()
    for annotation in coco["annotations"]:
        annotation["category_id"] = 1
    coco["categories"] = [{"id": 1, "name": "bolt"}]
    truth = read_ground_truth(coco)
    assert check_table(remade(table, category_id=np.ones(len(table), np.int32)), truth) == ()
    [finding] = check_table(remade(table, category_id=np.zeros(len(table), np.int32)), truth)
    assert finding.name == "class_ids_off_by_one"


def test_coordinates_and_classes_may_both_be_wrong(made):
    table, truth = made
    [case] = [one for one in corrupted(table, truth) if one.what == "input pixels"]
    index = np.searchsorted(truth.category_ids, table.category_id)
    found = check_table(remade(case.table, category_id=index), truth)
    assert [finding.name for finding in found] == ["input_pixels", "class_ids_off_by_one"]


def test_some_normalised_rows_are_a_warning(made):
    table, truth = made
    size = np.tile(truth.sizes[np.searchsorted(truth.image_ids, table.image_id)], 2)
    some = table.image_id < 14
    found = check_table(remade(table, np.where(some[:, None], table.boxes / size, table.boxes)), truth)
    assert [(f.name, f.severity, f.count) for f in found] == [("normalised_coordinates", "warning", int(some.sum()))]


def test_without_image_sizes_coordinates_are_judged_as_far_as_possible(made):
    table, coco = made_up()
    for image in coco["images"]:
        del image["width"], image["height"]
    truth = read_ground_truth(coco)
    assert np.isnan(truth.sizes).all()
    assert check_table(table, truth) == ()
    [finding] = check_table(remade(table, table.boxes[:, [1, 0, 3, 2]]), truth)
    assert finding.name == "axes_exchanged"
    [finding] = check_table(remade(table, table.boxes / 640), truth)
    assert (finding.name, finding.severity) == ("normalised_coordinates", "warning")


def test_scores_in_few_steps_and_those_of_an_eight_bit_detector():
    table, coco = made_up(images=60)
    truth = read_ground_truth(coco)
    [finding] = check_table(remade(table, score=np.round(table.score * 16) / 16), truth)
    assert finding.name == "scores_in_steps"
    assert check_table(remade(table, score=np.round(table.score * 256) / 256), truth) == ()


def test_few_rows_may_leave_an_image_out():
    """A detector with a high threshold misses all objects of an image now and then."""
    table, coco = made_up(images=60, rows=3)
    truth = read_ground_truth(coco)
    first = np.unique(truth.image_ids[truth.image])[:2]
    assert check_table(remade(table, keep=~np.isin(table.image_id, first)), truth) == ()


def crowded(objects: int) -> tuple[PredictionTable, GroundTruth]:
    table, coco = made_up()
    box = {**coco["annotations"][0], "image_id": 10, "category_id": 1}
    coco["annotations"] = [
        {**box, "id": n, "bbox": [5.0 * (n % 20), 10.0 * (n // 20), 20.0, 20.0]} for n in range(1, objects + 1)
    ]
    return remade(table, keep=table.image_id == 10), read_ground_truth(coco)


def test_more_objects_than_are_counted():
    table, truth = crowded(100)
    assert not [f for f in check_table(table, truth) if f.name.startswith("more_objects")]
    table, truth = crowded(130)
    found = {finding.name: finding for finding in check_table(table, truth)}
    assert found["more_objects_than_counted"].example == {"id": 10, "value": 130}
    assert "--max-dets" in found["more_objects_than_counted"].mend
    assert "more_objects_than_cap" in found  # of 100 detections of an image
    names = [finding.name for finding in check_table(table, truth, counted=300)]
    assert "more_objects_than_counted" not in names


def test_the_evaluator_warns_once_and_carries_the_findings(made):
    table, truth = made
    [case] = [one for one in corrupted(table, truth) if one.what == "axes exchanged"]
    with pytest.warns(ImplausibleDataWarning, match="x and y exchanged") as caught:
        evaluator = Evaluator(case.table, truth)
    assert [warning.filename for warning in caught] == [__file__]
    assert [finding.name for finding in evaluator.findings] == ["axes_exchanged"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        part = evaluator.subset(truth.image_ids[:5])
        assert evaluator.with_postprocess(nms_iou=0.3).findings == evaluator.findings == part.findings
        assert Evaluator(table, truth).findings == ()


def test_the_evaluator_and_single_figures_refuse_what_no_data_can_be(made):
    table, truth = made
    [case] = [one for one in corrupted(table, truth) if one.what == "normalised"]
    with pytest.raises(InputError, match="all 960 boxes lie within 0..1"):
        Evaluator(case.table, truth)
    with pytest.raises(ImplausibleDataError, match="multiply x by"):
        single.stats(case.table, truth, table.layout.full)


def test_no_figure_depends_on_image_sizes(made):
    table, coco = made_up()
    known, unknown = (
        read_ground_truth(coco),
        read_ground_truth({**coco, "images": [{"id": e["id"]} for e in coco["images"]]}),
    )
    assert Evaluator(table, known).fingerprint == Evaluator(table, unknown).fingerprint


def test_a_ground_truth_file_is_checked_too(made, tmp_path):
    table, coco = made_up()
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    for annotation in coco["annotations"]:
        _width, _height = sizes[annotation["image_id"]]
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x, y, x + w, y + h]
        annotation["area"] = w * h
    write_json(tmp_path / "truth.json", coco)
    found = check_pair(table, read_ground_truth(coco), tmp_path / "truth.json")
    assert [finding.name for finding in found] == ["corner_boxes"]
    assert str(tmp_path) in found[0].what


def test_a_split_gives_the_same_arrays_as_the_evaluation(made):
    _, coco = made_up(3)
    mine, theirs = objects_of(coco), read_ground_truth(coco)
    for name in ("image_ids", "category_ids", "image", "category", "boxes", "crowd", "sizes"):
        assert np.array_equal(getattr(mine, name), getattr(theirs, name)), name
