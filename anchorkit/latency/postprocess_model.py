"""Post-processing time as a function of the boxes that reach NMS: measured once, then computed for any configuration.

What a configuration does to the number of boxes that reach NMS can be counted in a prediction table; what so many boxes
take has to be measured. The two together are a computed cost: the same answer every time, in microseconds.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import least_squares

from anchorkit.anchors import Configuration
from anchorkit.errors import InputError
from anchorkit.latency.report import LatencyReport, column_of
from anchorkit.predictions import PredictionTable

LOOP_OVER_CLASSES = 1000
"""Above so many boxes, torchvision's `batched_nms` on a CPU loops over the classes, which costs something for each."""
MARGIN = 0.1
"""By how much of the fitted range a number of boxes may lie outside without a warning."""


@dataclass(frozen=True)
class PostprocessModel:
    """Milliseconds of post-processing for n boxes that reach NMS.

    ``base_ms + per_box_ms * n + per_box_squared_ms * n**2``, and ``loop_ms`` more if n is above `LOOP_OVER_CLASSES`.
    The square is for the pairs that NMS compares. It holds for the machine, the number of classes and the images that
    it was fitted on.

    Attributes:
        base_ms: what any image takes.
        per_box_ms: more for each box.
        per_box_squared_ms: more for each square of a box.
        loop_ms: more above `LOOP_OVER_CLASSES` boxes; 0 if none of the samples had so many.
        fewest: smallest number of boxes among the samples.
        most: largest number.
        samples: how many samples there were.
        median_error: half of the samples are at most this share of their time away.
        p90_error: nine tenths of the samples are.

    Example:
        >>> import anchorkit as ak
        >>> import pandas as pd
        >>> samples = pd.DataFrame({"boxes": [0, 100, 200, 300], "ms": [1.0, 2.0, 3.0, 4.0]})
        >>> model = ak.fit_postprocess_time(samples)
        >>> model.predict([100, 250]).round(1)
        array([2. , 3.5])
    """

    base_ms: float
    per_box_ms: float
    per_box_squared_ms: float
    loop_ms: float
    fewest: int
    most: int
    samples: int
    median_error: float
    p90_error: float

    def predict(self, boxes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Milliseconds for each number of boxes, in the shape of `boxes`.

        Numbers that lie outside the fitted range by more than a tenth of its width cause a warning.

        Raises:
            InputError: a number of boxes is negative or not finite.
        """
        n = np.asarray(boxes, np.float64)
        if not np.isfinite(n).all() or (n < 0).any():
            raise InputError("postprocess model: numbers of boxes must be finite and not negative")
        margin = MARGIN * (self.most - self.fewest)
        if (n < self.fewest - margin).any() or (n > self.most + margin).any():
            warnings.warn(
                f"the post-processing model was fitted on {self.fewest} to {self.most} boxes an image and is asked for "
                "other numbers: fit it on configurations, or with a score threshold, that cover them",
                stacklevel=2,
            )
        coefficients = np.array([self.base_ms, self.per_box_ms, self.per_box_squared_ms, self.loop_ms])
        found: npt.NDArray[np.float64] = _terms(n) @ coefficients
        return found

    def __str__(self) -> str:
        return (
            f"{self.base_ms:.3g} ms + {1000 * self.per_box_ms:.3g} us a box + "
            f"{1e6 * self.per_box_squared_ms:.3g} ns a box squared, {self.loop_ms:.3g} ms more above "
            f"{LOOP_OVER_CLASSES} boxes; fitted on {self.fewest} to {self.most} boxes ({self.samples} samples), median "
            f"error {self.median_error:.0%}, nine tenths within {self.p90_error:.0%}"
        )


def fit_postprocess_time(samples: LatencyReport | pd.DataFrame, clock: str = "wall") -> PostprocessModel:
    """Fit a `PostprocessModel` to measured times.

    The fit is robust (soft L1 on relative errors, no coefficient negative). Measure several configurations on many
    images, so that the numbers of boxes cover those that the model will be asked for.

    Args:
        samples: a report of detectors that were measured one image at a time, of whose rounds on the same image the
            median is taken; or a DataFrame with one row per sample and the columns ``boxes`` (rows that reached NMS)
            and ``ms`` (``cpu_ms`` for the processor's clock).
        clock: ``"wall"`` or ``"processor"``; see `LatencyReport.compare`.

    Raises:
        InputError: a column is missing, images were not measured one at a time, a time is not positive, or there are
            fewer than four different numbers of boxes.

    Example:
        >>> import anchorkit as ak
        >>> import pandas as pd
        >>> samples = pd.DataFrame({"boxes": [0, 100, 200, 300], "ms": [1.0, 2.0, 3.0, 4.0]})
        >>> round(ak.fit_postprocess_time(samples).per_box_ms, 4)
        0.01
    """
    column = column_of(clock)
    if isinstance(samples, LatencyReport):
        if samples.batch_size != 1:
            raise InputError(f"fit_postprocess_time: measured in batches of {samples.batch_size}; use batch_size=1")
        of_part = samples.samples[samples.samples["part"] == "postprocess"]
        samples = of_part.groupby(["detector", "batch"])[["boxes", column]].median()
    for name in ("boxes", column):
        if name not in samples.columns:
            raise InputError(f"fit_postprocess_time: column {name} is missing")
    boxes, times = (samples[name].to_numpy(np.float64) for name in ("boxes", column))
    if len(np.unique(boxes)) < 4:
        raise InputError("fit_postprocess_time: fewer than 4 different numbers of boxes; measure more images")
    if not (times > 0).all():
        raise InputError("fit_postprocess_time: every time must be above 0 ms")
    terms = _terms(boxes)
    scale = np.maximum(terms.max(0), 1.0)

    def errors(scaled: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        relative: npt.NDArray[np.float64] = (terms / scale) @ scaled / times - 1
        return relative

    start = np.full(terms.shape[1], float(np.median(times)) / terms.shape[1])
    found = least_squares(errors, start, bounds=(0, np.inf), loss="soft_l1", f_scale=0.1)
    coefficients = np.where(terms.max(0) > 0, found.x / scale, 0.0)
    off = np.abs(errors(coefficients * scale))
    base, per_box, per_box_squared, loop = coefficients.tolist()
    return PostprocessModel(
        base,
        per_box,
        per_box_squared,
        loop,
        fewest=int(boxes.min()),
        most=int(boxes.max()),
        samples=len(boxes),
        median_error=float(np.median(off)),
        p90_error=float(np.quantile(off, 0.9)),
    )


class BoxesReachingNms:
    """How many rows of each image reach NMS with any subset of the anchors, counted in a prediction table.

    A row is one (box, class) pair; it reaches NMS if it is above the score threshold and within the top-k of its scope.

    Attributes:
        image_ids: int64 (I,), rising: the images that have rows in the table; what has none is not known here.

    Example:
        >>> import anchorkit as ak
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> data = ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        >>> predictions = ak.collect_predictions(detector, data.val, progress=False)
        >>> reaching = ak.latency.BoxesReachingNms(predictions)
        >>> reaching(detector.layout.full).shape  # one number per image
        (4,)
    """

    def __init__(self, predictions: PredictionTable) -> None:
        post, layout = predictions.postprocess, predictions.layout
        self.layout = layout
        self.image_ids, image = np.unique(predictions.image_id, return_inverse=True)
        # A top-k keeps of each group (an image's class, say) the best k, whichever anchors they are of.
        group = image
        if post.topk is not None and post.topk_scope != "image":
            level_of = np.array([anchor.level for anchor in layout.anchors])
            scope = predictions.category_id if post.topk_scope == "class" else level_of[predictions.anchor]
            _, group = np.unique(np.column_stack([image, scope]), axis=0, return_inverse=True)
            group = group.ravel()
        takes_part = predictions.score > np.float32(post.score_threshold)
        groups = int(group.max(initial=-1)) + 1
        cells = group[takes_part] * len(layout) + predictions.anchor[takes_part]
        self._counts = np.bincount(cells, minlength=groups * len(layout)).reshape(groups, len(layout))
        self._image = np.zeros(groups, np.int64)
        self._image[group] = image
        self._topk = post.topk

    def __call__(self, configuration: Configuration) -> npt.NDArray[np.int64]:
        """int64 (I,): the rows of each image that reach NMS with only the anchors of `configuration`.

        Raises:
            InputError: the configuration is one of another layout.
        """
        if configuration.layout != self.layout:
            raise InputError(
                f"the configuration is one of {configuration.layout.detector}, the predictions are of "
                f"{self.layout.detector}: their layouts differ"
            )
        found = self._counts[:, list(configuration.indices)].sum(axis=1)
        if self._topk is not None:
            found = np.minimum(found, self._topk)
        return np.bincount(self._image, found, len(self.image_ids)).astype(np.int64)


class PostprocessTime:
    """Milliseconds of post-processing that a configuration takes, computed: a cost for a search, ``postprocess_ms``.

    The mean over the images of a prediction table of what a `PostprocessModel` says of the rows that reach NMS. The
    network's share is not in it: it is another cost, ``head_flops``.

    Args:
        model: fitted on a detector like the one that made the predictions.
        predictions: of images like those that the detector will see.

    Example:
        >>> import anchorkit as ak
        >>> detector = ak.load_detector("tiny_ssd", weights="shapes")
        >>> data = ak.load_dataset("shapes", train=4, val=4, test=4, progress=False)
        >>> import pandas as pd
        >>> predictions = ak.collect_predictions(detector, data.val, progress=False)
        >>> samples = pd.DataFrame({"boxes": [0, 500, 1000, 9000], "ms": [1.0, 1.5, 2.0, 10.0]})
        >>> cost = ak.PostprocessTime(ak.fit_postprocess_time(samples), predictions)
        >>> cost(detector.layout.configuration(keep=[0])) < cost(detector.layout.full)
        True
    """

    def __init__(self, model: PostprocessModel, predictions: PredictionTable) -> None:
        if len(predictions) == 0:
            raise InputError(f"{predictions.source}: there are no rows to count")
        self.__name__ = "postprocess_ms"  # what the search calls its column
        self.model = model
        self.boxes = BoxesReachingNms(predictions)

    def __call__(self, configuration: Configuration) -> float:
        """Mean milliseconds an image."""
        return float(self.model.predict(self.boxes(configuration)).mean())


def _terms(n: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(..., 4): what the coefficients of a `PostprocessModel` are multiplied with."""
    return np.stack([np.ones_like(n), n, n**2, (n > LOOP_OVER_CLASSES).astype(np.float64)], axis=-1)
