"""The flat arrays that the compiled loops work on.

Words: C candidates (rows that take part), I images, A anchors, K classes of the ground truth, G annotated boxes, T IoU
thresholds. The *rank* of a candidate is its position in its image, best score first (ties: earlier row first); a
*group* is the candidates of one image and class, its *members*, best first.

Sets of candidates are bits by rank: image i owns the words ``word_start[i]:word_start[i + 1]`` of `Candidates`, and the
candidate of rank r is bit ``r % 64`` of its word ``r // 64``. NMS never looks beyond a group, and a group lies in the
order of ranks, so NMS of all groups of an image is one walk along its words.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

AREA_RANGES = ((0.0, 1e5**2), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e5**2))
"""COCO's area ranges all, small, medium, large (pixels); both ends belong to each."""

N_RECALLS = 101
RECALLS = np.linspace(0.0, 1.0, N_RECALLS)

PLACE_BITS = 28
PLACE = np.uint32(2**PLACE_BITS - 1)
NO_PLACE = np.uint32(2**32 - 1)

UNLIMITED = 2**31 - 1
"""As a number of detections: no limit."""

MOST_THRESHOLDS = 31
"""An outcome holds two bits for each IoU threshold, and two more, in 64."""


class Candidates(NamedTuple):
    """The candidates that take part, by anchor. They are numbered image by image, by rank.

    Attributes:
        image_start: int64 (I + 1,), first candidate of each image.
        word_start: int64 (I + 1,), first word of each image.
        by_anchor: uint64 (A * words,), the candidates of each anchor: the set of image i and anchor a begins at
            ``A * w + a * n`` where w is the first of the image's n words.
        binds: uint8 (I,), 1 where the image has more candidates in one scope than the top-k lets through.
        scope: int32 (C,), what the top-k counts over; empty if the top-k binds nowhere.
    """

    image_start: Array
    word_start: Array
    by_anchor: Array
    binds: Array
    scope: Array


class Suppressions(NamedTuple):
    """What each candidate suppresses if it is kept: later ones of its group that overlap it, as bits.

    Attributes:
        own: uint64 (C,), those in its own word.
        start: uint32 (C + 1,), first entry of each candidate, for those in later words of its image.
        word: uint32 (entries,), which of the image's words; mask: uint64 (entries,), its bits, never 0.
    """

    own: Array
    start: Array
    word: Array
    mask: Array


class Matching(NamedTuple):
    """Which candidates can match which annotated boxes, under one set of `metrics.MatchingRules`.

    *Slots* number the candidates that have pairs, image by image. *Places* number all candidates of measured classes
    (those with annotated boxes) in the order (class, score falling, image, rank), each class from a new word on. Of the
    groups, only the M are here that have pairs, or are of a measured class and could have more detections than count.

    Attributes:
        place: uint32 (C,), the place in the lowest `PLACE_BITS` bits, and above them a bit for each of `AREA_RANGES` in
            which the box's area lies; `NO_PLACE` if the candidate's class is not measured.
        slot: int32 (C,), or -1; slot_start: int64 (I + 1,), first slot of each image.
        inside: uint8 (slots,), bit a is set if the box's area lies in area range a.
        paired: uint64 (words,), set of the candidates that have pairs.
        image_group: int64 (I + 1,), first group of each image.
        members: uint64, set of the candidates of each group; those of image i begin at ``members_start[i]``, int64
            (I + 1,).
        long: uint8 (M,), 1 if the group could have more detections than count.
        truth_start: int64 (M,), first annotated box of the group; truth_count: int32 (M,).
        pair_start: int32 (slots + 1,); pair_truth: int32, annotated box; pair_passed: uint8, IoU thresholds reached.
        real: uint8 (G,), bit a is set if the box is to be found in area range a (else it is ignored there).
        crowd: uint8 (G,), 1 for a box that is ignored and never used up.
    """

    place: Array
    slot: Array
    slot_start: Array
    inside: Array
    paired: Array
    image_group: Array
    members: Array
    members_start: Array
    long: Array
    truth_start: Array
    truth_count: Array
    pair_start: Array
    pair_truth: Array
    pair_passed: Array
    real: Array
    crowd: Array


