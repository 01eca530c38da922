"""Compiled loops that leave out members and suppressions without which NMS keeps the same members.

Words: S(c) is the set of members that suppress member c: better ones of its group that overlap it. A set is *reduced*
if NMS with it keeps the same members under every configuration.

Rule 1: c is never kept if some d in S(c) has its anchor and S(d) is part of S(c). Whenever c takes part in NMS, so does
d, also with a top-k: d is better and in the same scope, be that the class, the level or the image. Then d is kept, or
one of S(d) is, and both are in S(c). So c suppresses nothing, and needs no place in the tables, unless it takes one
within a top-k.

Rule 2: d need not suppress c if another e in S(c) has the anchor of d, and S(e) is part of S(c) without d. When d is
kept, e takes part (with a top-k: if e is better than d); so e is kept or one of S(e) is, and both still suppress c.

Suppressions go one at a time, each judged by the sets reduced so far: every step leaves the kept members as they were.
A higher score threshold takes the worst members of a group away, never one of S(c) alone, so both rules still hold. As
they keep what NMS keeps, they hold for everything that an evaluation says, not for AP alone.
"""

from __future__ import annotations

from anchorkit.evaluation.loops.compiling import bit_at, inlined, lowest_bit, position


@inlined
def reduce_group(n, anchor, topk, sets, gone, listed, stand_ins):
    """Apply both rules to a group of `n` members.

    Args:
        n: number of members, best first.
        anchor: int32 (n,).
        topk: whether a top-k may remove members before NMS.
        sets: uint64 (n, words), S of each member as bits; words after that of the member itself are not looked at.
        gone: uint64 (words,), written: the members that are never kept.
        listed: int64 (n,), memory.
        stand_ins: int64 (n,), memory.
    """
    for w in range((n + 63) >> 6):
        gone[w] = 0
    for c in range(n):
        n_listed = 0
        for w in range((c >> 6) + 1):
            sets[c, w] &= ~gone[w]
            bits = sets[c, w]
            while bits != 0:
                bit = lowest_bit(bits)
                bits ^= bit
                listed[n_listed] = 64 * w + position(bit)
                n_listed += 1
        if _is_never_kept(c, n_listed, listed, sets, anchor):
            gone[c >> 6] |= bit_at(c)
        if n_listed > 1:
            _drop_suppressions(c, n_listed, listed, sets, anchor, topk, stand_ins)


@inlined
def _is_never_kept(c, n_listed, listed, sets, anchor):
    for i in range(n_listed):
        d = listed[i]
        if anchor[d] == anchor[c] and _is_part(d, c, sets):
            return True
    return False


@inlined
def _drop_suppressions(c, n_listed, listed, sets, anchor, topk, stand_ins):
    """Take out of S(c) the members that need not suppress it, one after the other, the worst first."""
    # S(c) only shrinks: what is no part of it now can stand in for no other member later.
    n = 0
    for i in range(n_listed):
        if _is_part(listed[i], c, sets):
            stand_ins[n] = listed[i]
            n += 1
    if n == 0:
        return
    for i in range(n_listed - 1, -1, -1):
        d = listed[i]
        sets[c, d >> 6] ^= bit_at(d)
        needed = True
        for j in range(n):
            e = stand_ins[j]
            if anchor[e] != anchor[d] or sets[c, e >> 6] & bit_at(e) == 0 or (topk and e > d):
                continue
            if _is_part(e, c, sets):
                needed = False
                break
        if needed:
            sets[c, d >> 6] |= bit_at(d)


@inlined
def _is_part(small, large, sets):
    """Whether S of one member is part of S of a worse one."""
    for w in range((small >> 6) + 1):  # noqa: SIM110 - numba compiles no generators
        if sets[small, w] & ~sets[large, w] != 0:
            return False
    return True
