"""The paired bootstrap over images: how far the AP of configurations would vary with other images like these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anchorkit.anchors import Configuration
from anchorkit.errors import InputError
from anchorkit.evaluation.metrics import CocoFigure

if TYPE_CHECKING:
    from anchorkit.evaluation.evaluator import Evaluator
    from anchorkit.evaluation.loops.tables import Seen
    from anchorkit.evaluation.resampling import Resampler, Weights

Floats = npt.NDArray[np.float64]

MOST_BYTES_REMEMBERED = 2**28
"""Drawn accuracies that an evaluator keeps; beyond that it forgets the oldest."""


@dataclass(frozen=True, eq=False)
class ByImage:
    """A detector that looks at some images with one configuration and at others with another, as in cross-fitting.

    Attributes:
        configurations: those there are.
        part: int (I,), which of them each image is looked at with, image by image by rising id.

    Raises:
        InputError: `part` names a configuration that is not there.
    """

    configurations: tuple[Configuration, ...]
    part: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        part = np.asarray(self.part, np.int64)
        if part.ndim != 1 or (len(part) and not 0 <= part.min() <= part.max() < len(self.configurations)):
            raise InputError(f"ByImage: part must name one of {len(self.configurations)} configurations for each image")
        object.__setattr__(self, "part", part)


Subject = Configuration | ByImage | Iterable[int | str]


@dataclass(frozen=True)
class Bootstrap:
    """What the AP of the full detector and of some configurations is on data sets drawn from the images.

    All are told on the same draws: differences are paired, and vary much less than the accuracies do.

    Attributes:
        metric: the figure, such as ``"AP"``.
        configurations: what was asked for, in that order.
        accuracy: float64 (n,), of each configuration on the images as they are, 0..1.
        full_accuracy: of the full detector.
        drawn: float64 (draws, n), of each configuration in each draw; -1 where a draw has no box to be found.
        full_drawn: float64 (draws,), of the full detector.
        n_images: how many images there are, and in each draw.
        seed: of the draws.
    """

    metric: str
    configurations: tuple[Configuration | ByImage, ...] = field(repr=False)
    accuracy: Floats = field(repr=False)
    full_accuracy: float
    drawn: Floats = field(repr=False)
    full_drawn: Floats = field(repr=False)
    n_images: int
    seed: int

    def first(self, n: int) -> Bootstrap:
        """The same of the first n configurations."""
        return replace(
            self, configurations=self.configurations[:n], accuracy=self.accuracy[:n], drawn=self.drawn[:, :n]
        )

    @property
    def change(self) -> Floats:
        """float64 (n,): what each configuration gains over the full detector on the images as they are."""
        found: Floats = self.accuracy - self.full_accuracy
        return found

    @cached_property
    def changes(self) -> Floats:
        """float64 (draws, n): the same in each draw that has boxes to be found.

        Raises:
            InputError: no draw has any.
        """
        measured = self.full_drawn >= 0
        if not measured.any():
            raise InputError(f"bootstrap: none of {len(measured)} draws has a box to be found for {self.metric}")
        found: Floats = self.drawn[measured] - self.full_drawn[measured, None]
        return found


def bootstrap(
    evaluator: Evaluator, configurations: Sequence[Subject], draws: int, seed: int, progress: bool
) -> Bootstrap:
    """See `Evaluator.bootstrap`."""
    from anchorkit.evaluation.resampling import Weights

    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 1:
        raise InputError(f"bootstrap: draws is {draws!r}; a whole number of 1 or more is needed")
    n_images = len(evaluator.ground_truth.image_ids)
    weights = Weights.drawn(n_images, int(draws), seed).with_all()
    asked = [read_subject(evaluator, subject) for subject in configurations]
    found = _under(evaluator, [evaluator.full, *asked], weights, (int(draws), seed), progress)
    return Bootstrap(
        evaluator.metric, tuple(asked), found[0, 1:], float(found[0, 0]), found[1:, 1:], found[1:, 0], n_images, seed
    )


def weighted(evaluator: Evaluator, configurations: Sequence[Subject], weights: npt.ArrayLike) -> Floats:
    """See `Evaluator.weighted`."""
    from anchorkit.evaluation.resampling import Weights

    asked = [read_subject(evaluator, subject) for subject in configurations]
    return _under(evaluator, asked, Weights.read(weights, len(evaluator.ground_truth.image_ids)))


def read_subject(evaluator: Evaluator, subject: Subject) -> Configuration | ByImage:
    """What a figure can be told of, checked against the evaluator's layout and images."""
    if not isinstance(subject, ByImage):
        return evaluator._configuration(subject)
    n_images = len(evaluator.ground_truth.image_ids)
    if len(subject.part) != n_images:
        raise InputError(f"ByImage: part has {len(subject.part)} entries; there are {n_images} images")
    return ByImage(tuple(evaluator._configuration(c) for c in subject.configurations), subject.part)


def _under(
    evaluator: Evaluator,
    subjects: Sequence[Configuration | ByImage],
    weights: Weights,
    remember_as: tuple[int, int] | None = None,
    progress: bool = False,
) -> Floats:
    """float64 (data sets, subjects). What is remembered is not computed again: a call that was cut short goes on."""
    from tqdm import tqdm

    resampler = _resampler(evaluator)
    found = np.empty((len(weights.counts), len(subjects)))
    remembered = evaluator._drawn
    with tqdm(subjects, "bootstrap", unit=" conf", mininterval=0.5, disable=not progress) as bar:
        for number, subject in enumerate(bar):
            key = (remember_as, *_key(subject))
            column = remembered.get(key) if remember_as else None
            if column is None:
                column = resampler.figures(resampler.steps(_seen(evaluator, resampler, subject)), weights)
                if remember_as:
                    while remembered and (len(remembered) + 1) * column.nbytes > MOST_BYTES_REMEMBERED:
                        remembered.pop(next(iter(remembered)))
                    remembered[key] = column
            found[:, number] = column
    return found


def _resampler(evaluator: Evaluator) -> Resampler:
    from anchorkit.evaluation.resampling import RESAMPLED, Resampler
    from anchorkit.evaluation.threads import Sharing, threads_for_all

    metric = evaluator._metric
    if not isinstance(metric, CocoFigure) or metric.figure not in RESAMPLED:
        raise InputError(
            f"the bootstrap tells {', '.join(RESAMPLED)}, not {metric.name}; ask evaluator.with_metric('AP50') instead"
        )
    work = Sharing(evaluator._threads or threads_for_all())
    with evaluator._lock:
        return Resampler(evaluator._index, evaluator._coco_rules, metric.figure, work)


def _seen(evaluator: Evaluator, resampler: Resampler, subject: Configuration | ByImage) -> Seen:
    def see(configuration: Configuration) -> Seen:
        with evaluator._lock:
            engine = evaluator._engine(evaluator._coco_rules, every_area=resampler.area > 0)
            return engine.figure(configuration.mask, resampler.see)

    if isinstance(subject, Configuration):
        return see(subject)
    # Each but once: folds often agree.
    unique = {c.mask: c for c in subject.configurations}
    number = {mask: position for position, mask in enumerate(unique)}
    of_part = np.array([number[c.mask] for c in subject.configurations], np.int64)
    return resampler.mixed([see(c) for c in unique.values()], of_part[subject.part])


def _key(subject: Configuration | ByImage) -> tuple[Any, ...]:
    if isinstance(subject, Configuration):
        return (subject.mask,)
    return (tuple(c.mask for c in subject.configurations), subject.part.tobytes())