class Classes(NamedTuple):
    """What the curves need of each class.

    Attributes:
        place_word: int64 (K + 1,), first word of places of each class.
        most_pairs: most candidates of one class that have pairs.
        n_real: int64 (areas, K), annotated boxes to be found.
        need: int32 (areas, K, 101), true positives needed to reach each recall.
        column: int32 (areas, K), position of the class among those with boxes to be found, or -1.
    """

    place_word: Array
    most_pairs: int
    n_real: Array
    need: Array
    column: Array


class Standing(NamedTuple):
    """The state of every image under the configuration that the engine is at.

    NMS of an image stops soon after the cap is reached: only the first words are *settled*, and in the others all sets
    but `alive` are empty.

    Attributes:
        alive: uint64 (words,), the candidates that take part in NMS: of kept anchors, within the top-k.
        kept: uint64 (words,), those that NMS keeps.
        dead: uint64 (words,), those that a kept one suppresses, whether they take part or not.
        once: uint64 (words,), those of them that exactly one kept candidate suppresses; pair: uint64, exactly two.
        shown: uint64 (words,), the kept ones within the cap and, in long groups, among the detections that count.
        settled: int32 (I,), how many words are settled.
        fullest: int32 (I,), most members of a long group within the cap.
        outcome: uint64 (areas * slots,), see `matching`.
    """

    alive: Array
    kept: Array
    dead: Array
    once: Array
    pair: Array
    shown: Array
    settled: Array
    fullest: Array
    outcome: Array


class View(NamedTuple):
    """The part of all tables that belongs to one image: n candidates in W words.

    Attributes:
        first: number of the first candidate.
        by_anchor: (A, W); scope: (n,) or (0,); binds: bool: see `Candidates`.
        suppression_start: (n + 1,), see `Suppressions`.
        place: (n,); slot: (n,); paired: (W,); group: number of the first group; long: (groups,); members: (groups, W):
            see `Matching`.
        alive: (W,); kept: (W,); dead: (W,); once: (W,); pair: (W,); shown: (W,): see `Standing`.
    """

    first: int
    by_anchor: Array
    scope: Array
    binds: bool
    suppression_start: Array
    place: Array
    slot: Array
    paired: Array
    group: int
    long: Array
    members: Array
    alive: Array
    kept: Array
    dead: Array
    once: Array
    pair: Array
    shown: Array


class Scratch(NamedTuple):
    """Memory for the work on one image of W words.

    Attributes:
        alive, touched, dead, reached, twice, thrice, kept, shown: uint64 (W,).
        used: uint64, for each annotated box of a group; taken: int64, for each scope of the top-k.
    """

    alive: Array
    touched: Array
    dead: Array
    reached: Array
    twice: Array
    thrice: Array
    kept: Array
    shown: Array
    used: Array
    taken: Array


class Children(NamedTuple):
    """N configurations to look at, as differences from the one that the engine is at.

    Attributes:
        gone_start: int64 (N + 1,); gone: int32, anchors taken away.
        new_start: int64 (N + 1,); new: int32, anchors put back.
        keep: uint8 (N, A), 1 for the anchors that the child has.
    """

    gone_start: Array
    gone: Array
    new_start: Array
    new: Array
    keep: Array


class Events(NamedTuple):
    """How each of N children differs, for a range of images. Memory for F flips and H changes per child.

    Attributes:
        flips: uint32 (N, F), places (see `Matching`) that enter or leave the detections; n_flips: int64 (N,).
        change_at: int64 (N, H), where (``area << 32 | place``); change_to: uint64 (N, H), the new
            outcome; n_changes: int64 (N,).
    """

    flips: Array
    n_flips: Array
    change_at: Array
    change_to: Array
    n_changes: Array


