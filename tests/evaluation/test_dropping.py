"""What the evaluator leaves out of its tables: no answer changes, and leaving out more is noticed."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from anchorkit import Evaluator
from anchorkit.evaluation import building, index
from anchorkit.evaluation.index import Index
from anchorkit.evaluation.loops import dropping

from ..pages.handouts import NASTY, Question, nasty, plain
from .cases import dense_case


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    """Nasty tables, and one with chains of boxes; by an evaluator that leaves nothing out."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(building, "MOST_REDUCED", -1)
        warnings.simplefilter("ignore")
        made = [nasty(name) for name in NASTY]
        case = dense_case(2)
        made.append(Question.at_random(Evaluator(case.predictions, case.ground_truth), 256))
    return made


def again(one: Question) -> Evaluator:
    """The same table in an evaluator of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Evaluator(one.evaluator.predictions, one.evaluator.ground_truth)


def wrong(questions: list[Question]) -> int:
    """How many answers of evaluators as they are now differ in any bit."""
    pairs = [(again(one), one) for one in questions]
    return sum(own.accuracy(kept) != ap for own, one in pairs for kept, ap in zip(one.sets, one.expected, strict=True))


def sizes(tables: Index) -> tuple[int, int]:
    """Rows and suppressions."""
    bits = np.bitwise_count(tables.suppressions.own).sum() + np.bitwise_count(tables.suppressions.mask).sum()
    return len(tables.rows), int(bits)


def test_much_is_left_out_and_no_answer_changes(questions: list[Question]) -> None:
    assert wrong(questions) == 0
    for one in questions:
        whole, own = one.evaluator, again(one)
        (rows, suppressions), (all_rows, all_suppressions) = sizes(own._index), sizes(whole._index)
        assert suppressions < all_suppressions
        # What may take another row's place in a top-k stays.
        assert (rows < all_rows) == (not own._index.candidates.binds.all())
        for kept in one.sets[::50]:
            assert own.stats(kept) == whole.stats(kept)
            assert own.detections(kept).equals(whole.detections(kept))
    # The last one: 150 boxes in chains, with 1,915 suppressions.
    assert (rows < 100, suppressions < 600) == (True, True)


def test_leaving_out_rows_that_count_for_a_top_k_is_noticed(
    questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "binding_topk", lambda rows, *_: (None, np.zeros(rows.n_images, np.uint8)))
    assert wrong(questions) > 0


EDITS = {
    "rule 1, anchor": ("if anchor[d] == anchor[c] and _is_part", "if _is_part"),
    "rule 1, part": ("anchor[d] == anchor[c] and _is_part(d, c, sets)", "anchor[d] == anchor[c]"),
    "rule 2, anchor": ("if anchor[e] != anchor[d] or", "if"),
    "rule 2, part": ("            if _is_part(e, c, sets):", "            if True:"),
    "rule 2, one at a time": (" or sets[c, e >> 6] & bit_at(e) == 0", ""),
    "rule 2, top-k": (" or (topk and e > d)", ""),
}
"""Edits of the rules that leave out too much."""


def different(reduce_group: Callable[..., None]) -> int:
    """How often NMS keeps other members by reduced sets: small groups, all subsets of four anchors.

    In half of the groups a top-k lets some members of each level through, in the others a score threshold all but the
    last ones.
    """
    random, found = np.random.default_rng(0), 0
    for number in range(400):
        n, topk = int(random.integers(4, 9)), number % 2 == 1
        anchor = random.integers(0, 4, n).astype(np.int32)
        relation = np.tril(random.random((n, n)) < random.choice([0.3, 0.6]), -1)
        sets = (relation << np.arange(n)).sum(axis=1).astype(np.uint64)[:, None]
        gone, memory = np.zeros(1, np.uint64), np.zeros((2, n), np.int64)
        reduced = sets.copy()
        reduce_group(n, anchor, topk, reduced, gone, *memory)
        never = [bool(int(gone[0]) >> c & 1) for c in range(n)]
        for chosen in range(16):
            own = [c for c in range(n) if chosen >> anchor[c] & 1]
            if topk:
                levels = [[c for c in own if anchor[c] % 2 == level] for level in (0, 1)]
                own = sorted(levels[0][: random.integers(4)] + levels[1][: random.integers(4)])
            elif random.random() < 0.2:
                own = own[:-1]
            # With a top-k, members that are never kept still take part, in vain.
            kept = nms(own, sets)
            found += nms(own if topk else [c for c in own if not never[c]], reduced) != kept
            found += any(never[c] for c in kept)
    return found


def nms(members: list[int], sets: np.ndarray) -> list[int]:
    kept: list[int] = []
    for c in members:
        if not any(int(sets[c, 0]) >> d & 1 for d in kept):
            kept.append(c)
    return kept


def test_the_rules_keep_what_nms_keeps() -> None:
    same = "n_listed = 0"
    assert different(plain(dropping, same, same)["reduce_group"]) == 0


@pytest.mark.parametrize("name", EDITS)
def test_a_rule_that_leaves_out_too_much_is_noticed(name: str) -> None:
    assert different(plain(dropping, *EDITS[name])["reduce_group"]) > 0
