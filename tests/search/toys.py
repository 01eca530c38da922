"""Small layouts and a made-up evaluator for the tests of the search."""

from __future__ import annotations

import hashlib

import numpy as np

from anchorkit.anchors import AnchorLayout, Level


def toy_layout(*counts: int, shared: bool = False, name: str = "toy") -> AnchorLayout:
    levels = tuple(
        Level(
            f"P{number}",
            8 >> number,
            8 >> number,
            tuple((8.0 * (position + 1), 16.0 * (number + 1)) for position in range(count)),
            head_macs_fixed=3,
            head_macs_per_anchor=10,
            head_params_fixed=5,
            head_params_per_anchor=7,
        )
        for number, count in enumerate(counts)
    )
    return AnchorLayout(name, (64, 64), levels, shared_head=shared)


class ToyEvaluator:
    """Accuracies by hash: arbitrary, repeatable, with ties as often as `steps` is small.

    Larger subsets tend to be more accurate, or a search would end at once.
    """

    def __init__(self, layout: AnchorLayout, seed: int = 0, steps: int = 20, slope: float = 0.5) -> None:
        self.layout = layout
        self.seed, self.steps, self.slope = seed, steps, slope
        self.asked: list[int] = []  # masks, in the order in which they were evaluated
        self.batches: list[int] = []
        self.interrupt_at: int | None = None

    def accuracy_of(self, mask: int) -> float:
        digest = hashlib.sha256(f"{self.seed}/{mask}".encode()).digest()
        noise = int.from_bytes(digest[:4], "big") / 2**32
        size = mask.bit_count() / max(len(self.layout), 1)
        value = self.slope * size + (1 - self.slope) * noise
        return round(value * self.steps) / self.steps

    def accuracy(self, configuration) -> float:
        if self.interrupt_at is not None and len(self.asked) >= self.interrupt_at:
            raise KeyboardInterrupt
        self.asked.append(configuration.mask)
        return self.accuracy_of(configuration.mask)

    def children(self, configuration, moves) -> np.ndarray:
        self.batches.append(len(moves))
        return np.array([self.accuracy(configuration.without(move.anchors)) for move in moves])
