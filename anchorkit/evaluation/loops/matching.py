"""Compiled loops that match the detections of a group to its annotated boxes, at all IoU thresholds at once.

The *outcome* of a detection that has pairs is one word: bit t says that it matched something at IoU threshold t and so
is no false positive, although it is counted among the detections (those with an area in the range are); bit 31 + t says
that it hit a box to be found; and the two highest bits count how many of the numbers in `Rules.ranks` its rank in the
group reaches. It is 0 for a candidate that is no detection or matched nothing.
"""

from __future__ import annotations

import numpy as np

from anchorkit.evaluation.loops.compiling import ONE, inlined, lowest_bit, position, unsigned
from anchorkit.evaluation.loops.tables import PLACE

HIT = np.uint64(31)
RANK = np.uint64(62)


@inlined
def rematch(view, group, n_words, n_areas, matching, rules, scratch, outcome, child, events, commit):
    """Match the detections of a group that are shown, and write every outcome that differs from `outcome` as an event.

    Detections come best first, as in pycocotools, in the first `n_words` words. Only those that have pairs are looked
    at, except where ranks are needed, which is in the first of the `n_areas` area ranges. With `commit`, `outcome` is
    updated.
    """
    shown, used = scratch.shown, scratch.used
    n = events.n_changes[child]
    n_slots = len(matching.inside)
    members = view.members[group]
    first_truth, n_truth = matching.truth_start[view.group + group], matching.truth_count[view.group + group]
    for area in range(n_areas):
        n_ranks = len(rules.ranks) if area == 0 else 0
        for g in range(n_truth):
            used[g] = 0
        order = 0
        for w in range(n_words):
            waiting = members[w] & (shown[w] | view.shown[w])
            if n_ranks == 0:
                waiting &= view.paired[w]
            while waiting != 0:
                bit = lowest_bit(waiting)
                waiting ^= bit
                rank = unsigned(64 * w + position(bit))
                slot = view.slot[rank]
                found = np.uint64(0)
                if shown[w] & bit != 0:
                    if slot >= 0:
                        found = _match(unsigned(slot), area, matching, rules, first_truth, used)
                        if found >> HIT != 0:
                            for i in range(n_ranks):
                                if order >= rules.ranks[i]:
                                    found += ONE << RANK
                    order += 1
                if slot >= 0 and found != outcome[area * n_slots + slot]:
                    events.change_at[child, n] = area << 32 | np.int64(view.place[rank] & PLACE)
                    events.change_to[child, n] = found
                    n += 1
                    if commit:
                        outcome[area * n_slots + slot] = found
    events.n_changes[child] = n


@inlined
def _match(slot, area, matching, rules, first_truth, used):
    """The outcome of one detection.

    Invariant: bit t of ``used[g]`` says that box g is taken at threshold t; bit t of `free` that the detection has no
    match yet. It takes the box to be found that it prefers among those not taken, else an ignored one; a crowd is
    never used up.
    """
    everything = (ONE << np.uint64(rules.n_thresholds)) - ONE
    free = everything
    begin, end = matching.pair_start[slot], matching.pair_start[slot + ONE]
    for p in range(begin, end):
        truth = matching.pair_truth[unsigned(p)]
        if matching.real[unsigned(truth)] >> area & 1:
            passed = (ONE << np.uint64(matching.pair_passed[unsigned(p)])) - ONE
            taken = free & passed & ~used[unsigned(truth - first_truth)]
            used[unsigned(truth - first_truth)] |= taken
            free ^= taken
    hit = everything ^ free
    if free != 0:
        for p in range(begin, end):
            truth = matching.pair_truth[unsigned(p)]
            if matching.real[unsigned(truth)] >> area & 1 == 0:
                taken = free & ((ONE << np.uint64(matching.pair_passed[unsigned(p)])) - ONE)
                if not matching.crowd[truth]:
                    taken &= ~used[unsigned(truth - first_truth)]
                    used[unsigned(truth - first_truth)] |= taken
                free ^= taken
    is_counted = matching.inside[slot] >> area & 1
    return (everything ^ free if is_counted else np.uint64(0)) | (hit << HIT)
