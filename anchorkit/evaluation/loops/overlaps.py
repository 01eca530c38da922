"""Compiled loops over pairs of boxes: which suppress which, and which can match which. They run once per table.

Every kernel works on a range of images or groups, releases the interpreter lock and writes only to what belongs to its
range, so that threads can share the work.

Words are those of `tables`. A candidate's number is that of its image's first candidate plus its rank.
"""

from __future__ import annotations

import numpy as np

from anchorkit.evaluation.loops.compiling import bit_at, compiled, inlined, lowest_bit, position
from anchorkit.evaluation.loops.dropping import reduce_group


@compiled
def group_by_class(first, last, image_start, klass, n_classes, members, is_first):
    """Write the candidates of each image class by class, rising within a class, and mark the first of each group."""
    begin = np.zeros(n_classes + 1, np.int64)
    for image in range(first, last):
        start, end = image_start[image], image_start[image + 1]
        begin[:] = 0
        for i in range(start, end):
            begin[klass[i] + 1] += 1
        for k in range(n_classes):
            if begin[k + 1] > 0:
                is_first[start + begin[k]] = 1
            begin[k + 1] += begin[k]
        for i in range(start, end):
            k = klass[i]
            members[start + begin[k]] = i
            begin[k] += 1


@compiled
def fill_suppressions(
    first, last, group_start, boxes, anchor, limit, most_reduced, topk, never, own, counts, words, masks
):
    """Find what the members of some groups suppress if they are kept, as words of bits of its members.

    Invariant: member a suppresses b exactly if it is better and float64 IoU(a, b) > limit; a box without area has IoU
    0 or 0/0 with any other and neither is above the limit.

    Groups of up to `most_reduced` members are reduced (see `dropping`). Where a top-k may remove members
    (``topk[group]``) all of them stay; elsewhere marks those that are `never` kept, and numbers the others without
    gaps. Writes to `own` the bits in each member's own word; of the others the number of words that are not 0 to
    `counts`, and the words (counted within the group) one after the other. `boxes`, `anchor`, `own` and `counts` begin
    with the first of these groups; the last two have no gaps.

    Returns:
        How many members stay, and how many words were written.
    """
    near = limit * (1 - 1e-9)
    most, most_in_sets = 0, 0
    for group in range(first, last):
        n = group_start[group + 1] - group_start[group]
        most = max(most, n)
        if n <= most_reduced:
            most_in_sets = max(most_in_sets, n)
    box = np.empty((5, most))
    n_words = (most_in_sets + 63) >> 6
    # S of each member of a group, and what each one suppresses once some are gone.
    sets, reached = np.empty((2, most_in_sets, n_words), np.uint64)
    gone = np.empty(n_words, np.uint64)
    listed, stand_ins, number = np.empty((3, most_in_sets), np.int64)
    own_anchor = np.empty(most_in_sets, np.int32)
    stay, written = 0, 0
    at = group_start[first]
    for group in range(first, last):
        begin, n = group_start[group], group_start[group + 1] - group_start[group]
        for p in range(n):
            corners = boxes[begin + p - at]
            for side in range(4):
                box[side, p] = corners[side]
            box[4, p] = (box[2, p] - box[0, p]) * (box[3, p] - box[1, p])
        if n > most_reduced:
            for p in range(n):
                before = written
                for word in range(p >> 6, (n + 63) >> 6):
                    mask = _overlapping(p, max(p + 1, 64 * word), min(64 * word + 64, n), box, near, limit)
                    written = _write(p, word, mask, stay, own, words, masks, written)
                counts[stay] = written - before
                stay += 1
            continue
        for p in range(n):
            own_anchor[p] = anchor[begin + p - at]
            for word in range((p >> 6) + 1):
                sets[p, word] = _overlapping(p, 64 * word, min(64 * word + 64, p), box, near, limit)
        reduce_group(n, own_anchor, topk[group], sets, gone, listed, stand_ins)
        n_left = 0
        for p in range(n):
            never[begin + p] = not topk[group] and gone[p >> 6] & bit_at(p) != 0
            number[p] = n_left
            n_left += not never[begin + p]
        n_words = (n_left + 63) >> 6
        reached[:n_left, :n_words] = 0
        for p in range(n):
            for word in range(0 if never[begin + p] else (p >> 6) + 1):
                bits = sets[p, word]
                while bits != 0:
                    bit = lowest_bit(bits)
                    bits ^= bit
                    reached[number[64 * word + position(bit)], number[p] >> 6] |= bit_at(number[p])
        for p in range(n_left):
            before = written
            for word in range(p >> 6, n_words):
                written = _write(p, word, reached[p, word], stay, own, words, masks, written)
            counts[stay] = written - before
            stay += 1
    return stay, written


