"""What a plausibility check reports: findings, how they are said, and when a detector is too poor to say anything.

The checks themselves lie beside what they look at: `anchorkit.datasets.plausibility` (annotations and pictures) and
`anchorkit.predictions_check` (prediction tables).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from anchorkit.errors import InputError

HARDLY_TRAINED = 0.05
"""Below this AP (0..1) of the full detector nothing can be told: not which anchors it needs, nor what training does."""

NOTHING_FOUND = 0.0005
"""Below this accuracy (0..1), which prints as 0.0 points, the detector has found nothing."""

FEWEST_IMAGES = 30
"""With fewer images no statement about anchors is made.

In simulations with 12 images 41 % of the statements that were made were wrong (docs/statistics.md), and what occurs
in one image of ten is missing from 30 images in 4 % of all cases, from 12 images in 28 %.
"""


class ImplausibleDataWarning(UserWarning):
    """Data that can be read but are probably not what was meant, or that can tell nothing; see docs/checks.md."""


class ImplausibleDataError(InputError):
    """Data that no real data can be.

    Attributes:
        findings: all that was found.
    """

    def __init__(self, message: str, findings: tuple[Finding, ...] = ()) -> None:
        super().__init__(message)
        self.findings = findings


Severity = Literal["refused", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is implausible in annotations, pictures or a prediction table.

    Attributes:
        name: which rule it is, such as ``"normalised_boxes"``; docs/checks.md lists them.
        severity: ``"refused"`` for what no real data can be, ``"warning"`` for everything else.
        count: how many boxes, rows, images or classes are concerned.
        what: what is wrong, with figures.
        mend: what to do about it.
        example: one of them: ``file`` (of an image or a table), ``id`` (of an annotation, image or class) and
            ``value``, as far as there are any.

    Example:
        >>> found = Finding("normalised_boxes", "warning", 3, "3 boxes look normalised", "multiply them", {"id": 7})
        >>> print(found)
        3 boxes look normalised (such as id 7); multiply them
    """

    name: str
    severity: Severity
    count: int
    what: str
    mend: str
    example: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """One line: what is wrong, one example, what to do."""
        file = str(self.example.get("file", ""))
        words = [file] if file and not self.what.startswith(file) else []
        words += [f"{key} {self.example[key]}" for key in ("id", "value") if key in self.example]
        such = f" (such as {', '.join(words)})" if words else ""
        return f"{self.what}{such}; {self.mend}"

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        """What `to_dict` gave."""
        return cls(**data)


_on: ContextVar[bool] = ContextVar("_on", default=True)


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Neither look for findings in prediction tables nor report any: of a detector in training, for example.

    Example:
        >>> from anchorkit.findings import Finding, report, unchecked
        >>> with unchecked():
        ...     report([Finding("a_name", "warning", 3, "3 boxes are odd", "mend them")])
    """
    before = _on.set(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImplausibleDataWarning)
            yield
    finally:
        _on.reset(before)


def checks_are_on() -> bool:
    """Whether prediction tables are to be checked: False within `unchecked`."""
    return _on.get()


def report(findings: Iterable[Finding], known: Iterable[Finding] = (), stacklevel: int = 2) -> None:
    """Refuse the data, or warn of each finding in a line.

    Args:
        findings: what a check found.
        known: what was reported before and is not reported again.
        stacklevel: as of `warnings.warn`: 2 blames the caller of the function that calls this one.

    Raises:
        ImplausibleDataError: a finding's severity is ``"refused"``.
    """
    everything, before = tuple(findings), tuple(known)
    new = [finding for finding in everything if finding not in before]
    for finding in new:
        if finding.severity == "refused":
            raise ImplausibleDataError(str(finding), everything)
    for finding in new:
        warnings.warn(str(finding), ImplausibleDataWarning, stacklevel=stacklevel + 1)


def nothing_can_be_told(accuracy: float, metric: str = "AP", images: int | None = None) -> str | None:
    """Why nothing can be said about which anchors a detector needs; None where something can.

    This is the only rule for it: pages, lessons, experiments, searches and explorers all show this sentence in place of
    a result, or above the figures.

    Args:
        accuracy: of the detector with all its anchors, 0..1.
        metric: what it is. Only of AP it is known how low is too low; any other may be low for good reasons, but not 0.
        images: on how many images it was measured; None where the question is only whether the detector is good enough.

    Example:
        >>> nothing_can_be_told(0.0)
        'The full detector finds nothing (AP 0.0 points), so nothing can be told about its anchors'
        >>> nothing_can_be_told(0.3, images=12)
        '12 images are too few to tell which anchors the detector needs: it takes 30 or more'
        >>> nothing_can_be_told(0.3) is None
        True
    """
    if accuracy < (HARDLY_TRAINED if metric == "AP" else NOTHING_FOUND):
        points = f"{metric} {100 * max(accuracy, 0.0):.1f} points"
        found = "finds nothing" if accuracy < NOTHING_FOUND else "is hardly trained"
        return f"The full detector {found} ({points}), so nothing can be told about its anchors"
    if images is not None and images < FEWEST_IMAGES:
        few = "1 image is" if images == 1 else f"{images} images are"
        return f"{few} too few to tell which anchors the detector needs: it takes {FEWEST_IMAGES} or more"
    return None
