"""Leaves out the rows that cannot change AP of any configuration, beyond those that NMS never keeps.

The evaluator leaves out the latter itself, and suppressions that others make needless: rules 1 and 2 of
`anchorkit.evaluation.loops.dropping`. Rules 3 and 4 are for AP under one cap. Each says why AP stays the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anchorkit.evaluation.loops.tables import Array
from anchorkit.pages.handout.table import Table, select


def drop(table: Table, wanted: Array | None = None) -> Table:
    """The same table without what cannot change AP.

    Args:
        table: the whole one.
        wanted: bool (N,), rows that have to be there whenever they are a detection, because their boxes are shown;
            with a row, all better ones of its group. None for none.

    Returns:
        A smaller table, with the images in `limited` where the cap or a top-k may still remove rows.
    """
    wanted = np.zeros(len(table), np.bool_) if wanted is None else wanted
    cap = table.post.max_detections
    if cap is not None:
        beyond = beyond_cap(table, cap)
        wanted, table = wanted[~beyond], select(table, ~beyond)
    table = select(table, ~_without_effect(table, idle(table) & ~wanted))
    left = np.bincount(table.image, minlength=table.n_images)
    return replace(table, limited=table.topped | (table.limited & (left > (len(table) if cap is None else cap))))


def beyond_cap(table: Table, cap: int) -> Array:
    """Rule 3: bool (N,), rows with `cap` rows of their own anchor before them in their image that nothing suppresses.

    Whenever such a row takes part, these are kept and fill the cap. It suppresses rows behind it only, which are beyond
    the cap then as well. It does not hold where a top-k may remove rows.
    """
    free = np.bincount(table.victim, minlength=len(table)) == 0
    key = table.image.astype(np.int64) * (1 + table.anchor.max(initial=0)) + table.anchor
    by_anchor = np.lexsort((table.order, key))
    seen = np.cumsum(free[by_anchor]) - free[by_anchor]
    first = np.append(True, np.diff(key[by_anchor]) != 0)[: len(table)]
    start = np.maximum.accumulate(np.where(first, np.arange(len(table)), 0))
    beyond = np.zeros(len(table), np.bool_)
    beyond[by_anchor] = seen - seen[start] >= cap
    return beyond & ~table.topped[table.image]


def idle(table: Table) -> Array:
    """Rule 4: bool (N,), rows of a class that AP does not measure, and those after its last possible true positive.

    Precision is read at true positives only. So such a row matters only if it takes a place under the cap or in the
    top-k from another one (see `_without_effect`): what it suppresses is idle too.
    """
    row_of_pair = np.repeat(np.arange(len(table)), np.diff(table.pair_start))[table.real[table.pair_truth]]
    last = np.full(len(table.n_real), -1, np.int64)
    np.maximum.at(last, table.klass[row_of_pair], table.order[row_of_pair])
    return table.order > last[table.klass]


def _without_effect(table: Table, is_idle: Array) -> Array:
    """Bool (N,), idle rows that take no other row's place: in limited images those with only idle ones behind them."""
    last = np.full(table.n_images, -1, np.int64)
    np.maximum.at(last, table.image[~is_idle], table.order[~is_idle])
    return is_idle & (~table.limited[table.image] | (table.order > last[table.image]))
