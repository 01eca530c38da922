"""Small stand-ins for what the explorers look at: they need neither predictions nor images from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from anchorkit.anchors import AnchorLayout, Configuration, Level, Move
from anchorkit.costs import known_costs
from anchorkit.evaluation.ground_truth import GroundTruth, read_ground_truth


def layout(levels: int = 3) -> AnchorLayout:
    """Three anchors a level: square, wide, tall."""
    maps = [
        Level(f"P{k}", 8 >> k, 8 >> k, tuple((16.0 * 2**k * a, 16.0 * 2**k / a) for a in (1, 1.5, 0.6)), 0, 100, 0, 50)
        for k in range(levels)
    ]
    return AnchorLayout("toy", (64, 64), tuple(maps), trunk_macs=1000)


@dataclass
class Measures:
    """Accuracies without a pattern, to two digits so that some are equal."""

    layout: AnchorLayout = field(default_factory=layout)

    def accuracy(self, configuration: Configuration) -> float:
        return (configuration.mask * 2654435761 % 997) % 60 / 100

    def children(self, configuration: Configuration, moves: Sequence[Move]) -> np.ndarray:
        return np.array([self.accuracy(configuration.without(move.anchors)) for move in moves])

    def stats(self, configuration: Configuration) -> dict[str, float]:
        return {"AP": self.accuracy(configuration), "APs": -1.0}

    def per_class(self, configuration: Configuration) -> dict[int, float]:
        return {1: self.accuracy(configuration), 7: 0.5}


def found(measures: Measures, masks: Sequence[int], cost: str = "boxes") -> Any:
    """What a search would hand over that found these configurations."""
    configurations = [Configuration(measures.layout, mask) for mask in masks]
    rows = [{"accuracy": measures.accuracy(c), "n_anchors": len(c), **known_costs(c)} for c in configurations]
    return SimpleNamespace(cost=cost, frontier=pd.DataFrame(rows), configurations=configurations)


class Scenes:
    """Images with a few objects, and an evaluator's detections on them: those of the anchors that are kept.

    Every anchor has its own detections, and no other anchor stands in for it, so what a configuration detects is plain.
    """

    def __init__(self, images: int = 6, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.layout = layout()
        self.names = {3: "cup", 5: "plate"}
        self.categories = [SimpleNamespace(id=key, name=name) for key, name in self.names.items()]
        self.image_ids = tuple(range(10, 10 + images))
        self._pixels = {image_id: random.integers(0, 255, (48, 64, 3), np.uint8) for image_id in self.image_ids}
        annotations: list[dict[str, Any]] = []
        rows = []
        for image_id in self.image_ids:
            for _ in range(int(random.integers(1, 5))):
                x, y, width, height = *random.uniform(0, 30, 2), *random.uniform(8, 30, 2)
                category = int(random.choice([3, 5]))
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": category,
                        "bbox": [x, y, width, height],
                        "area": width * height,
                        "iscrowd": int(random.random() < 0.1),
                    }
                )
                for _ in range(int(random.integers(0, 4))):
                    corners = np.array([x, y, x + width, y + height]) + random.normal(0, 3, 4)
                    low, high = np.minimum(corners[:2], corners[2:]), np.maximum(corners[:2], corners[2:])
                    kind = category if random.random() < 0.8 else int(random.choice([3, 5, 99]))
                    rows.append((image_id, kind, round(random.random(), 3), *low, *high, int(random.integers(0, 9))))
        columns = ["image_id", "category_id", "score", "x1", "y1", "x2", "y2", "anchor"]
        frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[2:7], "float32"))
        self.rows = frame.sort_values(["image_id", "score"], ascending=[True, False], kind="stable")
        truth = {
            "images": [{"id": image_id} for image_id in self.image_ids],
            "annotations": annotations,
            "categories": [{"id": key} for key in self.names],
        }
        self.ground_truth: GroundTruth = read_ground_truth(truth)

    def detections(self, configuration: Configuration) -> pd.DataFrame:
        return self.rows[self.rows["anchor"].isin(configuration.indices)].reset_index(drop=True)

    def image(self, image_id: int) -> np.ndarray:
        return self._pixels[image_id]
