"""Choosing on some images and telling on others: nothing of an image leaks into the choice that it is told with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

import anchorkit as ak
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.bootstrapping import ByImage
from anchorkit.search import SearchResult, search
from anchorkit.statistics import cross_fit, cross_fitted_removal, holdout_report, split_images
from anchorkit.statistics import crossfit as crossfit_module

from .simulated import population, some_images

DROP = 0.05


@pytest.fixture(scope="module")
def own() -> Evaluator:
    return some_images(100, 4)


@pytest.fixture(scope="module")
def result(own) -> SearchResult:
    return search(own, "head_flops", threshold=own.accuracy(own.full) - DROP, progress=False)


@pytest.fixture(scope="module")
def fitted(own, result) -> ak.statistics.CrossFit:
    return cross_fit(own, result, folds=4, draws=200, progress=False)


def test_each_fold_is_told_with_what_the_others_chose(own, result, fitted):
    """The pooled AP, put together by hand from the detections of each fold."""
    from anchorkit.evaluation.referees import coco as reference

    ids = own.ground_truth.image_ids
    chosen = []
    for fold in range(4):
        others = own.subset(ids[fitted.folds != fold])
        alone = search(others, "head_flops", threshold=others.accuracy(others.full) - DROP, progress=False)
        # A fold's search goes as far below its own full accuracy as the whole search did.
        assert fitted.results[fold].threshold == pytest.approx(alone.threshold)
        assert fitted.results[fold].evaluated.equals(alone.evaluated)
        chosen.append(alone.cheapest(0.01))
    rows = [reference.select_rows(own.predictions, c.indices) for c in chosen]
    rows = [r[np.isin(own.predictions.image_id[r], ids[fitted.folds == f])] for f, r in enumerate(rows)]
    joined = np.concatenate(rows)
    joined = joined[np.argsort(own.predictions.image_id[joined], kind="stable")]
    told = reference.coco_ap(own.predictions, own.ground_truth, joined)[0]
    row = fitted.losses.set_index("allowed").loc[0.01]
    assert row["cross_fitted"] == told - own.accuracy(own.full)
    assert row["n_anchors"] == np.mean([len(c) for c in chosen])
    assert row["in_sample"] == own.accuracy(result.cheapest(0.01)) - own.accuracy(own.full)


def test_optimism_is_the_mean_distance_of_the_two_frontiers(result, fitted):
    budgets = fitted.budgets
    assert budgets["luck"].to_numpy() == pytest.approx((budgets["in_sample"] - budgets["cross_fitted"]).to_numpy())
    assert fitted.optimism == pytest.approx(budgets["luck"].mean())
    assert (budgets["luck_low"] <= budgets["luck_high"]).all()
    assert fitted.optimism_interval[0] <= fitted.optimism <= fitted.optimism_interval[1]
    assert set(budgets["head_flops"][1:]) <= set(result.frontier["head_flops"])
    assert (budgets["mean_cost"] <= budgets["head_flops"]).all()
    assert f"{100 * fitted.optimism:.2f} points" in str(fitted)


def test_the_interval_of_the_optimism_is_that_of_the_mean(own, result, fitted):
    asked = fitted.budgets["head_flops"].tolist()
    promised = [result.best(head_flops=most) for most in asked]
    kept = [ByImage(tuple(r.best(head_flops=most) for r in fitted.results), fitted.folds) for most in asked]
    changes = own.bootstrap([*promised, *kept], 200).changes
    luck = (changes[:, : len(asked)] - changes[:, len(asked) :]).mean(axis=1)
    assert fitted.optimism_interval == pytest.approx(np.quantile(luck, [0.025, 0.975]))


def test_the_searches_keep_to_the_budget_and_the_anchors_of_the_first(own):
    result = search(own, "head_flops", budget=12, among=[0, 1, 2, 5], progress=False)
    for found in cross_fit(own, result, folds=2, draws=10, progress=False).results:
        assert (found.budget, found.among, found.threshold) == (12, result.among, None)
        assert len(found.evaluated) <= 12


@pytest.mark.slow
def test_cross_fitting_tells_what_new_images_would():
    """On average over sets: in-sample figures flatter, cross-fitted ones come near the truth in the population."""
    everything = population()
    full = everything.accuracy(everything.full)
    in_sample, fitted, truth = [], [], []
    for repeat in range(12):
        own = some_images(80, 100 + repeat)
        result = search(own, "head_flops", threshold=max(own.accuracy(own.full) - DROP, 0.0), progress=False)
        row = cross_fit(own, result, folds=5, losses=(0.0,), draws=20, progress=False).losses.iloc[0]
        in_sample.append(row["in_sample"])
        fitted.append(row["cross_fitted"])
        truth.append(everything.accuracy(result.cheapest(0.0)) - full)
    flattery = np.mean(in_sample) - np.mean(truth)
    assert flattery > 0.005
    assert abs(np.mean(fitted) - np.mean(truth)) < 0.6 * flattery


def test_ledgers_let_it_go_on(own, result, fitted, tmp_path, monkeypatch):
    first = cross_fit(own, result, folds=4, draws=50, ledgers=tmp_path, progress=False)
    assert len(list(tmp_path.glob("ledger-*.jsonl"))) == 4
    asked = []
    look = Evaluator.children
    monkeypatch.setattr(Evaluator, "children", lambda self, c, moves: asked.append(1) or look(self, c, moves))
    again = cross_fit(own, result, folds=4, draws=50, ledgers=tmp_path, progress=False)
    assert not asked
    assert again.optimism == first.optimism == fitted.optimism


def test_a_callable_cost_is_given_again_for_a_result_from_files(own, tmp_path):
    def weight(configuration):
        return float(len(configuration))

    result = search(own, weight, threshold=own.accuracy(own.full) - 0.02, progress=False)
    fitted = cross_fit(own, result, folds=2, draws=20, progress=False)
    assert fitted.cost == "weight"
    result.save(tmp_path)
    again = SearchResult.load(tmp_path)
    with pytest.raises(InputError, match="give the callable that computes it as cost="):
        cross_fit(own, again, folds=2, progress=False)
    given = cross_fit(own, again, folds=2, cost=weight, draws=20, progress=False)
    pd.testing.assert_frame_equal(given.budgets, fitted.budgets)
    assert (fitted.budgets["mean_cost"] <= fitted.budgets["weight"]).all()


def test_the_result_of_other_images_is_refused(result):
    with pytest.raises(InputError, match="needs the evaluator of the search"):
        cross_fit(some_images(100, 5), result, progress=False)


def test_budgets_are_thinned_evenly_and_keep_their_ends():
    costs = np.arange(10.0, 110.0)
    found = crossfit_module._thinned(costs, 20.0)
    assert (len(found), found[0], found[-1]) == (25, 20.0, 109.0)
    assert crossfit_module._thinned(costs[:3], 11.5).tolist() == [11.5, 12.0]
    assert crossfit_module._thinned(costs, 1000.0).tolist() == [1000.0]


def test_holdout_report_tells_the_choice_of_one_side_on_the_other(own):
    split = split_images(own.ground_truth)
    searched, holdout = own.subset(split.search), own.subset(split.holdout)
    result = search(searched, "head_flops", threshold=searched.accuracy(searched.full) - DROP, progress=False)
    report = holdout_report(result, holdout, losses=(0.0, 0.02), draws=100)
    assert report["allowed"].tolist() == [0.0, 0.02]
    for row, loss in zip(report.itertuples(), (0.0, 0.02), strict=True):
        chosen = result.cheapest(loss)
        assert row.anchors == " ".join(chosen.ids)
        assert row.n_anchors == len(chosen)
        assert row.searched == pytest.approx(searched.accuracy(chosen) - searched.accuracy(searched.full))
        assert row.change == holdout.accuracy(chosen) - holdout.accuracy(holdout.full)
        assert row.low <= row.high
        assert row.head_flops == ak.costs.cost_of(chosen, "head_flops")
    with pytest.raises(InputError, match="losses is empty"):
        holdout_report(result, holdout, losses=())
    with pytest.raises(InputError, match="their layouts differ"):
        holdout_report(dataclasses.replace(result, layout=ak.AnchorLayout("other", (8, 8), ())), holdout)


def test_cross_fitted_statements_are_seldom_wrong(tmp_path):
    """Seeded; of 100 sets of 250 images, none was wrong at the first margin and 3 at the second."""
    everything = population()
    full = everything.accuracy(everything.full)
    claims, wrong, naive_wrong = (dict.fromkeys((0.005, 0.02), 0) for _ in range(3))
    for repeat in range(10):
        own = some_images(250, repeat)
        result = search(own, "head_flops", threshold=own.accuracy(own.full) - DROP, progress=False)
        for margin in claims:
            said = cross_fitted_removal(own, result, margin, draws=200, ledgers=tmp_path)
            claims[margin] += said.n_removed > 0
            wrong[margin] += everything.accuracy(said.configuration) - full <= -margin
            naive_wrong[margin] += everything.accuracy(result.cheapest(margin)) - full <= -margin
    assert max(wrong.values()) <= 1
    assert claims[0.02] >= 7
    assert naive_wrong[0.005] >= 4  # what is measured on the images of the search


def test_a_cross_fitted_statement_is_about_the_cheapest_budget_that_holds(own, result):
    said = cross_fitted_removal(own, result, 0.05, draws=200, folds=4)
    fitted = cross_fit(own, result, folds=4, draws=200, progress=False)
    holds = fitted.budgets[fitted.budgets["least"] > -0.05]
    assert said.configuration == result.best(head_flops=holds["head_flops"].min())
    row = holds.loc[holds["head_flops"].idxmin()]
    assert (said.change, said.least) == (row["cross_fitted"], row["least"])
    assert (fitted.budgets["least"] < fitted.budgets["cross_fitted"] + 1e-12).all()
    assert f"{len(own.ground_truth.image_ids)} images, each with a choice made without it" in str(said)
    assert (said.folds, said.tried) == (4, 0)
    with pytest.raises(InputError, match="half a point is 0.005"):
        cross_fitted_removal(own, result, margin=5)
