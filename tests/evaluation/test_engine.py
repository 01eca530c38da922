"""Matches of the engine: put in order and merged as a dictionary would."""

from __future__ import annotations

import numpy as np
import pytest

from anchorkit.evaluation import engine


@pytest.mark.parametrize("bits", [24, 0])  # with 0, every list is too long to carry its positions along
def test_matches_are_merged_as_a_dictionary_would(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_ORDER_BITS", bits)
    random = np.random.default_rng(0)
    known: dict[int, int] = {}
    matches = engine.NO_MATCHES
    for n in (0, 5, 200, 50, 0):
        at = random.choice(300, n, replace=False) | random.integers(0, 4, n) << 32
        outcome = random.integers(0, 3, n).astype(np.uint64) << np.uint64(61)
        matches = engine._merged(matches, engine._rising(at, outcome))
        known |= dict(zip(at.tolist(), outcome.tolist(), strict=True))
        known = {place: found for place, found in known.items() if found}
        assert dict(zip(*(each.tolist() for each in matches), strict=True)) == known
        assert matches[0].tolist() == sorted(known)
