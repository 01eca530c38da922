"""Searches that run on a thread and can be paused and stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar

import pandas as pd

from anchorkit.anchors import Configuration
from anchorkit.costs import cost_facts
from anchorkit.errors import InputError
from anchorkit.postprocess import PostProcess
from anchorkit.search import STRATEGIES, AccuracyOf, Progress, SearchResult
from anchorkit.search.joint import JointResult
from anchorkit.search.watching import Watch
from anchorkit.widgets.background import Background

T = TypeVar("T")


class Evaluates(AccuracyOf, Protocol):
    """What the search explorer needs of an `anchorkit.Evaluator`. Several threads ask it; it lets them take turns."""

    @property
    def postprocess(self) -> PostProcess: ...
    @property
    def metric(self) -> str: ...
    @property
    def ground_truth(self) -> Any: ...
    def stats(self, c: Configuration, /) -> dict[str, float]: ...
    def per_class(self, c: Configuration, /) -> dict[int, float]: ...
    def detections(self, c: Configuration, /) -> pd.DataFrame: ...
    def with_postprocess(self, **changes: Any) -> Evaluates: ...
    def with_metric(self, metric: str, /) -> Evaluates: ...


@dataclass(frozen=True)
class SearchSettings:
    """What a search is asked for.

    Attributes:
        cost: name of a cost.
        strategy: a name of `anchorkit.search.STRATEGIES`; of a given result, the name that it has.
        max_drop: how far below the accuracy of all anchors to explore, 0..1; the threshold of the search is that
            accuracy less this.
        metric: what accuracy is, such as ``"AP"`` or ``"AP50"``.
        nms_iou: IoU above which NMS suppresses, 0..1.
        score_threshold: least score of a raw prediction that takes part, 0..1.
    """

    cost: str
    strategy: str
    max_drop: float
    metric: str
    nms_iou: float
    score_threshold: float

    def __post_init__(self) -> None:
        for name in ("max_drop", "nms_iou", "score_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)!r}; a number from 0 to 1 is needed")

    @property
    def detections(self) -> tuple[str, float, float]:
        """What decides which evaluator answers: metric, NMS IoU and score threshold."""
        return self.metric, self.nms_iou, self.score_threshold

    def title(self, usual: SearchSettings) -> str:
        """A short name; metric, NMS IoU and score threshold are only mentioned if they differ from the `usual` ones."""
        parts = [
            STRATEGIES[self.strategy].title if self.strategy in STRATEGIES else self.strategy.replace("_", " "),
            cost_facts(self.cost).words,
            f"\N{MINUS SIGN}{100 * self.max_drop:.4g} points",
        ]
        words = {"metric": "by {}", "nms_iou": "NMS IoU {:g}", "score_threshold": "score > {:g}"}
        for item in fields(self):
            if item.name in words and getattr(self, item.name) != getattr(usual, item.name):
                parts.append(words[item.name].format(getattr(self, item.name)))
        return ", ".join(parts)


@dataclass(frozen=True)
class SearchRun:
    """A search that is over: what was asked for, who answered and what was found."""

    settings: SearchSettings
    evaluator: Evaluates
    result: SearchResult | JointResult


class Runner:
    """Runs one search at a time on a thread; it can be paused, resumed and stopped while it runs.

    Args:
        done: takes the result, on the thread.
        failed: takes the exception, on the thread.
    """

    def __init__(self, done: Callable[[SearchRun], None], failed: Callable[[Exception], None]) -> None:
        self._done, self._failed = done, failed
        self._background: Background[SearchRun] = Background(self._ended_well, self._ended_badly)
        self._active = False
        self._going = threading.Event()
        self._going.set()
        self._stopping = False

    @property
    def state(self) -> str:
        """``"idle"``, ``"running"``, ``"paused"`` or ``"stopping"``."""
        if not self._active:
            return "idle"
        if self._stopping:
            return "stopping"
        return "running" if self._going.is_set() else "paused"

    def start(self, work: Callable[[Watch], SearchRun]) -> None:
        """Run a search that reports to the watch it is given.

        Raises:
            InputError: one is running.
        """
        if self._active:
            raise InputError("a search is running; stop it first")
        self._active, self._stopping = True, False
        self._going.set()
        self._background.submit(lambda: work(self._watch))

    def pause(self) -> None:
        """Let the search wait; nothing happens without one."""
        if self._active:
            self._going.clear()

    def resume(self) -> None:
        """Let it go on."""
        self._going.set()

    def stop(self) -> None:
        """End the search with what it has found; nothing happens without one."""
        self._stopping = self._active
        self._going.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end of the search; False if it still runs after `seconds`."""
        return self._background.wait(seconds)

    def _watch(self, progress: Progress) -> None:
        self._going.wait()
        if self._stopping:
            progress.stop()

    def _ended_well(self, run: SearchRun) -> None:
        self._active = False
        self._done(run)

    def _ended_badly(self, error: Exception) -> None:
        self._active = False
        self._failed(error)