@inlined
def _overlapping(p, begin, end, box, near, limit):
    """The members from `begin` up to `end`, all of one word, that overlap member `p` by more than the limit."""
    mask = np.uint64(0)
    for q in range(begin, end):
        width = min(box[2, p], box[2, q]) - max(box[0, p], box[0, q])
        height = min(box[3, p], box[3, q]) - max(box[1, p], box[1, q])
        common = width * height
        union = box[4, p] + box[4, q] - common
        # Most pairs are far from the limit and need no division.
        if width > 0 and height > 0 and common > near * union and common / union > limit:
            mask |= bit_at(q)
    return mask


@inlined
def _write(p, word, mask, at, own, words, masks, written):
    if word == p >> 6:
        own[at] = mask
    elif mask != 0:
        words[written] = word
        masks[written] = mask
        written += 1
    return written


@compiled
def by_rank(
    first, last, image_start, image_group, group_start, members, found, entry_start, entry_word, entry_mask, own, start,
    word, mask
):  # fmt: skip
    """From what `fill_suppressions` found of the groups of some images to `tables.Suppressions`.

    Without room in `word` (none at all) only `own` is written, and the number of entries of each candidate to `start`.
    """
    most = 0
    for image in range(first, last):
        most = max(most, image_start[image + 1] - image_start[image])
    member_of, group_of = np.empty((2, most), np.int64)
    for image in range(first, last):
        begin, n = image_start[image], image_start[image + 1] - image_start[image]
        for group in range(image_group[image], image_group[image + 1]):
            for m in range(group_start[group], group_start[group + 1]):
                member_of[members[m] - begin] = m
                group_of[members[m] - begin] = group
        for rank in range(n):
            m = member_of[rank]
            first_member = group_start[group_of[rank]]
            own[begin + rank] = 0
            at = start[begin + rank] if len(word) else 0
            now, written = rank >> 6, 0
            for entry in range(entry_start[m], entry_start[m + 1] + 1):
                # Rising: first the group's word of the member itself, then later ones.
                is_own = entry == entry_start[m]
                base = m - (m - first_member) % 64 if is_own else first_member + 64 * np.int64(entry_word[entry - 1])
                bits = found[m] if is_own else entry_mask[entry - 1]
                while bits != 0:
                    bit = lowest_bit(bits)
                    bits ^= bit
                    victim = members[base + position(bit)] - begin
                    if victim >> 6 != now:
                        now = victim >> 6
                        written += 1
                        if len(word):
                            word[at + written - 1] = now
                            mask[at + written - 1] = 0
                    if now == rank >> 6:
                        own[begin + rank] |= bit_at(victim)
                    elif len(word):
                        mask[at + written - 1] |= bit_at(victim)
            if not len(word):
                start[begin + rank] = written


@compiled
def count_pairs(
    first, last, group_start, members, truth_start, truth_end, boxes, truth, crowd, limits, best_only, counts
):
    """For each candidate, count the annotated boxes of its group that it could match (see `fill_pairs`)."""
    for group in range(first, last):
        if truth_start[group] == truth_end[group]:
            continue
        for p in range(group_start[group], group_start[group + 1]):
            candidate = members[p]
            found = 0
            for g in range(truth_start[group], truth_end[group]):
                if _coco_iou(boxes, candidate, truth, g, crowd[g]) >= limits[0]:
                    found += 1
            counts[candidate] = min(found, 1) if best_only else found


