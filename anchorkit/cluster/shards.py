# mypy: allow-untyped-calls
"""What a worker does with its share of the images.

Every function here is a task whose result depends on its arguments alone, so the death of a worker costs only time. A
worker keeps the tables of its shards, and the configuration that each of them is at, only to save work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from anchorkit.evaluation.fingerprints import image_digests
from anchorkit.evaluation.ground_truth import GroundTruth
from anchorkit.evaluation.images import Images, is_far, sizes_of_anchors
from anchorkit.evaluation.index import Index, check_memory
from anchorkit.evaluation.loops.tables import NO_PLACE, PLACE, Array, Classes, Events, Matching
from anchorkit.evaluation.metrics import MatchingRules
from anchorkit.evaluation.sorting import SortedRows, starts_of
from anchorkit.evaluation.threads import Sharing
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable
from anchorkit.predictions_check import Whole


@dataclass(frozen=True)
class Shard:
    """A share of the images, with everything that a worker needs to load it.

    Attributes:
        evaluation: names the evaluation it belongs to; number: which of its shards.
        paths: the files that hold the table.
        images: the range of image ids whose rows belong to it, both ends included.
        truth: the annotated boxes of its images, with all categories.
        post: the post-processing.
    """

    evaluation: str
    number: int
    paths: tuple[str, ...]
    images: tuple[float, float]
    truth: GroundTruth
    post: PostProcess

    def __dask_tokenize__(self) -> tuple[str, int]:
        return (self.evaluation, self.number)


class Answer(NamedTuple):
    """What a shard answers, and which worker did."""

    found: Any
    worker: str


class Survey(NamedTuple):
    """What the evaluator has to know of a shard.

    Attributes:
        counts: int64 (K,), candidates of each class; sizes: int64 (A,), candidates of each anchor.
        digests: see `image_digests`; warnings: see `PredictionTable.check`.
        whole: the rows that are counted for the plausibility check, and some: those that it compares with objects.
    """

    counts: Array
    sizes: Array
    digests: bytes
    warnings: list[str]
    whole: Whole
    some: PredictionTable


class Differences(NamedTuple):
    """What differs in N children, by places among all shards; see `tables.Events`.

    Attributes:
        n_flips: int64 (N,); flips: uint32, child by child.
        n_changes: int64 (N,); change_at: int64; change_to: uint64, child by child.
    """

    n_flips: Array
    flips: Array
    n_changes: Array
    change_at: Array
    change_to: Array


class _Renumbered(Index):
    """The tables of a shard with the places of its candidates among all shards, so that no answer needs translating.

    Args:
        own: the tables of the shard alone, which are shared.
        places: uint32, see `number`.
    """

    def __init__(self, own: Index, places: Array) -> None:
        self.__dict__.update(own.__dict__, candidates=own.candidates, _kept=own._kept)
        self._own, self._places = own, places

    def matching(self, rules: MatchingRules) -> tuple[Matching, Classes]:
        matching, classes = self._own.matching(rules)
        known = matching.place != NO_PLACE
        own = matching.place[known]
        place = matching.place.copy()
        place[known] = self._places[own & PLACE] | (own & ~PLACE)
        return matching._replace(place=place), classes


class _Standing:
    """Images, and the configuration that they are at; None after an error left them between two."""

    def __init__(self, index: Index, rules: MatchingRules, every_area: bool) -> None:
        self._images = Images(index, rules, every_area)
        self._at: int | None = 0

    def differences(self, here: int, there: Sequence[int], commit: bool) -> Events:
        if self._at is None or (self._at != here and is_far(self._images.sizes, self._at, here)):
            self._images.restart()
            self._at = 0
        if self._at != here:
            self._move(self._at, here)
        if commit:
            return self._move(here, there[0])
        [events] = self._images.advance(here, there, commit=False)
        return events

    def _move(self, here: int, there: int) -> Events:
        self._at = None
        [events] = self._images.advance(here, [there], commit=True)
        self._at = there
        return events


class _Loaded:
    """A shard in the memory of a worker."""

    def __init__(self, shard: Shard) -> None:
        tables = [PredictionTable.load(path, shard.images) for path in shard.paths]
        self.table = table = tables[0] if len(tables) == 1 else joined(tables, f"{tables[0].source} and others")
        self.warnings = table.check(shard.truth)
        # Shards are the threads: a worker has as many at work as it has cores.
        work = Sharing(1)
        limit = check_memory(table, shard.post.score_threshold, None)
        rows = SortedRows(table, shard.truth, shard.post.score_threshold, work)
        self.index = Index(rows, shard.truth, shard.post, work, limit)
        self._standing: dict[tuple[MatchingRules, bool], _Standing] = {}

    def standing(self, places: Array, rules: MatchingRules, every_area: bool) -> _Standing:
        # The files determine the places: they are the same in every call.
        if (rules, every_area) not in self._standing:
            self._standing[rules, every_area] = _Standing(_Renumbered(self.index, places), rules, every_area)
        return self._standing[rules, every_area]


class _Seat:
    """The place of a shard in the memory of a worker, for one thread at a time."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.loaded: _Loaded | None = None


_seats: dict[tuple[str, int], _Seat] = {}
_seating = threading.Lock()


