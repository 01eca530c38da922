"""What is said of a joint frontier: changes against the whole detector, paired over the images, and what was tried."""

from __future__ import annotations

import numpy as np
import pytest

import anchorkit as ak
from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.referees import coco as reference
from anchorkit.predictions import PredictionTable
from anchorkit.search.joint import JointResult, joint_search
from anchorkit.statistics import (
    CrossFit,
    cross_fit,
    cross_fitted_removal,
    frontier_changes,
    holdout_report,
    safe_to_remove,
    sample_of_tried,
)
from anchorkit.statistics.joint import JointEvaluator

from .simulated import some_images

Both = tuple[Evaluator, Evaluator]


@pytest.fixture(scope="module")
def both() -> Both:
    return some_images(80, 1), some_images(80, 1, slim=True)


@pytest.fixture(scope="module")
def result(both: Both) -> JointResult:
    threshold = both[0].accuracy(both[0].full) - 0.06
    pairs = zip((0, 0.3), both, strict=True)
    return joint_search(pairs, "head_flops", threshold=threshold, progress=False)


def test_the_frontier_has_points_of_both(result: JointResult) -> None:
    assert set(result.origins) == {0, 1}


def test_changes_are_against_the_whole_detector_and_paired(both: Both, result: JointResult) -> None:
    points = frontier_changes(both, result, draws=100)
    whole = both[0].accuracy(both[0].full)
    assert points["channels"].tolist() == result.frontier["channels"].tolist()
    np.testing.assert_allclose(points["change"], result.frontier["accuracy"] - whole, atol=1e-12)
    one = JointEvaluator(both, result)
    place = result.origins.index(1)
    drawn = one.bootstrap(result.configurations, 100, 0).changes[:, place]
    alone = both[1].bootstrap([result.configurations[place]], 100, 0).drawn[:, 0]
    np.testing.assert_array_equal(drawn, alone - both[0].bootstrap([], 100, 0).full_drawn)
    # The detectors see the same images in a draw: their difference varies less than the accuracies do.
    assert drawn.std() < 0.7 * alone.std()


def test_the_statistics_know_what_was_tried_on_all_detectors(both: Both, result: JointResult) -> None:
    tried = [len(found.evaluated) for found in result.results]
    said = safe_to_remove(both, result, margin=0.2, draws=100)
    assert said.tried == sum(tried) == len(result.evaluated)
    assert any(f"{sum(tried):,} configurations were tried" in caveat for caveat in said.caveats)
    sampled = sample_of_tried(result, 10**6)
    assert len(sampled) == sum(tried) - len(result.frontier)
    assert {c.layout.levels[0].head_macs_per_anchor for c in sampled} == {10, 8}
    others = tuple(some_images(80, 2, slim) for slim in (False, True))
    assert safe_to_remove(others, result, margin=0.2, draws=100).tried == 0


def test_the_sentence_names_channels_and_anchors(both: Both, result: JointResult) -> None:
    said = safe_to_remove(both, result, margin=0.2, draws=100)  # a large margin: the cheapest point is safe
    assert said.configuration == result.configurations[-1]
    assert result.labels[result.origins[-1]] == 0.3
    point = f"{len(said.configuration)} of 8 anchors without 30 % of the channels"
    assert f"{point} are enough and AP falls by less than 20 points" in str(said)
    assert said.saved == pytest.approx(1 - result.frontier["head_flops"].iloc[-1] / result.baseline["head_flops"])
    said = str(safe_to_remove(both, result, margin=1e-4, draws=100))
    assert "images cannot tell which anchors and channels can go" in said


def test_held_out_images_tell_what_the_choice_is_worth(both: Both, result: JointResult) -> None:
    others = tuple(some_images(80, 2, slim) for slim in (False, True))
    report = holdout_report(result, others, losses=(0.0, 0.04), draws=50)
    chosen = result.cheapest(max_loss=0.04)
    row = report.iloc[1]
    assert (row["channels"], row["head_flops"]) == (chosen.channels, chosen.cost)
    evaluator = others[result.labels.index(chosen.channels)]
    whole = others[0].accuracy(others[0].full)
    assert row["change"] == pytest.approx(evaluator.accuracy(chosen.configuration) - whole)