@compiled
def fill_pairs(
    first, last, group_start, members, truth_start, truth_end, boxes, truth, crowd, limits, best_only, slot,
    pair_start, pair_truth, pair_passed, pair_iou
):  # fmt: skip
    """Write the annotated boxes that each candidate could match, from ``pair_start[slot]`` on.

    Invariant: the boxes whose IoU reaches ``limits[0]`` are in the order in which pycocotools prefers them: IoU
    falling, of equal ones the later box first; `pair_passed` is the number of limits reached. With `best_only` there is
    only one: the box of greatest IoU, of equal ones the first (Pascal VOC's rule).
    """
    for group in range(first, last):
        if truth_start[group] == truth_end[group]:
            continue
        for p in range(group_start[group], group_start[group + 1]):
            candidate = members[p]
            if slot[candidate] < 0:
                continue
            start = pair_start[slot[candidate]]
            end = start
            for g in range(truth_start[group], truth_end[group]):
                iou = _coco_iou(boxes, candidate, truth, g, crowd[g])
                if iou < limits[0]:
                    continue
                if best_only and end > start:
                    if iou > pair_iou[start]:
                        pair_iou[start] = iou
                        pair_truth[start] = g
                    continue
                at = end
                while at > start and pair_iou[at - 1] <= iou:
                    pair_iou[at] = pair_iou[at - 1]
                    pair_truth[at] = pair_truth[at - 1]
                    at -= 1
                pair_iou[at] = iou
                pair_truth[at] = g
                end += 1
            for at in range(start, end):
                passed = 0
                for t in range(len(limits)):
                    passed += pair_iou[at] >= limits[t]
                pair_passed[at] = passed


@inlined
def _coco_iou(boxes, d, truth, g, crowd):
    """IoU as pycocotools computes it: on x y width height, and on the detection's area alone for a crowd."""
    dx, dy = np.float64(boxes[d, 0]), np.float64(boxes[d, 1])
    dw, dh = np.float64(boxes[d, 2]) - dx, np.float64(boxes[d, 3]) - dy
    gx, gy, gw, gh = truth[g, 0], truth[g, 1], truth[g, 2], truth[g, 3]
    width = min(dw + dx, gw + gx) - max(dx, gx)
    if width <= 0:
        return 0.0
    height = min(dh + dy, gh + gy) - max(dy, gy)
    if height <= 0:
        return 0.0
    common = width * height
    area = dw * dh
    return common / area if crowd else common / (area + gw * gh - common)


@compiled
def collect_by_anchor(image_start, word_start, n_above, anchor, n_anchors, by_anchor):
    """Set the bits of `tables.Candidates.by_anchor` for the first ``n_above[image]`` candidates of each image."""
    for image in range(len(image_start) - 1):
        first, n_words = n_anchors * word_start[image], word_start[image + 1] - word_start[image]
        for rank in range(n_above[image]):
            at = first + anchor[image_start[image] + rank] * n_words
            by_anchor[at + (rank >> 6)] |= bit_at(rank)


@compiled
def collect_members(image_start, group_start, members, chosen, image_of, image_group, members_start, sets):
    """Set the bits of `tables.Matching.members` for the chosen groups, which rise."""
    for number in range(len(chosen)):
        image = image_of[number]
        n_words = (members_start[image + 1] - members_start[image]) // (image_group[image + 1] - image_group[image])
        at = members_start[image] + (number - image_group[image]) * n_words
        for m in range(group_start[chosen[number]], group_start[chosen[number] + 1]):
            rank = members[m] - image_start[image]
            sets[at + (rank >> 6)] |= bit_at(rank)


@compiled
def sort_by_class(klass, falling, wanted, at, key):
    """Put the candidates of wanted classes class by class, from ``at[class]`` on: score (falling) and number in one."""
    for i in range(len(klass)):
        k = klass[i]
        if wanted[k]:
            key[at[k]] = np.uint64(falling[i]) << np.uint64(32) | np.uint64(i)
            at[k] += 1
