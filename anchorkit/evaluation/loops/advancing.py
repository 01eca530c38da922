"""The compiled loop over images: what each child changes, as events."""

from __future__ import annotations

import numpy as np

from anchorkit.evaluation.loops.compiling import (
    compiled_without_counting,
    inlined,
    lowest_bit,
    position,
    prefetch,
    unsigned,
)
from anchorkit.evaluation.loops.matching import rematch
from anchorkit.evaluation.loops.suppression import limit_groups, show, suppress, take_part, update
from anchorkit.evaluation.loops.tables import NO_PLACE, PLACE_BITS, View

MARGIN = 64
"""How many candidates beyond the cap NMS keeps in an image before it stops: so many may leave in a child."""


@compiled_without_counting
def advance(first, last, candidates, suppressions, matching, rules, standing, children, events, scratch, commit):
    """Compute how each child differs from the configuration that the engine is at, image by image.

    One image is finished for all children while its part of the tables is in the processor's cache. Threads may divide
    the images; each needs `events` and `scratch` of its own. With `commit` there is one child, and `standing` moves to
    it.

    Returns:
        The image before which the memory for events was too small, or `last`.
    """
    n_anchors = children.keep.shape[1]
    for image in range(first, last):
        view = _view(image, n_anchors, candidates, suppressions, matching, standing)
        if not _has_space(view, len(children.keep), rules, events):
            return image
        n_words = len(view.kept)
        for child in range(len(children.keep)):
            if image + 1 < last:
                _fetch_next(
                    image + 1, child, len(children.keep), n_anchors, candidates, suppressions, matching, standing
                )
            settled = 0 + standing.settled[image]  # as 64 bits
            changes = take_part(view, child, children, rules, n_words if commit else settled, scratch)
            if changes:
                done, end, full, gained = 0, settled, False, 0
                if not commit and update(view, suppressions, settled, scratch):
                    done = settled
                    full, gained = show(view, done, end, rules.cap, scratch)
                if not full and done < n_words:
                    # What differs did not determine what is kept, or the settled words do not fill the cap.
                    if not commit and settled < n_words:
                        take_part(view, child, children, rules, n_words, scratch)
                    done = suppress(view, suppressions, rules.cap + MARGIN * commit, commit, scratch)
                    end = max(settled, done)
                    full, gained = show(view, done, end, rules.cap, scratch)
                if commit or standing.fullest[image] + gained > rules.most_shown:
                    largest = limit_groups(view, rules.most_shown, end, scratch.shown)
                    if commit:
                        standing.fullest[image] = largest
                _write_events(view, end, matching, rules, scratch, standing.outcome, child, events, commit)
                if commit:
                    standing.settled[image] = done
                    for w in range(n_words):
                        view.shown[w] = scratch.shown[w] if w < end else np.uint64(0)
            if commit:
                for w in range(n_words):
                    view.alive[w] = scratch.alive[w]
    return last


@inlined
def _fetch_next(image, child, n_children, n_anchors, candidates, suppressions, matching, standing):
    """Prefetch the tables of the next image, share by share, during the work on this image's children.

    The accesses are scattered: waiting for memory would take longer than the work.
    """
    shift = 4 if n_children >= 16 else 0
    if child >> shift > 0:
        return
    c = candidates.image_start[image]
    w, n_words = candidates.word_start[image], candidates.word_start[image + 1] - candidates.word_start[image]
    n = min(candidates.image_start[image + 1] - c, 64 * standing.settled[image])
    e = np.int64(suppressions.start[c])
    n_entries = np.int64(suppressions.start[c + n]) - e
    _fetch(suppressions.own, c, n, child, shift)
    _fetch(suppressions.start, c, n, child, shift)
    _fetch(suppressions.mask, e, n_entries, child, shift)
    _fetch(suppressions.word, e, n_entries, child, shift)
    _fetch(candidates.by_anchor, n_anchors * w, n_anchors * n_words, child, shift)
    _fetch(matching.place, c, n, child, shift)
    _fetch(matching.slot, c, n, child, shift)
    s, n_slots = matching.slot_start[image], matching.slot_start[image + 1] - matching.slot_start[image]
    p, n_pairs = matching.pair_start[s], matching.pair_start[s + n_slots] - matching.pair_start[s]
    _fetch(matching.pair_start, s, n_slots, child, shift)
    _fetch(matching.pair_truth, p, n_pairs, child, shift)
    _fetch(matching.pair_passed, p, n_pairs, child, shift)
    _fetch(matching.inside, s, n_slots, child, shift)
    _fetch(standing.outcome, s, n_slots, child, shift)


