"""Accuracy of a detector with any subset of its anchors."""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anchorkit.anchors import AnchorLayout, Configuration, Move
from anchorkit.errors import InputError
from anchorkit.evaluation import reference
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable

if TYPE_CHECKING:
    import pandas as pd

Array = npt.NDArray[Any]

N_AREAS = 4
ROWS_PER_THREAD = 100_000
"""Below this many candidates a thread costs more than it brings."""

REMEMBERED = 100_000
"""Number of accuracies kept, so that a configuration that a search meets again costs nothing."""


class Evaluator:
    """Accuracy of every configuration of a detector, with the bits of numpy NMS and pycocotools.

    Built once from the raw predictions on a set of images and its ground truth. A configuration then costs one pass
    over the candidates through suppression edges and overlaps computed beforehand: no box is compared with another
    again. Memory: about 35 bytes a row of the table and 2 bytes for each pair of boxes of one image and class whose
    IoU is above the NMS threshold (see `index.build_index`).

    A configuration is given as a `Configuration` of the same layout or as anchor ids or indices to keep.
    Figures are 0..1, or -1 where the ground truth has nothing to measure, as in pycocotools. An Evaluator may be used
    by several threads; they take turns.

    Attributes:
        predictions: the table.
        ground_truth: the annotated boxes.
        layout: the anchors of the detector.
    """

    def __init__(self, predictions: PredictionTable, ground_truth: Any) -> None:
        """Prepare the evaluation.

        Args:
            predictions: raw predictions on images of the ground truth; images without predictions count.
            ground_truth: path of a COCO json file, a COCO dict, or a pycocotools ``COCO``.

        Raises:
            InputError: the ground truth is broken, or predictions belong to an image that it lacks.
        """
        # numba takes half a second to import: wait until it is needed.
        from anchorkit.evaluation import index

        self.predictions = predictions
        self.ground_truth = read_ground_truth(ground_truth)
        for warning in predictions.check(self.ground_truth.to_ids()):
            warnings.warn(warning, UserWarning, stacklevel=2)
        self.layout: AnchorLayout = predictions.layout
        self._lock = threading.Lock()
        self._accuracies: dict[int, float] = {}
        threads = min(os.cpu_count() or 1, 8, 1 + len(predictions) // ROWS_PER_THREAD)
        self._pool = ThreadPoolExecutor(threads, "anchorkit-evaluator")
        self._index = index.build_index(predictions, self.ground_truth, self._pool, threads)
        self._engine = _Engine(self._index, predictions, self._pool, threads)

    @property
    def postprocess(self) -> PostProcess:
        """How detections are made of the raw predictions."""
        return self.predictions.postprocess

    @cached_property
    def fingerprint(self) -> str:
        """A hash (16 hexadecimal digits) of all predictions and the ground truth: equal for equal accuracies."""
        digest = hashlib.sha256()
        table, truth = self.predictions, self.ground_truth
        for column in (table.image_id, table.anchor, table.category_id, table.score, table.boxes):
            digest.update(column.tobytes())
        for item in fields(truth):
            digest.update(getattr(truth, item.name).tobytes())
        return digest.hexdigest()[:16]

    @property
    def full(self) -> Configuration:
        """The configuration that keeps every anchor."""
        return self.layout.full

    def accuracy(self, c: Configuration | Iterable[int | str]) -> float:
        """AP at IoU 0.50:0.95 over all areas."""
        configuration = self._configuration(c)
        found = self._accuracies.get(configuration.mask)
        if found is None:
            with self._lock:
                found = _mean(self._engine.precision(configuration, 1)[0][0])
            if len(self._accuracies) >= REMEMBERED:
                self._accuracies.clear()
            self._accuracies[configuration.mask] = found
        return found

    def stats(self, c: Configuration | Iterable[int | str]) -> dict[str, float]:
        """The 12 figures of COCO: AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl."""
        configuration = self._configuration(c)
        with self._lock:
            precision, hits = self._engine.precision(configuration, N_AREAS)
        n_real = self._index.truth.n_real
        recall = [[hits[a, m][:, n_real[a] > 0] / n_real[a][n_real[a] > 0] for m in range(3)] for a in range(N_AREAS)]
        values = [_mean(precision[0]), _mean(precision[0][:1]), _mean(precision[0][5:6])]
        values += [_mean(precision[a]) for a in (1, 2, 3)]
        values += [_mean(recall[0][m]) for m in (0, 1, 2)]
        values += [_mean(recall[a][2]) for a in (1, 2, 3)]
        return dict(zip(reference.STATS, values, strict=True))

    def per_class(self, c: Configuration | Iterable[int | str]) -> dict[int, float]:
        """AP at IoU 0.50:0.95 of each category of the ground truth, by its id."""
        configuration = self._configuration(c)
        with self._lock:
            precision = self._engine.precision(configuration, 1)[0][0]
        columns = self._index.truth.column[0].tolist()
        return {
            category_id: _mean(precision[:, :, column]) if column >= 0 else -1.0
            for category_id, column in zip(self.ground_truth.category_ids.tolist(), columns, strict=True)
        }

    def children(self, c: Configuration | Iterable[int | str], moves: Sequence[Move]) -> npt.NDArray[np.float64]:
        """The accuracy of each configuration that a move leads to: float64 (len(moves),)."""
        configuration = self._configuration(c)
        return np.array([self.accuracy(configuration.without(move.anchors)) for move in moves], np.float64)

    def detections(self, c: Configuration | Iterable[int | str]) -> pd.DataFrame:
        """What the detector would output: after top-k, NMS and cap.

        Returns:
            A DataFrame with columns image_id, category_id, score, x1, y1, x2, y2 (pixels) and anchor, image by image
            by rising id, best score first; categories that the ground truth lacks are there too.
        """
        import pandas as pd

        configuration = self._configuration(c)
        with self._lock:
            rows = self._engine.rows(configuration)
        table = self.predictions
        columns = {name: getattr(table, name)[rows] for name in ("image_id", "category_id", "score")}
        columns |= {name: table.boxes[rows, side] for side, name in enumerate(("x1", "y1", "x2", "y2"))}
        return pd.DataFrame({**columns, "anchor": table.anchor[rows]})

    def verify(self, n: int = 10, seed: int = 0) -> float:
        """Compare with numpy NMS and pycocotools on the full configuration and random others.

        Args:
            n: number of configurations, the full one among them.
            seed: which random ones.

        Returns:
            The largest absolute difference over all 12 figures and the AP of each category: 0.0 if all is well.
        """
        random = np.random.default_rng(seed)
        largest = 0.0
        for number in range(n):
            share = random.uniform(0.1, 1.0)
            keep = np.flatnonzero(random.random(len(self.layout)) < share) if number else np.arange(len(self.layout))
            expected = reference.evaluate(self.predictions, self.ground_truth, keep)
            own, own_classes = self.stats(keep.tolist()), self.per_class(keep.tolist())
            differences = [abs(own[name] - value) for name, value in expected.stats.items()]
            differences += [abs(own_classes[key] - value) for key, value in expected.per_class.items()]
            largest = max(largest, *differences)
        return largest

    def _configuration(self, c: Configuration | Iterable[int | str]) -> Configuration:
        if not isinstance(c, Configuration):
            return self.layout.configuration(keep=c)
        if c.layout is not self.layout and c.layout != self.layout:
            raise InputError(
                f"the configuration is one of {c.layout.detector} ({len(c.layout)} anchors), the predictions are of "
                f"{self.layout.detector} ({len(self.layout)} anchors): their layouts differ"
            )
        return c


class _Engine:
    """Runs the kernels for one configuration after the other, in scratch memory that is allocated once."""

    def __init__(self, index: Any, predictions: PredictionTable, pool: ThreadPoolExecutor, threads: int) -> None:
        from anchorkit.evaluation import index as building
        from anchorkit.evaluation import kernels

        self._each, self._share, self._kernels = building.each, building.share, kernels
        self._index = index
        self._pool = pool
        candidates, truth, pairs = index.candidates, index.truth, index.pairs
        self._images = building.balanced(candidates.image_start, threads)
        self._classes = building.balanced(pairs.slot_start, threads)
        post = predictions.postprocess
        by_class = post.topk_scope == "class"
        self._scope = candidates.klass if by_class else np.empty(0, np.int32)
        by_level = post.topk_scope == "level"
        self._scope_of_anchor = building.levels_of(predictions.layout) * by_level
        self._n_scopes = max(1, index.n_all_classes if by_class else len(predictions.layout.levels))
        self._cap = post.max_detections or 0
        self._keep = np.zeros(max(1, len(predictions.layout)), np.uint8)
        self._chosen = np.empty(len(candidates.row), np.int32)
        self._n_chosen = np.zeros(index.n_images, np.int64)
        # One set of bits for each thread: words are shared by images.
        self._bits = np.zeros((threads, N_AREAS, int(truth.word_start[-1])), np.uint64)
        self._outcomes = np.zeros((2, len(pairs.place)), np.int64)
        self._columns = (truth.column >= 0).sum(axis=1)

    def precision(self, configuration: Configuration, n_areas: int) -> tuple[list[Array], Array]:
        """For each of the first `n_areas` area ranges the precision, float64 (T, R, classes with ground truth).

        And the number of true positives, int64 (n_areas, len(MAX_DETS), T, K).
        """
        index, kernels = self._index, self._kernels
        candidates, pairs, truth = index.candidates, index.pairs, index.truth
        self._select(configuration)
        self._bits[:, :n_areas] = 0
        self._outcomes[:] = 0
        matched, hit = self._outcomes
        calls = [
            partial(
                kernels.match,
                self._images[part],
                self._images[part + 1],
                n_areas,
                candidates.image_start,
                self._chosen,
                self._n_chosen,
                candidates.klass,
                candidates.place,
                candidates.slot,
                candidates.in_range,
                pairs.start,
                pairs.truth,
                pairs.passed,
                truth.image_start,
                truth.real,
                truth.crowd,
                index.n_classes,
                self._bits[part],
                matched,
                hit,
            )
            for part in range(len(self._images) - 1)
        ]
        self._share(self._pool, calls)
        precision = []
        true_positives = np.zeros((n_areas, len(kernels.MAX_DETS), kernels.N_THRESHOLDS, index.n_classes), np.int64)
        for area in range(n_areas):
            shape = (kernels.N_THRESHOLDS, kernels.N_RECALLS, int(self._columns[area]))
            values = np.zeros(shape)
            self._each(
                self._pool,
                self._classes,
                kernels.accumulate,
                area,
                truth.word_start,
                self._bits,
                pairs.slot_start,
                pairs.place,
                pairs.in_range,
                matched,
                hit,
                truth.n_real[area],
                truth.need[area],
                truth.column[area],
                shape[2],
                values.reshape(-1),
                true_positives[area],
            )
            precision.append(values)
        return precision, true_positives

    def rows(self, configuration: Configuration) -> Array:
        """The table's rows that the detector would output, image by image, best score first."""
        self._select(configuration)
        start = self._index.candidates.image_start
        found = [
            start[image] + self._chosen[start[image] :][:n].astype(np.int64) for image, n in enumerate(self._n_chosen)
        ]
        rows: Array = self._index.candidates.row[np.concatenate(found)] if found else np.empty(0, np.int32)
        return rows

    def _select(self, configuration: Configuration) -> None:
        candidates = self._index.candidates
        self._keep[:] = 0
        self._keep[list(configuration.indices)] = 1
        self._each(
            self._pool,
            self._images,
            self._kernels.select,
            candidates.image_start,
            candidates.anchor,
            self._keep,
            self._scope,
            self._scope_of_anchor,
            self._n_scopes,
            self._index.topk,
            self._cap,
            candidates.edge_start,
            candidates.edges,
            self._chosen,
            self._n_chosen,
        )


def _mean(values: Array) -> float:
    """The mean as pycocotools takes it: over one contiguous row of numbers (the order of summing decides the bits)."""
    return float(np.mean(values.ravel())) if values.size else -1.0
