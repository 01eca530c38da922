"""The paired bootstrap over images: how far the AP of configurations would vary with other images like these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from anchorkit.anchors import Configuration
from anchorkit.errors import InputError
from anchorkit.evaluation.metrics import AP_FIGURES, MatchingRules, Metric

if TYPE_CHECKING:
    from anchorkit.evaluation.index import Index
    from anchorkit.evaluation.loops.tables import Placed
    from anchorkit.evaluation.resampling import Resampler, Weights

Floats = npt.NDArray[np.float64]

MOST_BYTES_REMEMBERED = 2**28
"""Drawn accuracies that an evaluator remembers; beyond that it forgets the oldest."""


@dataclass(frozen=True, eq=False)
class ByImage:
    """A detector that uses one configuration on some images and others on other images, as in cross-fitting.

    Attributes:
        configurations: the configurations.
        part: int (I,), by rising image id, which of them each image gets.

    Raises:
        InputError: `part` has a number that is no position in `configurations`.

    Example:
        >>> import anchorkit as ak
        >>> layout = ak.AnchorLayout("toy", (64, 64), (ak.Level("fine", 8, 8, ((16, 16), (32, 16))),))
        >>> one, other = layout.configuration(keep=[0]), layout.configuration(keep=[1])
        >>> ByImage((one, other), part=[0, 1, 1]).part.tolist()  # the first of three images gets the first anchor
        [0, 1, 1]
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
    """The AP of the full detector and of some configurations on data sets drawn from the images.

    All are evaluated on the same draws: differences are paired, and vary much less than the accuracies do.

    Attributes:
        metric: the figure, such as ``"AP"``.
        configurations: those that were asked for, in that order.
        accuracy: float64 (n,), of each configuration on the original images, 0..1.
        full_accuracy: of the full detector.
        drawn: float64 (draws, n), of each configuration in each draw; -1 where a draw has no box to be found.
        full_drawn: float64 (draws,), of the full detector.
        n_images: number of images, and of those in each draw.
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
        """float64 (n,): what each configuration gains over the full detector on the original images."""
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


@dataclass(frozen=True)
class Source:
    """What the bootstrap needs of an evaluator.

    Attributes:
        metric: name of the figure.
        full: the configuration that keeps every anchor.
        n_images: number of images.
        read: turns what a user may give into a configuration of the evaluator's layout.
        gather: the detections of a configuration that count, with what they matched.
        resampler: computes the figure of them under weights.
        memo: accuracies that were drawn before, by what was drawn.
        parts: of several detectors on the same images, the source of each; see `joined`.
    """

    metric: str
    full: Configuration
    n_images: int
    read: Callable[[Configuration | Iterable[int | str]], Configuration]
    gather: Callable[[Configuration], Placed]
    resampler: Resampler
    memo: dict[Any, Floats]
    parts: tuple[Source, ...] = ()

    def place(self, configuration: Configuration) -> int:
        """The position in `parts` of the source that a configuration belongs to; 0 without parts.

        Raises:
            InputError: it is of another layout than all of them.
        """
        if not self.parts:
            return 0
        for number, part in enumerate(self.parts):
            if part.full.layout == configuration.layout:
                return number
        raise InputError(f"bootstrap: no detector here has the anchors of {configuration}")

    def of(self, configuration: Configuration) -> Source:
        """The source that a configuration belongs to.

        Raises:
            InputError: as `place`.
        """
        return self.parts[self.place(configuration)] if self.parts else self

    def subject(self, subject: Subject) -> Configuration | ByImage:
        """A subject, checked against the evaluator's layout and images."""
        if not isinstance(subject, ByImage):
            return self.read(subject)
        if len(subject.part) != self.n_images:
            raise InputError(f"ByImage: part has {len(subject.part)} entries; there are {self.n_images} images")
        return ByImage(tuple(self.read(c) for c in subject.configurations), subject.part)


