"""A joint search's detectors as one: on the same images, configurations of any of them beside the whole detector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from anchorkit.anchors import Configuration, Move
from anchorkit.errors import InputError
from anchorkit.evaluation import Evaluator
from anchorkit.evaluation.bootstrapping import Bootstrap, ByImage, Source, bootstrap, joined
from anchorkit.search import SearchResult
from anchorkit.search.joint import JointChoice, JointResult

AnyResult = SearchResult | JointResult


class JointEvaluator:
    """Answers for the configurations of several detectors; compares all with the whole one.

    A draw of the bootstrap weights the images, which are the same for all detectors, so differences between detectors
    are paired too.

    Args:
        evaluators: of each detector of the joint search, in its order; all on the same images.
        result: the joint search.

    Raises:
        InputError: there are more or fewer evaluators than detectors, one has other anchors or other images, or two
            detectors have the same layout.
    """

    def __init__(self, evaluators: Sequence[Evaluator], result: JointResult) -> None:
        if len(evaluators) != len(result.results):
            raise InputError(
                f"{len(evaluators)} evaluators for the {len(result.results)} detectors of the joint search; give one "
                "for each, in its order"
            )
        for number, (evaluator, found, label) in enumerate(zip(evaluators, result.results, result.labels, strict=True)):
            if evaluator.layout != found.layout:
                raise InputError(f"evaluator {number} is not of the detector {label}: their layouts differ")
            if list(evaluator.ground_truth.image_ids) != list(evaluators[0].ground_truth.image_ids):
                raise InputError(f"the evaluator of {label} has other images than that of {result.labels[0]}")
            for other, earlier in zip(result.labels, result.results[:number], strict=False):
                if earlier.layout == found.layout:
                    raise InputError(
                        f"the detectors {other} and {label} have the same layout, so their configurations cannot be "
                        "told apart; search with one of the two"
                    )
        self.evaluators, self._result = tuple(evaluators), result
        self.whole = evaluators[result.whole]
        self.layout, self.full = self.whole.layout, self.whole.full
        self.metric, self.ground_truth = self.whole.metric, self.whole.ground_truth
        self.postprocess = self.whole.postprocess

    def accuracy(self, configuration: Configuration) -> float:
        """The accuracy of a configuration of any of the detectors, 0..1."""
        return self._of(configuration).accuracy(configuration)

    def children(self, configuration: Configuration, moves: Sequence[Move]) -> npt.NDArray[np.float64]:
        """See `Evaluator.children`."""
        return self._of(configuration).children(configuration, moves)

    def stats(self, configuration: Configuration) -> dict[str, float]:
        """See `Evaluator.stats`."""
        return self._of(configuration).stats(configuration)

    def detections(self, configuration: Configuration) -> pd.DataFrame:
        """See `Evaluator.detections`."""
        return self._of(configuration).detections(configuration)

    def with_metric(self, metric: Any) -> JointEvaluator:
        """See `Evaluator.with_metric`."""
        return JointEvaluator([one.with_metric(metric) for one in self.evaluators], self._result)

    def with_postprocess(self, **changes: Any) -> JointEvaluator:
        """See `Evaluator.with_postprocess`."""
        return JointEvaluator([one.with_postprocess(**changes) for one in self.evaluators], self._result)

    def per_class(self, configuration: Configuration) -> dict[int, float]:
        """See `Evaluator.per_class`."""
        return self._of(configuration).per_class(configuration)

    def bootstrap(
        self,
        configurations: Sequence[Configuration | ByImage],
        draws: int = 2000,
        seed: int = 0,
        progress: bool = False,
    ) -> Bootstrap:
        """See `Evaluator.bootstrap`; ``full_accuracy`` and ``full_drawn`` are those of the whole detector.

        A `ByImage` may have configurations of several detectors.
        """
        return bootstrap(self._source, configurations, draws, seed, progress)

    def subset(self, image_ids: Iterable[int]) -> JointEvaluator:
        """The same of some of the images; see `Evaluator.subset`."""
        ids = list(image_ids)
        return JointEvaluator([evaluator.subset(ids) for evaluator in self.evaluators], self._result)

    @cached_property
    def _source(self) -> Source:
        return joined([evaluator.source() for evaluator in self.evaluators], self._result.whole)

    def _of(self, configuration: Configuration) -> Evaluator:
        for evaluator in self.evaluators:
            if evaluator.layout == configuration.layout:
                return evaluator
        raise InputError(f"no detector of the joint search has the anchors of {configuration}")


Evaluated = Evaluator | JointEvaluator
One = TypeVar("One")
"""What answers for one detector: an evaluator, or as much of one as the caller needs."""


def as_one(evaluator: One | Sequence[Evaluator], result: AnyResult | None) -> One | JointEvaluator:
    """An evaluator for a search of anchors, or for a joint search.

    Raises:
        InputError: a joint search came with one evaluator, or a search of anchors with several.
    """
    if isinstance(result, JointResult):
        if not isinstance(evaluator, Sequence):
            raise InputError("a joint search needs the evaluators of all its detectors; give them as a list")
        return JointEvaluator(evaluator, result)
    if isinstance(evaluator, Sequence):
        raise InputError("several evaluators go with a joint search; give the one of this search")
    return evaluator


def configuration_of(choice: Configuration | JointChoice) -> Configuration:
    """The anchors of a choice, of one detector or of several."""
    return choice.configuration if isinstance(choice, JointChoice) else choice


def point_of(result: AnyResult, configuration: Configuration) -> str:
    """Which detector of a joint search a configuration belongs to, in words; empty for a search of anchors."""
    if not isinstance(result, JointResult):
        return ""
    for label, found in zip(result.labels, result.results, strict=True):
        if found.layout == configuration.layout:
            return str(label)
    return ""
