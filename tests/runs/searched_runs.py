"""Folders of runs with a search in them, made without executing anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anchorkit.anchors import AnchorLayout, Level
from anchorkit.costs import costs
from anchorkit.search.result import Asked, SearchResult, kept_in

LAYOUT = AnchorLayout(
    "toy",
    (64, 64),
    (
        Level("P0", 8, 8, ((8.0, 8.0), (16.0, 8.0), (8.0, 16.0)), 0, 100, 0, 50),
        Level("P1", 4, 4, ((32.0, 32.0), (48.0, 24.0)), 0, 300, 0, 150),
    ),
    trunk_macs=10_000,
)


def search_result(gain: float = 0.0, threshold: float = 0.4, seed: int = 0) -> SearchResult:
    """Made-up accuracies: 0.5 for all anchors, less for fewer, and `gain` more for all but the full configuration."""
    random = np.random.default_rng(seed)
    kept = [list(range(n)) for n in range(5, 0, -1)] + [[0, 3], [1, 3, 4], [0, 1, 3]]
    rows = []
    for order, keep in enumerate(kept):
        configuration = LAYOUT.configuration(keep=keep)
        accuracy = 0.5 if order == 0 else 0.38 + 0.025 * len(keep) + gain + 0.002 * random.random()
        row = {"accuracy": accuracy, **costs(configuration), "anchors": " ".join(configuration.ids)}
        rows.append({**row, "order": order, "parent": min(order - 1, 0)})
    tried = pd.DataFrame(rows)
    tried = tried[(tried["accuracy"] >= threshold) | (tried["order"] == 0)].reset_index(drop=True)
    frontier = tried.drop(columns=["order", "parent"]).sort_values("accuracy", ascending=False)
    frontier = frontier[frontier["head_flops"] < frontier["head_flops"].shift(fill_value=10**9).cummin()]
    asked = Asked.of(LAYOUT, "head_flops", threshold=threshold)
    return SearchResult(LAYOUT, asked, "algorithm1", frontier, tried, kept_in(LAYOUT, frontier))


def write_run(folder: Path, result: SearchResult, seconds: float = 2.0, data: str = "shapes", **values: Any) -> Path:
    """A finished run of one notebook with some parameters."""
    folder.mkdir(parents=True)
    result.save(folder / "search")
    parameters = {"run_dir": str(folder), "seed": 0, **values}
    record = {
        "format": 1,
        "anchorkit": "0.1.0",
        "data": data,
        "detector": "toy",
        "python": "3.11",
        "versions": {"numpy": "2.0"},
        "parameters": values,
        "started": "2025-01-01T00:00:00+00:00",
        "finished": "2025-01-01T00:00:01+00:00",
        "notebooks": {"04_search": {"parameters": parameters, "seconds": seconds, "fingerprint": "x"}},
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder
