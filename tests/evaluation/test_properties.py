"""The fast evaluator gives the bits of the referees, on random cases and whatever it was asked before."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.evaluation.referees import coco as reference

from . import properties
from .cases import Case, dense_case, random_case

CASES = 20_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 200


@pytest.mark.slow
@pytest.mark.parametrize("name", properties.PROPERTIES)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=CASES)
def test_same_bits_as_the_referees(name, seed):
    properties.PROPERTIES[name](seed)


def test_the_cases_are_as_nasty_as_they_claim():
    """Guards the generator: every trap must be met often, or the properties prove little."""
    met: dict[str, int] = {}
    crowds = boxes = 0
    for seed in range(200):
        case = random_case(seed)
        for trap, there in traps(case).items():
            met[trap] = met.get(trap, 0) + bool(there)
        crowds += sum(annotation["iscrowd"] for annotation in case.ground_truth["annotations"])
        boxes += len(case.ground_truth["annotations"])
    assert min(met.values()) >= 3, met
    assert crowds >= 0.15 * boxes


def test_dense_cases_are_chains():
    """A box that goes sets others free, these suppress others again; and some children need all that is left."""
    met = dict.fromkeys(("freed", "suppressed anew", "several words", "far beyond the cap", "no longer full"), 0)
    for seed in range(60):
        table = dense_case(seed).predictions
        cap, everything = table.postprocess.max_detections, np.arange(len(table.layout))
        endless = table.with_postprocess(dataclasses.replace(table.postprocess, max_detections=None))
        rows = reference.select_rows(endless, everything)
        children = [reference.select_rows(endless, np.delete(everything, anchor)) for anchor in everything]
        gone = [table.anchor[rows] == anchor for anchor in everything]
        most = max(np.bincount(table.image_id[rows]))
        met["freed"] += any(not np.isin(child, rows).all() for child in children)
        met["suppressed anew"] += any(
            not np.isin(rows[~left], child).all() for child, left in zip(children, gone, strict=True)
        )
        met["several words"] += len(table) / len(set(zip(table.image_id, table.category_id, strict=True))) > 128
        met["far beyond the cap"] += cap is not None and most >= cap + 64
        met["no longer full"] += cap is not None and any(
            max(np.bincount(table.image_id[child]), default=0) < cap <= most for child in children
        )
    assert min(met.values()) >= 5, met


def traps(case: Case) -> dict[str, bool]:
    """Which traps a case holds, as the referee sees it."""
    table, truth, post = case.predictions, read_ground_truth(case.ground_truth), case.predictions.postprocess
    everything = np.arange(len(table.layout))
    rows = reference.select_rows(table, everything)

    def found_with(**changes) -> np.ndarray:
        other = table.with_postprocess(dataclasses.replace(post, **changes))
        return reference.select_rows(other, everything)

    group = list(zip(table.image_id[rows].tolist(), table.category_id[rows].tolist(), strict=True))
    scored = [(*key, score) for key, score in zip(group, table.score[rows].tolist(), strict=True)]
    no_topk = found_with(topk=None)
    topk_binds = not np.array_equal(rows, no_topk)
    stats = reference.coco_eval(table, truth, rows)[0]
    annotated = set(truth.category_ids[truth.category].tolist())
    anchors_on = [len(level.anchors) for level in table.layout.levels]
    predicted = set(table.category_id.tolist())
    sides = table.boxes[:, 2:] - table.boxes[:, :2]
    of_real_class = {int(truth.category_ids[k]) for k in truth.category[~truth.crowd]}
    children = [reference.select_rows(table, np.delete(everything, a)) for a in everything]
    gone = [rows[table.anchor[rows] != a] for a in everything]
    return {
        "equal scores": len(set(scored)) < len(scored),
        "equal overlaps": equal_overlaps(case, rows),
        "a box without area": (sides == 0).any(),
        "an annotated box without area": (truth.boxes[:, 2:] == 0).any(),
        "a crowd": truth.crowd.any(),
        "a class with crowds only": bool(annotated - of_real_class),
        "a difficult box that is no crowd": (truth.difficult & ~truth.crowd).any(),
        "an annotated box outside all area ranges": ((truth.area < 0) | (truth.area > 1e10)).any(),
        "a box outside all area ranges": (sides[:, 0] * sides[:, 1] > 1e10).any(),
        "category ids far apart": max(predicted, default=0) > 2**25,
        "no annotated box at all": len(truth) == 0,
        "more than 100 in a group": max((group.count(key) for key in set(group)), default=0) > 100,
        "the cap binds": len(found_with(max_detections=None)) > len(rows),
        "top-k binds by class": topk_binds and post.topk_scope == "class",
        "top-k binds by level": topk_binds and post.topk_scope == "level",
        "top-k binds by image": topk_binds and post.topk_scope == "image",
        "the score threshold binds": (table.score <= np.float32(post.score_threshold)).any(),
        "no row at all": len(table) == 0,
        "an annotated image without predictions": not np.isin(truth.image_ids[truth.image], table.image_id).all(),
        "an image without annotations": len(set(truth.image.tolist())) < len(truth.image_ids),
        "predictions of a class without ground truth": bool(predicted - annotated),
        "predictions of an unknown class": bool(predicted - set(truth.category_ids.tolist())),
        "a level without anchors": 0 in anchors_on,
        "a level with one anchor": 1 in anchors_on,
        "objects of several sizes": stats["APs"] > 0 and max(stats["APm"], stats["APl"]) > 0,
        "images out of order": bool((np.diff(table.image_id) < 0).any()),
        "a removal that brings boxes in": any(not np.isin(c, rows).all() for c in children),
        "a removal that touches nothing else": any(
            np.array_equal(c, g) and len(g) < len(rows) for c, g in zip(children, gone, strict=True)
        ),
        "an anchor without rows": len(set(table.anchor.tolist())) < len(everything),
    }


def equal_overlaps(case: Case, rows: np.ndarray) -> bool:
    """Some detection hits two boxes of its class equally well."""
    table, truth = case.predictions, read_ground_truth(case.ground_truth)
    for row in rows[:60].tolist():
        there = (truth.image_ids[truth.image] == table.image_id[row]) & ~truth.crowd
        there &= truth.category_ids[truth.category] == table.category_id[row]
        if there.sum() > 1:
            x1, y1, x2, y2 = table.boxes[row].astype(float)
            overlaps = np.sort(mask.iou([[x1, y1, x2 - x1, y2 - y1]], truth.boxes[there], [0] * there.sum())[0])
            if overlaps[-1] == overlaps[-2] >= 0.5:
                return True
    return False
