"""Compiled loops from one configuration to another: which candidates of an image are detections then.

In greedy NMS only kept boxes suppress, and only within their image and class. So a group stays the same unless the
child removes a kept box from it or adds one. NMS is repeated only in the groups that change, 64 boxes at a time. All
loops work on the `View` of one image.
"""

from __future__ import annotations

import numpy as np

from anchorkit.evaluation.loops.compiling import ONE, bit_at, inlined, lowest_bit, popcount, position, unsigned


@inlined
def take_part(view, child, children, rules, scratch):
    """Find the members that take part in NMS in the child. True if the result can differ.

    Writes two sets of members: `alive`, and `touched`: kept ones that leave, and new ones that are not suppressed.
    """
    alive, touched = scratch.alive, scratch.touched
    changes = np.uint64(0)
    first, end = children.gone_start[child], children.gone_start[child + 1]
    if not view.binds and first + 1 == end and children.new_start[child] == children.new_start[child + 1]:
        # One anchor removed: nearly every question of a search.
        gone = view.by_anchor[children.gone[first]]
        for w in range(len(gone)):
            alive[w] = view.alive[w] & ~gone[w]
            touched[w] = view.kept[w] & gone[w]
            changes |= touched[w]
        return changes != 0
    if view.binds:
        _within_topk(view, child, children, rules, scratch)
    else:
        for w in range(len(view.alive)):
            alive[w] = view.alive[w]
        for g in range(first, end):
            gone = view.by_anchor[children.gone[g]]
            for w in range(len(gone)):
                alive[w] &= ~gone[w]
        for g in range(children.new_start[child], children.new_start[child + 1]):
            new = view.by_anchor[children.new[g]]
            for w in range(len(new)):
                alive[w] |= new[w]
    for w in range(len(view.alive)):
        # A new member that is suppressed changes nothing.
        touched[w] = (view.kept[w] & ~alive[w]) | (alive[w] & ~view.alive[w] & ~view.dead[w])
        changes |= touched[w]
    return changes != 0


@inlined
def _within_topk(view, child, children, rules, scratch):
    """The members of the child's anchors that are among the best `topk` of their scope."""
    alive, taken = scratch.alive, scratch.taken
    for w in range(len(view.alive)):
        alive[w] = 0
    for anchor in range(children.keep.shape[1]):
        if children.keep[child, anchor]:
            kept = view.by_anchor[anchor]
            for w in range(len(kept)):
                alive[w] |= kept[w]
    for scope in range(rules.n_scopes):
        taken[scope] = 0
    for rank in range(len(view.scope)):
        member = view.bit_of_rank[rank]
        if alive[member >> 6] & bit_at(member) != 0:
            if taken[view.scope[rank]] == rules.topk:
                alive[member >> 6] ^= bit_at(member)
            else:
                taken[view.scope[rank]] += 1


@inlined
def settle(view, suppressions, horizon, only_leaving, commit, scratch):
    """Repeat NMS, as far as the horizon, in the groups that the child touches at a rank within the horizon.

    Flips the bits in ``scratch.by_rank`` (the kept candidates by rank) that differ from ``view.kept``; with `commit`,
    it updates that too. `only_leaving`: the child adds no anchor.
    """
    touched = scratch.touched
    w = 0
    while w < len(view.kept):
        if touched[w] == 0 or view.word_rank[w] > horizon:
            w += 1
            continue
        group = view.word_group[w]
        word, end = view.group_word[group] - view.group_word[0], view.group_word[group + 1] - view.group_word[0]
        member = view.group_start[group] - view.group_start[0]
        while end > word and view.word_rank[end - 1] > horizon:
            end -= 1
        if only_leaving and not commit and _release(view, suppressions, word, end, member, scratch):
            for v in range(word, end):
                _flip_by_rank(view, member + 64 * (v - word), touched[v] | scratch.released[v], scratch.by_rank)
        else:
            _suppress(view, suppressions, word, end, member, commit, scratch)
        w = max(w + 1, end)


