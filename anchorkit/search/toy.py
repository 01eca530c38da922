"""A small detector with made-up accuracies: for examples, and to try a search strategy in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anchorkit.anchors import AnchorLayout, Configuration, Level, Move


@dataclass(frozen=True)
class ToyEvaluator:
    """Answers like an `anchorkit.Evaluator`: each anchor adds a fixed accuracy.

    Attributes:
        layout: the anchors.
        worth: what each anchor adds to the accuracy; the sum is 0..1.
    """

    layout: AnchorLayout
    worth: tuple[float, ...]

    def accuracy(self, configuration: Configuration, /) -> float:
        """The sum of what the kept anchors are worth, 0..1."""
        return round(sum([self.worth[anchor] for anchor in configuration]), 6)

    def children(self, configuration: Configuration, moves: Sequence[Move], /) -> np.ndarray:
        """The accuracy after each move: float64 (len(moves),)."""
        return np.array([self.accuracy(configuration.without(move.anchors)) for move in moves])


def toy_evaluator() -> ToyEvaluator:
    """Six anchors on two levels, of which ``L0/16x32`` adds nothing.

    Examples:
        >>> from anchorkit.search.toy import toy_evaluator
        >>> evaluator = toy_evaluator()
        >>> print(evaluator.layout.full)
        6 of 6 anchors: L0/16x16 L0/32x16 L0/16x32 L1/32x32 L1/64x32 L1/32x64
        >>> evaluator.accuracy(evaluator.layout.full)
        0.5
    """
    levels = tuple(
        Level(
            f"P{3 + k}", 8 >> k, 8 >> k, tuple((side * a, side * b) for a, b in ((1, 1), (2, 1), (1, 2))), 0, 100, 0, 50
        )
        for k, side in enumerate((16.0, 32.0))
    )
    return ToyEvaluator(AnchorLayout("toy", (64, 64), levels), (0.2, 0.02, 0.0, 0.25, 0.02, 0.01))
