"""Compiled loops from one configuration to another: which candidates of an image are detections then.

In greedy NMS only kept boxes suppress. So an image stays the same unless the child removes a kept box from it or adds
one. All loops work on the `View` of one image, 64 candidates at a time, and stop where the cap is reached.
"""

from __future__ import annotations

import numpy as np

from anchorkit.evaluation.loops.compiling import ONE, bit_at, inlined, lowest_bit, popcount, position, unsigned


@inlined
def take_part(view, child, children, rules, n_words, scratch):
    """Find which candidates of the first words take part in NMS in the child. True if the result can differ.

    Writes two sets: `alive`, and `touched`: kept ones that leave, and new ones that are not suppressed.
    """
    alive, touched = scratch.alive, scratch.touched
    changes = np.uint64(0)
    first, end = children.gone_start[child], children.gone_start[child + 1]
    if not view.binds and first + 1 == end and children.new_start[child] == children.new_start[child + 1]:
        # One anchor removed: nearly every question of a search.
        gone = view.by_anchor[children.gone[first]]
        for w in range(n_words):
            alive[w] = view.alive[w] & ~gone[w]
            touched[w] = view.kept[w] & gone[w]
            changes |= touched[w]
        return changes != 0
    if view.binds:
        _within_topk(view, child, children, rules, n_words, scratch)
    else:
        for w in range(n_words):
            alive[w] = view.alive[w]
        for g in range(first, end):
            gone = view.by_anchor[children.gone[g]]
            for w in range(n_words):
                alive[w] &= ~gone[w]
        for g in range(children.new_start[child], children.new_start[child + 1]):
            new = view.by_anchor[children.new[g]]
            for w in range(n_words):
                alive[w] |= new[w]
    for w in range(n_words):
        # A new candidate that is suppressed changes nothing.
        touched[w] = (view.kept[w] & ~alive[w]) | (alive[w] & ~view.alive[w] & ~view.dead[w])
        changes |= touched[w]
    return changes != 0


@inlined
def _within_topk(view, child, children, rules, n_words, scratch):
    """The candidates of the child's anchors that are among the best `topk` of their scope."""
    alive, taken = scratch.alive, scratch.taken
    for w in range(n_words):
        alive[w] = 0
    for anchor in range(children.keep.shape[1]):
        if children.keep[child, anchor]:
            kept = view.by_anchor[anchor]
            for w in range(n_words):
                alive[w] |= kept[w]
    for scope in range(rules.n_scopes):
        taken[scope] = 0
    for rank in range(min(64 * n_words, len(view.scope))):
        if alive[rank >> 6] & bit_at(rank) != 0:
            if taken[view.scope[rank]] == rules.topk:
                alive[rank >> 6] ^= bit_at(rank)
            else:
                taken[view.scope[rank]] += 1


@inlined
def update(view, suppressions, n_words, scratch):
    """Find what the first words keep, from what differs: kept candidates leave, and others are released by that.

    Writes `kept`. Candidates come up best first, and those that suppress one have come up before it. ``view.once`` and
    ``view.pair`` are the sets of candidates that exactly one and two kept ones suppress; `reached`, `twice` and
    `thrice` of those that one, two and three leaving ones suppressed; `dead` of those that a released one suppresses.

    Returns:
        False if that does not determine it: three leaving ones suppressed a candidate, and perhaps more that stay.
    """
    reached, twice, thrice, dead = scratch.reached, scratch.twice, scratch.thrice, scratch.dead
    for v in range(n_words):
        reached[v] = 0
        twice[v] = 0
        thrice[v] = 0
        dead[v] = 0
    for v in range(n_words):
        kept, once, pair = view.kept[v], view.once[v], view.pair[v]
        may_come = scratch.alive[v] & ~kept
        found, done = kept, np.uint64(0)
        while True:
            leaving = kept & (scratch.touched[v] | dead[v])
            coming = (scratch.touched[v] | (reached[v] & once) | (twice[v] & pair)) & may_come & ~dead[v]
            waiting = (leaving | coming) & ~done
            if waiting == 0:
                break
            bit = lowest_bit(waiting)
            done |= bit
            found ^= bit
            rank = unsigned(64 * v + position(bit))
            row = suppressions.own[unsigned(view.first) + rank]
            begin, end = view.suppression_start[rank], view.suppression_start[rank + ONE]
            if kept & bit != 0:
                _count(v, row, reached, twice, thrice)
                for r in range(begin, end):
                    _count(suppressions.word[unsigned(r)], suppressions.mask[unsigned(r)], reached, twice, thrice)
            else:
                dead[v] |= row
                for r in range(begin, end):
                    dead[suppressions.word[unsigned(r)]] |= suppressions.mask[unsigned(r)]
        if thrice[v] & may_come & ~(once | pair | dead[v]) != 0:
            return False
        scratch.kept[v] = found
    return True