@inlined
def _release(view, suppressions, word, end, member, scratch):
    """Find the members of a group that are kept once some kept members leave it, if the leaving ones determine them.

    Writes to `released` the members that only one leaving member suppressed, and that no other released one suppresses.
    Invariant: ``view.once`` is the set of members that exactly one kept member suppresses; up to the current word,
    `reached` has the members that leaving ones suppress, `twice` those that two of them suppress, and `dead` those that
    released ones suppress.

    Returns:
        False if they do not determine it: two leaving members suppress the same member, or a released one suppresses a
        kept one.
    """
    reached, twice, dead, released = scratch.reached, scratch.twice, scratch.dead, scratch.released
    for v in range(word, end):
        reached[v] = 0
        twice[v] = 0
        dead[v] = 0
    for v in range(word, end):
        at = member + 64 * (v - word)
        leaving = scratch.touched[v]
        while leaving != 0:
            bit = lowest_bit(leaving)
            leaving ^= bit
            row = suppressions.own[unsigned(view.first + at + position(bit))]
            twice[v] |= reached[v] & row
            reached[v] |= row
        if v + 1 < end:
            _reach_later(view, suppressions, at, scratch.touched[v], reached, twice)
        if twice[v] & scratch.alive[v] & ~view.once[v] != 0:
            return False
        waiting = reached[v] & view.once[v] & scratch.alive[v] & ~dead[v]
        stay = view.kept[v] & ~scratch.touched[v]
        found = np.uint64(0)
        while waiting != 0:
            bit = lowest_bit(waiting)
            found |= bit
            row = suppressions.own[unsigned(view.first + at + position(bit))]
            if row & stay != 0:
                return False
            waiting &= ~(row | bit)
        released[v] = found
        if v + 1 < end and found != 0:
            _reach_later(view, suppressions, at, found, dead, twice)
            for later in range(v + 1, end):
                if dead[later] & view.kept[later] & ~scratch.touched[later] != 0:
                    return False
    return True


@inlined
def _reach_later(view, suppressions, at, members, reached, twice):
    """Mark what some members of the word from member `at` on suppress in later words, and what is marked twice."""
    while members != 0:
        bit = lowest_bit(members)
        members ^= bit
        member = unsigned(at + position(bit))
        for r in range(view.suppression_start[member], view.suppression_start[member + ONE]):
            later, mask = suppressions.word[unsigned(r)], suppressions.mask[unsigned(r)]
            twice[later] |= reached[later] & mask
            reached[later] |= mask


@inlined
def _suppress(view, suppressions, word, end, first_member, commit, scratch):
    """Greedy NMS of the alive members of one group, from its first `word` up to `end`.

    Invariant: when a member comes up, `dead` has the bits of all that a better kept member of its group suppresses, and
    `twice` of those that two do; a member suppresses later members only.
    """
    dead, twice = scratch.dead, scratch.twice
    for v in range(word, end):
        dead[v] = 0
        twice[v] = 0
    for v in range(word, end):
        at = first_member + 64 * (v - word)
        waiting = scratch.alive[v] & ~dead[v]
        kept = np.uint64(0)
        while waiting != 0:
            bit = lowest_bit(waiting)
            kept |= bit
            row = suppressions.own[unsigned(view.first + at + position(bit))]
            waiting &= ~(row | bit)
            twice[v] |= dead[v] & row
            dead[v] |= row
        if v + 1 < end:
            _reach_later(view, suppressions, at, kept, dead, twice)
        _flip_by_rank(view, at, kept ^ view.kept[v], scratch.by_rank)
        if commit:
            view.kept[v] = kept
            view.dead[v] = dead[v]
            view.once[v] = dead[v] & ~twice[v]


@inlined
def _flip_by_rank(view, at, flipped, by_rank):
    """Flip the bits by rank of some members, given as bits of the word that begins with member `at`."""
    while flipped != 0:
        bit = lowest_bit(flipped)
        flipped ^= bit
        rank = view.rank[unsigned(at + position(bit))]
        by_rank[rank >> 6] ^= bit_at(rank)


@inlined
def show(view, cap, scratch):
    """The first `cap` of the kept candidates.

    Returns:
        The number of words up to where the cap is reached, or -1; and how many are shown that were not.
    """
    by_rank, shown = scratch.by_rank, scratch.shown
    total, gained = 0, 0
    for w in range(len(view.shown)):
        shown[w] = by_rank[w]
        before = total
        total += popcount(by_rank[w])
        if total >= cap:
            shown[w] ^= _beyond(by_rank[w], cap - before)
            gained += popcount(shown[w] & ~view.shown[w])
            for rest in range(w + 1, len(view.shown)):
                shown[rest] = 0
            return w + 1, gained
        gained += popcount(shown[w] & ~view.shown[w])
    return -1, gained


@inlined
def limit_groups(view, most_shown, shown):
    """Take out of `shown` what lies beyond the first `most_shown` of a group. Returns the size of the largest."""
    largest = 0
    for group in range(len(view.long)):
        if not view.long[group]:
            continue
        members = view.members[group]
        total = 0
        for w in range(len(members)):
            before = total
            total += popcount(shown[w] & members[w])
            if total > most_shown:
                shown[w] ^= _beyond(shown[w] & members[w], most_shown - before)
        largest = max(largest, total)
    return largest


@inlined
def _beyond(word, n):
    """A word without its lowest `n` bits."""
    for _ in range(max(n, 0)):
        word &= word - ONE
    return word