@contextmanager
def _at_work(shard: Shard) -> Iterator[_Loaded]:
    """The shard, loaded if it is not, for one thread at a time."""
    with _seating:
        seat = _seats.setdefault((shard.evaluation, shard.number), _Seat())
    with seat.lock:
        if seat.loaded is None:
            seat.loaded = _Loaded(shard)
        yield seat.loaded
        seat.loaded.index.forget()


def survey(shard: Shard, compared: Array) -> Answer:
    """Load and check a shard: a `Survey`.

    Args:
        shard: the shard.
        compared: ids of the images whose rows are to be handed over for the plausibility check.

    Raises:
        InputError: a file cannot be read or breaks a rule, a row belongs to an image that the ground truth lacks, or
            the shard does not fit in the worker's memory.
    """
    with _at_work(shard) as loaded:
        rows, table = loaded.index.rows, loaded.table
        sizes = sizes_of_anchors(loaded.index.candidates, len(table.layout))
        whole, some = Whole(len(table), np.unique(table.image_id)), table.subset(compared)
        # Known of all images of the file, not only of the compared ones.
        some.empty_images = table.empty_images
        digests = image_digests(table, shard.truth)
        return _answer(Survey(rows.of_classes(), sizes, digests, loaded.warnings, whole, some))


def falling_scores(shard: Shard) -> Array:
    """uint32: keys of the candidates' scores that rise as scores fall, class by class, each in its order."""
    with _at_work(shard) as loaded:
        rows = loaded.index.rows
        known = rows.klass < rows.n_classes
        falling, klass = rows.falling[known], rows.klass[known]
        found: Array = falling[np.lexsort((falling, klass))]
        return found


def number(counts: Array, *falling: Array) -> list[Array]:
    """Number the candidates of all shards as if they were one table's.

    Args:
        counts: int64 (shards, K), candidates of each class in each shard.
        falling: see `falling_scores`, of each shard.

    Returns:
        uint32 of each shard: for each place of its own (each class begins a new word of 64) the place among all.
    """
    first = _places_first(counts.sum(axis=0))
    own = [_places_first(row) for row in counts]
    begin = [starts_of(row) for row in counts]
    found = [np.zeros(int(places[-1]), np.uint32) for places in own]
    for klass in range(counts.shape[1]):
        keys = [scores[begin[n][klass] : begin[n][klass + 1]] for n, scores in enumerate(falling)]
        together = np.concatenate(keys)
        # Stable: of equal scores the image with the lower id comes first, and so does its shard.
        order = np.argsort(together, kind="stable")
        place = np.empty(len(together), np.uint32)
        place[order] = np.arange(len(together), dtype=np.uint32) + np.uint32(first[klass])
        ends = np.cumsum([len(part) for part in keys])
        for n, part in enumerate(np.split(place, ends[:-1])):
            found[n][own[n][klass] : own[n][klass] + len(part)] = part
    return found


def _places_first(counts: Array) -> Array:
    """int64 (K + 1,): the first place of each class."""
    return 64 * starts_of((counts + 63) // 64)


def above(shard: Shard, limit: int) -> Answer:
    """int64 (K,): how many candidates of each class have a key (see `falling_scores`) below a limit."""
    with _at_work(shard) as loaded:
        return _answer(loaded.index.rows.of_classes(loaded.index.rows.falling < limit))


def pairs(shard: Shard, rules: MatchingRules) -> Answer:
    """int64 (K,): how many candidates of each class could match something."""
    with _at_work(shard) as loaded:
        matching, _ = loaded.index.matching(rules)
        return _answer(loaded.index.rows.of_classes(matching.slot >= 0))


def differences(
    shard: Shard, places: Array, rules: MatchingRules, every_area: bool, here: int, there: Sequence[int], commit: bool
) -> Answer:
    """How configurations differ from the one `here`, all as bit masks: `Differences`.

    Args:
        shard: the images.
        places: uint32, see `number`.
        rules: IoU thresholds and numbers of detections, for every class: it may have its boxes in other shards.
        every_area: see `Images`.
        here: the configuration that the bitmap is at.
        there: the configurations to look at, or the one to go to.
        commit: go there.
    """
    with _at_work(shard) as loaded:
        events = loaded.standing(places, rules, every_area).differences(here, there, commit)
        n_flips, n_changes = events.n_flips[: len(there)].copy(), events.n_changes[: len(there)].copy()

        def written(rows: Array, counts: Array) -> Array:
            return np.concatenate([row[:n] for row, n in zip(rows, counts, strict=False)])

        at, to = written(events.change_at, n_changes), written(events.change_to, n_changes)
        return _answer(Differences(n_flips, written(events.flips, n_flips), n_changes, at, to))


def forget(evaluation: str) -> None:
    """Free the memory of the shards of an evaluation."""
    for key in [key for key in _seats if key[0] == evaluation]:
        del _seats[key]


def _answer(found: Any) -> Answer:
    from distributed import get_worker

    return Answer(found, str(get_worker().address))


def joined(tables: Sequence[PredictionTable], source: str) -> PredictionTable:
    """The rows of several tables of one detector."""
    first, names = tables[0], ("image_id", "anchor", "category_id", "score", "boxes", "empty_images")
    options: dict[str, Any] = {name: np.concatenate([getattr(table, name) for table in tables]) for name in names}
    return PredictionTable(**options, layout=first.layout, postprocess=first.postprocess, source=source, copy=False)