def test_bad_input(both: Both, result: JointResult) -> None:
    with pytest.raises(ak.InputError, match="a joint search needs the evaluators of all its detectors"):
        safe_to_remove(both[0], result)
    with pytest.raises(ak.InputError, match="1 evaluators for the 2 detectors"):
        safe_to_remove(both[:1], result)
    with pytest.raises(ak.InputError, match=r"evaluator 0 is not of the detector 0\.0"):
        safe_to_remove(both[::-1], result)
    with pytest.raises(ak.InputError, match=r"the evaluator of 0\.3 has other images than that of 0\.0"):
        safe_to_remove((both[0], some_images(80, 2, slim=True)), result)
    with pytest.raises(ak.InputError, match="several evaluators go with a joint search"):
        safe_to_remove(both, result.results[0])
    twice = joint_search([("a", both[0]), ("b", both[0])], "head_flops", budget=2, progress=False)
    with pytest.raises(ak.InputError, match="the detectors a and b have the same layout"):
        safe_to_remove((both[0], both[0]), twice)


@pytest.fixture(scope="module")
def fitted(both: Both, result: JointResult) -> CrossFit:
    return cross_fit(both, result, folds=3, losses=(0.0, 0.04), draws=60, progress=False)


def test_each_fold_is_judged_by_detector_and_anchors_that_the_others_chose(
    both: Both, result: JointResult, fitted: CrossFit
) -> None:
    """The pooled AP, put together by hand from the detections of each fold, which are of two detectors."""
    ids, allowed = both[0].ground_truth.image_ids, 0.0
    parts, detectors = [], []
    for fold, found in enumerate(fitted.results):
        others = [each.subset(ids[fitted.folds != fold]) for each in both]
        threshold = others[0].accuracy(others[0].full) - 0.06
        alone = joint_search(zip((0, 0.3), others, strict=True), "head_flops", threshold=threshold, progress=False)
        assert found.evaluated.equals(alone.evaluated)
        chosen = alone.cheapest(allowed)
        detectors.append(alone.labels.index(chosen.channels))
        table = both[detectors[-1]].predictions
        rows = reference.select_rows(table, chosen.configuration.indices)
        parts.append((table, rows[np.isin(table.image_id[rows], ids[fitted.folds == fold])]))
    assert set(detectors) == {0, 1}  # else it would show nothing that a search of anchors does not
    names = ("image_id", "anchor", "category_id", "score", "boxes")
    columns = [np.concatenate([getattr(table, name)[rows] for table, rows in parts]) for name in names]
    order = np.argsort(columns[0], kind="stable")
    pooled = PredictionTable(*(column[order] for column in columns), both[0].layout, both[0].predictions.postprocess)
    measured = reference.coco_ap(pooled, both[0].ground_truth, np.arange(len(pooled)))[0]
    row = fitted.losses.set_index("allowed").loc[allowed]
    assert row["cross_fitted"] == measured - both[0].accuracy(both[0].full)
    assert row["in_sample"] == result.cheapest(allowed).accuracy - both[0].accuracy(both[0].full)
    assert row["mean_cost"] == np.mean([found.cheapest(allowed).cost for found in fitted.results])


def test_a_cross_fitted_statement_names_channels(both: Both, result: JointResult, fitted: CrossFit) -> None:
    said = cross_fitted_removal(both, result, margin=0.2, draws=60, folds=3)
    assert (said.folds, said.tried) == (3, 0)
    assert said.configuration in fitted.choices
    assert said.channels == "0.3"
    assert "each with a choice made without it (cross-fitted, 3 folds)" in str(said)
