"""What decides AP, as plain arrays: an evaluator's own tables without scores and boxes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from anchorkit.evaluation.building import build_suppressions
from anchorkit.evaluation.loops.compiling import bit_at, compiled, inlined, lowest_bit, position
from anchorkit.evaluation.loops.tables import PLACE_BITS, Array, Suppressions
from anchorkit.evaluation.sorting import SortedRows, starts_of
from anchorkit.postprocess import PostProcess

if TYPE_CHECKING:
    from anchorkit.evaluation import Evaluator
    from anchorkit.evaluation.index import Index

_COLUMNS = ("row", "image", "klass", "anchor", "order", "outside")
"""The attributes of a `Table` that have one value per row."""


@dataclass(frozen=True)
class Table:
    """Rows are numbered image by image, class by class, best first; a *group* is the rows of one image and class.

    Attributes:
        post: the post-processing.
        n_images: number of images.
        n_real: int64 (K,), boxes to be found of each class; 0 for a class that AP does not measure.
        n_thresholds: number of IoU thresholds.
        most_counted: how many detections of a group count.
        row: int32 (N,), row of the prediction table.
        image, klass, anchor: int32 (N,).
        order: int64 (N,), place in the order (score falling, image, detector's own order).
        victim_start: int64 (N + 1,); victim: int32, rows that a row suppresses if it is kept, rising.
        pair_start: int64 (N + 1,); pair_truth: int32, annotated boxes that a row could match, the preferred ones first;
            pair_passed: uint8, number of IoU thresholds reached.
        real: bool (G,), annotated boxes to be found; crowd: bool (G,), those that are never used up.
        outside: bool (N,), boxes so large that they are no false alarm (COCO's area range "all").
        limited: bool (I,), images in which the cap or a top-k may remove rows that are kept under some configuration.
        topped: bool (I,), those of them in which a top-k may.
    """

    post: PostProcess
    n_images: int
    n_real: Array
    n_thresholds: int
    most_counted: int
    row: Array
    image: Array
    klass: Array
    anchor: Array
    order: Array
    victim_start: Array
    victim: Array
    pair_start: Array
    pair_truth: Array
    pair_passed: Array
    real: Array
    crowd: Array
    outside: Array
    limited: Array
    topped: Array

    def __len__(self) -> int:
        return len(self.row)

    @property
    def group_start(self) -> Array:
        """int64 (groups + 1,), the first row of each group."""
        key = self.image.astype(np.int64) * len(self.n_real) + self.klass
        return np.append(np.flatnonzero(np.diff(key, prepend=-1)), len(self)).astype(np.int64)


def read_table(evaluator: Evaluator) -> Table:
    """The tables of an evaluator under its post-processing, for COCO's AP, without rows that are never kept."""
    index, rules = evaluator._index, evaluator._coco
    rows, (matching, classes) = index.rows, index.matching(rules)
    candidate, sizes = rows.members, np.diff(rows.group_start)
    n_real = np.zeros(rows.n_all_classes, np.int64)
    n_real[: rows.n_classes] = classes.n_real[0]
    order = np.empty(len(rows), np.int64)
    order[np.argsort(rows.falling, kind="stable")] = np.arange(len(rows))
    image = np.repeat(rows.group_image, sizes).astype(np.int32)
    victim_start, victim = _victims(index.rows, index.suppressions)
    slot = matching.slot[candidate]
    pairs = np.append(np.diff(matching.pair_start), 0)[slot]
    pair_start = starts_of(pairs)
    pair = np.repeat(np.append(matching.pair_start[:-1], 0)[slot] - pair_start[:-1], pairs) + np.arange(pair_start[-1])
    topped = index.candidates.binds.astype(np.bool_)
    table = Table(
        post=evaluator.postprocess,
        n_images=rows.n_images,
        n_real=n_real,
        n_thresholds=len(rules.thresholds),
        most_counted=rules.max_dets[-1],
        row=rows.row[candidate],
        image=image,
        klass=np.repeat(rows.group_class, sizes),
        anchor=rows.anchor[candidate],
        order=order[candidate],
        victim_start=victim_start,
        victim=victim,
        pair_start=pair_start,
        pair_truth=matching.pair_truth[pair],
        pair_passed=matching.pair_passed[pair],
        real=(matching.real & 1).astype(np.bool_),
        crowd=matching.crowd.astype(np.bool_),
        # A class that AP does not measure has no false alarms.
        outside=matching.place[candidate] >> PLACE_BITS & 1 == 0,
        topped=topped,
        limited=topped | _may_exceed_cap(index),
    )
    takes_part = candidate - rows.image_start[image] < rows.n_above(evaluator.postprocess.score_threshold)[image]
    index.forget()
    return table if takes_part.all() else select(table, takes_part)


def select(table: Table, stays: Array) -> Table:
    """The table with some of its rows; what they suppressed or matched goes too. `limited` stays as it is.

    Args:
        table: the whole one.
        stays: bool (N,).
    """
    number = np.cumsum(stays, dtype=np.int32) - 1
    source = np.repeat(np.arange(len(table)), np.diff(table.victim_start))
    edges = stays[source] & stays[table.victim]
    pairs = np.diff(table.pair_start)
    of_pair = np.repeat(stays, pairs)
    columns = {name: getattr(table, name)[stays] for name in _COLUMNS}
    return replace(
        table,
        victim_start=starts_of(np.bincount(number[source[edges]], minlength=int(stays.sum()))),
        victim=number[table.victim[edges]],
        pair_start=starts_of(pairs[stays]),
        pair_truth=table.pair_truth[of_pair],
        pair_passed=table.pair_passed[of_pair],
        **columns,
    )


def _may_exceed_cap(index: Index) -> Array:
    """Bool (I,), images in which NMS may keep more rows than the cap lets through.

    Kept sets are not monotone (fewer anchors may give more detections), so the number of detections of the full
    detector is no bound. That of cliques is (see `_count_cliques`), with all suppressions, also those that the
    evaluator does without.
    """
    rows, cap = index.rows, index.post.max_detections
    if cap is None:
        return np.zeros(rows.n_images, np.bool_)
    many = np.diff(rows.image_start) > cap
    if not many.any():
        return many
    _, overlaps = build_suppressions(rows, index.post.nms_iou, index.candidates.binds, index.work, most_reduced=-1)
    bound = np.zeros(len(rows.group_image), np.int64)
    _count_cliques(rows.group_start, many[rows.group_image], *_victims(rows, overlaps), bound)
    found: Array = many & (np.bincount(rows.group_image, weights=bound, minlength=rows.n_images) > cap)
    return found


@compiled
def _count_cliques(group_start, counted, victim_start, victim, bound):
    """An upper bound on how many rows NMS keeps of each group that is `counted`, written to `bound`.

    Rows that all suppress each other are a clique, of which NMS keeps one at most. Cliques are filled first come, first
    served.
    """
    for group in range(len(group_start) - 1):
        if not counted[group]:
            continue
        begin, n = group_start[group], group_start[group + 1] - group_start[group]
        sets, cliques = np.zeros((2, n, (n + 63) >> 6), np.uint64)
        for d in range(n):
            for e in range(victim_start[begin + d], victim_start[begin + d + 1]):
                sets[victim[e] - begin, d >> 6] |= bit_at(d)
        found = 0
        for c in range(n):
            k = 0
            while k < found and not _is_part(cliques[k], sets[c]):
                k += 1
            cliques[k, c >> 6] |= bit_at(c)
            found = max(found, k + 1)
        bound[group] = found


@inlined
def _is_part(small, large):
    for w in range(len(small)):  # noqa: SIM110 - numba compiles no generators
        if small[w] & ~large[w] != 0:
            return False
    return True


def _victims(rows: SortedRows, suppressions: Suppressions) -> tuple[Array, Array]:
    """`Table.victim_start` and `victim`, from the evaluator's words of bits."""
    number = np.empty(len(rows), np.int32)
    number[rows.members] = np.arange(len(rows), dtype=np.int32)
    given = rows.image_start, rows.members, number, *suppressions
    counts = np.zeros(len(rows), np.int32)
    _list_victims(*given, counts, np.empty(0, np.int64), np.empty(0, np.int32))
    start = starts_of(counts)
    victim = np.empty(start[-1], np.int32)
    _list_victims(*given, counts, start, victim)
    return start, victim


@compiled
def _list_victims(image_start, members, number, own, entry_start, entry_word, entry_mask, counts, start, victim):
    """Count the victims of each row or, where `start` says where to, write them."""
    for image in range(len(image_start) - 1):
        begin = image_start[image]
        for row in range(begin, image_start[image + 1]):
            candidate = members[row]
            n = 0
            for entry in range(entry_start[candidate], entry_start[candidate + 1] + 1):
                is_own = entry == entry_start[candidate]
                word = (candidate - begin) >> 6 if is_own else np.int64(entry_word[entry - 1])
                bits = own[candidate] if is_own else entry_mask[entry - 1]
                while bits != 0:
                    bit = lowest_bit(bits)
                    bits ^= bit
                    if len(start):
                        victim[start[row] + n] = number[begin + 64 * word + position(bit)]
                    n += 1
            counts[row] = n
