"""Accuracy of a detector with any subset of its anchors."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anchorkit.anchors import Configuration
from anchorkit.errors import InputError
from anchorkit.evaluation.accuracies import Accuracies
from anchorkit.evaluation.fingerprints import fingerprint_of, image_digests
from anchorkit.evaluation.ground_truth import read_ground_truth
from anchorkit.evaluation.loops.tables import Array
from anchorkit.evaluation.metrics import COCO_MAX_DETS, MatchingRules, Metric, read_metric
from anchorkit.evaluation.verifying import largest_difference
from anchorkit.findings import report, unchecked
from anchorkit.postprocess import PostProcess
from anchorkit.predictions import PredictionTable
from anchorkit.predictions_check import check_pair

if TYPE_CHECKING:
    import pandas as pd

    from anchorkit.evaluation.bootstrapping import Bootstrap, Source, Subject
    from anchorkit.evaluation.engine import Engine
    from anchorkit.evaluation.images import Images
    from anchorkit.evaluation.index import Index
    from anchorkit.evaluation.loops.tables import Placed


_KEPT = (
    *("predictions", "ground_truth", "layout", "postprocess", "findings", "_threads", "_memory_limit"),
    *("_lock", "_index", "_engines", "_images"),
)
"""What a copy of an evaluator shares with it. The lock too: the first one that needs a table builds it for all."""


class Evaluator(Accuracies):
    """Accuracy of every configuration of a detector, with the bits of numpy NMS and pycocotools.

    Build it once from the raw predictions on a set of images and their ground truth. Evaluating a configuration then
    costs as much as it differs from the last one: NMS and matching are repeated only where an anchor that was added or
    removed makes a difference. `memory` is what it takes (formula: `anchorkit.evaluation.index.Index`).

    Give a configuration as a `Configuration` of the same layout or as anchor ids or indices to keep. Figures are 0..1,
    or -1 where there is nothing to measure, as in pycocotools, and are remembered. Threads take turns.

    Attributes:
        predictions: the table.
        ground_truth: the annotated boxes.
        layout: the anchors of the detector.
        postprocess: how raw predictions become detections.
        findings: what is implausible in the predictions and, where it came from a file, in the ground truth.

    Example:
        >>> import anchorkit as ak
        >>> layout = ak.AnchorLayout("toy", (64, 64), (ak.Level("fine", 8, 8, ((16, 16), (32, 16))),))
        >>> boxes = [[0, 0, 16, 16], [0, 0, 28, 16]]
        >>> table = ak.PredictionTable([1, 2], [0, 1], [7, 7], [0.9, 0.6], boxes, layout, ak.PostProcess())
        >>> objects = [dict(id=n, image_id=n, category_id=7, bbox=[0, 0, 16 * n, 16], area=256) for n in (1, 2)]
        >>> truth = dict(images=[dict(id=1), dict(id=2)], categories=[dict(id=7)], annotations=objects)
        >>> evaluator = ak.Evaluator(table, truth)
        >>> evaluator.layout.ids
        ('L0/16x16', 'L0/32x16')
        >>> round(evaluator.accuracy(evaluator.full), 3)
        0.901
        >>> round(evaluator.accuracy(["L0/16x16"]), 3)
        0.505
    """

    def __init__(
        self,
        predictions: PredictionTable,
        ground_truth: Any,
        metric: str | Metric | Callable[..., float] = "AP",
        *,
        iou_thresholds: Sequence[float] | None = None,
        max_dets: Sequence[int] = COCO_MAX_DETS,
        threads: int | None = None,
        memory_limit: float | None = None,
    ) -> None:
        """Prepare the evaluation.

        Args:
            predictions: raw predictions on images of the ground truth; images without predictions count.
            ground_truth: path of a COCO json file, a COCO dict, or a pycocotools ``COCO``.
            metric: what `accuracy` and `children` return: one of COCO's figures by name (``"AP"``, ``"AP50"``, ...,
                ``"ARl"``), ``"voc07"`` or ``"voc"`` (Pascal VOC's mean AP over 11 recalls or by area), a metric of
                `anchorkit.metrics`, or a function of the detections (see `detections`) and the ground truth.
            iou_thresholds: IoU thresholds of COCO's figures, rising, above 0 and up to 1, at most 31; None for 0.50,
                0.55, ... 0.95.
            max_dets: how many detections of a class in an image COCO's figures count, rising, at most three numbers;
                all figures but the average recalls use the last one.
            threads: how many threads work at once; None for one per core, but fewer for a small table.
            memory_limit: bytes that the evaluation may use; None for the machine's free memory.

        Raises:
            InputError: the ground truth is broken, predictions belong to an image that it lacks, boxes are what no real
                data can be (all smaller than a pixel), an option is out of range, or the evaluation does not fit in
                memory. What is only implausible comes as an `anchorkit.findings.ImplausibleDataWarning`.
        """
        super().__init__(metric, iou_thresholds, max_dets)
        self.predictions = predictions
        self.ground_truth = read_ground_truth(ground_truth)
        self.layout = predictions.layout
        self.postprocess: PostProcess = predictions.postprocess
        self._threads, self._memory_limit = threads, memory_limit
        for warning in predictions.check(self.ground_truth):
            warnings.warn(warning, UserWarning, stacklevel=2)
        self.findings = check_pair(predictions, self.ground_truth, ground_truth, self._coco.max_dets[-1])
        report(self.findings, predictions.findings)
        self._index = self._new_index(self.postprocess)
        self._images: dict[Engine, Images] = {}
        self._prepare()

    def _new_index(self, post: PostProcess) -> Index:
        # numba takes half a second to import: only when it is needed.
        from anchorkit.evaluation.index import Index, check_memory
        from anchorkit.evaluation.sorting import SortedRows
        from anchorkit.evaluation.threads import Sharing, threads_for

        limit = check_memory(self.predictions, post.score_threshold, self._memory_limit)
        work = Sharing(self._threads or threads_for(len(self.predictions)))
        rows = SortedRows(self.predictions, self.ground_truth, post.score_threshold, work)
        return Index(rows, self.ground_truth, post, work, limit)

    @cached_property
    def fingerprint(self) -> str:
        """A hash (16 hexadecimal digits) of all predictions, the ground truth and the options of the evaluation.

        Equal for equal accuracies under the same metric and post-processing.
        """
        digests = image_digests(self.predictions, self.ground_truth)
        return fingerprint_of(digests, self.ground_truth, self._coco)

    @property
    def memory(self) -> dict[str, int]:
        """Bytes that the tables of the evaluation take, by their purpose, without the predictions themselves."""
        with self._lock:
            state = sum(engine.memory() + self._images[engine].memory() for engine in self._engines.values())
            return self._index.memory() | {"state": state}

    def detections(self, c: Configuration | Iterable[int | str]) -> pd.DataFrame:
        """The detector's output with these anchors: after top-k, NMS and cap.

        Returns:
            A DataFrame with columns image_id, category_id, score, x1, y1, x2, y2 (pixels) and anchor, by rising image
            id and best score first. It includes categories that the ground truth lacks.

        Example:
            >>> from anchorkit.evaluation.toy import toy_evaluator
            >>> evaluator = toy_evaluator()
            >>> evaluator.detections([1])[["image_id", "score", "x2", "anchor"]]
               image_id  score    x2  anchor
            0         2    0.6  28.0       1
        """
        import pandas as pd

        configuration = self._configuration(c)
        with self._lock:
            engine = next(iter(self._engines.values()))
            engine.move(configuration.mask)
            image, rank = self._images[engine].detections()
        rows = self._index.rows.row[self._index.rows.image_start[image] + rank]
        table = self.predictions
        columns = {name: getattr(table, name)[rows] for name in ("image_id", "category_id", "score")}
        columns |= {name: table.boxes[rows, side] for side, name in enumerate(("x1", "y1", "x2", "y2"))}
        return pd.DataFrame({**columns, "anchor": table.anchor[rows]})

    def with_postprocess(self, **changes: Any) -> Evaluator:
        """An evaluator of the same predictions under another post-processing. It shares the tables that stay the same.

        A new cap or top-k costs almost nothing and a higher score threshold little. A new NMS IoU repeats the search
        for overlapping boxes. A score threshold below the table's own starts from scratch: more rows take part.

        Args:
            changes: any of `nms_iou`, `score_threshold`, `topk`, `topk_scope` and `max_detections`, see `PostProcess`.

        Raises:
            InputError: a name is unknown or a value out of range.

        Example:
            >>> from anchorkit.evaluation.toy import toy_evaluator
            >>> evaluator = toy_evaluator()
            >>> strict = evaluator.with_postprocess(score_threshold=0.7)  # only the first box scores more
            >>> round(strict.accuracy(strict.full), 3)
            0.505
        """
        known = [field.name for field in dataclasses.fields(PostProcess)]
        for name in changes:
            if name not in known:
                raise InputError(f"with_postprocess: unknown {name!r}; use {', '.join(known)}")
        post = dataclasses.replace(self.postprocess, **changes)
        other = self._copy()
        other.postprocess = post
        with self._lock:
            more_rows = post.score_threshold < self._index.score_threshold
            other._index = other._new_index(post) if more_rows else self._index.with_postprocess(post)
            other._engines, other._images = {}, {}
            other._prepare()
        return other

    def with_metric(self, metric: str | Metric | Callable[..., float]) -> Evaluator:
        """An evaluator of the same predictions by another metric. It shares all tables that stay the same.

        Raises:
            InputError: there is no such metric.

        Example:
            >>> from anchorkit.evaluation.toy import toy_evaluator
            >>> evaluator = toy_evaluator()
            >>> evaluator.with_metric("AP50").accuracy(evaluator.full)
            1.0
            >>> evaluator.with_metric(lambda detections, truth: len(detections)).accuracy([0])
            1.0
        """
        other = self._copy()
        other._metric = read_metric(metric, self._coco.max_dets)
        other._prepare()
        return other

    def subset(self, image_ids: Iterable[int]) -> Evaluator:
        """An evaluator of the same predictions on some of the images, as pycocotools evaluates these alone.

        Post-processing, metric and options stay. Building it takes time in proportion to the number of images.

        Args:
            image_ids: ids of the ground truth, in any order.

        Raises:
            InputError: there is no such image, or an id occurs twice.

        Example:
            >>> from anchorkit.evaluation.toy import toy_evaluator
            >>> evaluator = toy_evaluator()
            >>> round(evaluator.subset([1]).accuracy(evaluator.full), 3)
            1.0
        """
        truth = self.ground_truth.subset(image_ids)
        table = self.predictions.subset(truth.image_ids).with_postprocess(self.postprocess)
        with unchecked(), warnings.catch_warnings():
            # The constructor of this evaluator has checked the table and issued the warnings.
            warnings.simplefilter("ignore", UserWarning)
            part = Evaluator(
                table,
                truth,
                self._metric,
                iou_thresholds=self._coco.thresholds,
                max_dets=self._coco.max_dets,
                threads=self._threads,
                memory_limit=self._memory_limit,
            )
        part.findings = self.findings
        return part

    def bootstrap(
        self, configurations: Sequence[Subject], draws: int = 2000, seed: int = 0, progress: bool = False
    ) -> Bootstrap:
        """AP of the full detector and of some configurations on data sets drawn from the images with replacement.

        All configurations are evaluated on the same draws. In each draw, AP has the bits of pycocotools on a data set
        that contains an image drawn w times as w copies with consecutive ids. Draws are remembered: an interrupted call
        can go on.

        Args:
            configurations: those to compare with the full one; also `anchorkit.evaluation.bootstrapping.ByImage`.
            draws: number of data sets, each with as many images as the ground truth.
            seed: the same seed gives the same data sets.
            progress: show a progress bar on standard error.

        Raises:
            InputError: the metric is not AP, AP50, AP75, APs, APm or APl, or there are no images or draws.

        Example:
            >>> from anchorkit.evaluation.toy import toy_evaluator
            >>> evaluator = toy_evaluator()
            >>> drawn = evaluator.bootstrap([[0]], draws=4, seed=1)
            >>> drawn.drawn.round(3).ravel().tolist()  # AP of the first anchor alone
            [0.505, 0.0, 1.0, 0.0]
            >>> drawn.changes.round(3).ravel().tolist()  # less that of all anchors, on the same images
            [-0.396, -0.8, 0.0, -0.8]
        """
        from anchorkit.evaluation.bootstrapping import bootstrap

        return bootstrap(self.source(), configurations, draws, seed, progress)

    def weighted(self, configurations: Sequence[Subject], weights: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """AP of some configurations on data sets that contain every image as often as its weight says.

        Args:
            configurations: as for `bootstrap`.
            weights: whole numbers (data sets, images), images by rising id; 0 leaves an image out.

        Returns:
            float64 (data sets, configurations); -1 where a data set has no box to be found.

        Raises:
            InputError: as for `bootstrap`, or the weights have another shape or are not whole numbers from 0 to 65535.
        """
        from anchorkit.evaluation.bootstrapping import weighted

        return weighted(self.source(), configurations, weights)

    def verify(self, n: int = 10, seed: int = 0) -> float:
        """Compare with numpy NMS and pycocotools (or Pascal VOC's definition) on `n` random configurations.

        Each is evaluated on its own and as the child of another one. The first is the full one.

        Args:
            n: number of configurations, the full one included.
            seed: of the random choice.

        Returns:
            The largest absolute difference over all figures: 0.0 if everything agrees.

        Example:
            >>> from anchorkit.evaluation.toy import toy_evaluator
            >>> evaluator = toy_evaluator()
            >>> evaluator.verify(n=2)
            0.0
        """
        table = self.predictions.with_postprocess(self.postprocess)
        return largest_difference(
            self, lambda: self.with_metric(self._metric), table, self._metric, self._coco, n, seed
        )

    def _copy(self) -> Evaluator:
        """The same evaluator with nothing remembered. The caller sets what differs and calls `_prepare`."""
        other = object.__new__(Evaluator)
        Accuracies.__init__(other, self._metric, self._coco.thresholds, self._coco.max_dets)
        for name in _KEPT:
            setattr(other, name, getattr(self, name))
        return other

    @cached_property
    def _drawn(self) -> dict[Any, npt.NDArray[np.float64]]:
        """What the bootstrap remembers."""
        return {}

    def source(self) -> Source:
        """What the bootstrap needs of this evaluator; see `anchorkit.evaluation.bootstrapping.joined`."""
        from anchorkit.evaluation.bootstrapping import Source, resampler_of

        with self._lock:
            resampler = resampler_of(self._metric, self._index, self._coco, self._threads)

        def gather(configuration: Configuration) -> Placed:
            with self._lock:
                seen = self._engine(self._coco, resampler.area > 0).figure(configuration.mask, resampler.see)
            return resampler.placed(seen)

        n = len(self.ground_truth.image_ids)
        return Source(self.metric, self.full, n, self._configuration, gather, resampler, self._drawn)

    def _new_engine(self, rules: MatchingRules, every_area: bool) -> Engine:
        from anchorkit.evaluation.engine import Engine
        from anchorkit.evaluation.images import Images

        images = Images(self._index, rules, every_area)
        self._index.forget()
        engine = Engine(images, images.rules, images.classes, images.work)
        self._images[engine] = images
        return engine

    def _ends(self, rules: MatchingRules, score_threshold: float) -> Array:
        ends = self._index.ends(rules, score_threshold)
        self._index.forget()
        return ends

    def _of_detections(self, configuration: Configuration) -> float:
        return self._metric.of_detections(self.detections(configuration), self.ground_truth)