@inlined
def _count(word, bits, reached, twice, thrice):
    """Note that some candidates are suppressed once more."""
    thrice[word] |= twice[word] & bits
    twice[word] |= reached[word] & bits
    reached[word] |= bits


@inlined
def suppress(view, suppressions, enough, commit, scratch):
    """Greedy NMS of the alive candidates of an image, word by word until `enough` are kept. Writes `kept`.

    Invariant: when a candidate comes up, `reached` has the bits of all that a better kept one suppresses, and `twice`
    and `thrice` of those that two and three do; a candidate suppresses later ones only. With `commit`, updates the view
    too.

    Returns:
        The number of words.
    """
    reached, twice, thrice = scratch.reached, scratch.twice, scratch.thrice
    n_words, total, v = len(view.kept), 0, 0
    for w in range(n_words):
        reached[w] = 0
        twice[w] = 0
        thrice[w] = 0
    while v < n_words and total < enough:
        waiting = scratch.alive[v] & ~reached[v]
        kept = np.uint64(0)
        while waiting != 0:
            bit = lowest_bit(waiting)
            kept |= bit
            rank = unsigned(64 * v + position(bit))
            row = suppressions.own[unsigned(view.first) + rank]
            waiting &= ~(row | bit)
            _count(v, row, reached, twice, thrice)
            for r in range(view.suppression_start[rank], view.suppression_start[rank + ONE]):
                _count(suppressions.word[unsigned(r)], suppressions.mask[unsigned(r)], reached, twice, thrice)
        scratch.kept[v] = kept
        total += popcount(kept)
        if commit:
            view.kept[v] = kept
            view.dead[v] = reached[v]
            view.once[v] = reached[v] & ~twice[v]
            view.pair[v] = twice[v] & ~thrice[v]
        v += 1
    if commit:
        for w in range(v, n_words):
            view.kept[w] = 0
            view.dead[w] = 0
            view.once[w] = 0
            view.pair[w] = 0
    return v


@inlined
def show(view, n_words, end, cap, scratch):
    """The first `cap` of the candidates that the first `n_words` words keep. Writes `shown` up to the word `end`.

    Returns:
        Whether the cap is reached; and how many are shown that were not.
    """
    kept, shown = scratch.kept, scratch.shown
    total, gained = 0, 0
    for w in range(end):
        shown[w] = kept[w] if w < n_words and total < cap else np.uint64(0)
        before = total
        total += popcount(shown[w])
        if total > cap:
            shown[w] ^= _beyond(shown[w], cap - before)
        gained += popcount(shown[w] & ~view.shown[w])
    return total >= cap, gained


@inlined
def limit_groups(view, most_shown, n_words, shown):
    """Take out of `shown` what lies beyond the first `most_shown` of a group. Returns the size of the largest."""
    largest = 0
    for group in range(len(view.long)):
        if not view.long[group]:
            continue
        members = view.members[group]
        total = 0
        for w in range(n_words):
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
