"""Leaves out the rows and suppressions that cannot change AP of any configuration.

Words: S(c) is the set of rows that suppress row c. A set of S is *reduced* if NMS with it keeps the same rows under
every configuration. Each rule says why AP stays the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from anchorkit.evaluation.loops.compiling import bit_at, compiled, lowest_bit, position
from anchorkit.evaluation.loops.tables import Array
from anchorkit.evaluation.sorting import starts_of
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
    start = table.group_start
    never, bound = np.zeros(len(table), np.bool_), np.zeros(len(start) - 1, np.int64)
    victims = np.full(len(table.victim), -1, np.int32)
    counted = table.limited[table.image[start[:-1]]]
    reduce_groups(
        start, ~table.topped[table.image[start[:-1]]], counted, table.anchor, table.victim_start, table.victim,
        never, bound, victims,
    )  # fmt: skip
    most_kept = np.bincount(table.image[start[:-1]], weights=bound, minlength=table.n_images)
    cap = table.post.max_detections
    limited = table.topped | (table.limited & (most_kept > (len(table) if cap is None else cap)))
    stays = victims >= 0
    source = np.repeat(np.arange(len(table)), np.diff(table.victim_start))[stays]
    table = replace(
        table,
        victim_start=starts_of(np.bincount(source, minlength=len(table))),
        victim=victims[stays],
        limited=limited,
    )
    wanted, table = wanted[~never], select(table, ~never)
    if cap is not None:
        beyond = beyond_cap(table, cap)
        wanted, table = wanted[~beyond], select(table, ~beyond)
    table = select(table, ~_without_effect(table, idle(table) & ~wanted))
    left = np.bincount(table.image, minlength=table.n_images)
    return replace(table, limited=table.topped | (limited & (left > (len(table) if cap is None else cap))))


@compiled
def reduce_groups(group_start, reduces, counted, anchor, victim_start, victim, never, bound, victims):
    """Rules 1 and 2, group by group; and an upper bound on how many rows of a group NMS keeps.

    Rule 1: c is never kept if some d in S(c) has its anchor and S(d) is part of S(c). Whenever c takes part, so does d;
    then d is kept, or one of S(d) is, and both are in S(c).

    Rule 2: d need not suppress c if another e in S(c) has the anchor of d, and S(e) is part of S(c) without d. When d
    is kept, e takes part; so e is kept or one of S(e) is, and both still suppress c.

    Both rules use the sets reduced so far: those of better rows are final when a row comes up. They hold where every
    row of a kept anchor takes part in NMS, and so not where a top-k may remove some.

    The bound: rows that all suppress each other are a clique, of which NMS keeps one at most. Cliques are filled first
    come, first served. Kept sets are not monotone (fewer anchors may give more detections), so the number of
    detections of the full detector is no bound.

    `reduces`: bool (groups,), where the rules hold; `counted`: bool (groups,), where the bound is needed. Writes True
    to `never` for rows that are never kept, the number of cliques to `bound`, and to `victims`, which is -1 everywhere,
    the victim of each suppression that stays.
    """
    for group in range(len(group_start) - 1):
        begin, n = group_start[group], group_start[group + 1] - group_start[group]
        n_words = (n + 63) >> 6
        sets = np.zeros((n, n_words), np.uint64)
        for d in range(n):
            for e in range(victim_start[begin + d], victim_start[begin + d + 1]):
                sets[victim[e] - begin, d >> 6] |= bit_at(d)
        whole = sets.copy() if counted[group] else sets[:0]
        if reduces[group]:
            gone = np.zeros(n_words, np.uint64)
            for c in range(n):
                for w in range(n_words):
                    sets[c, w] &= ~gone[w]
                if _is_never_kept(c, sets, anchor[begin:]):
                    never[begin + c] = True
                    gone[c >> 6] |= bit_at(c)
                else:
                    _reduce(c, sets, anchor[begin:])
        if counted[group]:
            bound[group] = _count_cliques(whole, never[begin : begin + n])
        for d in range(n):
            for e in range(victim_start[begin + d], victim_start[begin + d + 1]):
                if sets[victim[e] - begin, d >> 6] & bit_at(d) != 0:
                    victims[e] = victim[e]


@compiled
def _is_never_kept(c, sets, anchor):
    for w in range(len(sets[c])):
        bits = sets[c, w]
        while bits != 0:
            bit = lowest_bit(bits)
            bits ^= bit
            d = 64 * w + position(bit)
            if anchor[d] == anchor[c] and _is_part(sets[d], sets[c]):
                return True
    return False


@compiled
def _reduce(c, sets, anchor):
    """Take out of ``sets[c]`` the rows that need not suppress it, one after the other."""
    n = 0
    rows = np.empty(64 * len(sets[c]), np.int64)
    for w in range(len(sets[c])):
        bits = sets[c, w]
        while bits != 0:
            bit = lowest_bit(bits)
            bits ^= bit
            rows[n] = 64 * w + position(bit)
            n += 1
    for i in range(n - 1, -1, -1):
        d = rows[i]
        sets[c, d >> 6] ^= bit_at(d)
        needed = True
        for j in range(n):
            e = rows[j]
            if anchor[e] == anchor[d] and sets[c, e >> 6] & bit_at(e) != 0 and _is_part(sets[e], sets[c]):
                needed = False
                break
        if needed:
            sets[c, d >> 6] |= bit_at(d)


@compiled
def _is_part(small, large):
    for w in range(len(small)):  # noqa: SIM110 - numba compiles no generators
        if small[w] & ~large[w] != 0:
            return False
    return True


@compiled
def _count_cliques(sets, never):
    n = 0
    cliques = np.zeros(sets.shape, np.uint64)
    for c in range(len(sets)):
        if never[c]:
            continue
        k = 0
        while k < n and not _is_part(cliques[k], sets[c]):
            k += 1
        cliques[k, c >> 6] |= bit_at(c)
        n = max(n, k + 1)
    return n


def beyond_cap(table: Table, cap: int) -> Array:
    """Rule 3: bool (N,), rows with `cap` rows of their own anchor before them in their image that nothing suppresses.

    Whenever such a row takes part, these are kept and fill the cap. It suppresses rows behind it only, which are beyond
    the cap then as well. It does not hold where a top-k may remove rows.
    """
    free = np.bincount(table.victim, minlength=len(table)) == 0
    key = table.image.astype(np.int64) * len(table.level) + table.anchor
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