def joined(sources: Sequence[Source], whole: int = 0) -> Source:
    """One source of several detectors on the same images; subjects may be of any of them, or mix them by image.

    Args:
        sources: of the detectors, each with its own layout.
        whole: which of them the others are compared with.
    """

    def read(configuration: Configuration | Iterable[int | str]) -> Configuration:
        if not isinstance(configuration, Configuration):
            raise InputError("bootstrap: configurations are needed, as the detectors have different anchors")
        return found.of(configuration).read(configuration)

    found = replace(sources[whole], read=read, gather=lambda c: found.of(c).gather(c), memo={}, parts=tuple(sources))
    return found


def resampler_of(metric: Metric, index: Index, coco: MatchingRules, threads: int | None) -> Resampler:
    """What computes a metric under weights.

    Raises:
        InputError: the metric cannot be bootstrapped.
    """
    from anchorkit.evaluation.resampling import Resampler
    from anchorkit.evaluation.threads import Sharing, threads_for_all

    if metric.mean_precision is None:
        raise InputError(
            f"the bootstrap computes {', '.join(AP_FIGURES)}, not {metric.name}: "
            "use evaluator.with_metric('AP50') or another of them"
        )
    return Resampler(index, coco, metric.mean_precision, Sharing(threads or threads_for_all()))


def bootstrap(source: Source, configurations: Sequence[Subject], draws: int, seed: int, progress: bool) -> Bootstrap:
    """See `Evaluator.bootstrap`."""
    from anchorkit.evaluation.resampling import Weights

    if isinstance(draws, bool) or not isinstance(draws, int | np.integer) or draws < 1:
        raise InputError(f"bootstrap: draws is {draws!r}; a whole number of 1 or more is needed")
    weights = Weights.drawn(source.n_images, int(draws), seed).with_all()
    asked = [source.subject(subject) for subject in configurations]
    found = _under(source, [source.full, *asked], weights, (int(draws), seed), progress)
    full, drawn = float(found[0, 0]), found[1:]
    return Bootstrap(source.metric, tuple(asked), found[0, 1:], full, drawn[:, 1:], drawn[:, 0], source.n_images, seed)


def weighted(source: Source, configurations: Sequence[Subject], weights: npt.ArrayLike) -> Floats:
    """See `Evaluator.weighted`."""
    from anchorkit.evaluation.resampling import Weights

    asked = [source.subject(subject) for subject in configurations]
    return _under(source, asked, Weights.read(weights, source.n_images))


def _under(
    source: Source,
    subjects: Sequence[Configuration | ByImage],
    weights: Weights,
    remember_as: tuple[int, int] | None = None,
    progress: bool = False,
) -> Floats:
    """float64 (data sets, subjects). What is remembered is not computed again, so an interrupted call can go on."""
    from tqdm import tqdm

    found = np.empty((len(weights.counts), len(subjects)))
    resampler = source.resampler
    with tqdm(subjects, "bootstrap", unit=" conf", mininterval=0.5, disable=not progress) as bar:
        for number, subject in enumerate(bar):
            memo = source.of(subject).memo if isinstance(subject, Configuration) else source.memo
            key = (remember_as, *_key(source, subject))
            column = memo.get(key) if remember_as else None
            if column is None:
                column = resampler.figures(resampler.steps(_placed(source, subject)), weights)
                if remember_as:
                    while memo and (len(memo) + 1) * column.nbytes > MOST_BYTES_REMEMBERED:
                        memo.pop(next(iter(memo)))
                    memo[key] = column
            found[:, number] = column
    return found


def _placed(source: Source, subject: Configuration | ByImage) -> Placed:
    if isinstance(subject, Configuration):
        return source.gather(subject)
    from anchorkit.evaluation.resampling import mixed

    # Each only once: folds often agree.
    unique = list(dict.fromkeys(subject.configurations))
    of_part = np.array([unique.index(c) for c in subject.configurations], np.int64)
    return mixed([source.gather(c) for c in unique], of_part[subject.part])


def _key(source: Source, subject: Configuration | ByImage) -> tuple[Any, ...]:
    if isinstance(subject, Configuration):
        return (subject.mask,)
    return (tuple((source.place(c), c.mask) for c in subject.configurations), subject.part.tobytes())