@inlined
def _fetch(array, begin, n, share, shift):
    """Prefetch one of ``2**shift`` shares of the `n` entries from `begin` on."""
    step = (n >> shift) + 1
    for i in range(begin + share * step, begin + min((share + 1) * step, n), 64 // array.itemsize):
        prefetch(array, unsigned(i))  # type: ignore[call-arg]


@inlined
def _view(image, n_anchors, candidates, suppressions, matching, standing):
    """The part of the tables that belongs to one image."""
    c, c_end = candidates.image_start[image], candidates.image_start[image + 1]
    w, w_end = candidates.word_start[image], candidates.word_start[image + 1]
    m, m_end = matching.image_group[image], matching.image_group[image + 1]
    s, s_end = matching.members_start[image], matching.members_start[image + 1]
    return View(
        c,
        candidates.by_anchor[n_anchors * w : n_anchors * w_end].reshape((n_anchors, w_end - w)),
        candidates.scope[c:c_end],
        candidates.binds[image] != 0,
        suppressions.start[c : c_end + 1],
        matching.place[c:c_end],
        matching.slot[c:c_end],
        matching.paired[w:w_end],
        m,
        matching.long[m:m_end],
        matching.members[s:s_end].reshape((m_end - m, w_end - w)),
        standing.alive[w:w_end],
        standing.kept[w:w_end],
        standing.dead[w:w_end],
        standing.once[w:w_end],
        standing.pair[w:w_end],
        standing.shown[w:w_end],
    )


@inlined
def _has_space(view, n_children, rules, events):
    """Whether the events of one more image certainly fit."""
    n = len(view.place)
    for child in range(n_children):
        if events.n_flips[child] + n > events.flips.shape[1]:
            return False
        if events.n_changes[child] + n * rules.n_areas > events.change_at.shape[1]:
            return False
    return True


@inlined
def _write_events(view, n_words, matching, rules, scratch, outcome, child, events, commit):
    """Write the flips in the first words, and repeat the matching of the groups in which they can matter.

    A detection that overlaps no annotated box changes only the ranks of others: it is one of the first 1 or 10
    detections of its group.
    """
    shown = scratch.shown
    flips = events.flips[child]
    n = events.n_flips[child]
    in_pairs = np.uint64(0)
    for w in range(n_words):
        flipped = shown[w] ^ view.shown[w]
        in_pairs |= flipped & view.paired[w]
        while flipped != 0:
            bit = lowest_bit(flipped)
            flipped ^= bit
            place = view.place[unsigned(64 * w + position(bit))]
            if place != NO_PLACE and place >> PLACE_BITS & 1:
                flips[unsigned(n)] = place
                n += 1
    events.n_flips[child] = n
    if in_pairs == 0 and len(rules.ranks) == 0:
        return
    for group in range(len(view.long)):
        members = view.members[group]
        flipped, matters = np.uint64(0), np.uint64(0)
        for w in range(n_words):
            flips_here = (shown[w] ^ view.shown[w]) & members[w]
            flipped |= flips_here
            matters |= flips_here & view.paired[w]
        if matters != 0 or (flipped != 0 and len(rules.ranks) > 0):
            n_areas = rules.n_areas if matters != 0 else 1
            rematch(view, group, n_words, n_areas, matching, rules, scratch, outcome, child, events, commit)