class Rules(NamedTuple):
    """The numbers that the steps from candidates to outcomes need.

    Attributes:
        topk: 0 for none; n_scopes: number of different scopes of the top-k.
        cap: most detections of an image; most_shown: most detections of a group that count (large for no limit).
        n_thresholds: IoU thresholds; n_areas: area ranges, 1 or 4.
        ranks: int64, the smaller numbers of detections for which recall is asked (1 and 10); empty if it is not.
    """

    topk: int
    n_scopes: int
    cap: int
    most_shown: int
    n_thresholds: int
    n_areas: int
    ranks: Array


class Bitmap(NamedTuple):
    """The detections of one configuration, as those of the configuration that the engine is at and the differences.

    Attributes:
        bits: uint64 (areas, words), by place, see `Matching`.
        at: int64, ``area << 32 | place`` of every detection with an outcome that is not 0, rising; outcome: uint64, see
            `matching`.
        new_at: int64, rising, where outcomes differ; new_outcome: uint64, the new ones.
    """

    bits: Array
    at: Array
    outcome: Array
    new_at: Array
    new_outcome: Array


class CurveScratch(NamedTuple):
    """Memory for the curve of one class, see `curves`: for the most detections that a class can have, and one more.

    Attributes:
        place: int64. before, wrong: int32. hit, off, rank: uint32. curve: float64.
        lines: float64 (classes, thresholds * 101), the precision of a few classes.
    """

    place: Array
    before: Array
    hit: Array
    off: Array
    rank: Array
    wrong: Array
    curve: Array
    lines: Array


class Seen(NamedTuple):
    """The N detections of one configuration that count in an area range, or hit a box to be found there.

    Attributes:
        place: int64 (N,), rising, see `Matching`.
        counted: bool (N,), whether the detection's own area lies in the range.
        hit: uint32 (N,), the IoU thresholds at which it hits a box to be found, as bits.
        off: uint32 (N,), the IoU thresholds at which it is no false positive although it is counted.
    """

    place: Array
    counted: Array
    hit: Array
    off: Array


class Placed(NamedTuple):
    """The same detections by image, so that those of several detectors can be put together.

    They are in the order in which precision counts them: by class, then by falling score.

    Attributes:
        klass: int64 (N,), place of the class in the ground truth.
        falling: uint32 (N,), the score as a number that rises where scores fall.
        image: int32 (N,), place of the image.
        counted, hit, off: as in `Seen`.
    """

    klass: Array
    falling: Array
    image: Array
    counted: Array
    hit: Array
    off: Array


class Steps(NamedTuple):
    """The detections of a `Placed` in the order in which `weighing` goes through them.

    A step is one detection that matched something, or several of one image and class that tie in score. *Items* are the
    detections of the steps, *fillers* the others.

    Attributes:
        class_step: int64 (K + 1,), first step of each class that has boxes to be found.
        fill_start: int64 (S + 1,), first filler between the step before and each step.
        fill_image: int32 (fillers,), image of each filler.
        image: int32 (S,), image of each step.
        item_start: int64 (S + 1,), first item of each step.
        hit, off: uint32 (items,); counted: uint8 (items,): see `Seen`.
        most: most items of one class.
        most_tied: most items of one class in steps with several items.
    """

    class_step: Array
    fill_start: Array
    fill_image: Array
    image: Array
    item_start: Array
    hit: Array
    off: Array
    counted: Array
    most: int
    most_tied: int


class ToFind(NamedTuple):
    """The boxes to be found, class by class, of the classes that have any.

    Attributes:
        start: int64 (K + 1,), first box of each class.
        image: int32 (boxes,), image of each box.
    """

    start: Array
    image: Array


class WeighingScratch(NamedTuple):
    """Memory for one class in `weighing.DRAWS` data sets, with n items after copies of ties are written out.

    Attributes:
        hit, off: uint32 (n,); times, before, found: int32 (n, DRAWS); curve: float64 (n, DRAWS).
        n_real, column: int64 (DRAWS,); need: int32 (DRAWS, 101); counted, right, off_so_far: int32 (DRAWS,);
            best: float64 (DRAWS,).
    """

    hit: Array
    off: Array
    times: Array
    before: Array
    found: Array
    curve: Array
    n_real: Array
    column: Array
    need: Array
    counted: Array
    right: Array
    off_so_far: Array
    best: Array
